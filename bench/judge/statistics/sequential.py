"""Looking at running data without inflating error: boundaries, confidence sequences and stopping rules."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from bench.judge.intervals import CONFIDENCE, mean_t, wilson
from bench.judge.statistics.floats import Numbers, known_floats
from bench.judge.statistics.means import clustered_error, standard_error

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: questions before the first look, and between looks, of the width stop
FIRST_LOOK, LOOK_EVERY = 50, 10
#: looks of a group-sequential comparison
LOOKS = 10
#: a difference below this is none
EQUAL_WITHIN = 0.03
#: questions below which an asymptotic confidence sequence is not to be trusted
FEWEST_FOR_SEQUENCE = 100
_NODES = 240
_REACH = 9.0


@lru_cache(maxsize=64)
def obrien_fleming(looks: int, alpha: float = 0.05) -> tuple[float, ...]:
    """Two-sided z boundaries of the O'Brien-Fleming type by alpha spending at equally spaced looks.

    Per side ``α/2`` is spent as ``2 - 2Φ(z_{α/4}/√t)`` (Lan and DeMets 1983, Biometrika 70:659). Boundaries by
    recursive integration of the density of the paths that have not crossed (Armitage, McPherson, Rowe 1969, JRSS A
    132:235), with Gauss-Legendre nodes.

    Raises:
        ValueError: no look, or ``alpha`` is no share.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import ndtr

    if looks < 1 or not 0 < alpha < 1:
        raise ValueError("Boundaries need at least one look and an alpha between 0 and 1.")
    edge = NormalDist().inv_cdf(1 - alpha / 4)
    spent = [2 * float(ndtr(-edge / math.sqrt((look + 1) / looks))) for look in range(looks)]
    step = math.sqrt(1 / looks)
    unit, mass = np.polynomial.legendre.leggauss(_NODES)
    found = [-float(_normal_quantile(spent[0]))]
    sums, density = _nodes(found[0] * step, step, unit), np.empty(0)
    weights = mass * _half(found[0] * step, step)
    density = np.exp(-0.5 * (sums / step) ** 2) / (step * math.sqrt(2 * math.pi))
    for look in range(1, looks):
        spread = math.sqrt((look + 1) / looks)
        wanted = spent[look] - spent[look - 1]

        def excess(z: float, sums: Floats = sums, held: Floats = density * weights, goal: float = wanted) -> float:
            return float((held * ndtr((sums - z * spread) / step)).sum()) - goal  # noqa: B023  # used at once

        found.append(float(brentq(excess, 0.0, 40.0, xtol=1e-12)))
        ahead = _nodes(found[-1] * spread, spread, unit)
        kernel = np.exp(-0.5 * ((ahead[:, None] - sums[None, :]) / step) ** 2) / (step * math.sqrt(2 * math.pi))
        density = kernel @ (density * weights)
        sums, weights = ahead, mass * _half(found[-1] * spread, spread)
    return tuple(found)


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _half(bound: float, spread: float) -> float:
    """Half the width of the range that holds the paths: up to the boundary, or where none ever is."""
    return min(bound, _REACH * spread)


def _nodes(bound: float, spread: float, unit: Floats) -> Floats:
    return unit * _half(bound, spread)


def normal_mixture_bound(v: float, alpha: float, v_opt: float) -> float:
    """Two-sided bound that ``|Σ(x - mean)|`` never crosses, at intrinsic time ``v = n·sd²``, but with chance ``alpha``.

    ``√((v+ρ)(ln(1+v/ρ) + 2·ln(1/α)))`` with ``ρ = v_opt/(2·ln(1/α) + ln(1 + 2·ln(1/α)))``, tightest near ``v_opt``
    (Howard, Ramdas, McAuliffe, Sekhon 2021, Annals of Statistics 49:1055, equation 14).

    Raises:
        ValueError: ``v`` is negative, ``v_opt`` not positive, or ``alpha`` no share.
    """
    if v < 0 or not v_opt > 0 or not 0 < alpha < 1:
        raise ValueError("A mixture bound needs v >= 0, v_opt > 0 and an alpha between 0 and 1.")
    rho = _best_rho(v_opt, alpha)
    return math.sqrt((v + rho) * (math.log1p(v / rho) + 2 * math.log(1 / alpha)))


def _best_rho(v_opt: float, alpha: float) -> float:
    twice = 2 * math.log(1 / alpha)
    return v_opt / (twice + math.log1p(twice))


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends."""

    low: float
    high: float

    def within(self, distance: float) -> bool:
        """Whether both ends are nearer to 0 than that."""
        return -distance < self.low and self.high < distance


def bernoulli_sequence(
    successes: float, n: int, alpha: float = 0.05, t_opt: float = 100.0, alpha_opt: float = 0.05
) -> Interval:
    """Confidence sequence of a share, valid at every ``n`` at once, by a beta-binomial mixture.

    The shares ``p`` at which the mixture ``B(a+n-s, b+s)/B(a, b)·p^-s·(1-p)^-(n-s)`` with ``a = r/p``, ``b = r/(1-p)``
    stays below ``1/α``; ``r`` from ``v_opt = p(1-p)·t_opt`` (Howard et al. 2021, proposition 7; tightest near
    ``t_opt``). The whole range before the first trial.

    Raises:
        ValueError: ``successes`` is not within 0..n, ``t_opt`` not positive or ``alpha`` no share.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln

    if not 0 <= successes <= n or not t_opt > 0 or not 0 < alpha < 1:
        raise ValueError("A sequence needs successes within 0..n, t_opt > 0 and an alpha between 0 and 1.")
    if n == 0:
        return Interval(0.0, 1.0)
    failures = n - successes

    def surplus(p: float) -> float:
        v = p * (1 - p)
        r = max(_best_rho(v * t_opt, alpha_opt) - v, 1e-3 * v)
        a, b = r / p, r / (1 - p)
        mixture = float(betaln(a + failures, b + successes) - betaln(a, b))
        return mixture - successes * math.log(p) - failures * math.log1p(-p) + math.log(alpha)

    share, tiny = successes / n, 1e-12
    inner = min(max(share, tiny), 1 - tiny)
    low = float(brentq(surplus, tiny, inner, xtol=1e-13)) if successes > 0 and surplus(tiny) > 0 else 0.0
    high = float(brentq(surplus, inner, 1 - tiny, xtol=1e-13)) if failures > 0 and surplus(1 - tiny) > 0 else 1.0
    return Interval(low, high)


def mean_sequence(values: Numbers, alpha: float = 0.05, n_opt: float = 500.0) -> Interval | None:
    """Asymptotic confidence sequence of a mean: ``mean ± bound/n`` (Waudby-Smith et al. 2024, Annals of Stat. 52:2613).

    ``None`` below :data:`FEWEST_FOR_SEQUENCE` values or where they do not vary.

    Args:
        n_opt: number of values at which it is tightest.
    """
    x = known_floats(values)
    n, variance = int(x.size), float(x.var(ddof=1)) if x.size > 1 else 0.0
    if n < FEWEST_FOR_SEQUENCE or variance <= 0:
        return None
    half = normal_mixture_bound(n * variance, alpha, n_opt * variance) / n
    return Interval(float(x.mean()) - half, float(x.mean()) + half)


def width_reached(
    scores: Numbers, half_width: float, single_binary: bool = True, confidence: float = CONFIDENCE
) -> bool:
    """Whether the interval of the mean so far is within ``± half_width``: Wilson's, or t for graded scores.

    Stopping by width barely touches coverage (Chow and Robbins 1965, Ann. Math. Stat. 36:457), because the width says
    little of the mean. Ask only where :func:`is_width_look` says so.
    """
    x = known_floats(scores)
    if x.size == 0:
        return False
    found = wilson(float(x.sum()), int(x.size), confidence) if single_binary else mean_t(x, confidence)
    if found.low is None or found.high is None or found.high <= found.low:
        return False
    return (found.high - found.low) / 2 <= half_width


def is_width_look(n: int, first: int = FIRST_LOOK, every: int = LOOK_EVERY) -> bool:
    """Whether the width is looked at after ``n`` questions."""
    return n >= first and (n - first) % every == 0


class Stop(StrEnum):
    """What a look at a running comparison says."""

    GO_ON = "go on"
    A_BETTER = "A better"
    B_BETTER = "B better"
    EQUAL = "equal"
    UNDECIDED = "undecided at the end"

    @property
    def final(self) -> bool:
        """Whether nothing more needs to be asked."""
        return self is not Stop.GO_ON


@dataclass(frozen=True, slots=True)
class LookPlan:
    """Looks of a group-sequential comparison: a fixed budget of questions in random order.

    Attributes:
        total: questions at most; looks: equally spaced; alpha: over all looks, two-sided.
        equal_within: difference that counts as none; ``None`` never stops for equality.
    """

    total: int
    looks: int = LOOKS
    alpha: float = 0.05
    equal_within: float | None = EQUAL_WITHIN

    @property
    def look_at(self) -> tuple[int, ...]:
        """Numbers of questions after which to look."""
        return tuple(math.ceil(self.total * look / self.looks) for look in range(1, self.looks + 1))

    @property
    def boundaries(self) -> tuple[float, ...]:
        """Their z boundaries."""
        return obrien_fleming(self.looks, self.alpha)

    def look(self, differences: Numbers, clusters: Sequence[Hashable] | None = None) -> Stop:
        """Decide on the question-level differences A - B seen so far.

        Different when ``|mean|/SE`` reaches the boundary of the look; else equal when ``|mean| + z·SE`` stays below
        ``equal_within``. Between looks always ``GO_ON``. A look counts by how many questions were asked, those without
        a score on both sides (NaN) included, so lost replies do not shift the looks.
        """
        n = len(differences)
        if n < self.total and n not in self.look_at:
            return Stop.GO_ON
        found = self.interval(differences, clusters)
        if found is not None and (found.low >= 0 or found.high <= 0):
            return Stop.A_BETTER if found.low >= 0 else Stop.B_BETTER
        if found is not None and self.equal_within is not None and found.within(self.equal_within):
            return Stop.EQUAL
        return Stop.UNDECIDED if n >= self.total else Stop.GO_ON

    def interval(self, differences: Numbers, clusters: Sequence[Hashable] | None = None) -> Interval | None:
        """The repeated confidence interval ``mean ± z·SE`` at the look after so many questions.

        All looks together cover the true difference with ``1 - alpha``, whenever the comparison ends (Jennison and
        Turnbull 1989, JRSS B 51:305). ``None`` where the differences do not vary.

        Raises:
            ValueError: there is no look after so many questions.
        """
        n = len(differences)
        z = self.boundaries[-1 if n >= self.total else self.look_at.index(n)]
        se = standard_error(differences) if clusters is None else clustered_error(differences, clusters).cr1
        if se is None or se <= 0:
            return None
        mean = float(known_floats(differences).mean())
        return Interval(mean - z * se, mean + z * se)


def open_ended_look(
    differences: Numbers, alpha: float = 0.05, n_opt: float = 500.0, equal_within: float | None = None
) -> Stop:
    """Decide at any time, without a budget, by :func:`mean_sequence`: different once it excludes 0.

    ``equal_within``: equal once it lies within ± that; ``None`` never.
    """
    found = mean_sequence(differences, alpha, n_opt)
    if found is not None and not found.low <= 0 <= found.high:
        return Stop.A_BETTER if found.low > 0 else Stop.B_BETTER
    return Stop.EQUAL if found is not None and equal_within is not None and found.within(equal_within) else Stop.GO_ON
