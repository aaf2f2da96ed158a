"""Two independent samples: rank tests that describe pooled requests, and Perfherder's t. None of them is a gate."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from bench.judge.statistics.floats import Numbers, known_floats

#: most pairs for which the exact distribution of U is computed
_EXACT_PAIRS = 250_000
#: most pairwise differences that are formed at once
_FORMED_PAIRS = 16_000_000


@dataclass(frozen=True, slots=True)
class RankShift:
    """How a candidate's values lie against a baseline's; every field ``None`` when a side is empty.

    Attributes:
        u: pairs in which the candidate is larger, ties counted half (Mann and Whitney 1947).
        p_exact: two-sided, without regard to ties; ``None`` above 250,000 pairs.
        p_asymptotic: two-sided, with corrections for continuity and ties; ``None`` where all values are equal.
        superiority: ``u`` over all pairs.
        shift: median of all pairwise differences (Hodges and Lehmann 1963).
        ks, p_ks: two-sample Kolmogorov-Smirnov statistic and its p.
    """

    u: float | None
    p_exact: float | None
    p_asymptotic: float | None
    superiority: float | None
    shift: float | None
    ks: float | None
    p_ks: float | None


def rank_shift(baseline: Numbers, candidate: Numbers) -> RankShift:
    """Describe the shift from baseline to candidate, as if values were independent; requests of one run are not."""
    import numpy as np
    from scipy.stats import ks_2samp, mannwhitneyu

    old, new = known_floats(baseline), known_floats(candidate)
    if old.size == 0 or new.size == 0:
        return RankShift(None, None, None, None, None, None, None)
    pairs = int(old.size * new.size)
    varies = bool(np.ptp(np.concatenate([old, new])) > 0)
    ordered = np.sort(old)
    u = float((ordered.searchsorted(new) + ordered.searchsorted(new, side="right")).sum()) / 2
    exact = float(mannwhitneyu(new, old, method="exact").pvalue) if pairs <= _EXACT_PAIRS else None
    asymptotic = float(mannwhitneyu(new, old, method="asymptotic").pvalue) if varies else None
    with warnings.catch_warnings():
        # Where its exact sum of paths loses its digits it takes the asymptotic p, and says so to whom it may concern.
        warnings.simplefilter("ignore", RuntimeWarning)
        far = ks_2samp(new, old)
    return RankShift(u, exact, asymptotic, u / pairs, hodges_lehmann(old, new), float(far.statistic), float(far.pvalue))


def hodges_lehmann(baseline: Numbers, candidate: Numbers) -> float | None:
    """Median of all differences ``candidate_j - baseline_i`` (Hodges and Lehmann 1963, Ann. Math. Stat. 34:598).

    Beyond 16 million pairs the median is found by bisection on how many pairs lie at or below it, without forming
    them, to the precision of floats.
    """
    import numpy as np

    old, new = np.sort(known_floats(baseline)), np.sort(known_floats(candidate))
    pairs = old.size * new.size
    if pairs == 0:
        return None
    if pairs <= _FORMED_PAIRS:
        return float(np.median(np.subtract.outer(new, old)))
    low, high = float(new[0] - old[-1]), float(new[-1] - old[0])
    while low < (middle := (low + high) / 2) < high:
        at_most = pairs - int(old.searchsorted(new - middle, side="left").sum())
        low, high = (low, middle) if 2 * at_most >= pairs else (middle, high)
    return (low + high) / 2


def perfherder_t(previous_newest_first: Numbers, next_oldest_first: Numbers) -> float | None:
    """Mozilla Perfherder's weighted t between the points before and after a place in a series.

    The point nearest to the place weighs most: ``(n-i)/n`` on index ``i`` for each mean; variances are unweighted
    around that mean with ``ddof=1``; ``t = (after - before)/√(var_b/n_b + var_a/n_a)``. Infinite when the means differ
    and nothing varies, 0 when they do not; ``None`` for an empty side. Not Student's t: alarms start at 7.
    """
    import numpy as np

    sides = []
    for values in (previous_newest_first, next_oldest_first):
        x = known_floats(values)
        n = int(x.size)
        if n == 0:
            return None
        mean = float(np.average(x, weights=n - np.arange(n)))
        sides.append((mean, float(((x - mean) ** 2).sum()) / (n - 1) / n if n > 1 else 0.0))
    (before, before_error), (after, after_error) = sides
    if after == before:
        return 0.0
    error = math.sqrt(before_error + after_error)
    return (after - before) / error if error > 0 else math.copysign(math.inf, after - before)
