"""No verdict."""

from __future__ import annotations

from dataclasses import dataclass

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import unscored


@plugin("scorer", "none")
@dataclass(frozen=True)
class Unscored(Scorer):
    """Leaves every reply unscored: for latency runs, and for replies that people or judges read."""

    kind: str = "none"
    version: str = "1"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """Always ``unscored``."""
        return unscored("the scorer is none")
