"""How the client itself did while it measured: loop lag, CPU and garbage collection, per stage and process.

A client that is busy reports its own queue as the server's latency. These readings are what the validity verdict
stands on; they are taken by the process that times the requests, while it times them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.measure.lag import LagMeter

#: upper edges of the lag histogram in milliseconds; the last bin is open
LAG_EDGES_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True)
class Vitals:
    """One process in one stage.

    Attributes:
        stage: index of the stage.
        shard: index of the process.
        start_ns: monotonic clock at the stage's start; in the record it counts from the run's origin.
        wall_s: length of the stage.
        cpu_s: processor time of the process in it; ``cpu_s / wall_s`` near 1 is a full core.
        lag_counts: readings of event-loop lag in the bins of ``LAG_EDGES_MS``.
        lag_max_ms: the worst reading.
        gc_pauses: collections that ran.
        gc_pause_ms: their total length; ``gc_pause_max_ms`` the longest.
        lag_period_ms: the time from one reading of lag to the next while nothing is late.
        lag_edges_ms: upper edges of the bins of ``lag_counts``; the last bin is open.
    """

    stage: int
    shard: int
    start_ns: int
    wall_s: float
    cpu_s: float
    lag_counts: tuple[int, ...]
    lag_max_ms: float
    gc_pauses: int
    gc_pause_ms: float
    gc_pause_max_ms: float
    lag_period_ms: float
    lag_edges_ms: tuple[float, ...] = LAG_EDGES_MS

    def row(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "lag_counts": list(self.lag_counts), "lag_edges_ms": list(self.lag_edges_ms)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Vitals:
        """Vitals from their :meth:`row`."""
        lists = {name: tuple(row[name]) for name in ("lag_counts", "lag_edges_ms") if name in row}
        return cls(**{**row, **lists})


class Watch:
    """Starts reading at once; :meth:`stop` gives the vitals since."""

    def __init__(self, stage: int, shard: int, lag: LagMeter, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._stage, self._shard, self._clock, self._lag = stage, shard, clock, lag
        self._start_ns, self._cpu_s = clock(), time.process_time()
        self._pauses: list[float] = []
        self._gc_start_ns = 0
        lag.begin(LAG_EDGES_MS)
        gc.callbacks.append(self._on_gc)

    def _on_gc(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._gc_start_ns = self._clock()
        elif self._gc_start_ns:
            self._pauses.append((self._clock() - self._gc_start_ns) / 1e6)

    def stop(self) -> Vitals:
        """End the readings."""
        gc.callbacks.remove(self._on_gc)
        counts, worst_ns = self._lag.end()
        return Vitals(
            stage=self._stage,
            shard=self._shard,
            start_ns=self._start_ns,
            wall_s=(self._clock() - self._start_ns) / 1e9,
            cpu_s=time.process_time() - self._cpu_s,
            lag_counts=counts,
            lag_max_ms=worst_ns / 1e6,
            gc_pauses=len(self._pauses),
            gc_pause_ms=sum(self._pauses),
            gc_pause_max_ms=max(self._pauses, default=0.0),
            lag_period_ms=self._lag.period_ms,
        )
