"""Differences between two sides: paired by question, or of two independent shares; power and sample size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from bench.judge.intervals import CONFIDENCE, Estimate, t_quantile, wilson
from bench.judge.statistics.floats import Numbers, as_floats, finite, t_two_sided
from bench.judge.statistics.means import clustered_error, standard_error

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: wanted probability of seeing a true difference
POWER = 0.8


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of question-level differences A - B with its t test.

    Attributes:
        diff: ``None`` without a common question.
        se, t, p, low, high: ``None`` below two questions (clusters); ``t`` and ``p`` also where nothing varies.
        correlation: Pearson's, of the two sides; ``None`` where a side does not vary.
        se_unpaired: ``√(SE_A² + SE_B²)``, what it would be had each side its own questions.
        n: questions with both scores; clusters: how many the error stands on, ``n`` when questions are independent.
    """

    diff: float | None
    se: float | None
    t: float | None
    p: float | None
    low: float | None
    high: float | None
    correlation: float | None
    se_unpaired: float | None
    n: int
    clusters: int


def paired_difference(
    a: Numbers, b: Numbers, clusters: Sequence[Hashable] | None = None, confidence: float = CONFIDENCE
) -> PairedDifference:
    """Paired t test and interval (Student 1908; Miller 2024, arXiv 2411.00640, section 4.2).

    With clusters the CR1 error and ``t(G-1)``. Questions without both scores are left out.

    Raises:
        ValueError: the sides, or the clusters, differ in length.
    """
    import numpy as np

    left, right = as_floats(a), as_floats(b)
    if left.size != right.size or (clusters is not None and len(clusters) != left.size):
        raise ValueError("Pairs need one score on each side, and one cluster each if there are clusters.")
    kept = np.isfinite(left) & np.isfinite(right)
    left, right = left[kept], right[kept]
    d, n = left - right, int(left.size)
    if n == 0:
        return PairedDifference(None, None, None, None, None, None, None, None, 0, 0)
    diff, se, groups = float(d.mean()), standard_error(d), n
    if clusters is not None:
        error = clustered_error(d, [name for name, known in zip(clusters, kept, strict=True) if known])
        se, groups = error.cr1, error.clusters
    correlation = _correlation(left, right)
    apart = [standard_error(left), standard_error(right)]
    unpaired = None if apart[0] is None or apart[1] is None else math.hypot(apart[0], apart[1])
    if se is None:
        return PairedDifference(diff, None, None, None, None, None, correlation, unpaired, n, groups)
    half = t_quantile(groups - 1, 0.5 + confidence / 2) * se
    # Float noise of equal differences is no variance.
    varies = se > 1e-14 * max(1.0, float(np.abs(d).max()))
    t = diff / se if varies else None
    p = None if t is None else t_two_sided(t, groups - 1)
    return PairedDifference(diff, se, t, p, diff - half, diff + half, correlation, unpaired, n, groups)


def _correlation(a: Floats, b: Floats) -> float | None:
    import numpy as np

    x, y = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    noise = 1e-14 * len(x) * (1 + float(np.abs(a).max()) * float(np.abs(b).max()))
    return None if scale <= noise else finite(max(-1.0, min(1.0, float((x * y).sum()) / scale)))


@dataclass(frozen=True, slots=True)
class Mcnemar:
    """McNemar's test of right-or-wrong pairs.

    Attributes:
        p_exact: two-sided binomial; 1 without a discordant pair.
        p_mid: mid-p; ``None`` without a discordant pair.
        chi2, p_chi2: with continuity correction; ``None`` without a discordant pair.
    """

    p_exact: float
    p_mid: float | None
    chi2: float | None
    p_chi2: float | None

    @property
    def p(self) -> float:
        """The p to decide by: mid-p, and 1 without a discordant pair: no evidence."""
        return 1.0 if self.p_mid is None else self.p_mid


def mcnemar(b: int, c: int) -> Mcnemar:
    """McNemar's test on the discordant counts: ``b`` questions only A got right, ``c`` only B.

    Exact: twice the binomial tail of ``min(b, c)`` out of ``b + c`` fair coins, at most 1. Mid-p: less the probability
    of ``min(b, c)`` itself (Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91). Chi-square:
    ``(|b-c|-1)²/(b+c)`` on one degree of freedom (Edwards 1948, Psychometrika 13:185).

    Raises:
        ValueError: a count is negative.
    """
    from scipy.special import bdtr, chdtrc

    if b < 0 or c < 0:
        raise ValueError("Counts of questions cannot be negative.")
    n, fewer = b + c, min(b, c)
    if n == 0:
        return Mcnemar(1.0, None, None, None)
    exact = min(1.0, 2 * float(bdtr(fewer, n, 0.5)))
    at = math.exp(math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2))
    chi2 = (abs(b - c) - 1) ** 2 / n
    return Mcnemar(exact, max(0.0, exact - at), chi2, float(chdtrc(1, chi2)))


def newcombe(k1: int, n1: int, k2: int, n2: int, confidence: float = CONFIDENCE) -> Estimate:
    """Difference of two *independent* shares with the hybrid score interval (Newcombe 1998, Stat. Med. 17:873)."""
    first, second = wilson(k1, n1, confidence), wilson(k2, n2, confidence)
    if first.value is None or second.value is None:
        return Estimate(None, n=n1 + n2, method="Newcombe")
    diff = first.value - second.value
    below, above = _ends(first), _ends(second)
    low = diff - math.hypot(below[0], above[1])
    high = diff + math.hypot(below[1], above[0])
    return Estimate(diff, low, high, n1 + n2, "Newcombe")


def newcombe_paired(both: int, only_a: int, only_b: int, neither: int, confidence: float = CONFIDENCE) -> Estimate:
    """Difference A - B of two shares on the *same* questions with a score interval.

    Method 10 of Newcombe 1998 (Stat. Med. 17:2635): the two Wilson intervals put together with the correlation φ of
    the pairs, continuity-corrected. It has a width even where no pair is discordant.
    """
    n = both + only_a + only_b + neither
    if n == 0:
        return Estimate(None, method="Newcombe, paired")
    first, second = wilson(both + only_a, n, confidence), wilson(both + only_b, n, confidence)
    diff = (only_a - only_b) / n
    left, right = _ends(first), _ends(second)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = 0.0
    if margins:
        cross = both * neither - only_a * only_b
        phi = (max(cross - n / 2, 0.0) if cross > 0 else cross) / math.sqrt(margins)
    low = diff - math.sqrt(max(0.0, left[0] ** 2 - 2 * phi * left[0] * right[1] + right[1] ** 2))
    high = diff + math.sqrt(max(0.0, left[1] ** 2 - 2 * phi * left[1] * right[0] + right[0] ** 2))
    return Estimate(diff, max(-1.0, low), min(1.0, high), n, "Newcombe, paired")


def _ends(share: Estimate) -> tuple[float, float]:
    """Distances from a share down and up to the ends of its interval."""
    assert share.value is not None
    assert share.low is not None
    assert share.high is not None
    return share.value - share.low, share.high - share.value


def _z_sum(alpha: float, power: float, sides: int) -> float:
    if not (0 < alpha < 1 and 0 < power < 1 and sides in (1, 2)):
        raise ValueError("Alpha and power are shares between 0 and 1, and a test has one or two sides.")
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / sides) + normal.inv_cdf(power)


def sample_size(
    omega2: float,
    delta: float,
    sigma2_a: float = 0.0,
    sigma2_b: float = 0.0,
    k_a: float = 1,
    k_b: float = 1,
    alpha: float = 0.05,
    power: float = POWER,
    sides: int = 2,
) -> int:
    """Questions to see a true paired difference ``delta`` with ``power`` (Miller 2024, section 5).

    ``n = ⌈(z_{α/2}+z_β)²·(ω² + σ²_A/K_A + σ²_B/K_B)/δ²⌉`` with ω² the variance of the true question-level difference,
    σ² the mean variance of one sample around its question's mean, K samples per question.

    Raises:
        ValueError: ``delta`` is 0, or ``alpha``, ``power`` or ``sides`` make no test.
    """
    if delta == 0:
        raise ValueError("No number of questions can show a difference of 0.")
    variance = omega2 + sigma2_a / k_a + sigma2_b / k_b
    return math.ceil(round(_z_sum(alpha, power, sides) ** 2 * variance / delta**2, 9))


def minimum_detectable(
    omega2: float,
    n: float,
    sigma2_a: float = 0.0,
    sigma2_b: float = 0.0,
    k_a: float = 1,
    k_b: float = 1,
    alpha: float = 0.05,
    power: float = POWER,
    sides: int = 2,
) -> float | None:
    """Smallest true difference that ``n`` questions show with ``power``: :func:`sample_size` solved for ``δ``."""
    if n <= 0:
        return None
    return _z_sum(alpha, power, sides) * math.sqrt((omega2 + sigma2_a / k_a + sigma2_b / k_b) / n)


def power_of(delta: float, se: float, alpha: float = 0.05, sides: int = 2) -> float | None:
    """Probability that a z test shows a true difference ``delta`` whose standard error is ``se``, in its direction."""
    if not se > 0:
        return None
    normal = NormalDist()
    return normal.cdf(abs(delta) / se - normal.inv_cdf(1 - alpha / sides))
