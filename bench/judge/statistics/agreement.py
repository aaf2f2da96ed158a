"""Agreement of judges beyond chance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from bench.judge.intervals import CONFIDENCE

#: fewer human labels than this are too few to trust a judge by
ENOUGH_LABELS = 100


@dataclass(frozen=True, slots=True)
class Kappa:
    """A kappa, ``None`` where chance alone would agree fully or nothing was judged; ``observed`` is the plain share."""

    kappa: float | None
    se: float | None
    low: float | None
    high: float | None
    observed: float | None
    n: int


def cohen_kappa(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Kappa:
    """Cohen's kappa of two raters with its asymptotic interval.

    Kappa: Cohen 1960, Educational and Psychological Measurement 20:37. Large-sample variance: Fleiss, Cohen, Everitt
    1969, Psychological Bulletin 72:323, equation 13.

    Args:
        table: square, counts of items; rows are the first rater's categories, columns the second's.

    Raises:
        ValueError: the table is not square, or holds a negative count.
    """
    import numpy as np

    counts = np.asarray(table, dtype=np.float64)
    if counts.size == 0:
        return Kappa(None, None, None, None, None, 0)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or bool((counts < 0).any()):
        raise ValueError("Agreement of two raters needs a square table of counts.")
    n = float(counts.sum())
    if n == 0:
        return Kappa(None, None, None, None, None, 0)
    shares = counts / n
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    observed, chance = float(np.trace(shares)), float(rows @ columns)
    if math.isclose(chance, 1.0):
        return Kappa(None, None, None, None, observed, round(n))
    kappa = (observed - chance) / (1 - chance)
    on = float((np.diag(shares) * (1 - (rows + columns) * (1 - kappa)) ** 2).sum())
    off = shares * (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(off, 0.0)
    spread = on + (1 - kappa) ** 2 * float(off.sum()) - (kappa - chance * (1 - kappa)) ** 2
    se = math.sqrt(max(0.0, spread) / n) / (1 - chance)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * se
    return Kappa(kappa, se, kappa - half, kappa + half, observed, round(n))


def cross_table(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[list[int]]:
    """Square table of two raters' labels of the same items, categories in order of appearance; gaps left out.

    Raises:
        ValueError: the raters did not label the same number of items.
    """
    if len(first) != len(second):
        raise ValueError("Two raters need one label each for every item.")
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    places: dict[Any, int] = {}
    for pair in both:
        for label in pair:
            places.setdefault(label, len(places))
    table = [[0] * len(places) for _ in places]
    for a, b in both:
        table[places[a]][places[b]] += 1
    return table


def fleiss_kappa(table: Sequence[Sequence[float]]) -> Kappa:
    """Fleiss' kappa of many raters (Fleiss 1971, Psychological Bulletin 76:378), without an interval.

    Args:
        table: subjects by categories, how many raters chose each. Subjects with fewer than two ratings say nothing of
            agreement and are left out; subjects may differ in their number of ratings, each then weighs the same in
            the observed agreement and by its ratings in the chance one.

    Raises:
        ValueError: the rows differ in length, or hold a negative count.
    """
    import numpy as np

    if len({len(row) for row in table}) > 1:
        raise ValueError("Agreement of many raters needs one count for each category in each row.")
    counts = np.asarray(table, dtype=np.float64)
    if counts.size and bool((counts < 0).any()):
        raise ValueError("Counts of raters cannot be negative.")
    if counts.ndim == 2:
        counts = counts[counts.sum(axis=1) >= 2]
    if counts.size == 0:
        return Kappa(None, None, None, None, None, 0)
    raters = counts.sum(axis=1)
    observed = float((((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))).mean())
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    kappa = None if math.isclose(chance, 1.0) else (observed - chance) / (1 - chance)
    return Kappa(kappa, None, None, None, observed, len(counts))
