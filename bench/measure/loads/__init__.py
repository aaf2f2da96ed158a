"""Loads: when requests are due, as pure seeded functions of time. One plug-in per file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Load:
    """What every load has; ``kind`` names the plug-in.

    Attributes:
        requests: how many requests each cell sends; ``None`` sends every sample x repeat once. More than there are
            samples goes round again.
        duration_s: no request is due later than this after the stage's start.
        max_concurrency: at most this many requests in flight in the run.
        warmup: the first so many requests of each cell are marked as warm-up and left out of every figure.
        isolate: gives each cell the machine to itself, one after another (always so for loads with a schedule and
            when cells differ in their load).
    """

    kind: str = ""
    requests: int | None = None
    duration_s: float | None = None
    max_concurrency: int | None = None
    warmup: int = 0
    isolate: bool = False

    #: a load with a schedule is open: requests are due by the clock, not when a worker is free
    is_open = False

    @property
    def in_flight_bound(self) -> int | None:
        """Most requests in flight at once, by a closed load's concurrency or by ``max_concurrency``."""
        bounds = [bound for bound in (getattr(self, "concurrency", None), self.max_concurrency) if bound is not None]
        return min(bounds, default=None)

    @property
    def peak_rate(self) -> float | None:
        """Most requests per second that come due; ``None`` for a closed load."""
        rates = [getattr(self, name, None) for name in ("rate", "from_rate", "to_rate")]
        return max((rate for rate in rates if rate is not None), default=None)

    def due_ns(self, random: Random) -> Iterator[int]:
        """Due times in nanoseconds after the stage's start, ascending, without end."""
        raise TypeError(f"{type(self).__name__} is no load: it lacks due_ns()")
