"""An open load at a constant rate: request ``i`` is due at ``i / rate``, whatever happened to those before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from random import Random

from omegaconf import MISSING

from bench.measure.arrivals import require_positive
from bench.measure.loads import Load
from bench.registry import plugin


@plugin("load", "constant")
@dataclass(frozen=True)
class Constant(Load):
    """``rate`` requests per second, evenly spaced, the first one at once."""

    kind: str = "constant"
    rate: float = MISSING

    is_open = True

    def __post_init__(self) -> None:
        require_positive(rate=self.rate)

    def due_ns(self, random: Random) -> Iterator[int]:
        """Each time is computed from its number alone, in whole numbers: the schedule does not drift."""
        spacing = Fraction(1_000_000_000) / Fraction(self.rate)
        up, down = spacing.numerator, spacing.denominator
        return (i * up // down for i in count())
