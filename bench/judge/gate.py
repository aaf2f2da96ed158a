"""The A/B gate: does a candidate regress from its baseline, said in three states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.judge.intervals import t_quantile
from bench.judge.statistics.floats import Numbers, as_floats
from bench.judge.statistics.multiplicity import benjamini_hochberg

#: what a statistic may get worse by before it is a regression: a share, for accuracy points
MARGINS = {"p50": 0.05, "p95": 0.10, "p99": 0.15, "throughput": 0.05, "accuracy": 0.01}
#: O'Brien-Fleming limits of p at the first and the second look
LOOK_LIMITS = (0.0056, 0.048)


class Verdict(StrEnum):
    """What a gate says."""

    REGRESSION = "REGRESSION"
    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class RunRatio:
    """Candidate over baseline by pairs of runs.

    Attributes:
        ratio: geometric mean; ``None`` without a pair.
        p_slower: one-sided, against "the candidate is larger"; low, high: ends of the two-sided 90% interval, so
            ``high`` is the one-sided 95% bound; p_equivalent: of two one-sided tests. ``None`` where nothing varies,
            or below two pairs.
        pairs: how many.
    """

    ratio: float | None
    p_slower: float | None
    low: float | None
    high: float | None
    p_equivalent: float | None
    pairs: int


def run_ratio(baseline: Numbers, candidate: Numbers, margin: float = 0.05, confidence: float = 0.95) -> RunRatio:
    """Paired one-sided t test on the logs of run pairs, with TOST for equivalence within ``±margin``.

    ``d = log(candidate) - log(baseline)`` per interleaved pair, R - 1 degrees of freedom. TOST: Schuirmann 1987,
    Journal of Pharmacokinetics and Biopharmaceutics 15:657, with bounds ``log(1-margin)`` and ``log(1+margin)``.

    Raises:
        ValueError: the sides differ in length, or hold a figure that is not positive.
    """
    import numpy as np
    from scipy.special import stdtr

    old, new = as_floats(baseline), as_floats(candidate)
    if old.size != new.size:
        raise ValueError("Each run of the candidate needs its run of the baseline.")
    kept = np.isfinite(old) & np.isfinite(new)
    old, new = old[kept], new[kept]
    if (old <= 0).any() or (new <= 0).any():
        raise ValueError("A ratio needs positive figures.")
    d = np.log(new) - np.log(old)
    n = int(d.size)
    if n == 0:
        return RunRatio(None, None, None, None, None, 0)
    mean = float(d.mean())
    if n == 1:
        return RunRatio(math.exp(mean), None, None, None, None, 1)
    se = float(d.std(ddof=1)) / math.sqrt(n)
    if se <= 1e-14:
        return RunRatio(math.exp(mean), None, math.exp(mean), math.exp(mean), None, n)
    half = t_quantile(n - 1, confidence) * se
    below = float(stdtr(n - 1, -(mean - math.log1p(-margin)) / se))
    above = float(stdtr(n - 1, (mean - math.log1p(margin)) / se))
    return RunRatio(
        ratio=math.exp(mean),
        p_slower=float(stdtr(n - 1, -mean / se)),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        p_equivalent=max(below, above),
        pairs=n,
    )


@dataclass(frozen=True, slots=True)
class GateMetric:
    """One metric of a gate; larger is worse (invert the ratio of a throughput).

    Attributes:
        p: one-sided, against "worse"; ``None`` when it could not be tested.
        change: how much worse: ``ratio - 1``, or points of accuracy lost.
        upper: one-sided 95% upper bound of ``change``.
        margin: change that is a regression.
    """

    name: str
    p: float | None
    change: float | None
    upper: float | None
    margin: float


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict on one metric, with its adjusted p."""

    name: str
    verdict: Verdict
    p_adjusted: float | None


def gate_verdicts(metrics: Sequence[GateMetric], q: float = 0.05, limit: float = 0.05) -> list[GateVerdict]:
    """REGRESSION, PASS or INCONCLUSIVE per metric.

    REGRESSION when the p-value, adjusted by Benjamini and Hochberg over all metrics, is at most ``q`` and the change
    reaches its margin; else PASS when the upper bound is below the margin; else INCONCLUSIVE.

    Args:
        limit: of p at this look, :data:`LOOK_LIMITS` where there are two: p is scaled by ``q/limit`` before.
    """
    scaled = [None if metric.p is None else min(1.0, metric.p * q / limit) for metric in metrics]
    adjusted = benjamini_hochberg(scaled)
    return [GateVerdict(metric.name, _verdict(metric, p, q), p) for metric, p in zip(metrics, adjusted, strict=True)]


def _verdict(metric: GateMetric, p: float | None, q: float) -> Verdict:
    slack = 1e-12
    if p is not None and metric.change is not None and p <= q + slack and metric.change >= metric.margin - slack:
        return Verdict.REGRESSION
    if metric.upper is not None and metric.upper < metric.margin - slack:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def joint_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several metrics: the worst; INCONCLUSIVE without any."""
    worst = (Verdict.REGRESSION, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next((verdict for verdict in worst if verdict in verdicts), Verdict.INCONCLUSIVE)
