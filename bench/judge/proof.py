"""Proof of a latency bound by early stopping, as MLPerf Inference does it.

Source: MLPerf Inference rules, section "Early stopping", and the LoadGen's ``early_stopping.cc`` with a tolerance of
0. Counting only who was late makes no assumption on the shape of latency; it assumes independent requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.judge.intervals import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: MLPerf's confidence
CONFIDENCE = 0.99


def proof(late: int, n: int, p: float, c: float = CONFIDENCE) -> bool:
    """Whether ``late`` of ``n`` requests over the bound prove that a share ``p`` meets it, with confidence ``c``.

    ``P(X <= late) <= 1 - c`` for X ~ Bin(n, 1-p): were the share only ``p``, so few late ones would be that rare.

    Raises:
        ValueError: ``late`` is not within 0..n, or ``p`` or ``c`` not within 0..1.
    """
    from scipy.special import betainc

    _check(p, c)
    if not 0 <= late <= n:
        raise ValueError(f"Of {n} requests, {late} cannot be late.")
    if late == n:
        return False
    # The binomial distribution function as an incomplete beta function (Abramowitz and Stegun 26.5.24).
    return bool(betainc(n - late, late + 1, p) <= 1 - c)


def needed_for_proof(late: int, p: float, c: float = CONFIDENCE) -> int:
    """Fewest requests at which ``late`` of them over the bound still prove it: 459, 662, 838 for 0, 1, 2 at p=c=0.99.

    Raises:
        ValueError: ``late`` is negative, or ``p`` or ``c`` not within 0..1.
    """
    _check(p, c)
    if late < 0:
        raise ValueError("A number of late requests cannot be negative.")
    low, high = late, late + 1
    while not proof(late, high, p, c):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proof(late, middle, p, c) else (middle, high)
    return high


def most_late(n: int, p: float, c: float = CONFIDENCE) -> int | None:
    """Most late requests out of ``n`` that still prove the bound; ``None`` when not even 0 do."""
    if not proof(0, n, p, c):
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if proof(middle, n, p, c) else (low, middle)
    return low


def estimate_rank(n: int, p: float, c: float = CONFIDENCE) -> int | None:
    """1-based ascending rank of MLPerf's estimate of percentile ``p``: the t-th largest with t of :func:`most_late`.

    ``None`` when ``n`` cannot prove anything with at least one late request.
    """
    late = most_late(n, p, c)
    return None if not late else n - late + 1


def estimate_percentile(ordered: NDArray[Any], p: float, c: float = CONFIDENCE) -> Estimate:
    """MLPerf's percentile of ascending values: an upper bound with confidence ``c``, not the sample percentile.

    Withheld, with the ``n`` it would need, when the sample is too small.
    """
    n = int(ordered.size)
    rank = estimate_rank(n, p, c)
    if rank is None:
        return Estimate(None, n=n, method="MLPerf early stopping", needs=needed_for_proof(1, p, c))
    return Estimate(float(ordered[rank - 1]), n=n, method="MLPerf early stopping")


def _check(p: float, c: float) -> None:
    if not (0 < p < 1 and 0 < c < 1):
        raise ValueError("Percentile and confidence are shares between 0 and 1.")
