"""Tests and intervals by resampling; the seed is part of the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from bench.judge.intervals import CONFIDENCE
from bench.judge.statistics.floats import Numbers, as_floats, cluster_codes, known_floats

if TYPE_CHECKING:
    import numpy as np

    from bench.judge.statistics.floats import Floats, Ints

#: most differences of which every sign pattern is tried
EXACT_UP_TO = 15
SIGN_DRAWS = 100_000
BOOTSTRAP_DRAWS = 10_000
SEED = 20_240_411
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class SignFlip:
    """The sign-flip permutation test of a mean difference.

    Attributes:
        p, p_greater: two-sided, and against the alternative that the mean is above 0; ``None`` without differences.
        draws: sign patterns looked at; exact: whether these are all.
        seed: of the draws; ``None`` when exact.
    """

    p: float | None
    p_greater: float | None
    draws: int
    exact: bool
    seed: int | None


def sign_flip(
    differences: Numbers, seed: int = SEED, draws: int = SIGN_DRAWS, exact_up_to: int = EXACT_UP_TO
) -> SignFlip:
    """Paired permutation test with the mean as statistic (Fisher 1935; Good, Permutation Tests, section 3.2).

    Under no difference each sign is a fair coin. All ``2ⁿ`` patterns up to ``exact_up_to`` differences, equal means
    counted as extreme; else random ones with ``p = (1 + hits)/(1 + draws)`` (Phipson and Smyth 2010, SAGMB 9:39).
    """
    import numpy as np

    d = known_floats(differences)
    if d.size == 0:
        return SignFlip(None, None, 0, True, None)
    observed = float(d.sum())
    slack = 1e-12 * float(np.abs(d).sum())
    if d.size <= exact_up_to:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        both = float(np.mean(np.abs(sums) >= abs(observed) - slack))
        return SignFlip(both, float(np.mean(sums >= observed - slack)), int(sums.size), True, None)
    random = np.random.default_rng(seed)
    both_hits = greater_hits = done = 0
    rows = max(1, _CHUNK // d.size)
    while done < draws:
        size = min(rows, draws - done)
        sums = 2.0 * (random.integers(0, 2, size=(size, d.size), dtype=np.int8) @ d) - observed
        both_hits += int(np.count_nonzero(np.abs(sums) >= abs(observed) - slack))
        greater_hits += int(np.count_nonzero(sums >= observed - slack))
        done += size
    return SignFlip((1 + both_hits) / (1 + draws), (1 + greater_hits) / (1 + draws), draws, False, seed)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A figure with its bias-corrected and accelerated interval.

    Attributes:
        value: of the data as they are; ``None`` without any.
        low, high: ``None`` below two units, or where the figure does not vary.
        units: questions, or clusters where there are any; draws and seed: of the resamples.
    """

    value: float | None
    low: float | None
    high: float | None
    units: int
    draws: int
    seed: int


def bootstrap(
    values: Numbers,
    clusters: Sequence[Hashable] | None = None,
    statistic: Callable[[Floats], float] | None = None,
    confidence: float = CONFIDENCE,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = SEED,
) -> Bootstrap:
    """BCa interval by resampling questions, or whole clusters (Efron 1987, JASA 82:171; acceleration by jackknife).

    Args:
        values: one per question; gaps are left out.
        clusters: drawn whole, each with all its questions.
        statistic: of the values of a resample; their mean when ``None``, which is much faster.

    Raises:
        ValueError: not one cluster per value.
    """
    import numpy as np

    x = as_floats(values)
    names: Sequence[Hashable] = range(x.size) if clusters is None else clusters
    if len(names) != x.size:
        raise ValueError("A clustered bootstrap needs one cluster for each value.")
    kept = np.isfinite(x)
    codes, units = cluster_codes([name for name, known in zip(names, kept, strict=True) if known])
    x = x[kept]
    if units == 0:
        return Bootstrap(None, None, None, 0, draws, seed)
    random = np.random.default_rng(seed)
    if statistic is None:
        value, left_out, drawn = _resampled_means(x, codes, units, draws, random)
    else:
        value, left_out, drawn = _resampled(x, codes, units, statistic, draws, random)
    low, high = _bca(value, left_out, drawn, confidence) if units > 1 else (None, None)
    return Bootstrap(value, low, high, units, draws, seed)


def _resampled_means(
    x: Floats, codes: Ints, units: int, draws: int, random: np.random.Generator
) -> tuple[float, Floats, Floats]:
    """The mean, its leave-one-unit-out values, and its values in resamples, from sums and counts of units."""
    import numpy as np

    sums, counts = np.bincount(codes, weights=x), np.bincount(codes).astype(np.float64)
    drawn = np.empty(draws)
    rows = max(1, _CHUNK // units)
    for start in range(0, draws, rows):
        picked = random.integers(0, units, size=(min(rows, draws - start), units))
        drawn[start : start + len(picked)] = sums[picked].sum(axis=1) / counts[picked].sum(axis=1)
    rest = np.maximum(counts.sum() - counts, 1.0)
    return float(x.mean()), (sums.sum() - sums) / rest, drawn


def _resampled(
    x: Floats, codes: Ints, units: int, statistic: Callable[[Floats], float], draws: int, random: np.random.Generator
) -> tuple[float, Floats, Floats]:
    import numpy as np

    members = [x[codes == unit] for unit in range(units)]
    drawn = np.array(
        [statistic(np.concatenate([members[unit] for unit in random.integers(0, units, units)])) for _ in range(draws)]
    )
    left_out = np.array([statistic(x[codes != unit]) for unit in range(units)]) if units > 1 else np.zeros(1)
    return float(statistic(x)), left_out, drawn


def _bca(value: float, left_out: Floats, drawn: Floats, confidence: float) -> tuple[float | None, float | None]:
    import numpy as np

    drawn = drawn[np.isfinite(drawn)]
    slack = 1e-12 * (1 + abs(value))
    if drawn.size == 0 or float(np.ptp(drawn)) <= slack:
        return None, None
    below = float(np.mean(drawn < value - slack) + np.mean(drawn <= value + slack)) / 2
    below = min(max(below, 0.5 / drawn.size), 1 - 0.5 / drawn.size)
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    off = left_out.mean() - left_out
    cubes, squares = float((off**3).sum()), float((off**2).sum())
    bend = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        reach = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + reach / (1 - bend * reach)) if bend * reach < 1 else float(tail > 0.5))
    low, high = np.quantile(drawn, ends)
    return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else (None, None)
