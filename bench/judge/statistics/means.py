"""Means over questions with their standard errors: plain, clustered, split into components, fixed set, groups."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from bench.judge.intervals import CONFIDENCE, Estimate, t_quantile
from bench.judge.statistics.floats import Numbers, as_floats, cluster_codes, finite, known_floats

#: repeats of a question where nothing is known yet
DEFAULT_REPEATS = 4
#: more repeats than this are never advised
_MOST_REPEATS = 64


def standard_error(scores: Numbers) -> float | None:
    """``sd/√n`` with ``ddof=1`` over questions (Miller 2024, arXiv 2411.00640, equation 1); ``None`` below two."""
    x = known_floats(scores)
    return float(x.std(ddof=1)) / math.sqrt(x.size) if x.size > 1 else None


@dataclass(frozen=True, slots=True)
class ClusteredError:
    """Standard errors of a mean whose questions come in clusters.

    Attributes:
        mean: over questions; ``None`` without any.
        naive: as if questions were independent.
        cr0, cr1: cluster-robust, without and with the factor ``√(G/(G-1))``; ``None`` for fewer than two clusters.
        clusters: how many (G); n: questions.
    """

    mean: float | None
    naive: float | None
    cr0: float | None
    cr1: float | None
    clusters: int
    n: int

    @property
    def design_effect(self) -> float | None:
        """``(CR1/naive)²``: how many times more questions the clusters cost; ``None`` where either is 0 or unknown."""
        if not self.naive or self.cr1 is None:
            return None
        return (self.cr1 / self.naive) ** 2

    @property
    def effective_n(self) -> float | None:
        """Independent questions that would say as much, ``n`` over the design effect."""
        return self.n / self.design_effect if self.design_effect else None

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        """``mean ± t(G-1)·CR1`` (Cameron and Miller 2015, Journal of Human Resources 50:317, section VI)."""
        if self.mean is None or self.cr1 is None:
            return Estimate(self.mean, n=self.n, method="clustered t")
        half = t_quantile(self.clusters - 1, 0.5 + confidence / 2) * self.cr1
        return Estimate(self.mean, self.mean - half, self.mean + half, self.n, "clustered t")


def clustered_error(scores: Numbers, clusters: Sequence[Hashable]) -> ClusteredError:
    """``CR0 = √(Σ_c (Σ_{i in c} (x_i - mean))²)/n`` (Miller 2024, equation 4; Liang and Zeger 1986), CR1 beside it.

    Questions without a score are left out, with them clusters that have none.

    Raises:
        ValueError: not one cluster per score.
    """
    import numpy as np

    x = as_floats(scores)
    if x.size != len(clusters):
        raise ValueError("Clustered scores need one cluster for each score.")
    kept = np.isfinite(x)
    x = x[kept]
    codes, groups = cluster_codes([name for name, known in zip(clusters, kept, strict=True) if known])
    n = int(x.size)
    if n == 0:
        return ClusteredError(None, None, None, None, 0, 0)
    mean = float(x.mean())
    naive = standard_error(x)
    if groups < 2:
        return ClusteredError(mean, naive, None, None, groups, n)
    sums = np.bincount(codes, weights=x - mean)
    cr0 = math.sqrt(float((sums**2).sum())) / n
    return ClusteredError(mean, naive, cr0, cr0 * math.sqrt(groups / (groups - 1)), groups, n)


def effective_size(sizes: Sequence[int]) -> float:
    """Independent units that ``sizes`` copies of each are worth when copies agree fully: ``(Σm)²/Σm²`` (Kish 1965)."""
    squares = sum(size * size for size in sizes)
    return sum(sizes) ** 2 / squares if squares else 0.0


@dataclass(frozen=True, slots=True)
class Components:
    """Where the variance of a mean over questions comes from.

    Attributes:
        mean: of question means; ``None`` without questions.
        se: ``sd(x)/√n``; ``None`` below two questions.
        within: mean variance of the samples of one question (W); ``None`` when none has two samples.
        between: variance of the true question means (V), never below 0; ``None`` where ``within`` or ``se`` is.
        fixed_se: standard error on this very set of questions, of the samples alone (``√Σ s_i²/K_i / n``).
        repeats: harmonic mean of the samples per question (K); n: questions.
    """

    mean: float | None
    se: float | None
    within: float | None
    between: float | None
    fixed_se: float | None
    repeats: float
    n: int


def variance_components(scores: Sequence[Numbers]) -> Components:
    """One-way random effects over samples of questions (Miller 2024, section 3.1; ANOVA mean squares).

    ``W = mean_i var_k(s_ik)``, ``V = max(0, var(x_i) - W/K)``, ``Var(mean) = (V + W/K)/n``. Questions without a
    sample are left out; questions with one say nothing of ``W``.
    """
    import numpy as np

    rows = [row for row in map(known_floats, scores) if row.size]
    n = len(rows)
    if n == 0:
        return Components(None, None, None, None, None, 0.0, 0)
    means = np.array([row.mean() for row in rows])
    counts = np.array([row.size for row in rows], dtype=np.float64)
    repeats = n / float((1 / counts).sum())
    spread = [float(row.var(ddof=1)) for row in rows if row.size > 1]
    within = sum(spread) / len(spread) if spread else None
    between = None if within is None or n < 2 else max(0.0, float(means.var(ddof=1)) - within / repeats)
    fixed = None
    if len(spread) == n:
        fixed = math.sqrt(sum(value / count for value, count in zip(spread, counts, strict=True))) / n
    return Components(float(means.mean()), standard_error(means), within, between, fixed, repeats, n)


def fixed_set_error(a: Sequence[Numbers], b: Sequence[Numbers]) -> float | None:
    """Standard error of "did the service change on this frozen set": ``√(Σ_i (var_Ai/K_A + var_Bi/K_B))/n``.

    The questions are the whole population, so only the samples are random. ``None`` unless every question has two
    samples or more on both sides.

    Raises:
        ValueError: not the same number of questions.
    """
    if len(a) != len(b):
        raise ValueError("Both sides need the same questions.")
    left, right = variance_components(a), variance_components(b)
    if left.n != len(a) or right.n != len(b) or left.fixed_se is None or right.fixed_se is None:
        return None
    return math.hypot(left.fixed_se, right.fixed_se)


def advise_repeats(within: float | None, between: float | None) -> int:
    """Smallest K with ``W/K <= V/2``: beyond it more questions help more than more samples (Miller 2024, section 3).

    :data:`DEFAULT_REPEATS` where the components are unknown; never above 64, where the questions do not differ.
    """
    if within is None or between is None:
        return DEFAULT_REPEATS
    if within == 0:
        return 1
    if between == 0:
        return _MOST_REPEATS
    return max(1, min(_MOST_REPEATS, math.ceil(round(2 * within / between, 9))))


@dataclass(frozen=True, slots=True)
class GroupError:
    """Standard errors of a figure over a fixed group of subtasks; ``None`` where a subtask's is unknown.

    Attributes:
        pooled: of the size-weighted mean as lm-evaluation-harness pools it: pooled variance over all questions.
        weighted: of the size-weighted mean, exactly: ``√Σ(n_i·se_i)²/Σn_i``.
        macro: of the plain mean of the subtasks: ``√Σse_i²/k``.
    """

    pooled: float | None
    weighted: float | None
    macro: float | None


def group_error(errors: Numbers, sizes: Sequence[int]) -> GroupError:
    """Standard errors of a group of subtasks from each one's standard error and number of questions.

    Raises:
        ValueError: not one size per error, or a size below one.
    """
    import numpy as np

    se, n = as_floats(errors), np.asarray(sizes, dtype=np.float64)
    if se.size != n.size or bool((n < 1).any()):
        raise ValueError("A group needs one size, of at least one question, for each standard error.")
    if se.size == 0 or not np.isfinite(se).all():
        return GroupError(None, None, None)
    total = float(n.sum())
    pooled = None
    if total > se.size:
        pooled = finite(math.sqrt(float(((n - 1) * se**2 * n).sum()) / (total - se.size)) / math.sqrt(total))
    weighted = math.sqrt(float(((n * se) ** 2).sum())) / total
    return GroupError(pooled, weighted, math.sqrt(float((se**2).sum())) / se.size)
