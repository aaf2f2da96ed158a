"""Per-cell figures of quality: accuracy, and what became of every reply that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.judge.intervals import Estimate, wilson
from bench.judge.metrics.cell import CellMetric, CellRows
from bench.judge.metrics.requests import never_served
from bench.judge.statistics.outcomes import ANSWERED, UNANSWERED, OutcomeRates, outcome_rates
from bench.judge.statistics.score_means import score_mean

if TYPE_CHECKING:
    import pandas as pd

    from bench.judge.statistics.floats import Floats


def accuracy(cell: CellRows) -> Estimate:
    """Mean score with the question as unit; see :func:`bench.judge.statistics.score_means.score_mean`."""
    return _over_questions(cell, cell.scores["value"])


def _over_questions(cell: CellRows, values: pd.Series[Any]) -> Estimate:
    """Mean of a value of each scored reply, with the question as unit."""
    if values.empty:
        return Estimate(None)
    scores = values.to_numpy(dtype="float64")
    names, means = _by_question(cell.scores["sample_id"].reindex(values.index), scores)
    binary = len(means) == len(scores) and bool(((scores == 0) | (scores == 1)).all())
    clusters = [cell.clusters.get(str(name), str(name)) for name in names] if cell.clusters else None
    return score_mean(means, binary, clusters)


def _by_question(asked: pd.Series[Any], values: Floats) -> tuple[Sequence[Any], Floats]:
    """Questions in order of name, and the mean of each."""
    import numpy as np

    codes, names = asked.factorize(sort=True)
    means: Floats = np.bincount(codes, weights=values, minlength=len(names)) / np.bincount(codes, minlength=len(names))
    return list(names), means


def _answered_accuracy(cell: CellRows) -> Estimate:
    return _over_questions(cell, cell.scores.loc[cell.scores["label"].isin(ANSWERED), "value"])


def _strict_accuracy(cell: CellRows) -> Estimate:
    return _over_questions(cell, (cell.scores["label"] == "correct").astype("float64"))


def count_outcomes(cell: CellRows) -> dict[str, int]:
    """Replies by exclusive outcome: those of :class:`~bench.domain.Label` that were scored, and ``error``.

    A request that failed, broke off or was given up is ``n`` errors, for the ``n`` replies that it asked for. What a
    stop or a budget kept from being sent is no outcome of the model, and replies without a target have none.
    """
    counts = cell.scores["label"].value_counts()
    failed = cell.requests.loc[never_served(cell.requests), "n"].fillna(1)
    return {name: int(counts.get(name, 0)) for name in (*ANSWERED, *UNANSWERED)} | {"error": int(failed.sum())}


def rates_of(cell: CellRows) -> OutcomeRates | None:
    """Shares of the outcomes of a cell; ``None`` where nothing was scored.

    Where questions have several replies those are no independent evidence: the shares are then means of shares per
    question, as the accuracy is, and the interval of the errors counts requests.
    """
    if cell.scores.empty:
        return None
    partial = cell.scores.loc[cell.scores["label"] == "partial", "value"]
    found = outcome_rates(count_outcomes(cell), min(float(partial.sum()), float(len(partial))))
    if not cell.scores["sample_id"].duplicated().any():
        return found
    rates = {name: _over_questions(cell, (cell.scores["label"] == name).astype("float64")) for name in found.rates}
    error_rate = _error_rate(cell, found.errors, found.total)
    return replace(found, rates=rates, error_rate=error_rate, worst=_with_errors(cell, 0), best=_with_errors(cell, 1))


def shares_of(cell: CellRows, outcomes: Sequence[str]) -> dict[str, float] | None:
    """What :func:`rates_of` says of some outcomes and of ``error``, without intervals: ten times as fast."""
    if cell.scores.empty:
        return None
    counts, labels = count_outcomes(cell), cell.scores["label"].to_numpy(dtype=object)
    errors, total = counts["error"], sum(counts.values())
    asked = cell.scores["sample_id"]
    shares = {name: float(_by_question(asked, (labels == name).astype("float64"))[1].mean()) for name in outcomes}
    repeated = asked.duplicated().any()
    return shares | {"error": float(_error_rate(cell, errors, total).value or 0.0) if repeated else errors / total}


def _error_rate(cell: CellRows, errors: int, total: int) -> Estimate:
    """Over requests, where questions have several replies: the choices of one fail together."""
    each = max(1.0, float(cell.requests["n"].max()))
    return wilson(errors / each, round(total / each))


def _with_errors(cell: CellRows, value: float) -> float:
    """The accuracy over questions had every error scored ``value``."""
    failed = cell.requests[never_served(cell.requests)]
    errors = failed["n"].fillna(1).groupby(failed["sample_id"], observed=True).sum()
    answered = cell.scores.groupby("sample_id", observed=True)["value"].agg(["sum", "size"])
    both = answered.join(errors.rename("errors"), how="outer").fillna(0.0)
    return float(((both["sum"] + value * both["errors"]) / (both["size"] + both["errors"])).mean())


def _count_of(outcome: str) -> Callable[[CellRows], Estimate]:
    def count(cell: CellRows) -> Estimate:
        number = None if cell.scores.empty else count_outcomes(cell)[outcome]
        return Estimate(None) if number is None else Estimate(float(number), n=number)

    return count


def _rate_of(outcome: str) -> Callable[[CellRows], Estimate]:
    def rate(cell: CellRows) -> Estimate:
        found = rates_of(cell)
        if found is None:
            return Estimate(None)
        return found.error_rate if outcome == "error" else found.rates[outcome]

    return rate


def _bound(best: bool) -> Callable[[CellRows], Estimate]:
    """Accuracy had every error been right (or wrong); nothing where there are no errors."""

    def bound(cell: CellRows) -> Estimate:
        found = rates_of(cell)
        if found is None or not found.errors:
            return Estimate(None)
        return Estimate(found.best if best else found.worst, n=found.total)

    return bound


_SAID = {
    "correct": "Replies that are right",
    "wrong": "Replies that are wrong",
    "partial": "Replies that are right in part",
    "unparsed": "Replies in which the scorer found no answer",
    "refused": "Replies that decline to answer",
    "truncated": "Replies cut by the token limit before a right answer",
    "error": "Replies asked for that never came: failed requests, broken streams, requests given up as too late",
}
#: by outcome, the name of its count; ``truncated`` and ``failed`` count requests
_COUNTS = {name: name for name in _SAID} | {"truncated": "cut_unanswered", "error": "errors"}

QUALITY_METRICS: tuple[CellMetric, ...] = (
    CellMetric(
        "accuracy",
        "share",
        "Mean score over questions. The question is the unit: its repeats and choices are averaged first. 95% "
        "interval: cluster-robust t where questions repeat each other or share a passage, else Wilson's for one "
        "right-or-wrong reply per question, else Student's t over questions, or BCa where they are skewed. Unparsed, "
        "refused and truncated replies score 0; failed requests and replies without a target are left out.",
        accuracy,
        interval=True,
    ),
    CellMetric(
        "strict_accuracy",
        "share",
        "The same with every reply either correct (1) or not (0): correct over all but errors, no partial credit.",
        _strict_accuracy,
        interval=True,
    ),
    CellMetric(
        "answered_accuracy",
        "share",
        "The mean score of replies labelled `correct`, `wrong` or `partial` only.",
        _answered_accuracy,
        interval=True,
    ),
    CellMetric(
        "worst_accuracy", "share", "Accuracy had every error been a wrong reply; null without errors.", _bound(False)
    ),
    CellMetric("best_accuracy", "share", "Accuracy had every error been a right reply; likewise.", _bound(True)),
    CellMetric(
        "questions",
        "questions",
        "Questions with a score.",
        lambda cell: Estimate(float(found := cell.scores["sample_id"].nunique()), n=int(found)),
    ),
    CellMetric(
        "clusters",
        "clusters",
        "Groups of questions that repeat each other or share a passage, and questions that stand alone; null where all "
        "do.",
        lambda cell: Estimate(
            float(len({cell.clusters.get(str(name), str(name)) for name in cell.scores["sample_id"].unique()}))
            if cell.clusters and len(cell.scores)
            else None
        ),
    ),
    CellMetric(
        "scored",
        "replies",
        "Replies with a score.",
        lambda cell: Estimate(float(len(cell.scores)), n=len(cell.scores)),
    ),
    *(
        CellMetric(_COUNTS[name], "replies", f"{said}. Outcomes are exclusive.", _count_of(name))
        for name, said in _SAID.items()
    ),
    *(
        CellMetric(
            f"{name}_rate",
            "share",
            f"{said}, over {'all replies asked for' if name == 'error' else 'all but errors'}; Wilson's 95% interval, "
            "where questions have several replies mean and interval over questions.",
            _rate_of(name),
            interval=True,
        )
        for name, said in _SAID.items()
    ),
)
