"""An open load with a chosen burstiness: gamma-distributed gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from random import Random

from omegaconf import MISSING

from bench.measure.arrivals import due_after, require_positive
from bench.measure.loads import Load
from bench.registry import plugin


@plugin("load", "gamma")
@dataclass(frozen=True)
class Gamma(Load):
    """``rate`` requests per second on average; ``cv`` is the coefficient of variation of the gaps.

    ``cv=1`` is a Poisson load, below 1 is more even, above 1 comes in bursts.
    """

    kind: str = "gamma"
    rate: float = MISSING
    cv: float = MISSING

    is_open = True

    def __post_init__(self) -> None:
        require_positive(rate=self.rate, cv=self.cv)

    def due_ns(self, random: Random) -> Iterator[int]:
        """Sums of gamma gaps with shape ``1 / cv^2`` and scale ``cv^2 / rate``: their mean is ``1 / rate`` seconds."""
        spread = self.cv**2
        return due_after(random.gammavariate(shape, spread / self.rate) for shape in repeat(1 / spread))
