"""The scored answers of a cell, question by question: what comparisons and figures of repeated questions stand on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.judge.intervals import Estimate
from bench.judge.metrics.quality import rates_of
from bench.judge.rows import CellInfo, RunRows
from bench.judge.statistics.outcomes import OutcomeRates
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
