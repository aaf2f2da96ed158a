"""Rules for ending a quality run early: looks at the scores of the first questions of a random order.

A look counts a question once every cell that the rule weighs has answered it in full, and only while all questions
before it in the planned order count too. Replies come back in an order of their own, long ones last, and long ones are
wrong more often; a rule that took them as they come would see too many right ones. The prefix of a random order is a
random sample whatever came back first, so a decision depends on the replies alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.early_stop import RULE_PREFIX, EarlyStop
from bench.judge.intervals import CONFIDENCE, Estimate, mean_t
from bench.judge.statistics.floats import known_floats
from bench.judge.statistics.score_means import score_mean
from bench.judge.statistics.sequential import (
    FEWEST_FOR_SEQUENCE,
    LOOK_EVERY,
    LookPlan,
    Stop,
    is_width_look,
    mean_sequence,
    open_ended_look,
    width_reached,
)

if TYPE_CHECKING:
    import pandas as pd

Score = float | None


def saved_by_rule(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests were not sent because a rule had found enough."""
    unsent = rows["outcome"] == "not_sent"
    if not unsent.any() or "error_detail" not in rows.columns:
        return unsent & False
    return unsent & rows["error_detail"].astype("string").str.startswith(RULE_PREFIX).fillna(False).astype(bool)


def looks_taken(header: Mapping[str, Any], cells: AbstractSet[str]) -> list[str]:
    """What a test at the end has to say for itself where a run looked at the same cells before; empty elsewhere."""
    looked = [one for one in header.get("stopping") or () if one["rule"] == "compare"]
    if all(cells.isdisjoint(one["cells"]) for one in looked):
        return []
    said = (
        f"Run {header.get('run_id', '')} looked at scores as they came (stop.compare={looked[0]['compare']}). A test "
        "at the end knows nothing of that and claims differences a little too often; what the looks decided, with an "
        "interval that holds for all of them, stands in the run's summary and under `stopping` in run.json."
    )
    return [said]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule came to.

    Attributes:
        verdict: ``narrow enough``, or a :class:`~bench.judge.statistics.sequential.Stop` in words.
        look: the number of the look, from 1; looks: how many there could have been.
        estimate: of the accuracy, or of the difference, at that look, with an interval that the rule leaves valid.
    """

    verdict: str
    look: int
    looks: int
    questions: int
    estimate: Estimate

    @property
    def row(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


NARROW = "narrow enough"
NOT_NARROW = "not narrow enough at the end"


@dataclass(frozen=True)
class WidthRule:
    """Ends a cell once its accuracy is known to ± ``half_width``.

    Looks after 50 questions and every 10 from then on (:func:`is_width_look`). The interval is the one that the summary
    gives such scores (:func:`score_mean`), and its nominal coverage hardly suffers (:func:`width_reached`).
    """

    half_width: float
    total: int

    def is_look(self, questions: int) -> bool:
        """Whether there is a look after so many questions."""
        return is_width_look(questions) or questions == self.total

    def warm(self) -> None:
        """Import what the first look would."""
        score_mean([0.0, 0.5, 1.0], single_binary=False)

    def decide(
        self, scores: Sequence[Score], single_binary: bool, clusters: Sequence[Hashable] | None = None
    ) -> Decision | None:
        """Weigh the scores of the first questions; ``None`` to go on. ``None`` among them is a lost question."""
        n = len(scores)
        kept = [index for index, score in enumerate(scores) if score is not None]
        values = [float(score) for score in scores if score is not None]
        names = None if clusters is None else [clusters[index] for index in kept]
        narrow, found = False, Estimate(None)
        if n == self.total or names is not None or self._is_near(values, single_binary):
            found = score_mean(values, single_binary, names)
            narrow = self._is_narrow(found)
        if not narrow and n < self.total:
            return None
        looks = [count for count in range(1, self.total + 1) if self.is_look(count)]
        return Decision(NARROW if narrow else NOT_NARROW, looks.index(n) + 1, len(looks), n, found)

    def _is_near(self, values: Sequence[float], single_binary: bool) -> bool:
        """Cheaper than the interval itself, which may be a bootstrap."""
        if single_binary:
            return width_reached(values, self.half_width)
        found = mean_t(values, CONFIDENCE)
        return found.low is None or self._is_narrow(found)

    def _is_narrow(self, found: Estimate) -> bool:
        return found.low is not None and found.high is not None and (found.high - found.low) / 2 <= self.half_width


@dataclass(frozen=True)
class PairRule:
    """Ends a comparison of two cells once they are told apart, or are as good as equal.

    ``alpha`` is the pair's own share of the run's. Group-sequential by :class:`LookPlan`; ``open_ended`` by
    :func:`mean_sequence`, every 10 questions from 100 on.
    """

    total: int
    alpha: float
    looks: int
    equal_within: float | None
    open_ended: bool = False

    @classmethod
    def of(cls, stop: EarlyStop, total: int, pairs: int) -> PairRule:
        """The rule for one of so many pairs: by Bonferroni's inequality all hold at once with ``1 - alpha``."""
        return cls(total, stop.alpha / pairs, stop.looks, stop.equal_within, stop.open_ended)

    @property
    def plan(self) -> LookPlan:
        """The looks of a group-sequential comparison."""
        return LookPlan(self.total, self.looks, self.alpha, self.equal_within)

    def warm(self) -> None:
        """Import what the first look would, and work out the boundaries."""
        self.decide([0.0] * self.plan.look_at[0])

    def is_look(self, questions: int) -> bool:
        """Whether there is a look after so many questions."""
        if not self.open_ended:
            return questions in self.plan.look_at
        return questions == self.total or (questions >= FEWEST_FOR_SEQUENCE and questions % LOOK_EVERY == 0)

    def decide(self, differences: Sequence[Score], clusters: Sequence[Hashable] | None = None) -> Decision | None:
        """Weigh the differences of the first questions, ``None`` where a side has no score; ``None`` to go on."""
        n = len(differences)
        if self.open_ended:
            verdict = open_ended_look(differences, self.alpha, equal_within=self.equal_within)
            verdict = Stop.UNDECIDED if n >= self.total and not verdict.final else verdict
        else:
            verdict = self.plan.look(differences, clusters)
        if not verdict.final:
            return None
        looks = self.plan.look_at
        if self.open_ended:
            looks = tuple(count for count in range(1, self.total + 1) if self.is_look(count))
        return Decision(verdict, looks.index(n) + 1, len(looks), n, self.estimate(differences, clusters))

    def estimate(self, differences: Sequence[Score], clusters: Sequence[Hashable] | None = None) -> Estimate:
        """The difference at a look, with the interval that holds at all looks together."""
        known = known_floats(differences)
        if not known.size:
            return Estimate(None)
        if self.open_ended:
            found, method = mean_sequence(differences, self.alpha), "confidence sequence"
        else:
            found, method = self.plan.interval(differences, clusters), "repeated interval, O'Brien-Fleming"
        if found is None:
            return Estimate(float(known.mean()), n=int(known.size), method="none: the differences do not vary")
        return Estimate(float(known.mean()), found.low, found.high, int(known.size), method)
