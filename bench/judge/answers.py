"""The scored answers of a cell, question by question: what comparisons and figures of repeated questions stand on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.judge.intervals import Estimate
from bench.judge.metrics.quality import rates_of
from bench.judge.rows import CellInfo, RunRows
from bench.judge.statistics.comparison import Estimand, PairedComparison, compare_samples
from bench.judge.statistics.outcomes import ERROR_LIMIT, OutcomeRates, why_incomparable
from bench.judge.statistics.score_means import score_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answers:
    """Scores of one cell by question.

    Attributes:
        by_question: sample id -> scores of its replies, in order of repeat and choice.
        outcomes: shares of what became of the replies; ``None`` where nothing was scored.
        clusters: of the questions; empty where each stands alone.
        tags: of the questions that have any.
    """

    by_question: Mapping[str, list[float]]
    outcomes: OutcomeRates | None
    clusters: Mapping[str, str]
    tags: Mapping[str, tuple[str, ...]]

    def mean(self, questions: Sequence[str]) -> Estimate:
        """The accuracy on some of the questions."""
        rows = [self.by_question[name] for name in questions]
        single = all(len(row) == 1 and row[0] in (0.0, 1.0) for row in rows)
        return score_mean([sum(row) / len(row) for row in rows], single, self.cluster_names(questions))

    def cluster_names(self, questions: Sequence[str]) -> list[Hashable] | None:
        """One cluster per question, ``None`` where each stands alone."""
        return [self.clusters.get(name, name) for name in questions] if self.clusters else None


def answers_of(run: RunRows, cell: CellInfo) -> Answers:
    """The answers of a cell by its own scorer."""
    scores: pd.DataFrame = run.scores_of(cell).sort_values(["repeat", "choice"], kind="stable")
    found: dict[str, list[float]] = {}
    for name, value in zip(scores["sample_id"].astype(str), scores["value"], strict=True):
        found.setdefault(name, []).append(float(value))
    samples = run.samples.get(cell.dataset_key, {})
    return Answers(
        by_question=found,
        outcomes=rates_of(run.rows_of(cell)),
        clusters=run.clusters_of(cell),
        tags={name: sample.tags for name, sample in samples.items() if sample.tags},
    )


def difference_of(
    a: Answers, b: Answers, asked: Sequence[str] | None = None, estimand: Estimand = Estimand.KIND_OF_TASK
) -> PairedComparison:
    """B minus A by question; ``a_ahead`` of the result counts the questions that B is ahead on.

    Args:
        asked: the questions; all that either side has unless given.
    """
    names = sorted(a.by_question.keys() | b.by_question.keys()) if asked is None else asked
    sides = [[side.by_question.get(name, []) for name in names] for side in (b, a)]
    found = compare_samples(sides[0], sides[1], estimand, a.cluster_names(names))
    low, high = found.estimate.low, found.estimate.high
    if low is None or high is None:
        return found
    # scores lie in 0..1, so a difference lies in -1..1
    return replace(found, estimate=replace(found.estimate, low=max(-1.0, low), high=min(1.0, high)))


def why_not(*sides: tuple[str, OutcomeRates | None]) -> list[str]:
    """Reasons for which the accuracies of two named sides must not be compared; empty when they may be.

    Nothing scored; unparsed or truncated shares more than two points apart; more than 1% of errors.
    """
    (_, a), (_, b) = sides
    if a is None or b is None:
        return [f"No reply of {name} was scored." for name, outcomes in sides if outcomes is None]
    reasons = why_incomparable(a, b)
    for name, outcomes in sides:
        rate = 0.0 if outcomes is None else outcomes.error_rate.value or 0.0
        if outcomes is not None and rate > ERROR_LIMIT:
            reasons.append(
                f"Errors of {name}: {rate:.1%} of its replies never came, more than {ERROR_LIMIT:.0%}; its accuracy "
                f"could be anything from {outcomes.worst:.1%} to {outcomes.best:.1%}."
            )
    return reasons
