"""A sweep of concurrency or rate as curves: what was asked for, what came out, and where it bends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.capacity import SATURATED_SHARE, Saturation, Usl, find_knee, find_saturation, fit_usl
from bench.judge.intervals import Estimate
from bench.judge.metrics.requests import NS_PER_S, never_served
from bench.judge.rows import CellInfo, RunRows

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

CONCURRENCY, RATE = "load.concurrency", "load.rate"
#: the latencies of a curve; of open loads those from the due time where there are such
LATENCIES = ("ttft", "e2e", "tpot")
QUANTILES = ("p50", "p95")
#: how long a cell ran is no point of a curve and tells no two curves apart
_EXTENT = ("load.requests", "load.duration_s", "load.warmup", "load.isolate")
#: below this many requests the rates of a cell say nothing about saturation
FEWEST_FOR_SHARE = 20
#: share of the requests at either end that is left out of the rates compared for saturation
_TRIMMED = 0.05


@dataclass(frozen=True)
class Point:
    """One cell of a curve.

    Attributes:
        load: the concurrency, or the requests per second, that was asked for.
        held: mean number of requests in flight over the window (Little's law); ``None`` when nothing was sent.
        req_per_s, tok_per_s: the cell's throughput, as the summary has it.
        goodput_req_per_s: ``None`` without an SLO.
        latencies: ``ttft_p50 ttft_p95 e2e_p50 ...`` in ms over all requests, a failure counted as infinitely slow.
        served_share: how many of the arrivals were served as fast as they came, of open loads; ``None`` when too few.
        failed: requests that failed.
    """

    cell_id: str
    load: float
    held: float | None
    req_per_s: float | None
    tok_per_s: float | None
    goodput_req_per_s: float | None
    latencies: Mapping[str, Estimate]
    served_share: float | None
    failed: int

    @property
    def saturated(self) -> bool:
        """Whether clearly fewer requests were served than came due."""
        return self.served_share is not None and self.served_share < SATURATED_SHARE


@dataclass(frozen=True)
class Series:
    """The cells that differ in nothing but how much was asked for.

    Attributes:
        name: what tells this curve from the others; empty when there is one.
        key: ``load.concurrency`` or ``load.rate``.
        points: by rising load, at least two.
        knee: load at the knee: of throughput over concurrency, of :func:`knee_latency` over rate.
        usl: the law fitted to the concurrency held; ``None`` for rates and below four points.
        saturation: of rates; ``None`` for concurrency.
    """

    name: str
    key: str
    points: tuple[Point, ...]
    knee: float | None
    usl: Usl | None
    saturation: Saturation | None

    @property
    def is_open(self) -> bool:
        """Whether the load is a rate of arrivals, whatever the server does."""
        return self.key == RATE

    def best(self, figure: str) -> Point | None:
        """The point with the highest ``req_per_s`` or ``goodput_req_per_s``."""
        known = [point for point in self.points if getattr(point, figure) is not None]
        return max(known, key=lambda point: float(getattr(point, figure)), default=None)


def find_series(run: RunRows, frame: pd.DataFrame) -> tuple[Series, ...]:
    """The curves of a run, in sweep order; none unless cells differ in their concurrency or rate.

    Args:
        frame: the summary's rows, one per cell, with every metric of :data:`bench.judge.metrics.CELL_METRICS`.
    """
    rows = {str(row["cell_id"]): row for row in frame.to_dict("records")} if len(frame) else {}
    groups: dict[tuple[Any, ...], list[tuple[CellInfo, Point]]] = {}
    for cell in run.cells:
        key = RATE if cell.is_open else CONCURRENCY
        load = cell.param(key)
        if isinstance(load, int | float) and cell.cell_id in rows:
            others = tuple((name, str(cell.param(name))) for name in cell.swept if name not in (key, *_EXTENT))
            groups.setdefault((key, others), []).append((cell, _point(run, cell, float(load), rows[cell.cell_id])))
    kept = {
        group: sorted((point for _, point in cells), key=lambda point: point.load)
        for group, cells in groups.items()
        if len({point.load for _, point in cells}) > 1
    }
    told = len(kept) > 1
    return tuple(_series(_name(group[1]) if told else "", group[0], points) for group, points in kept.items())


def _name(others: Sequence[tuple[str, str]]) -> str:
    parts = [value if name == "model.name" else f"{name.rpartition('.')[2]}={value}" for name, value in others]
    return " ".join(parts)


def _point(run: RunRows, cell: CellInfo, load: float, row: Mapping[Any, Any]) -> Point:
    requests = run.requests[run.requests["cell_id"] == cell.cell_id]
    due = "due_" if cell.is_open else ""
    names = {
        f"{stem}_{q}": f"{'' if stem == 'tpot' else due}{stem}_{q}_all_ms" for stem in LATENCIES for q in QUANTILES
    }
    return Point(
        cell_id=cell.cell_id,
        load=load,
        held=_held(requests),
        req_per_s=_known(row["throughput_req_per_s"]),
        tok_per_s=_known(row["throughput_tok_per_s"]),
        goodput_req_per_s=_known(row["goodput_req_per_s"]),
        latencies={name: _estimate(row, column) for name, column in names.items()},
        served_share=_served_share(requests) if cell.is_open else None,
        failed=int(never_served(requests).sum()),
    )


def _known(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _estimate(row: Mapping[Any, Any], column: str) -> Estimate:
    value, low, high = (_known(row[f"{column}{end}"]) for end in ("", "_low", "_high"))
    needs = _known(row[f"{column}_needs"])
    return Estimate(value, low, high, needs=None if needs is None else int(needs))


def _held(requests: pd.DataFrame) -> float | None:
    """Little's law: the time that requests spent in flight, over the window."""
    window = requests["end_ns"].max() - requests["sent_ns"].min()
    return float((requests["end_ns"] - requests["sent_ns"]).sum() / window) if window > 0 else None


def _served_share(requests: pd.DataFrame) -> float | None:
    """The share of arrivals that was served, less what the served ones fell behind.

    That is, how many were served times their rate by their ends over their rate by when they were due. Each rate is
    over the stretch of its own middle nine tenths, so that neither the first reply's wait nor stragglers pass for a
    lack of capacity.
    """
    served = requests[requests["outcome"] == "ok"]
    tried = len(served) + int(never_served(requests).sum())
    if tried < FEWEST_FOR_SHARE:
        return None
    due, end = (_central_rate(served[mark].dropna().to_numpy(dtype="float64")) for mark in ("due_ns", "end_ns"))
    kept_up = min(1.0, end / due) if due and end else 1.0
    return len(served) / tried * kept_up


def _central_rate(times_ns: NDArray[Any]) -> float | None:
    import numpy as np

    n = int(times_ns.size)
    if n < 2:
        return None
    cut = int(n * _TRIMMED)
    kept = np.sort(times_ns)[cut : n - cut]
    span_s = float(kept[-1] - kept[0]) / NS_PER_S
    return (kept.size - 1) / span_s if span_s > 0 else None


def _series(name: str, key: str, points: Sequence[Point]) -> Series:
    loads = [point.load for point in points]
    rates = [float("nan") if point.req_per_s is None else point.req_per_s for point in points]
    if key == CONCURRENCY:
        held = [float("nan") if point.held is None else point.held for point in points]
        return Series(name, key, tuple(points), find_knee(loads, rates), fit_usl(held, rates), None)
    knee = find_knee(loads, knee_latency(points)[1], "convex")
    known = [(point.load, point.load * point.served_share) for point in points if point.served_share is not None]
    saturation = find_saturation([want for want, _ in known], [got for _, got in known])
    return Series(name, key, tuple(points), knee, None, saturation)


def knee_latency(points: Sequence[Point]) -> tuple[str, list[float]]:
    """E2E p95 by name and value, or p50 where p95 is withheld for any point; NaN where that is unknown too."""
    name = "e2e_p50" if any(point.latencies["e2e_p95"].value is None for point in points) else "e2e_p95"
    values = [point.latencies[name].value for point in points]
    return name, [float("nan") if value is None else value for value in values]
