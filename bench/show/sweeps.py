"""The section of the report on a sweep of concurrency or rate: what throughput costs, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.judge.capacity import SATURATED_SHARE, Usl
from bench.judge.sweep import Point, Series, find_series, knee_latency
from bench.show.markdown import escaped, table
from bench.show.table import number, short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

POOR_FIT = 0.9
READING = (
    "Latencies are p50 / p95 in ms, with a failure counted as infinitely slow; their intervals stand under Latency. "
    "The knee is Kneedle's (Satopää et al. 2011): beyond it more load buys little throughput, or costs much latency. "
)
_LAW = (
    "The scalability law (Gunther 2007), X = γN / (1 + α(N-1) + βN(N-1)), is fitted to the concurrency truly held: "
    "α is the share of work that waits in line, β the cost of agreeing with every other request."
)
_SATURATION = (
    f"A rate is saturated when fewer than {SATURATED_SHARE:.0%} of its arrivals are served as fast as they come: the "
    "share served times the rate of their ends over the rate of their arrivals, each over its middle nine tenths."
)


def sweep_section(run: RunRows, summary: SummaryTable) -> str:
    """A table of all points and the findings per series; empty unless cells differ in concurrency or rate."""
    found = find_series(run, summary.frame)
    if not found:
        return ""
    names = short_labels([printable(one.name, 200) for one in found], 48)
    notes = [
        f"- {escaped(f'{name}: {sentence}' if name else sentence, 600)}"
        for name, one in zip(names, found, strict=True)
        for sentence in findings(one)
    ]
    kinds = {one.is_open for one in found}
    reading = READING + " ".join(text for is_open, text in ((False, _LAW), (True, _SATURATION)) if is_open in kinds)
    return "\n\n".join(["## Throughput and latency", "\n".join(notes), _points(found, names), reading])


def _points(found: tuple[Series, ...], names: list[str]) -> str:
    named = len(found) > 1
    points = [point for one in found for point in one.points]
    goodput = any(point.goodput_req_per_s is not None for point in points)
    load = (
        "req/s due"
        if all(one.is_open for one in found)
        else "in flight"
        if not any(one.is_open for one in found)
        else "load"
    )
    headers = ["series"] * named + [load, "req/s", "tok/s", "TTFT", "E2E", "TPOT"] + ["goodput"] * goodput + [""]
    rows = []
    for name, one in zip(names, found, strict=True):
        for point in one.points:
            row = [name] if named else []
            row += [f"{point.load:g}", number(point.req_per_s), number(point.tok_per_s)]
            row += [_pair(point, stem) for stem in ("ttft", "e2e", "tpot")]
            row += [number(point.goodput_req_per_s)] if goodput else []
            rows.append([*row, _remark(one, point)])
    return table(headers, rows, 1 if named else 0)


def _pair(point: Point, stem: str) -> str:
    values = [number(point.latencies[f"{stem}_{q}"].value) for q in ("p50", "p95")]
    return " / ".join(values)


def _remark(series: Series, point: Point) -> str:
    remarks = ["knee"] if point.load == series.knee else []
    if point.saturated:
        remarks.append(f"saturated, {point.served_share:.0%} served")
    if point.failed:
        remarks.append(f"{point.failed} failed")
    return ", ".join(remarks)


def findings(series: Series) -> Iterator[str]:
    """What the curve says, one sentence each."""
    unit = "requests per second due" if series.is_open else "requests in flight"
    most = series.best("req_per_s")
    if most is not None:
        last = ", the highest load tried" if most is series.points[-1] else ""
        yield f"Most throughput: {number(most.req_per_s)} requests per second at {most.load:g} {unit}{last}."
    good = series.best("goodput_req_per_s")
    if good is not None and good.goodput_req_per_s:
        yield f"Most goodput: {number(good.goodput_req_per_s)} requests per second at {good.load:g} {unit}."
    yield _knee(series, unit)
    if series.usl is not None:
        yield _law(series.usl, max(point.held or 0.0 for point in series.points))
    if series.saturation is not None and any(point.served_share is not None for point in series.points):
        yield _saturation(series)


def _knee(series: Series, unit: str) -> str:
    of = "throughput over concurrency"
    if series.is_open:
        of = f"E2E {knee_latency(series.points)[0][-3:]} over rate"
    if series.knee is not None:
        return f"Knee at {series.knee:g} {unit} ({of})."
    if len(series.points) < 3:
        return f"No knee: two points of {of} are a line."
    return f"No knee within the loads tried ({of})."


def _law(law: Usl, highest: float) -> str:
    said = f"Scalability law: α = {law.alpha:.3g}, β = {law.beta:.3g}, R² = {law.r_squared:.3f}"
    if law.r_squared < POOR_FIT:
        return f"{said}: it does not describe these points, so its peak is not given."
    if law.n_peak is None:
        limit = "" if law.x_peak is None else f", towards {number(law.x_peak)} requests per second"
        return f"{said}; no peak: throughput rises with concurrency{limit} (beyond {highest:.3g} an extrapolation)."
    peak = f"{said}; peak of {number(law.x_peak)} requests per second at N* = {math.floor(law.n_peak)}"
    if law.beyond:
        return f"{peak}, an extrapolation: at most {highest:.3g} requests were held in flight. Do not plan by it."
    return f"{peak}."


def _saturation(series: Series) -> str:
    found = series.saturation
    assert found is not None
    if found.saturated is None:
        return f"Not saturated: every rate up to {series.points[-1].load:g} per second was served."
    point = next(point for point in series.points if point.load == found.saturated)
    before = "" if found.sustained is None else f"; {found.sustained:g} per second was still served"
    return f"Saturated from {found.saturated:g} per second on: {point.served_share:.0%} was served{before}."
