"""Each row by the kind of its target."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.choice import LetterChoice
from bench.scorers.exact import Exact
from bench.scorers.numeric import Numeric


@plugin("scorer", "mixed")
@dataclass(frozen=True)
class Mixed(Scorer):
    """For sets of mixed questions.

    Rows with ``options`` are scored as ``choice`` does, others with a number as target as ``numeric``, the rest as
    ``exact``.

    Attributes:
        markers: texts before a short answer, as in ``exact``.
    """

    kind: str = "mixed"
    version: str = "1"
    markers: list[str] = field(default_factory=list)

    def score(self, sample: Sample, choice: Choice) -> Score:
        """What the scorer of the row's kind says."""
        scorer: Scorer
        if sample.fields.get("options"):
            scorer = LetterChoice()
        elif isinstance(sample.target, int | float) and not isinstance(sample.target, bool):
            scorer = Numeric()
        else:
            scorer = Exact(markers=self.markers)
        return scorer.score(sample, choice)
