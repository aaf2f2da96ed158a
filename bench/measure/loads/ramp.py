"""An open load whose rate changes linearly, then holds: to find where a server bends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from omegaconf import MISSING

from bench.domain import ConfigError
from bench.measure.arrivals import require_positive
from bench.measure.loads import Load
from bench.registry import plugin


@plugin("load", "ramp")
@dataclass(frozen=True)
class Ramp(Load):
    """From ``from_rate`` to ``to_rate`` requests per second, evenly spaced at the rate of each moment.

    The ramp takes ``ramp_s`` seconds, by default the whole ``duration_s``; after it the rate stays ``to_rate``.
    """

    kind: str = "ramp"
    from_rate: float = MISSING
    to_rate: float = MISSING
    ramp_s: float | None = None

    is_open = True

    def __post_init__(self) -> None:
        if self._ramp_s is None:
            raise ConfigError("load.ramp_s: a ramp needs load.duration_s, or load.ramp_s when it is to hold afterwards")
        require_positive(from_rate=self.from_rate, to_rate=self.to_rate, ramp_s=self._ramp_s)

    @property
    def _ramp_s(self) -> float | None:
        return self.duration_s if self.ramp_s is None else self.ramp_s

    def due_ns(self, random: Random) -> Iterator[int]:
        """Request ``i`` is due when the rate, added up from the start, reaches ``i``; no randomness."""
        assert self._ramp_s is not None
        return (round(ramp_due_s(i, self.from_rate, self.to_rate, self._ramp_s) * 1e9) for i in count())


def ramp_due_s(number: int, from_rate: float, to_rate: float, ramp_s: float) -> float:
    """Seconds until ``number`` requests have come due: the inverse of the cumulative rate.

    That is ``from_rate t + (to_rate - from_rate) t^2 / (2 ramp_s)`` up to ``ramp_s``, and linear after it.
    """
    ramped = (from_rate + to_rate) / 2 * ramp_s
    if number > ramped:
        return ramp_s + (number - ramped) / to_rate
    slope = (to_rate - from_rate) / ramp_s
    # This form of the quadratic's root loses no digits when the slope is near 0.
    return 2 * number / (from_rate + math.sqrt(max(0.0, from_rate**2 + 2 * slope * number)))
