"""Scoring: recorded replies to verdicts, sending nothing. A run can be scored again at any time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bench.domain import Choice, Label, Outcome, Sample, Score
from bench.record import ScoreRow, read_choices, read_header, read_samples, write_scores
from bench.registry import build, discover
from bench.scorers import Scorer


def score_run(path: Path) -> dict[str, float]:
    """Score every recorded choice of a run with its cell's scorer and write ``scores.parquet``.

    An error is never a wrong answer: a failed request has no choices, and what is left of a reply that broke off (its
    stream ended early, or failed in the middle) is labelled ``truncated`` and has no value. A reply cut by
    ``max_tokens`` counts as right only if the right answer is in what was said, else it is ``truncated`` with value 0.
    Gives the mean value of each cell that has scored choices, by cell id.

    Raises:
        ConfigError: the folder is no run, or a table cannot be read.
    """
    discover()
    header = read_header(path)
    scorers = {cell["cell_id"]: build("scorer", cell["config"]["scorer"]) for cell in header["cells"]}
    dataset_keys = {cell["cell_id"]: cell["dataset_key"] for cell in header["cells"]}
    samples = read_samples(path)
    sums: defaultdict[str, float] = defaultdict(float)
    scored: Counter[str] = Counter()

    def rows() -> Iterator[ScoreRow]:
        for recorded in chain.from_iterable(read_choices(path)):
            scorer = scorers[recorded.cell_id]
            kept = samples.get(dataset_keys[recorded.cell_id])
            # prompts made to a length are not kept: they ask nothing, so there is nothing to hold a reply against
            sample = Sample(recorded.sample_id, ()) if kept is None else kept[recorded.sample_id]
            score = verdict(scorer, sample, recorded.choice, recorded.outcome)
            if score.value is not None:
                sums[recorded.cell_id] += score.value
                scored[recorded.cell_id] += 1
            yield _row(recorded.request_id, recorded.choice.index, scorer, score)

    write_scores(path, rows())
    return {cell_id: sums[cell_id] / count for cell_id, count in scored.items()}


def verdict(scorer: Scorer, sample: Sample, choice: Choice, outcome: Outcome) -> Score:
    """One choice's score, with the cases that no scorer decides: no target, broken streams, replies cut by length."""
    if outcome is not Outcome.OK:
        return Score(None, Label.TRUNCATED, detail="the reply broke off")
    if sample.target is None:
        return Score(None, Label.UNSCORED, detail="the row has no target")
    score = scorer.score(sample, choice)
    if choice.finish_reason == "length" and score.label not in (Label.CORRECT, Label.UNSCORED):
        return Score(0.0, Label.TRUNCATED, score.extracted, "cut by max_tokens")
    return score


def _row(request_id: str, choice: int, scorer: Scorer, score: Score) -> ScoreRow:
    return ScoreRow(
        request_id=request_id,
        choice=choice,
        scorer=scorer.kind,
        value=score.value,
        label=score.label,
        extracted=score.extracted,
        detail=score.detail,
        scorer_version=scorer.version,
    )
