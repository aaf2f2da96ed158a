"""Figures of questions that were answered several times: pass@k, pass^k, maj@k, determinism."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bench.judge.statistics.means import effective_size, standard_error


@dataclass(frozen=True, slots=True)
class PerTask:
    """A figure of each task and their mean.

    Attributes:
        per_task: ``None`` where a task has too few samples.
        mean: ``None`` where any task's figure is unknown: a mean over the rest would be over other tasks.
        se: over tasks; ``None`` as the mean is, or below two tasks.
    """

    per_task: tuple[float | None, ...]
    mean: float | None
    se: float | None


def pass_at_k(samples: Sequence[int], correct: Sequence[int], k: int) -> PerTask:
    """Unbiased pass@k, ``1 - C(n-c, k)/C(n, k)`` per task (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Args:
        samples, correct: scored samples (n) and right ones (c) of each task.

    Raises:
        ValueError: the lengths differ, ``c`` is not within 0..n, or ``k`` is below one.
    """
    return _per_task(samples, correct, k, lambda n, c: 1.0 - math.comb(n - c, k) / math.comb(n, k))


def pass_hat_k(samples: Sequence[int], correct: Sequence[int], k: int) -> PerTask:
    """Pass^k, the chance that ``k`` samples are all right: ``C(c, k)/C(n, k)`` (Yao et al. 2024, arXiv 2406.12045).

    Arguments and errors as in :func:`pass_at_k`.
    """
    return _per_task(samples, correct, k, lambda n, c: math.comb(c, k) / math.comb(n, k))


def _per_task(samples: Sequence[int], correct: Sequence[int], k: int, of: Callable[[int, int], float]) -> PerTask:
    if len(samples) != len(correct) or k < 1:
        raise ValueError("Each task needs its samples and how many are right, and k is at least 1.")
    if any(not 0 <= c <= n for n, c in zip(samples, correct, strict=True)):
        raise ValueError("A task has between none and all of its samples right.")
    figures = tuple(of(int(n), int(c)) if k <= n else None for n, c in zip(samples, correct, strict=True))
    known = [value for value in figures if value is not None]
    if not known or len(known) < len(figures):
        return PerTask(figures, None, None)
    return PerTask(figures, math.fsum(known) / len(known), standard_error(known))


def majority_at_k(answers: Sequence[Hashable | None], correct: Hashable, k: int) -> float | None:
    """Maj@k: mean over all subsets of ``k`` samples of the chance that the most frequent answer is right.

    Ties are split evenly among the answers that share the lead (Wang et al. 2023, arXiv 2203.11171, votes without
    weights). ``None`` among the answers is a sample without a parsed answer: it takes a place and casts no vote.
    Counts the subsets by how many votes each answer gets, so 100 samples take milliseconds.

    Returns:
        ``None`` for fewer than ``k`` samples, or ``k`` below one.
    """
    n = len(answers)
    if not 1 <= k <= n:
        return None
    votes = Counter(answer for answer in answers if answer is not None)
    right = votes.pop(correct, 0)
    blank = sum(answer is None for answer in answers)
    return _majority(tuple(sorted(votes.values())), right, blank, k)


@lru_cache(maxsize=4096)
def _majority(others: tuple[int, ...], right: int, blank: int, k: int) -> float:
    won = 0.0
    for lead in range(1, min(right, k) + 1):
        # ways[used, tied]: picks from the other answers, none above the lead, ``tied`` of them level with it
        ways = {(0, 0): 1}
        for count in others:
            grown: dict[tuple[int, int], int] = {}
            for (used, tied), number in ways.items():
                for picked in range(min(count, lead, k - lead - used) + 1):
                    key = (used + picked, tied + (picked == lead))
                    grown[key] = grown.get(key, 0) + number * math.comb(count, picked)
            ways = grown
        for (used, tied), number in ways.items():
            rest = k - lead - used
            if rest <= blank:
                won += math.comb(right, lead) * number * math.comb(blank, rest) / (tied + 1)
    return won / math.comb(sum(others) + right + blank, k)


@dataclass(frozen=True, slots=True)
class Determinism:
    """How far repeats of one prompt agree; ``None`` without a prompt that was repeated.

    Attributes:
        tar: total agreement rate, the share of prompts whose repeats are all identical (TARr@N of raw outputs, TARa@N
            of parsed answers: Atil et al. 2024, arXiv 2408.04667).
        pairwise: mean over prompts of the share of pairs of repeats that agree.
        prompts: how many had two repeats or more.
    """

    tar: float | None
    pairwise: float | None
    prompts: int


def determinism(outputs: Sequence[Sequence[Hashable | None]]) -> Determinism:
    """Agreement of the repeats of each prompt; ``None``, an answer that could not be parsed, agrees with nothing."""
    agreed = pairs = 0.0
    prompts = 0
    for repeats in outputs:
        n = len(repeats)
        if n < 2:
            continue
        prompts += 1
        counts = Counter(output for output in repeats if output is not None)
        agreed += len(counts) == 1 and sum(counts.values()) == n
        pairs += sum(math.comb(count, 2) for count in counts.values()) / math.comb(n, 2)
    return Determinism(agreed / prompts, pairs / prompts, prompts) if prompts else Determinism(None, None, 0)


def distinct_samples(samples: Sequence[Hashable]) -> tuple[int, float]:
    """Distinct outputs among the samples of one question, and how many independent samples they are worth.

    Copies of one output agree fully, so the worth is Kish's ``(Σm)²/Σm²`` over the copies ``m`` of each.
    """
    counts = Counter(samples)
    return len(counts), effective_size(list(counts.values()))
