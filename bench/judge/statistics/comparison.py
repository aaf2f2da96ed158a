"""Two sides on the same questions: the one test that fits the data, its interval, and what it could have seen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING

from bench.judge.intervals import CONFIDENCE, Estimate
from bench.judge.statistics.floats import Numbers, as_floats, known_floats
from bench.judge.statistics.means import fixed_set_error
from bench.judge.statistics.pairs import POWER, PairedDifference, mcnemar, newcombe_paired, paired_difference
from bench.judge.statistics.resampling import SEED, sign_flip

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: from so many questions on the t test stands on the central limit theorem
ENOUGH_FOR_T = 30


class PairTest(StrEnum):
    """Tests of a paired difference."""

    MCNEMAR = "McNemar, mid-p"
    PERMUTATION = "sign-flip permutation"
    T = "paired t"
    CLUSTERED_T = "paired t, clustered"
    Z_FROZEN = "z over samples"
    NONE = "none"


class Estimand(StrEnum):
    """What a difference is a difference of; stored beside it."""

    #: better on this kind of task: the questions are a sample of it
    KIND_OF_TASK = "kind of task"
    #: changed on this frozen set: the questions are all there are, only the replies are random
    FROZEN_SET = "frozen set"


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A minus B on the same questions.

    Attributes:
        estimate: the difference with its interval; ``estimate.n`` questions that both sides answered.
        p: two-sided; 1 where no question differs, ``None`` without a test.
        test: the one that gave ``p``; ``estimate.method`` names the interval's.
        mde: smallest true difference that this many such questions show with the wanted power; ``None`` if unknown.
        se, se_unpaired: of the difference, and what it would be on different questions.
        correlation: of the two sides over questions.
        clusters: what the error stands on; the number of questions when they are independent.
        dropped: questions without a score on both sides.
        a_ahead, b_ahead: questions that one side scored higher on.
        seed: of the permutation's draws, when there were any.
        estimand: what the error is an error of.
    """

    estimate: Estimate
    p: float | None
    test: PairTest
    mde: float | None
    se: float | None
    se_unpaired: float | None
    correlation: float | None
    clusters: int
    dropped: int
    a_ahead: int
    b_ahead: int
    seed: int | None
    estimand: Estimand = Estimand.KIND_OF_TASK


def compare_samples(
    a: Sequence[Numbers],
    b: Sequence[Numbers],
    estimand: Estimand = Estimand.KIND_OF_TASK,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    power: float = POWER,
    seed: int = SEED,
) -> PairedComparison:
    """Compare two sides by question, from all samples of each; arguments and errors as :func:`compare_pairs`.

    For a kind of task the samples of a question are averaged first. For a frozen set the error is that of
    :func:`bench.judge.statistics.means.fixed_set_error` with a normal test and interval over the questions that have
    samples on both sides; it needs two samples or more of each, and clusters play no part.
    """
    means = [[float(known.mean()) if (known := known_floats(row)).size else None for row in side] for side in (a, b)]
    found = compare_pairs(means[0], means[1], clusters, confidence, power, seed)
    if estimand is Estimand.KIND_OF_TASK:
        return found
    kept = [index for index, pair in enumerate(zip(*means, strict=True)) if None not in pair]
    se = fixed_set_error([a[index] for index in kept], [b[index] for index in kept])
    value, n, normal = found.estimate.value, found.estimate.n, NormalDist()
    none = Estimate(value, n=n, method="none: each question needs two samples on both sides that differ")
    frozen = replace(
        found, estimand=estimand, seed=None, clusters=n, estimate=none, p=None, test=PairTest.NONE, mde=None
    )
    if not se or value is None:
        return replace(frozen, se=se)
    half = normal.inv_cdf(0.5 + confidence / 2) * se
    return replace(
        frozen,
        estimate=Estimate(value, value - half, value + half, n, "z over samples"),
        p=2 * normal.cdf(-abs(value) / se),
        test=PairTest.Z_FROZEN,
        mde=half + normal.inv_cdf(power) * se,
        se=se,
    )


def compare_pairs(
    a: Numbers,
    b: Numbers,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    power: float = POWER,
    seed: int = SEED,
) -> PairedComparison:
    """Compare two sides by question.

    The test is chosen by the data, never by its result: clustered t (CR1, G - 1 degrees of freedom) where questions
    come in clusters; McNemar's mid-p for one right-or-wrong reply per question; sign-flip permutation below
    :data:`ENOUGH_FOR_T` questions; else the paired t test. The interval is Newcombe's paired score interval for
    right-or-wrong replies, which has a width even where no question differs, else the t interval of the differences.

    Args:
        a, b: one score per question in the same order, the mean of its samples; ``None`` or NaN where there is none.
        clusters: one per question; each its own cluster is as none.
        power: of the minimum detectable effect, at ``alpha = 1 - confidence``.
        seed: of the permutation's draws.

    Raises:
        ValueError: the sides, or the clusters, differ in length.
    """
    import numpy as np

    left, right = as_floats(a), as_floats(b)
    found = paired_difference(left, right, clusters, confidence)
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    d = left - right
    d[np.abs(d) < 1e-12] = 0.0
    binary = bool(np.isin(left, (0.0, 1.0)).all() and np.isin(right, (0.0, 1.0)).all())
    test, estimate, p, drawn = _test(left, right, d, found, binary, confidence, seed)
    return PairedComparison(
        estimate=_with_width(estimate),
        p=p,
        test=test,
        mde=_detectable(found, binary, confidence, power),
        se=found.se,
        se_unpaired=found.se_unpaired,
        correlation=found.correlation,
        clusters=found.clusters,
        dropped=int(both.size - both.sum()),
        a_ahead=int((d > 0).sum()),
        b_ahead=int((d < 0).sum()),
        seed=drawn,
    )


def _test(
    a: Floats, b: Floats, d: Floats, found: PairedDifference, binary: bool, confidence: float, seed: int
) -> tuple[PairTest, Estimate, float | None, int | None]:
    """The test that fits, the interval, the p and the seed of its draws."""
    test, p, drawn = PairTest.T, found.p, None
    estimate = Estimate(found.diff, found.low, found.high, found.n, "t")
    if found.clusters < found.n:
        test, estimate = PairTest.CLUSTERED_T, replace(estimate, method="clustered t")
    elif binary and found.n:
        test, estimate, p = PairTest.MCNEMAR, _score_interval(a, b, confidence), _mcnemar(d)
    elif found.n < ENOUGH_FOR_T:
        flipped = sign_flip(d, seed)
        test, p, drawn = PairTest.PERMUTATION, flipped.p, flipped.seed
    if found.clusters > 1 and not d.any():
        p = 1.0
    return test if p is not None else PairTest.NONE, estimate, p, drawn


def _score_interval(a: Floats, b: Floats, confidence: float) -> Estimate:
    both, neither = int((a * b).sum()), int(((1 - a) * (1 - b)).sum())
    return newcombe_paired(both, int((a > b).sum()), int((b > a).sum()), neither, confidence)


def _mcnemar(d: Floats) -> float:
    return mcnemar(int((d > 0).sum()), int((d < 0).sum())).p


def _with_width(estimate: Estimate) -> Estimate:
    """Without an interval of no width, which would read as certainty."""
    if estimate.low is None or estimate.high is None or estimate.high - estimate.low > 1e-12:
        return estimate
    return Estimate(estimate.value, n=estimate.n, method="none: every question differs by the same")


def _detectable(found: PairedDifference, binary: bool, confidence: float, power: float) -> float | None:
    """``(z_{α/2}+z_β)·SE``; of right-or-wrong replies at least what McNemar's test needs when all go one way."""
    alpha, normal = 1 - confidence, NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    usual = z * found.se if found.se else None
    if not binary or found.n == 0 or found.clusters < found.n:
        return usual
    wins = next(count for count in range(1, 200) if mcnemar(count, 0).p <= alpha)
    return max(usual or 0.0, wins / found.n)
