"""How the client did while it measured: the vitals of a run's record, and what they say of its timing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.judge.metrics.requests import NS_PER_S


@dataclass(frozen=True)
class ProcessVitals:
    """One worker process in one stage; the same names as in ``run.json``."""

    shard: int
    start_ns: int
    wall_s: float
    cpu_s: float
    lag_counts: tuple[int, ...]
    lag_edges_ms: tuple[float, ...]
    lag_period_ms: float
    lag_max_ms: float
    gc_pause_max_ms: float

    @property
    def end_ns(self) -> float:
        """When the stage was over, on the clock of ``start_ns``."""
        return self.start_ns + self.wall_s * NS_PER_S

    @property
    def cpu_share(self) -> float:
        """Processor time over wall time: near 1 a core is full."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else 0.0


def read_vitals(header: Mapping[str, Any]) -> tuple[ProcessVitals, ...]:
    """The vitals that a run's header holds; rows of a kind that this program does not know are left out."""
    found = []
    for row in header.get("vitals") or ():
        try:
            found.append(
                ProcessVitals(
                    shard=int(row["shard"]),
                    start_ns=int(row["start_ns"]),
                    wall_s=float(row["wall_s"]),
                    cpu_s=float(row["cpu_s"]),
                    lag_counts=tuple(int(count) for count in row["lag_counts"]),
                    lag_edges_ms=tuple(float(edge) for edge in row["lag_edges_ms"]),
                    lag_period_ms=float(row["lag_period_ms"]),
                    lag_max_ms=float(row["lag_max_ms"]),
                    gc_pause_max_ms=float(row["gc_pause_max_ms"]),
                )
            )
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)


@dataclass(frozen=True)
class LoopLag:
    """How late an event that arrives at a random moment is seen, by the readings of all processes of a stage.

    A loop that stands still takes one reading where it would have taken several, so each late reading also stands for
    the ones that it kept from being taken (the correction of HdrHistogram: Tene, "How NOT to Measure Latency", 2015).
    Readings count with the lower edge of their bin, so the figures err on the client's side.

    Attributes:
        values_ms: distinct lags, ascending, and ``weights`` how many readings stand for each.
        max_ms: the worst reading.
    """

    values_ms: tuple[float, ...]
    weights: tuple[int, ...]
    max_ms: float

    @property
    def readings(self) -> int:
        """How many readings there are, the ones put in included."""
        return sum(self.weights)

    def quantile_ms(self, q: float) -> float:
        """Nearest-rank quantile; 0 without any reading."""
        rank, seen = math.ceil(round(q * self.readings, 9)), 0
        for value, weight in zip(self.values_ms, self.weights, strict=True):
            seen += weight
            if seen >= rank:
                return value
        return 0.0


def loop_lag(vitals: Iterable[ProcessVitals]) -> LoopLag:
    """The lag of one stage's processes, pooled."""
    pooled: dict[float, int] = {}
    worst = 0.0
    for one in vitals:
        worst = max(worst, one.lag_max_ms)
        last = len(one.lag_counts) - 1
        for place, count in enumerate(one.lag_counts):
            if not count:
                continue
            # a reading in a bin is beyond the bin's lower edge, and a limit may be that very edge
            low = math.nextafter(one.lag_edges_ms[place - 1], math.inf) if place else 0.0
            # the worst reading is the only one that is known exactly, and lies in the last bin that has any
            known = int(place == last or one.lag_max_ms <= one.lag_edges_ms[place])
            _add(pooled, one.lag_max_ms, known, one.lag_period_ms)
            _add(pooled, low, count - known, one.lag_period_ms)
    ordered = sorted(pooled.items())
    return LoopLag(tuple(value for value, _ in ordered), tuple(weight for _, weight in ordered), worst)


def _add(pooled: dict[float, int], lag_ms: float, count: int, period_ms: float) -> None:
    while count and lag_ms >= 0:
        pooled[lag_ms] = pooled.get(lag_ms, 0) + count
        if lag_ms < period_ms:
            return
        lag_ms -= period_ms
