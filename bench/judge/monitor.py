"""Nightly monitor of one series: did it get worse, and since when?

One number per night, larger is worse: the log of a latency statistic (best less that of a pinned reference of the same
night), or minus the accuracy. Pure functions over the whole series; a missing night is NaN and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.judge.statistics.floats import Numbers, as_floats

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: nights that seed the mean and the spread
SEED_NIGHTS = 20
#: scores are cut to this many standard deviations, so that one bad night cannot page from a quiet state
CLIP = 3.0
#: shifts, in standard deviations of a night, that the detector is tuned to
LAMBDAS = (0.5, 1.0, 2.0)
#: smallest change worth a page: 3% of a latency, or a point of accuracy
RATIO_GATE = math.log(1.03)
ACCURACY_GATE = 0.01
#: nights before a change that its size is measured against
_LEVEL_NIGHTS = 30
_ALLOWANCE = 0.5


def alarm_threshold(paging_series: int = 1, referenced: bool = False) -> float:
    """Evidence that pages: 1,000 with a pinned reference, 20,000 without, and 365 per series that may page."""
    return float(max(1000 if referenced else 20_000, 365 * paging_series))


@dataclass
class _Level:
    """Running count, mean and sum of squared deviations (Welford 1962, Technometrics 4:419)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, x: float) -> None:
        self.n += 1
        off = x - self.mean
        self.mean += off / self.n
        self.squares += off * (x - self.mean)

    @property
    def sd(self) -> float:
        return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else 0.0


def self_starting_scores(baseline: Numbers, new: Numbers, clip: float = CLIP) -> list[float]:
    """Self-starting normal scores of new nights (Hawkins 1987, The Statistician 36:299), cut to ``±clip``.

    ``u = Φ⁻¹(F_{t,n-1}((x-m)/s·√(n/(n+1))))`` with mean and standard deviation of the ``n`` nights before; then the
    night joins them, itself cut to where its score would be ``±clip``. NaN for a missing night. The baseline is taken
    as it is: see :func:`seed_level`.

    Raises:
        ValueError: the baseline has fewer than two nights.
    """
    level = _Level()
    for x in as_floats(baseline):
        if math.isfinite(x):
            level.add(float(x))
    if level.n < 2:
        raise ValueError("Scores need a baseline of at least two nights.")
    return [_score(level, float(x), clip) for x in as_floats(new)]


def _score(level: _Level, x: float, clip: float) -> float:
    """Score one night and let it join the level."""
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    if not math.isfinite(x):
        return math.nan
    n, m, s = level.n, level.mean, level.sd
    if s <= 1e-12 * max(1.0, abs(m)):
        level.add(x)
        return 0.0 if abs(x - m) <= 1e-12 * max(1.0, abs(m)) else math.copysign(clip, x - m)
    t = (x - m) / s * math.sqrt(n / (n + 1))
    # The lower tail of both: the upper one loses its digits to 1.
    u = math.copysign(-float(ndtri(stdtr(n - 1, -abs(t)))), t)
    reach = -float(stdtrit(n - 1, ndtr(-clip))) * s * math.sqrt((n + 1) / n)
    level.add(min(max(x, m - reach), m + reach))
    return min(max(u, -clip), clip)


def seed_level(nights: Numbers, clip: float = CLIP) -> list[float]:
    """Seed nights cut to ``median ± clip·1.4826·MAD``, so that an outlier among them does not blind the monitor."""
    import numpy as np

    x = as_floats(nights)
    x = x[np.isfinite(x)]
    if x.size == 0:
        return []
    middle = float(np.median(x))
    reach = clip * 1.4826 * float(np.median(np.abs(x - middle)))
    return [float(value) for value in (np.clip(x, middle - reach, middle + reach) if reach > 0 else x)]


def evidence_of_change(scores: Sequence[float], lambdas: Sequence[float] = LAMBDAS) -> list[float]:
    """Shiryaev-Roberts e-detector after each score: the mean over ``λ`` of ``R ← (1+R)·exp(λu - λ²/2)``.

    Alarming at ``A`` takes at least ``A`` quiet nights on average (Shin, Ramdas, Rinaldo 2024, NEJSDS 2:229). NaN
    scores change nothing.
    """
    evidence: list[float] = []
    sums = [0.0] * len(lambdas)
    for u in scores:
        if math.isfinite(u):
            sums = [
                (1 + r) * math.exp(min(700.0 - math.log1p(r), rate * u - rate * rate / 2))
                for r, rate in zip(sums, lambdas, strict=True)
            ]
        evidence.append(math.fsum(sums) / len(sums))
    return evidence


def first_alarm(evidence: Sequence[float], threshold: float) -> int | None:
    """Index of the first evidence at or above the threshold."""
    return next((index for index, value in enumerate(evidence) if value >= threshold), None)


class NightState(StrEnum):
    """What a night says: nothing new, one bad night that is worth a rerun, or a change that pages."""

    SEED = "SEED"
    QUIET = "QUIET"
    TRANSIENT = "TRANSIENT"
    ALARM = "ALARM"
    MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a monitored series.

    Attributes:
        score, evidence: ``None`` for seed nights, and the score for missing ones.
        start: index of the night at which the suspected change began; ``None`` before any suspicion.
        shift: median since then less the median of up to 30 nights before, in the unit of the series.
    """

    state: NightState
    score: float | None
    evidence: float | None
    start: int | None
    shift: float | None


@dataclass(frozen=True, slots=True)
class Monitored:
    """A series with its nights.

    Attributes:
        alarm: index of the first night that alarmed; ``None`` when none did.
        start, shift: of the change, as seen that night.
        evidence: after the last night; ``None`` while the series has only seed nights.
    """

    nights: tuple[Night, ...]
    alarm: int | None
    start: int | None
    shift: float | None
    evidence: float | None

    @property
    def relative_shift(self) -> float | None:
        """The shift of a series of logs as a share: 0.05 is 5% more."""
        return None if self.shift is None else math.expm1(self.shift)


def monitor(
    series: Numbers,
    threshold: float = 20_000.0,
    gate: float = RATIO_GATE,
    seed_nights: int = SEED_NIGHTS,
    clip: float = CLIP,
    lambdas: Sequence[float] = LAMBDAS,
) -> Monitored:
    """Watch a series from its first night to its last.

    The first ``seed_nights`` known nights seed the level. A night alarms when the evidence reaches ``threshold`` (see
    :func:`alarm_threshold`) and the shift reaches ``gate``. The change is taken to have started where the one-sided
    cumulative sum ``C ← max(0, C + u - ½)`` last left 0 (Page 1954, Biometrika 41:100). A night that is bad by the
    whole clip and by ``gate``, and does not alarm, is TRANSIENT: rerun it. After an accepted change pass the series
    from its start on.

    Args:
        gate: smallest change that pages, in the unit of the series: :data:`RATIO_GATE` for logs of latencies,
            :data:`ACCURACY_GATE` for minus the accuracy.
    """
    import numpy as np

    x = as_floats(series)
    known = np.flatnonzero(np.isfinite(x))
    if known.size <= seed_nights:
        return Monitored(tuple(_seed_night(value) for value in x), None, None, None, None)
    first = int(known[seed_nights])
    scores = self_starting_scores(seed_level(x[:first], clip), x[first:], clip)
    evidence = evidence_of_change(scores, lambdas)
    nights = [_seed_night(value) for value in x[:first]]
    start: int | None = None
    rising = 0.0
    for index, (u, level) in enumerate(zip(scores, evidence, strict=True), start=first):
        if not math.isfinite(u):
            nights.append(Night(NightState.MISSING, None, level, start, None))
            continue
        start = index if rising <= 0 or start is None else start
        rising = max(0.0, rising + u - _ALLOWANCE)
        shift = _shift(x, start, index)
        alarms = level >= threshold and shift is not None and shift >= gate
        is_bad = u >= clip and shift is not None and shift >= gate
        state = NightState.ALARM if alarms else NightState.TRANSIENT if is_bad else NightState.QUIET
        nights.append(Night(state, u, level, start, shift))
    alarm = next((index for index, night in enumerate(nights) if night.state is NightState.ALARM), None)
    if alarm is None:
        return Monitored(tuple(nights), None, None, None, evidence[-1])
    return Monitored(tuple(nights), alarm, nights[alarm].start, nights[alarm].shift, evidence[-1])


def _seed_night(value: float) -> Night:
    return Night(NightState.SEED if math.isfinite(value) else NightState.MISSING, None, None, None, None)


def _shift(x: Floats, start: int, night: int) -> float | None:
    import numpy as np

    since, before = x[start : night + 1], x[max(0, start - _LEVEL_NIGHTS) : start]
    since, before = since[np.isfinite(since)], before[np.isfinite(before)]
    return float(np.median(since) - np.median(before)) if since.size and before.size else None
