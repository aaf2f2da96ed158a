"""The rows of a gate that are paired by question: accuracy, and shares of replies that say nothing of skill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.judge.gate_arms import SHARES, Matched
from bench.judge.gate_rows import GateRow
from bench.judge.intervals import clopper_pearson
from bench.judge.statistics.comparison import Estimand, compare_samples
from bench.judge.statistics.outcomes import BLOCKING_DIFFERENCE

#: two-sided confidence of the interval whose end is the one-sided 95% bound
_BOUND = 0.90


def quality_rows(one: Matched, margins: Mapping[str, float], estimand: Estimand) -> Iterator[GateRow]:
    """Accuracy lost, and shares of replies gained that say nothing of skill; paired by question over all runs."""
    shares = [_question_row(one, f"{name}_rate", name, margins[name], estimand, True) for name in SHARES]
    accuracy = _question_row(one, "accuracy", "accuracy", margins["accuracy"], estimand, False)
    if accuracy is None:
        return
    apart = [row.family for row in shares if row is not None and abs(row.change or 0.0) > BLOCKING_DIFFERENCE + 1e-12]
    if apart:
        accuracy = accuracy.block(f"shares of {' and '.join(apart)} replies differ by more than 2 points")
    yield accuracy
    yield from (row for row in shares if row is not None)


def _question_row(
    one: Matched, metric: str, family: str, margin: float, estimand: Estimand, more_is_worse: bool
) -> GateRow | None:
    sides = [pooled(one, side, family if more_is_worse else None) for side in (0, 1)]
    questions = sorted(sides[0].keys() & sides[1].keys())
    if not questions:
        return None
    old, new = ([side[name] for name in questions] for side in sides)
    clusters = [one.clusters.get(name, name) for name in questions] if one.clusters else None
    worse = (new, old) if more_is_worse else (old, new)
    found = compare_samples(*worse, estimand, clusters, _BOUND)
    value, upper, p = found.estimate.value, found.estimate.high, found.p
    if upper is None and not found.a_ahead and not found.b_ahead:
        # Not one question differs: the share of others like them (of further replies) that does may be as much as this.
        frozen = estimand is Estimand.FROZEN_SET
        upper = clopper_pearson(0, sum(map(len, new)) if frozen else found.clusters, _BOUND).high
    if p is not None and value is not None:
        p = p / 2 if value > 0 else 1 - p / 2
    means = [sum(sum(row) / len(row) for row in side) / len(questions) for side in (old, new)]
    replies = min(map(len, [*old, *new]))
    reason = f"{found.test}, {len(questions):,} questions x {replies} {'reply' if replies == 1 else 'replies'}"
    return GateRow(
        model=one.model,
        metric=metric,
        family=family,
        unit="points",
        baseline=means[0],
        candidate=means[1],
        change=value,
        upper=upper,
        margin=margin,
        p=p,
        n=len(questions),
        series=tuple(_pair_by_pair(one, family if more_is_worse else None)),
        reason=reason,
    )


def _pair_by_pair(one: Matched, label: str | None) -> Iterator[float]:
    """How much worse the candidate is in each pair, on the questions that both runs of it answered; for the eye."""
    for pair in one.pairs:
        old, new = (run.scores if label is None else run.labelled[label] for run in pair)
        common = old.keys() & new.keys()
        if common:
            means = [sum(sum(side[name]) / len(side[name]) for name in common) / len(common) for side in (old, new)]
            yield means[0] - means[1] if label is None else means[1] - means[0]


def pooled(one: Matched, side: int, label: str | None) -> dict[str, list[float]]:
    """Scores (or ones and zeros of a label) of every question over all runs of an arm."""
    found: dict[str, list[float]] = {}
    for run in one.arm(side):
        for name, values in (run.scores if label is None else run.labelled[label]).items():
            found.setdefault(name, []).extend(values)
    return found
