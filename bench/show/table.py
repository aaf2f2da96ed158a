"""The summary as text columns, at three levels of detail, and fitted to a terminal's width."""

from __future__ import annotations

import math
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.show.terminal import printable, shorten, width_of

if TYPE_CHECKING:
    from bench.show.summary import SummaryTable

NONE = "-"
Row = dict[str, Any]
MAX_LABEL = 60


class Detail(IntEnum):
    """How much a column says."""

    NARROW = 0  # whole percents, p50 and p95 in one column
    PLAIN = 1
    FULL = 2  # with the interval of every percentile


@dataclass(frozen=True)
class Column:
    """One column of texts; ``key`` names it for layouts that leave it out."""

    key: str
    header: str
    texts: list[str]
    left: bool = False


@dataclass(frozen=True)
class Layout:
    """A way to show the table; the first one that fits is taken."""

    detail: Detail
    swept_columns: bool
    label_width: int
    without: frozenset[str] = frozenset()


_COUNTS = frozenset({"truncated", "unparsed", "goodput"})
_LAYOUTS = (
    Layout(Detail.FULL, True, MAX_LABEL),
    Layout(Detail.FULL, False, 40),
    Layout(Detail.PLAIN, True, MAX_LABEL),
    Layout(Detail.PLAIN, False, 40),
    Layout(Detail.PLAIN, False, 26),
    Layout(Detail.NARROW, False, 40),
    Layout(Detail.NARROW, False, 26),
    Layout(Detail.NARROW, False, 26, _COUNTS),
    Layout(Detail.NARROW, False, 26, _COUNTS | {"throughput"}),
    Layout(Detail.NARROW, False, 18, _COUNTS | {"throughput"}),
    Layout(Detail.NARROW, False, 18, _COUNTS | {"throughput", "cost", "n"}),
    Layout(Detail.NARROW, False, 14, _COUNTS | {"throughput", "cost", "n", "tokens", "ttft", "attainment"}),
)


def render_terminal(table: SummaryTable, width: int | None = None) -> str:
    """The table, notes and verdict for a terminal: no line wider than ``width``, no control character in any.

    ``width`` is the terminal's own unless given; 120 where there is none.
    """
    width = shutil.get_terminal_size((120, 24)).columns if width is None else width
    lines: list[str] = []
    if not table.frame.empty:
        lines += [*fitted(table, width).splitlines(), ""]
    for sentence in validity_lines(table):
        lines += _wrapped(sentence, width, "")
    for note in table.notes:
        lines += _wrapped(note, width, "* ")
    if table.verdict:
        lines.append("")
        for sentence in table.verdict:
            lines += _wrapped(sentence, width, "")
    return "\n".join(lines) + "\n"


def validity_lines(table: SummaryTable) -> list[str]:
    """One sentence per run for a valid measurement, one per reason for any other."""
    lines = []
    for run_id, validity in table.validity.items():
        named = f"{run_id}: " if len(table.validity) > 1 else ""
        said = validity.reasons or validity.notes
        lines += [f"{named}validity: {validity.standing}{f': {text}' if text else ''}" for text in said or ("",)]
    return lines


def _wrapped(sentence: str, width: int, bullet: str) -> list[str]:
    return textwrap.wrap(
        printable(sentence, 2000), max(width, 20), initial_indent=bullet, subsequent_indent=" " * len(bullet)
    )


def fitted(table: SummaryTable, width: int) -> str:
    """The table in the most telling layout that fits; in the narrowest one, with lines cut, where none does."""
    text = ""
    figures = cache(lambda detail: _figures(table, detail))
    for layout in _LAYOUTS:
        text = _drawn(_chosen(table, layout, figures(layout.detail)))
        if max(width_of(line) for line in text.splitlines()) <= width:
            return text
    return "\n".join(line if width_of(line) <= width else shorten(line, width) for line in text.splitlines())


def _drawn(shown: Sequence[Column]) -> str:
    from tabulate import tabulate

    # headers go in as rows of a plain table, because tabulate widens a column by two for the sake of its header
    depth = max(column.header.count("\n") + 1 for column in shown)
    stacks = []
    for column in shown:
        header = column.header.split("\n")
        texts = [*[""] * (depth - len(header)), *header, *column.texts]
        stacks.append([*texts[:depth], "-" * max(width_of(text) for text in texts), *texts[depth:]])
    return tabulate(
        list(zip(*stacks, strict=True)),
        tablefmt="plain",
        disable_numparse=True,
        colalign=["left" if column.left else "right" for column in shown],
    )


def columns(table: SummaryTable, layout: Layout) -> list[Column]:
    """The columns of a layout, left to right; columns without any content are left out."""
    return _chosen(table, layout, _figures(table, layout.detail))


def _chosen(table: SummaryTable, layout: Layout, figures: Sequence[Column]) -> list[Column]:
    filled = [column for column in figures if any(text != NONE for text in column.texts)]
    return [*_names(table, layout), *(column for column in filled if column.key not in layout.without)]


def _names(table: SummaryTable, layout: Layout) -> list[Column]:
    if layout.swept_columns and table.swept:
        names = _short_names(table.swept)
        return [
            Column(key, names[key], [printable(_value(value), MAX_LABEL) for value in table.frame[key]], left=True)
            for key in table.swept
        ]
    labels = [printable(label, 200) for label in table.frame["label"]]
    return [Column("label", "cell", short_labels(labels, layout.label_width), left=True)]


def short_labels(labels: Sequence[str], limit: int) -> list[str]:
    """Labels of at most ``limit`` characters that stay apart: without ``owner/`` first, cut in the middle next."""
    if max(map(len, labels)) <= limit:
        return list(labels)
    bare = [re.sub(r"(?:[\w.-]+/)+", "", label) for label in labels]
    named = bare if len(set(bare)) == len(set(labels)) else labels
    short = [shorten(label, limit) for label in named]
    if len(set(short)) == len(set(labels)):
        return short
    return [f"#{index} {shorten(label, limit - len(str(index)) - 2)}" for index, label in enumerate(named)]


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """``model.name`` reads ``model``, ``sampling.temperature`` ``temperature``; the whole key where not unique."""
    short = {}
    for key in keys:
        group, _, last = key.rpartition(".")
        short[key] = group.rpartition(".")[2] if last in ("name", "kind") and group else last
    taken = list(short.values())
    return {key: printable(name if taken.count(name) == 1 else key, MAX_LABEL) for key, name in short.items()}


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figures(table: SummaryTable, detail: Detail) -> list[Column]:
    frame, prefix = table.frame, "due_" if table.latency_from == "due" else ""
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    narrow, due = detail is Detail.NARROW, " (due)" if prefix else ""
    found = [
        Column("n", "n" if narrow else "requests", [f"{row['planned']:.0f}" for row in rows]),
        Column("accuracy", "accuracy\n[95%]", [_share(row, "accuracy", 0 if narrow else 1) for row in rows]),
        *_latency(rows, f"{prefix}ttft", f"TTFT{due}", detail, "ttft"),
        *_latency(rows, f"{prefix}e2e", f"E2E{due}", detail, "e2e"),
    ]
    if detail is Detail.FULL and any(row["failure_rate"] for row in rows):
        header = f"E2E{due} p95\nincl. failures"
        found.append(_times(rows, f"{prefix}e2e_p95_all_ms", header, "failed_e2e", interval=False))
    found += [
        Column("tokens", "tok/s", [number(row["output_tok_per_s_p50"]) for row in rows]),
        Column("throughput", "cell\ntok/s", [number(row["throughput_tok_per_s"]) for row in rows]),
        Column("goodput", "goodput\nreq/s", [number(row["goodput_req_per_s"]) for row in rows]),
        Column("attainment", "in SLO\n[95%]", [_share(row, "attainment", 0 if narrow else 1) for row in rows]),
        _cost(rows),
        Column("failures", "failed", [_failed(row, narrow) for row in rows]),
    ]
    for key in ("truncated", "unparsed"):
        texts = [NONE if _missing(row[key]) else f"{row[key]:,.0f}" for row in rows]
        if set(texts) - {NONE, "0"}:
            found.append(Column(key, key, texts))
    return found


def _latency(rows: Sequence[Row], stem: str, header: str, detail: Detail, key: str) -> Iterator[Column]:
    p50, p95 = f"{stem}_p50_ms", f"{stem}_p95_ms"
    if detail is not Detail.NARROW:
        yield _times(rows, p50, f"{header}\np50", key, interval=detail is Detail.FULL)
        yield _times(rows, p95, f"{header}\np95", key, interval=detail is Detail.FULL)
        return
    text, unit = _in_unit(rows, p50, p95)
    if all(_missing(row[p95]) for row in rows):
        yield Column(key, f"{header}\np50 {unit}", [text(row[p50]) for row in rows])
        return
    pairs = [(row[p50], row[p95]) for row in rows]
    yield Column(key, f"{header} {unit}\np50/p95", [NONE if _missing(a) else f"{text(a)}/{text(b)}" for a, b in pairs])


def _times(rows: Sequence[Row], name: str, header: str, key: str, interval: bool) -> Column:
    text, unit = _in_unit(rows, name)
    texts = []
    for row in rows:
        shown = text(row[name])
        if interval and shown != NONE:
            shown += f" [{text(row[f'{name}_low'])}, {text(row[f'{name}_high'])}]"
        texts.append(shown)
    return Column(key, f"{header} {unit}", texts)


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _in_unit(rows: Sequence[Row], *names: str) -> tuple[Callable[[float | None], str], str]:
    """How the milliseconds of one column are written, so that its numbers compare at a glance."""
    if any(row[name] is not None and 10_000 <= row[name] < math.inf for row in rows for name in names):
        return (lambda value: number(value, 1 / 1000)), "s"
    return number, "ms"


def number(value: float | None, factor: float = 1.0) -> str:
    """Three significant digits, thousands apart; ``inf`` for a percentile that falls on a failure."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "inf"
    scaled = value * factor
    if scaled == 0 or abs(scaled) >= 100:
        return f"{scaled:,.0f}"
    return f"{scaled:.1f}" if abs(scaled) >= 10 else f"{scaled:.3g}"


def _share(row: Row, name: str, digits: int) -> str:
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or math.isnan(value):
        return NONE
    ends = f"{low * 100:.{digits}f}, {high * 100:.{digits}f}" if digits else f"{low * 100:.0f}-{high * 100:.0f}"
    return f"{value:.{digits}%} [{ends}]"


def _failed(row: Row, narrow: bool) -> str:
    count = row["planned"] - row["ok"] - row["saved"]
    if not count:
        return "0"
    return f"{count:.0f}" if narrow else f"{count:.0f} ({row['failure_rate']:.1%})"


def _cost(rows: Sequence[Row]) -> Column:
    units = {row["currency"] for row in rows if isinstance(row["currency"], str)}
    if len(units) == 1:
        return Column("cost", f"cost\n{printable(units.pop(), 8)}", [_money(row["cost"]) for row in rows])
    texts = [
        NONE if _missing(row["cost"]) else f"{_money(row['cost'])} {printable(row['currency'], 8)}" for row in rows
    ]
    return Column("cost", "cost", texts)


def _money(value: float | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    return f"{value:,.2f}" if value >= 100 else f"{value:.3g}"
