"""The interval of an accuracy: the question as the unit, and the method that the data asks for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.judge.intervals import CONFIDENCE, Estimate, mean_t, wilson
from bench.judge.statistics.floats import as_floats
from bench.judge.statistics.means import clustered_error
from bench.judge.statistics.resampling import SEED, bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.judge.statistics.floats import Floats

#: Cochran's rule for a mean of skewed values: the normal theory needs more than so many times the squared skewness
_COCHRAN = 25.0
#: below so many questions a bootstrap knows too little of the tails to do better than t
_ENOUGH_TO_RESAMPLE = 30


def score_mean(
    per_question: Sequence[float] | NDArray[Any],
    single_binary: bool,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Estimate:
    """Mean of scores in 0..1 whose unit of replication is the question, never the single reply.

    Repeats and choices of one question are averaged before (Miller 2024, arXiv 2411.00640, section 3.1). The interval
    is chosen by the data:

    * questions in clusters: ``mean ± t(G-1)·CR1``, cut to 0..1; none at all with a single cluster;
    * one right-or-wrong reply per question (``single_binary``): Wilson's;
    * means of several replies and graded scores: Student's t over questions, cut to 0..1; where they are so skewed
      that ``n <= 25·g²`` with the skewness ``g`` (Cochran 1977, Sampling Techniques, section 2.15), from 30 questions
      on, the BCa bootstrap over questions.

    Where nothing varies these would have no width; Wilson's on the number of questions (clusters) stands in,
    conservative because a mean of values in 0..1 varies at most like a coin.

    Args:
        clusters: one per question; each its own is as none.
        seed: of the bootstrap.

    Raises:
        ValueError: not one cluster per question.
    """
    import numpy as np

    x = as_floats(per_question)
    n = int(x.size)
    if n == 0:
        return Estimate(None, method="t")
    error = None if clusters is None else clustered_error(x, clusters)
    units = n if error is None else error.clusters
    if n > 1 and bool(np.ptp(x) < 1e-12):
        alike = wilson(float(x.mean()) * units, units, confidence)
        return replace(alike, n=n, method="Wilson" if units == n else "Wilson, on clusters")
    if error is not None and units < n:
        return _cut(error.interval(confidence))
    if single_binary or n == 1:
        return wilson(float(x.sum()), n, confidence)
    if _ENOUGH_TO_RESAMPLE <= n <= _COCHRAN * _skewness(x) ** 2:
        drawn = bootstrap(x, confidence=confidence, seed=seed)
        if drawn.low is not None and drawn.high is not None:
            return Estimate(drawn.value, drawn.low, drawn.high, n, "BCa over questions")
    return replace(_cut(mean_t(x, confidence)), method="t over questions")


def _skewness(x: Floats) -> float:
    off = x - x.mean()
    return float((off**3).mean() / (off**2).mean() ** 1.5)


def _cut(estimate: Estimate) -> Estimate:
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))
