"""Confidence intervals as pure functions; each names the source of its formula.

Nothing here knows about runs or tables. Undefined figures are ``None``, never a 0 that reads as certainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the figure; ``None`` when it is undefined or withheld.
        low, high: ends of the two-sided interval; ``None`` when there is none.
        n: how many units (questions, requests) the figure stands on.
        method: name of the interval's method, for footnotes.
        needs: for a withheld figure, the ``n`` from which it would be given.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = ""
    needs: int | None = None


def mean_t(values: Sequence[float] | NDArray[Any], confidence: float = CONFIDENCE) -> Estimate:
    """Mean with Student's t interval, ``mean ± t(n-1) · sd/√n`` with ``sd`` of ``ddof=1`` (Student 1908); not clipped.

    One value gives a mean without interval, none gives nothing.
    """
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    n = int(x.size)
    if n == 0:
        return Estimate(None, method="t")
    mean = float(x.mean())
    if n == 1:
        return Estimate(mean, n=1, method="t")
    half = t_quantile(n - 1, 0.5 + confidence / 2) * float(x.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, "t")


@lru_cache(maxsize=1024)
def t_quantile(degrees: float, probability: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Share with Wilson's score interval, no continuity correction (Wilson 1927, JASA 22:209).

    ``(p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n)``. Successes may be fractional (a mean of scores in 0..1).
    """
    if n == 0:
        return Estimate(None, method="Wilson")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(p, low, high, n, "Wilson")


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Share with the exact interval of Clopper and Pearson (1934, Biometrika 26:404).

    ``low = Beta⁻¹(α/2; k, n-k+1)``, ``high = Beta⁻¹(1-α/2; k+1, n-k)``; the ends are 0 at ``k = 0`` and 1 at ``k = n``.
    """
    if n == 0:
        return Estimate(None, method="Clopper-Pearson")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Estimate(successes / n, low, high, n, "Clopper-Pearson")


def needed_for_quantile(q: float, confidence: float = CONFIDENCE) -> int:
    """Smallest ``n`` for which both ends of the order-statistic interval of quantile ``q`` exist.

    ``max(q, 1-q)ⁿ ≤ (1-confidence)/2``; 6 for the median, 72 for p95, 368 for p99 at 95%.
    """
    tail = (1 - confidence) / 2
    n = math.ceil(math.log(tail) / math.log(max(q, 1 - q)))
    while max(q, 1 - q) ** n > tail:
        n += 1
    return n


@lru_cache(maxsize=4096)
def quantile_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """1-based ranks ``(l, u)`` of the equal-tailed order-statistic interval of quantile ``q``.

    With B ~ Bin(n, q): the largest ``l`` with P(B ≤ l-1) ≤ α/2 and the smallest ``u`` with P(B ≥ u) ≤ α/2 (Conover,
    Practical Nonparametric Statistics, 3rd ed., section 3.2). An end that does not exist is ``None``.
    """
    import numpy as np

    tail = (1 - confidence) / 2
    counts = np.arange(n + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    log_pmf = log_factorial[n] - log_factorial - log_factorial[::-1] + counts * math.log(q)
    pmf = np.exp(log_pmf + (n - counts) * math.log1p(-q))
    at_most = np.cumsum(pmf)
    at_least = np.cumsum(pmf[::-1])[::-1]
    lower = int(np.count_nonzero(at_most <= tail))
    upper = n + 1 - int(np.count_nonzero(at_least <= tail))
    return lower or None, upper if upper <= n else None


def quantile(ordered: NDArray[Any], q: float, confidence: float = CONFIDENCE) -> Estimate:
    """Quantile by nearest rank (Hyndman-Fan type 1) of *ascending* values, with its order-statistic interval.

    Values may be infinite (a failure counted as infinitely slow). Withheld, with the ``n`` it would need, when an
    end of the interval does not exist.
    """
    n = int(ordered.size)
    low, high = quantile_ranks(n, q, confidence) if n else (None, None)
    if low is None or high is None:
        return Estimate(None, n=n, method="order statistics", needs=needed_for_quantile(q, confidence))
    value = float(ordered[nearest_rank(n, q) - 1])
    return Estimate(value, float(ordered[low - 1]), float(ordered[high - 1]), n, "order statistics")


def nearest_rank(n: int, q: float) -> int:
    """1-based rank of quantile ``q`` of ``n`` values, ``⌈n·q⌉`` with float noise in ``n·q`` forgiven."""
    return min(n, max(1, math.ceil(round(n * q, 9))))
