"""The history as text: runs as a table, series with a sparkline, and what the monitor says of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bench.judge.history.drift import Notice
from bench.judge.history.reading import Skipped
from bench.judge.history.series import Series
from bench.judge.history.verdict import alarm_text
from bench.judge.monitor import SEED_NIGHTS, NightState
from bench.judge.night import CellNight
from bench.show.terminal import printable, shorten

NONE = "-"
BARS = "▁▂▃▄▅▆▇█"
#: nights that a sparkline shows
SPARK_NIGHTS = 30
_RUN_COLUMNS = ("run", "started", "model", "prompts", "requests", "ok", "accuracy", "ttft p50", "e2e p50", "tok/s")
_SERIES_COLUMNS = ("series", "nights", f"last {SPARK_NIGHTS}", "tonight", "trend", "changes", "state")
#: columns that a narrow terminal goes without, the first of them first
_SPARE_COLUMNS = ("changes", "trend", f"last {SPARK_NIGHTS}", "tonight")


def sparkline(values: Sequence[float | None], width: int = SPARK_NIGHTS) -> str:
    """The last values as bars between their least and their most; a dot for a missing one."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None and math.isfinite(value)]
    if not known:
        return "·" * len(shown)
    low, high = min(known), max(known)
    step = (high - low) / (len(BARS) - 1)
    return "".join(
        "·" if value is None or not math.isfinite(value) else BARS[round((value - low) / step) if step else 0]
        for value in shown
    )


def runs_table(nights: Sequence[CellNight]) -> str:
    """One line per cell of each run, oldest first."""
    from tabulate import tabulate

    rows, before = [], ""
    for night in nights:
        first = night.run != before
        before = night.run
        rows.append(
            [
                printable(night.run) if first else "",
                printable(night.started_at[:16].replace("T", " ")) if first else "",
                shorten(printable(night.model), 32),
                shorten(printable(_prompts(night)), 24),
                _number(night.figures.get("planned")),
                _percent(_ok(night)),
                _percent(night.figures.get("accuracy")),
                _unit(night.figures.get("ttft_p50_ms"), "ms"),
                _unit(night.figures.get("e2e_p50_ms"), "ms"),
                _number(night.figures.get("throughput_tok_per_s")),
            ]
        )
    aligned = ("left",) * 4 + ("right",) * 6
    return tabulate(rows, headers=_RUN_COLUMNS, disable_numparse=True, colalign=aligned if rows else None)


def _prompts(night: CellNight) -> str:
    return f"{night.dataset} {night.variant}".strip()


def _ok(night: CellNight) -> float | None:
    failed = night.figures.get("failure_rate")
    return None if failed is None else 1 - failed


def _number(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _unit(value: float | None, unit: str) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f} {unit}"


def figure_text(series: Series, value: float | None) -> str:
    """A figure of a series with its unit."""
    if value is None or not math.isfinite(value):
        return NONE
    if not series.metric.is_log:
        return f"{value:.1%}"
    if series.metric.name == "cost":
        return f"{value:.3g} {series.nights[-1].currency or ''}".strip()
    return f"{value:,.0f} {series.metric.unit}"


def series_table(found: Sequence[Series], width: int | None = None) -> str:
    """One line per series; whole columns are left out, and named, where they do not fit into ``width``."""
    rows = [
        [
            printable(one.id),
            str(len(one.nights)),
            sparkline(one.figures),
            figure_text(one, one.figures[-1]),
            _signed(one, one.trend),
            printable(_changes(one), 60),
            state_text(one),
        ]
        for one in found
    ]
    left_out: list[str] = []
    text = _drawn_series(rows, left_out)
    for name in _SPARE_COLUMNS if width else ():
        if max(map(len, text.splitlines())) <= (width or 0):
            break
        left_out.append(name)
        text = _drawn_series(rows, left_out)
    return f"{text}\nnot shown at {width} columns: {', '.join(left_out)}" if left_out else text


def _drawn_series(rows: Sequence[Sequence[str]], left_out: Sequence[str]) -> str:
    from tabulate import tabulate

    kept = [place for place, name in enumerate(_SERIES_COLUMNS) if name not in left_out]
    aligned = ("left", "right", "left", "right", "right", "left", "left")
    return tabulate(
        [[row[place] for place in kept] for row in rows],
        headers=[_SERIES_COLUMNS[place] for place in kept],
        disable_numparse=True,
        colalign=[aligned[place] for place in kept] if rows else None,
    )


def _signed(series: Series, worse: float | None) -> str:
    if worse is None:
        return NONE
    way = worse if series.metric.more_is_worse else -worse
    return f"{100 * way:+.1f}{'%' if series.metric.is_log else ' pt'}"


def _changes(series: Series) -> str:
    return ", ".join(
        f"{series.nights[change.night].started_at[:10]} {_signed(series, change.by)}" for change in series.changes[-2:]
    )


def state_text(series: Series) -> str:
    """The monitor's state of the last night in a few words."""
    state = series.state
    if state is NightState.SEED:
        return f"SEED {series.seed_nights} of {SEED_NIGHTS}"
    if state is NightState.TRANSIENT:
        return "TRANSIENT: one bad night, run it again"
    if state is NightState.ALARM:
        start = series.suspected_from
        since = "" if start is None else f" since {series.nights[start].started_at[:10]}"
        return f"ALARM{since}" + ("" if series.metric.pages else " (does not page)")
    return str(state)


def said_of(series: Sequence[Series], notices: Iterable[Notice], skipped: Iterable[Skipped]) -> list[str]:
    """Sentences for below the tables: alarms, bad nights, broken series, signs of drift, runs left out."""
    lines = [f"ALARM: {alarm_text(one)}; once it is understood: bench history accept '{one.id}'" for one in series
             if one.pages]  # fmt: skip
    lines += [f"TRANSIENT: {one.id} had one bad night, {one.nights[-1].run}; run it again" for one in series
              if one.state is NightState.TRANSIENT]  # fmt: skip
    broken: dict[tuple[str, str], list[str]] = {}
    for one in series:
        if one.stretch.broken_by is not None and one.stretch.current:
            broken.setdefault((one.nights[0].run, one.stretch.broken_by), []).append(one.metric.name)
    lines += [f"new series from {run} on ({', '.join(names)}): {why}" for (run, why), names in broken.items()]
    lines += [notice_text(one) for one in notices]
    return [printable(line, 600) for line in lines] + [printable(skipped_text(one), 600) for one in skipped]


def notice_text(notice: Notice) -> str:
    """One sign of a silently changed model."""
    sure = "" if notice.p is None else f" (p {notice.p:.1g})"
    where = f"{notice.night.model} on {_prompts(notice.night)}"
    return f"silent change? {notice.night.run}: {notice.sign} of {where}: {notice.text}{sure}"


def skipped_text(one: Skipped) -> str:
    """Why a run folder is not part of the history."""
    return f"warning: {one.run} is left out: {one.reason}"


def series_as_plain(one: Series) -> dict[str, Any]:
    """A series as JSON holds it, a value per night."""
    start = one.suspected_from
    return {
        "series": one.id,
        "name": one.stretch.name,
        "model": one.stretch.model,
        "dataset": one.stretch.dataset,
        "variant": one.stretch.variant,
        "metric": one.metric.name,
        "unit": one.metric.unit,
        "definition": one.metric.definition,
        "current": one.stretch.current,
        "broken_by": one.stretch.broken_by,
        "hashes": {name: one.nights[-1].hashes.get(name) for name in one.metric.must_equal()},
        "reference": one.nights[-1].reference if one.stretch.referenced else None,
        "pages": one.pages,
        "can_page": one.metric.pages,
        "state": str(one.state),
        "threshold": one.threshold,
        "evidence": one.monitored.evidence,
        "since": None if start is None else one.nights[start].run,
        "shift": one.shift,
        "trend": one.trend,
        "changes": [{"run": one.nights[change.night].run, "by": change.by} for change in one.changes],
        "accepted": None if one.accepted is None else one.accepted.since,
        "nights": [
            {
                "run": night.run,
                "started_at": night.started_at,
                "value": night.figures.get(one.metric.figure),
                "x": x if math.isfinite(x) else None,
                "state": None if place < one.seeded_from else str(one.monitored.nights[place - one.seeded_from].state),
            }
            for place, (night, x) in enumerate(zip(one.nights, one.x, strict=True))
        ],
    }


def run_as_plain(night: CellNight) -> dict[str, Any]:
    """A cell of a run as JSON holds it."""
    return {
        "run": night.run,
        "name": night.name,
        "started_at": night.started_at,
        "cell": night.label,
        "model": night.model,
        "dataset": night.dataset,
        "variant": night.variant,
        "reference": night.reference,
        "hashes": dict(night.hashes),
        "invalid": night.invalid,
        "response_models": list(night.models),
        "system_fingerprints": list(night.fingerprints),
        "currency": night.currency,
        **night.figures,
    }
