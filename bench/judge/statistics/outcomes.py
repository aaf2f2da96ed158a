"""Rates of exclusive outcomes: what was scored, what could not be, and what never came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.judge.intervals import CONFIDENCE, Estimate, wilson

#: outcomes that are an answer of the model; errors are not
ANSWERED = ("correct", "wrong", "partial")
UNANSWERED = ("unparsed", "refused", "truncated")
#: a comparison is blocked when unparsed or truncated rates differ by more than this
BLOCKING_DIFFERENCE = 0.02
#: a run with a larger share of errors says nothing
ERROR_LIMIT = 0.01


@dataclass(frozen=True, slots=True)
class OutcomeRates:
    """Shares of outcomes.

    Attributes:
        total: all requests; errors: those that brought no reply to judge.
        strict: correct over all but errors; answered: correct over correct, wrong and partial.
        rates: each outcome but ``error`` over all but errors.
        error_rate: errors over all.
        worst, best: strict accuracy had every error been wrong, or right.
    """

    total: int
    errors: int
    strict: Estimate
    answered: Estimate
    rates: Mapping[str, Estimate]
    error_rate: Estimate
    worst: float | None
    best: float | None


def outcome_rates(
    counts: Mapping[str, int], partial_credit: float = 0.0, confidence: float = CONFIDENCE
) -> OutcomeRates:
    """Rates with Wilson's interval, from counts of correct, wrong, partial, unparsed, refused, truncated and error.

    Errors never count as wrong: they leave the denominator, and ``worst`` and ``best`` bound what they hide.

    Args:
        partial_credit: sum of the scores of the partial replies.

    Raises:
        ValueError: an outcome is unknown, a count negative, or there is more credit than partial replies.
    """
    unknown = set(counts) - {*ANSWERED, *UNANSWERED, "error"}
    if unknown or any(count < 0 for count in counts.values()):
        raise ValueError(f"Outcomes are {', '.join([*ANSWERED, *UNANSWERED])} and error, with counts of 0 or more.")
    of = {name: int(counts.get(name, 0)) for name in (*ANSWERED, *UNANSWERED, "error")}
    if not 0 <= partial_credit <= of["partial"]:
        raise ValueError("Partial credit lies between 0 and the number of partial replies.")
    errors, total = of["error"], sum(of.values())
    judged, right = total - errors, of["correct"] + partial_credit
    answered = sum(of[name] for name in ANSWERED)
    return OutcomeRates(
        total=total,
        errors=errors,
        strict=wilson(right, judged, confidence),
        answered=wilson(right, answered, confidence),
        rates={name: wilson(of[name], judged, confidence) for name in (*ANSWERED, *UNANSWERED)},
        error_rate=wilson(errors, total, confidence),
        worst=right / total if total else None,
        best=(right + errors) / total if total else None,
    )


def why_incomparable(a: OutcomeRates, b: OutcomeRates, limit: float = BLOCKING_DIFFERENCE) -> list[str]:
    """Reasons for which accuracies of the two sides must not be compared; empty when they may be.

    A gap in unparsed or truncated replies says that the extractor or the token limit differs, not the skill.
    """
    reasons = []
    for name in ("unparsed", "truncated"):
        left, right = a.rates[name].value, b.rates[name].value
        if left is not None and right is not None and round(abs(left - right), 12) > limit:
            reasons.append(f"Replies {name}: {left:.1%} against {right:.1%}, more than {100 * limit:g} points apart.")
    return reasons
