"""A run under another tool's definitions, beside ours: for the terminal and as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.domain import ConfigError
from bench.judge.profiles import profile, recompute
from bench.judge.tools import PROFILES
from bench.show.markdown import escaped, folded, table
from bench.show.table import number, short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    from bench.judge.definitions import Profile, Quantity, Rate
    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

OURS = "ours"
_LATENCIES = ("", "mean", "median", "p99", "ours", "median", "p99")
_RATES = ("", "value", "ours", "value")


def check_metrics(name: str) -> str:
    """The name of a set of definitions that exists: ``ours`` or a tool's.

    Raises:
        ConfigError: there is none of that name; says which there are.
    """
    if name != OURS and name not in PROFILES:
        raise ConfigError(f"metrics={name}: no such definitions; there are {', '.join((OURS, *PROFILES))}")
    return name


@dataclass(frozen=True)
class CellTables:
    """One cell's figures as texts: latencies with mean, median and p99 and ours beside them; rates likewise."""

    label: str
    served: int
    latencies: list[list[str]]
    rates: list[list[str]]


def cell_tables(run: RunRows, summary: SummaryTable, wanted: Profile) -> list[CellTables]:
    """The tables of every cell, in sweep order."""
    theirs = recompute(run, wanted).to_dict("records")
    ours = {row["cell_id"]: row for row in summary.frame.to_dict("records")}
    labels = short_labels([printable(row["label"], 200) for row in theirs], 60) if theirs else []
    made = []
    for label, row in zip(labels, theirs, strict=True):
        own: dict[Any, Any] = ours.get(row["cell_id"], {})
        latencies = [
            [
                quantity.label,
                *(number(row[f"{quantity.stem}_{short}_ms"]) for short in ("mean", "p50", "p99")),
                f"{quantity.ours}_ms",
                *(number(own.get(f"{quantity.ours}_{short}_ms")) for short in ("p50", "p99")),
            ]
            for quantity in wanted.quantities
        ]
        rates = [
            [rate.label, number(row[rate.name]), rate.ours or "-", number(own.get(rate.ours) if rate.ours else None)]
            for rate in wanted.rates
        ]
        made.append(CellTables(label, int(row["served"]), latencies, rates))
    return made


def footnotes(wanted: Profile) -> list[str]:
    """What each figure is there, and how it differs from ours, one sentence or two each."""
    notes = [f"Percentiles of {wanted.tool}: {wanted.percentiles}. Ours: nearest rank, withheld where too few."]
    figures: list[Quantity | Rate] = [*wanted.quantities, *wanted.rates]
    for figure in figures:
        differs = "As ours." if figure.differs == "None." else f"Against ours: {figure.differs}"
        notes.append(f"{figure.label}: {figure.definition} {differs}")
    return notes


def reconcile_text(run: RunRows, summary: SummaryTable, name: str) -> str:
    """What ``bench report RUN metrics=NAME`` prints below the summary.

    Raises:
        ConfigError: no such profile.
    """
    wanted = profile(name)
    lines = [f"{summary.run_id} as {wanted.tool} counts"]
    for cell in cell_tables(run, summary, wanted):
        lines += ["", f"{cell.label} ({cell.served:,} served)", _plain(_LATENCIES, cell.latencies)]
        lines += ["", _plain(_RATES, cell.rates)]
    return "\n".join([*lines, "", *(f"* {note}" for note in footnotes(wanted))])


def _plain(headers: Sequence[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    align = ["left" if header in ("", "ours") else "right" for header in headers]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align)


def reconcile_section(run: RunRows, summary: SummaryTable, name: str) -> str:
    """The same as a section of ``report.md``.

    Raises:
        ConfigError: no such profile.
    """
    wanted = profile(name)
    parts = [f"## As {escaped(wanted.tool)} counts"]
    cells = cell_tables(run, summary, wanted)
    for cell in cells:
        body = f"{table(_LATENCIES, cell.latencies)}\n\n{table(_RATES, cell.rates)}"
        title = f"{escaped(cell.label)} ({cell.served:,} served)"
        parts.append(f"**{title}**\n\n{body}" if len(cells) <= 2 else folded(title, body))
    parts.append("\n".join(f"- {escaped(note, 600)}" for note in footnotes(wanted)))
    return "\n\n".join(parts)
