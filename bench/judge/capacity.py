"""Capacity of a service from a sweep: scalability law, knee of a curve, saturation.

Pure functions of arrays, one entry per point of the sweep. A figure that the points cannot support is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Curve = Literal["concave", "convex"]
Direction = Literal["increasing", "decreasing"]

#: three parameters leave no residual below this many different loads
USL_POINTS = 4
#: achieved below this share of offered is saturation
SATURATED_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Usl:
    """A fitted Universal Scalability Law.

    Attributes:
        alpha: contention, the share of work that is serial.
        beta: coherency, the cost of each pair of users that must agree.
        gamma: throughput of one user, in the unit of the fitted throughput.
        n_peak: concurrency of the highest throughput; ``None`` when the law rises for ever (``beta`` is 0).
        x_peak: throughput there; the ceiling ``gamma/alpha`` when it rises for ever, ``None`` when there is none.
        r_squared: share of the variance of the throughput that the law explains.
        beyond: whether the peak lies above the highest measured concurrency, and so is an extrapolation.
    """

    alpha: float
    beta: float
    gamma: float
    n_peak: float | None
    x_peak: float | None
    r_squared: float
    beyond: bool

    def at(self, n: float) -> float:
        """Throughput that the law gives at a concurrency."""
        return self.gamma * n / (1 + self.alpha * (n - 1) + self.beta * n * (n - 1))


def fit_usl(concurrency: Sequence[float] | NDArray[Any], throughput: Sequence[float] | NDArray[Any]) -> Usl | None:
    """Least-squares fit of ``X(N) = γN / (1 + α(N-1) + βN(N-1))`` with α, β >= 0 and γ > 0.

    The law and its peak ``N* = √((1-α)/β)`` are Gunther's (Guerrilla Capacity Planning, 2007, chapters 4 to 6). For
    closed loops: ``N`` is the concurrency that was truly held. Starts from the fit of ``N/X``, which is linear in
    the parameters, by non-negative least squares; then minimises squared errors of the throughput itself.

    Returns:
        ``None`` below :data:`USL_POINTS` different concurrencies with a positive throughput.
    """
    import numpy as np
    from scipy.optimize import least_squares

    n, x = _finite_pairs(concurrency, throughput)
    n, x = n[(n > 0) & (x > 0)], x[(n > 0) & (x > 0)]
    if np.unique(n).size < USL_POINTS:
        return None
    scale = float(x.max())

    def misses(parameters: Floats) -> Floats:
        alpha, beta, gamma = parameters
        fitted: Floats = gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1))
        return fitted - x / scale

    lowest = np.finfo(np.float64).tiny
    start = np.maximum(_linear_usl(n, x / scale), (0.0, 0.0, lowest))
    found = least_squares(misses, start, bounds=([0.0, 0.0, lowest], np.inf), x_scale="jac", xtol=1e-12, ftol=1e-12)
    alpha, beta, gamma = (float(value) for value in found.x)
    # The search stays inside its bounds: a term that moves no fitted value by a hundred-thousandth is 0.
    most = float(n.max())
    alpha = 0.0 if alpha * most < 1e-5 else alpha
    beta = 0.0 if beta * most * most < 1e-5 else beta
    spread = float(np.sum((x / scale - (x / scale).mean()) ** 2))
    explained = 1.0 - 2 * float(found.cost) / spread if spread > 0 else 0.0
    return _with_peak(alpha, beta, gamma * scale, explained, most)


def _linear_usl(n: Floats, x: Floats) -> Floats:
    """Start of the fit: ``N/X = a + b(N-1) + cN(N-1)`` with ``γ = 1/a``, ``α = b/a``, ``β = c/a``."""
    import numpy as np
    from scipy.optimize import nnls

    (a, b, c), _ = nnls(np.column_stack([np.ones_like(n), n - 1, n * (n - 1)]), n / x)
    if a <= 0:
        return np.array([0.0, 0.0, float(np.max(x / n))])
    return np.array([b / a, c / a, 1 / a])


def _with_peak(alpha: float, beta: float, gamma: float, r_squared: float, measured: float) -> Usl:
    if beta > 0:
        peak = max(1.0, math.sqrt(max(0.0, 1 - alpha) / beta))
    elif alpha >= 1:
        peak = 1.0
    else:
        return Usl(alpha, beta, gamma, None, gamma / alpha if alpha > 0 else None, r_squared, True)
    at_peak = Usl(alpha, beta, gamma, peak, None, r_squared, False).at(peak)
    return Usl(alpha, beta, gamma, peak, at_peak, r_squared, peak > measured)


def find_knee(
    x: Sequence[float] | NDArray[Any],
    y: Sequence[float] | NDArray[Any],
    curve: Curve = "concave",
    direction: Direction = "increasing",
    sensitivity: float = 1.0,
) -> float | None:
    """The ``x`` of the knee by Kneedle (Satopää, Albrecht, Irwin, Raghavan 2011, ICDCSW, sections III and IV).

    Both axes are scaled to 0..1 and the curve is turned to be concave and increasing. A local maximum of the
    difference curve ``y - x`` is a knee when the difference then falls below ``maximum - S · mean step of x`` before
    the next local maximum. Of several knees the one of the largest difference is given. No smoothing: the points of
    a sweep are few and each is a long measurement.

    Throughput over concurrency is concave, latency over rate convex. Points that are not finite are left out;
    points of one ``x`` are averaged.

    Returns:
        ``None`` where the curve has no knee: a line, one that bends the other way, or fewer than three points.
    """
    import numpy as np

    xs, ys = _finite_pairs(x, y)
    places, owner = np.unique(xs, return_inverse=True)
    if places.size < 3:
        return None
    heights = np.bincount(owner, weights=ys) / np.bincount(owner)
    if heights.max() == heights.min():
        return None
    across = (places - places[0]) / (places[-1] - places[0])
    up = (heights - heights.min()) / (heights.max() - heights.min())
    if (curve == "concave") != (direction == "increasing"):
        across = 1 - across
    if curve == "convex":
        up = 1 - up
    order = np.argsort(across, kind="stable")
    place = _knee_of(across[order], (up - across)[order], sensitivity)
    return None if place is None else float(places[order[place]])


def _knee_of(across: Floats, difference: Floats, sensitivity: float) -> int | None:
    """Index of the knee on the difference curve of a concave, increasing curve within the unit square."""
    import numpy as np

    inner = np.arange(1, across.size - 1)
    rises = difference[inner] >= difference[inner - 1]
    falls = difference[inner] > difference[inner + 1]
    maxima = inner[rises & falls & (difference[inner] > 0)]
    mean_step = float(np.mean(np.diff(across)))
    best: int | None = None
    for nth, place in enumerate(maxima):
        end = maxima[nth + 1] if nth + 1 < maxima.size else across.size
        lowest = float(difference[place + 1 : end].min())
        declared = lowest < difference[place] - sensitivity * mean_step
        if declared and (best is None or difference[place] > difference[best]):
            best = int(place)
    return best


@dataclass(frozen=True, slots=True)
class Saturation:
    """Where a sweep of offered rates stops being served.

    Attributes:
        sustained: highest offered rate that was achieved, with every lower one achieved too; ``None`` if none was.
        saturated: lowest offered rate that was not achieved; ``None`` if all were.
    """

    sustained: float | None
    saturated: float | None


def is_saturated(offered: float, achieved: float, share: float = SATURATED_SHARE) -> bool:
    """Whether a step of the sweep was beyond capacity: achieved below ``share`` of the offered rate.

    Both in requests per second over the same window, arrivals that could not be sent included in the offered rate.
    """
    return achieved < share * offered


def find_saturation(
    offered: Sequence[float] | NDArray[Any], achieved: Sequence[float] | NDArray[Any], share: float = SATURATED_SHARE
) -> Saturation:
    """The last rate served and the first that was not, whatever the order of the steps."""
    sustained: float | None = None
    for want, got in sorted(zip(offered, achieved, strict=True)):
        if is_saturated(float(want), float(got), share):
            return Saturation(sustained, float(want))
        sustained = float(want)
    return Saturation(sustained, None)


def _finite_pairs(x: Sequence[float] | NDArray[Any], y: Sequence[float] | NDArray[Any]) -> tuple[Floats, Floats]:
    import numpy as np

    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError("A curve needs one y for each x.")
    known = np.isfinite(xs) & np.isfinite(ys)
    return xs[known], ys[known]
