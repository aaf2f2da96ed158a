"""What the arrival schedules share: the check of their rates, sums of gaps in whole nanoseconds, and where they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

from bench.domain import ConfigError, Request


def require_positive(**values: float) -> None:
    """Check numbers of a load.

    Raises:
        ConfigError: one sentence per value that is not a finite number above 0, named by its key.
    """
    problems = [
        f"load.{key}={value}: must be a finite number greater than 0"
        for key, value in values.items()
        if not (math.isfinite(value) and value > 0)
    ]
    if problems:
        raise ConfigError(*problems)


def due_after(gaps_s: Iterable[float]) -> Iterator[int]:
    """Due times in nanoseconds of arrivals so many seconds apart, the first one gap after the start."""
    return (round(due_s * 1e9) for due_s in accumulate(gaps_s))


def is_over(request: Request, elapsed_ns: int) -> bool:
    """Whether a closed load's time is up; what came due in an open load is sent, however late."""
    load = request.cell.config.load
    return not load.is_open and load.duration_s is not None and bool(elapsed_ns >= load.duration_s * 1e9)


def is_endless(request: Request) -> bool:
    """Whether requests go on until the time is up, however many there are."""
    load = request.cell.config.load
    return not load.is_open and load.requests is None and load.duration_s is not None
