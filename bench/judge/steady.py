"""Whether a load window is in a steady state, judged from the times and latencies of its requests.

Pure functions. Times may be in any one unit (the rows hold nanoseconds); figures that depend on it say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.intervals import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: largest relative error of Little's law that a window of complete requests may show
LITTLE_LIMIT = 0.05
#: growth of the backlog, or shift between halves, over the window below which a trend is not worth a warning
TREND_LIMIT = 0.05
#: batches of MSER-5 below which nothing is said about steadiness
MSER_BATCHES = 10
_TREND_BATCHES = 20


@dataclass(frozen=True, slots=True)
class Little:
    """Both sides of Little's law over a window.

    Attributes:
        in_flight: time average of requests in flight (L), integrated from their intervals.
        per_time: completions per unit of time (X).
        latency: mean latency of the requests that completed in the window (W).
        error: ``|L - X·W| / L``.
    """

    in_flight: float
    per_time: float
    latency: float
    error: float

    @property
    def holds(self) -> bool:
        """Whether both sides agree within :data:`LITTLE_LIMIT`."""
        return self.error <= LITTLE_LIMIT


def check_little(
    starts: Sequence[float] | NDArray[Any],
    ends: Sequence[float] | NDArray[Any],
    window: tuple[float, float] | None = None,
) -> Little | None:
    """Little's law ``L = X·W`` (Little 1961, Operations Research 9:383).

    It is an identity over a window that holds every request whole; over a shorter one it fails when the system is
    not steady, or when requests are missing from the record or stamped wrongly.

    Args:
        starts, ends: one interval per request, ``ends >= starts``; intervals with a missing end are left out.
        window: ``(from, to)``; the span of all intervals when ``None``.

    Returns:
        ``None`` when nothing was in flight during the window.
    """
    import numpy as np

    begun, done = _intervals(starts, ends)
    if begun.size == 0:
        return None
    low, high = window or (float(begun.min()), float(done.max()))
    inside = np.clip(done, low, high) - np.clip(begun, low, high)
    length = high - low
    if length <= 0 or inside.sum() <= 0:
        return None
    completed = (done >= low) & (done <= high) if window is None else (done > low) & (done <= high)
    in_flight = float(inside.sum() / length)
    latency = float((done - begun)[completed].mean()) if completed.any() else 0.0
    per_time = float(completed.sum() / length)
    return Little(in_flight, per_time, latency, abs(in_flight - per_time * latency) / in_flight)


@dataclass(frozen=True, slots=True)
class Trend:
    """A change over a window as a share of the level, with its 95% interval.

    For a backlog: least-squares slope times the length of the window, over the mean in flight. Between halves:
    (second mean - first mean) / first mean.
    """

    change: float
    low: float
    high: float

    @property
    def rises(self) -> bool:
        """Whether it rises by more than :data:`TREND_LIMIT` and the interval excludes no change."""
        return self.low > 0 and self.change > TREND_LIMIT

    @property
    def moves(self) -> bool:
        """Whether it rises or falls by more than :data:`TREND_LIMIT` and the interval excludes no change."""
        return self.rises or (self.high < 0 and self.change < -TREND_LIMIT)


def backlog_trend(
    starts: Sequence[float] | NDArray[Any],
    ends: Sequence[float] | NDArray[Any],
    window: tuple[float, float] | None = None,
    batches: int = _TREND_BATCHES,
) -> Trend | None:
    """Growth of the requests in flight over a window: arrivals that outrun the service pile up.

    In-flight counts are strongly autocorrelated, so the regression runs on their time averages over ``batches``
    equal parts of the window (batch means: Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3), with the
    t interval of an ordinary slope.

    Args:
        starts: when each request was due (open loads) or sent; ``ends``: when it was over.
        window: ``(from, to)``; from the first start to the last start when ``None``, so that the drain at the end
            does not read as a falling backlog.

    Returns:
        ``None`` when the window is empty or nothing was in flight.
    """
    import numpy as np

    begun, done = _intervals(starts, ends)
    if begun.size == 0:
        return None
    low, high = window or (float(begun.min()), float(begun.max()))
    if high <= low:
        return None
    edges = np.linspace(low, high, batches + 1)
    held = _time_in_flight(begun, edges) - _time_in_flight(done, edges)
    means = np.diff(held) / np.diff(edges)
    level = float(means.mean())
    if level <= 0:
        return None
    place = np.arange(batches) - (batches - 1) / 2
    slope = float((place * means).sum() / (place**2).sum())
    rest = means - level - slope * place
    error = math.sqrt(float((rest**2).sum()) / (batches - 2) / float((place**2).sum()))
    half = _t(batches - 2) * error
    return Trend(*(value * batches / level for value in (slope, slope - half, slope + half)))


def _time_in_flight(since: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each time: the sum, over the marks before it, of the time since the mark."""
    import numpy as np

    ordered = np.sort(since) - at[0]
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    before = np.searchsorted(ordered, at - at[0], side="right")
    passed: NDArray[np.float64] = before * (at - at[0]) - summed[before]
    return passed


@dataclass(frozen=True, slots=True)
class Truncation:
    """What MSER-5 says of a series.

    Attributes:
        batches: how many batches of five the series has (k).
        d: batches of the initial transient (d*).
        truncate: observations to leave out, ``5·d``.
        mser: the minimised statistic.
    """

    batches: int
    d: int
    truncate: int
    mser: float

    @property
    def steady(self) -> bool | None:
        """Whether a steady part was found: d* inside the first half. ``None`` below :data:`MSER_BATCHES` batches."""
        return None if self.batches < MSER_BATCHES else self.d < self.batches // 2


def mser5(series: Sequence[float] | NDArray[Any]) -> Truncation | None:
    """The length of the warm-up by MSER-5: ``d* = argmin over d <= k/2 of Σ_{j>=d} (z_j - mean)² / (k-d)²``.

    ``z`` are the means of batches of five consecutive values (White 1997, Simulation 69:323; batches by Spratt 1998;
    White, Cobb, Spratt 2000). The first minimum counts; what is left over after the last full batch is not used. A
    minimum at the edge ``⌊k/2⌋`` means that no steady state was found: the run was too short or drifts.

    Args:
        series: latencies of requests in the order of their sending; finite.

    Returns:
        ``None`` for fewer than five values.
    """
    import numpy as np

    x = np.asarray(series, dtype=np.float64)
    k = x.size // 5
    if k == 0:
        return None
    means = x[: 5 * k].reshape(k, 5).mean(axis=1)
    # Centred on the last batch: sums over the steady end then lose nothing to a large transient.
    centred = means - means[-1]
    sums = np.cumsum(centred[::-1])[::-1]
    squares = np.cumsum((centred**2)[::-1])[::-1]
    left = k - np.arange(k // 2 + 1)
    statistic = np.maximum(squares[: left.size] - sums[: left.size] ** 2 / left, 0.0) / left**2
    d = int(np.argmin(statistic))
    return Truncation(k, d, 5 * d, float(statistic[d]))


def compare_halves(
    series: Sequence[float] | NDArray[Any], confidence: float = CONFIDENCE, batches: int = _TREND_BATCHES // 2
) -> Trend | None:
    """Shift of the mean from the first half of a series to the second, relative to the first.

    Each half is cut into ``batches`` consecutive parts whose means stand for independent values (batch means, as in
    :func:`backlog_trend`); the interval is Welch's (1947, Biometrika 34:28) for the difference of their means. The
    mean of the first half is taken as known in the division.

    Returns:
        ``None`` when a half has fewer values than batches, or the first mean is 0.
    """
    import numpy as np

    x = np.asarray(series, dtype=np.float64)
    half = x.size // 2
    if half < batches:
        return None
    first, second = (
        np.array([part.mean() for part in np.array_split(piece, batches)]) for piece in (x[:half], x[half : 2 * half])
    )
    level = float(first.mean())
    if level == 0:
        return None
    spread = [float(part.var(ddof=1)) / batches for part in (first, second)]
    change = float(second.mean()) - level
    if sum(spread) == 0:
        return Trend(change / level, change / level, change / level)
    degrees = sum(spread) ** 2 * (batches - 1) / sum(value**2 for value in spread)
    width = _t(degrees, confidence) * math.sqrt(sum(spread))
    return Trend(change / level, (change - width) / abs(level), (change + width) / abs(level))


def second_half(sent: Sequence[float] | NDArray[Any]) -> NDArray[np.bool_]:
    """Which requests were sent in the second half of the time from the first send to the last; null sends are not."""
    import numpy as np

    times = np.asarray(sent, dtype=np.float64)
    if not np.isfinite(times).any():
        return np.zeros(times.shape, dtype=np.bool_)
    middle = (np.nanmin(times) + np.nanmax(times)) / 2
    later: NDArray[np.bool_] = times >= middle
    return later


def _t(degrees: float, confidence: float = CONFIDENCE) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _intervals(
    starts: Sequence[float] | NDArray[Any], ends: Sequence[float] | NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    begun, done = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    if begun.shape != done.shape or begun.ndim != 1:
        raise ValueError("Intervals need one end for each start.")
    known = np.isfinite(begun) & np.isfinite(done)
    if (done[known] < begun[known]).any():
        raise ValueError("An interval ends before it starts.")
    return begun[known], done[known]
