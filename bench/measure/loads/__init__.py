"""Loads: when requests are due, as pure seeded functions of time. One plug-in per file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Load:
    """What every load has; ``kind`` names the plug-in.

    Attributes:
        requests: how many requests each cell sends; ``None`` sends every sample x repeat once. More than there are
            samples goes round again.
        duration_s: no request is due later than this after the stage's start.
        max_concurrency: at most this many requests in flight in the run.
        drop_after_s: an open load's request that could not be sent so long after it was due is given up: recorded as
            not sent, and counted; ``None`` waits for as long as it takes.
        warmup: the first so many requests of each cell are marked as warm-up and left out of every figure.
        isolate: gives each cell the machine to itself, one after another (always so for loads with a schedule and
            when cells differ in their load).
    """

    kind: str = ""
    requests: int | None = None
    duration_s: float | None = None
    max_concurrency: int | None = None
    drop_after_s: float | None = None
    warmup: int = 0
    isolate: bool = False

    #: a load with a schedule is open: requests are due by the clock, not when a worker is free
    is_open = False
    #: an adaptive load is decided while it runs: nobody can list its requests beforehand
    is_adaptive = False

    #: a load whose schedule has an end of its own
    is_finite = False

    @property
    def keeps_order(self) -> bool:
        """Whether requests take the samples one after another as they stand, each with its own time."""
        return False

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

    def arrivals(self, random: Random) -> Iterator[tuple[int, bool]]:
        """:meth:`due_ns`, each with whether the request is a warm-up."""
        return ((due_ns, number < self.warmup) for number, due_ns in enumerate(self.due_ns(random)))

    def planned(self) -> int | None:
        """How many requests the load asks for; ``None`` where only its clock, or the samples, can tell."""
        return self.requests

    def identity(self) -> Mapping[str, Any]:
        """Fields by what they mean, where that is not their value: a file by its content."""
        return {}

    def own_dataset(self, seed: int) -> Mapping[str, Any] | None:
        """The configuration of the dataset that the load brings instead of the chosen one; most bring none.

        Raises:
            ConfigError: what it is made from does not exist.
        """
        return None
