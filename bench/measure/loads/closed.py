"""A closed load: a fixed number of requests in flight, the next one sent when one ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from random import Random

from bench.measure.arrivals import require_positive
from bench.measure.loads import Load
from bench.registry import plugin


@plugin("load", "closed")
@dataclass(frozen=True)
class Closed(Load):
    """All requests are due at once; ``concurrency`` of them are in flight."""

    kind: str = "closed"
    concurrency: int = 16

    def __post_init__(self) -> None:
        require_positive(concurrency=self.concurrency)

    def due_ns(self, random: Random) -> Iterator[int]:
        """Zero, for ever."""
        return repeat(0)
