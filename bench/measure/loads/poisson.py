"""An open load of independent users: Poisson arrivals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from random import Random

from omegaconf import MISSING

from bench.measure.arrivals import due_after, require_positive
from bench.measure.loads import Load
from bench.registry import plugin


@plugin("load", "poisson")
@dataclass(frozen=True)
class Poisson(Load):
    """``rate`` requests per second on average; gaps between them are exponential."""

    kind: str = "poisson"
    rate: float = MISSING

    is_open = True

    def __post_init__(self) -> None:
        require_positive(rate=self.rate)

    def due_ns(self, random: Random) -> Iterator[int]:
        """Sums of exponential gaps with mean ``1 / rate`` seconds."""
        return due_after(random.expovariate(rate) for rate in repeat(self.rate))
