"""Change points of a finished series, for dashboards: they say where it changed, not whether to page tonight.

The method of Hunter (Fleming et al. 2023, ICPE, doi 10.1145/3578244.3583719), now Apache Otava: E-divisive splits
(Matteson and James 2014, JASA 109:334) in sliding windows with a t test in place of permutations, then weak points are
merged away. It maximises over splits and does not correct the p-value for that, so 0.001 is not 0.001.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.judge.statistics.floats import Numbers, known_floats, t_two_sided

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

WINDOW = 50
MAX_P = 0.001


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A change: index of its first point, means before and after it, p of its t test.

    The stretch before reaches back to the change before. The one after reaches to the next change, or to a weaker one
    that was dropped since.
    """

    index: int
    mean_before: float
    mean_after: float
    p: float

    @property
    def magnitude(self) -> float:
        """The larger of the relative changes forwards and backwards; a change from or to 0 counts as none that way."""
        forwards = self.mean_after / self.mean_before - 1 if self.mean_before else 0.0
        backwards = self.mean_before / self.mean_after - 1 if self.mean_after else 0.0
        return max(abs(forwards), abs(backwards))


def change_points(
    series: Numbers, window: int = WINDOW, max_p: float = MAX_P, min_magnitude: float = 0.0
) -> list[ChangePoint]:
    """Change points in order of their place.

    Windows of ``window`` points move by half a window, or to the last change found, whichever is further. Within one,
    the split of the largest energy distance is kept while its t test has ``p <= 10·max_p`` (twice above 0.05). Then the
    weakest point is dropped until every one has ``p < max_p`` and a change above ``min_magnitude``.

    Args:
        series: one value per night; missing ones are left out, so indices count the known values.

    Raises:
        ValueError: the window holds fewer than two points, or ``max_p`` is no probability.
    """
    if window < 2 or not 0 < max_p <= 1:
        raise ValueError("Change points need a window of at least two points and a p between 0 and 1.")
    x = known_floats(series)
    weak_p = 10 * max_p if max_p < 0.05 else 2 * max_p if max_p < 0.5 else max_p
    found: list[int] = []
    start = 0
    while start < x.size:
        inside = _split(x[start : start + window], weak_p)
        found += [start + place for place in inside if start + place not in found]
        last = start + inside[-1] if inside else 0
        start = max(last, start + window // 2)
    return _merge(x, sorted(found), max_p, min_magnitude)


def _split(x: Floats, max_p: float) -> list[int]:
    """Divide one window again and again at the best candidate of all its parts, until that one is not significant."""
    places: list[int] = []
    candidates: dict[tuple[int, int], tuple[float, int]] = {}
    while True:
        ends = [0, *places, int(x.size)]
        best: tuple[float, int, int, int] | None = None
        for low, high in pairwise(ends):
            if high - low < 2:
                continue
            if (low, high) not in candidates:
                candidates[low, high] = _best_split(x[low:high])
            energy, place = candidates[low, high]
            if best is None or energy > best[0]:
                best = (energy, low + place, low, high)
        if best is None:
            return places
        _, place, low, high = best
        if not _test(x[low:place], x[place:high]) <= max_p:
            return places
        places = sorted([*places, place])


def _best_split(x: Floats) -> tuple[float, int]:
    """Largest scaled energy distance of a part's start ``x[:t]`` from a stretch ``x[t:k]`` after it, and its ``t``.

    ``q(t, k) = tm/(t+m)·(2·between - within_left - within_right)`` with mean absolute differences over pairs, m = k-t;
    the stretch may end before the part does, so that two changes do not hide each other.
    """
    import numpy as np

    n = int(x.size)
    sums = np.zeros((n + 1, n + 1))
    sums[1:, 1:] = np.abs(x[:, None] - x[None, :]).cumsum(axis=0).cumsum(axis=1)
    t, k = np.arange(1, n)[:, None], np.arange(2, n + 1)[None, :]
    m = k - t
    corner = np.diag(sums)
    left, both = corner[t], corner[k]
    upper = sums[t, k]  # distances between x[:t] and x[:k]
    between = upper - left
    right = both - 2 * upper + left
    with np.errstate(divide="ignore", invalid="ignore"):
        inner_left = np.where(t > 1, left / (t * (t - 1)), 0.0)
        inner_right = np.where(m > 1, right / (m * (m - 1)), 0.0)
        q = t * m / k * (2 * between / (t * m) - inner_left - inner_right)
    q = np.where(m >= 1, q, -np.inf)
    best = int(np.argmax(q))
    row, column = np.unravel_index(best, q.shape)
    return float(q[row, column]), int(row) + 1


def _test(left: Floats, right: Floats) -> float:
    """Two-sided p of Student's t test with pooled variance; standard deviations with ``ddof=0``, as Hunter's are."""
    n, m = int(left.size), int(right.size)
    degrees = n + m - 2
    difference = float(left.mean() - right.mean())
    if degrees <= 0 or difference == 0:
        return 1.0
    pooled = ((n - 1) * float(left.var()) + (m - 1) * float(right.var())) / degrees
    if pooled <= 0:
        return 0.0
    return t_two_sided(difference / math.sqrt(pooled * (1 / n + 1 / m)), degrees)


def _merge(x: Floats, places: Sequence[int], max_p: float, min_magnitude: float) -> list[ChangePoint]:
    points = [_point(x, places, nth) for nth in range(len(places))]
    while points:
        weakest = max(range(len(points)), key=lambda nth: points[nth].p)
        if points[weakest].p < max_p:
            weakest = min(range(len(points)), key=lambda nth: points[nth].magnitude)
            if points[weakest].magnitude > min_magnitude:
                break
        del points[weakest]
        left = [point.index for point in points]
        # The two points after a dropped one are tested anew, not the one before: so does Otava, whose points these are.
        for nth in (weakest, weakest + 1):
            if nth < len(points):
                points[nth] = _point(x, left, nth)
    return points


def _point(x: Floats, places: Sequence[int], nth: int) -> ChangePoint:
    low = places[nth - 1] if nth else 0
    high = places[nth + 1] if nth + 1 < len(places) else int(x.size)
    place = places[nth]
    left, right = x[low:place], x[place:high]
    return ChangePoint(place, float(left.mean()), float(right.mean()), _test(left, right))
