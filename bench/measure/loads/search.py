"""The highest rate that meets a service level objective, found by trying rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from bench.domain import ConfigError
from bench.measure.arrivals import require_positive
from bench.measure.loads import Load
from bench.registry import plugin
from bench.slo import parse_slo

#: requests that a probe at the lowest rate must have on average
FEWEST = 5


@plugin("load", "search")
@dataclass(frozen=True)
class Search(Load):
    """Short probes with Poisson arrivals bracket the rate; long runs then confirm it, each a cell of its own.

    A probe passes when its requests meet the objective; a confirming run must pass with its lower bounds. When it does
    not, one at a rate 3% lower follows.

    Attributes:
        slo: the objective, such as ``ttft_ms_p99 <= 500 and tpot_ms_p95 <= 50``; ``None`` takes the run's own ``slo``.
            Latencies count from the time a request was due.
        target: share of the requests that must meet the terms without a percentile.
        min_rate: lowest rate to try, in requests per second.
        max_rate: highest rate to try.
        start_rate: the first one; the geometric middle of the two by default.
        probe_s: length of a probe.
        confirm_s: length of a confirming run.
        precision: how near the lowest rate that failed a probe must be to the highest that passed, as a share.
        max_probes: probes and confirming runs together; ``budget`` ends a search as well.
    """

    kind: str = "search"
    slo: str | None = None
    target: float = 0.99
    min_rate: float = 0.1
    max_rate: float = 200.0
    start_rate: float | None = None
    probe_s: float = 60.0
    confirm_s: float = 600.0
    precision: float = 0.05
    max_probes: int = 30

    is_open = True
    is_adaptive = True

    def __post_init__(self) -> None:
        start = self.first_rate if min(self.min_rate, self.max_rate) > 0 else 1.0
        require_positive(
            min_rate=self.min_rate,
            max_rate=self.max_rate,
            start_rate=start,
            probe_s=self.probe_s,
            confirm_s=self.confirm_s,
            precision=self.precision,
            max_probes=self.max_probes,
        )
        problems = [
            f"load.{key}: a search sets it per probe; use load.probe_s, load.confirm_s, load.max_probes or the budget"
            for key in ("requests", "duration_s")
            if getattr(self, key) is not None
        ]
        if not self.min_rate <= start <= self.max_rate:
            problems.append(
                f"load.start_rate={start:g}: must lie within load.min_rate={self.min_rate:g} and "
                f"load.max_rate={self.max_rate:g}"
            )
        if self.min_rate * self.probe_s < FEWEST:
            problems.append(
                f"load.probe_s={self.probe_s:g}: a probe at load.min_rate={self.min_rate:g} has fewer than {FEWEST} "
                f"requests on average; raise either"
            )
        if not 0 < self.target < 1:
            problems.append(f"load.target={self.target:g}: must be a share between 0 and 1, both excluded")
        if self.slo is not None:
            problems += _unreadable(self.slo)
        if problems:
            raise ConfigError(*problems)

    @property
    def first_rate(self) -> float:
        """Where the search starts."""
        return math.sqrt(self.min_rate * self.max_rate) if self.start_rate is None else self.start_rate

    @property
    def peak_rate(self) -> float | None:
        """The highest rate that it may try."""
        return self.max_rate

    def due_ns(self, random: Random) -> Iterator[int]:
        """Nothing is due by a search itself: its probes have loads of their own."""
        return iter(())


def _unreadable(slo: str) -> list[str]:
    try:
        parse_slo(slo, "load.slo")
    except ConfigError as error:
        return list(error.problems)
    return []
