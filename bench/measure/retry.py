"""Which failed attempts are worth another, and how long to wait before it. Pure functions."""

from __future__ import annotations

import math
from random import Random

from bench.domain import ErrorKind, Failure, Outcome

#: longest back-off that our own doubling reaches
LONGEST_BACKOFF_S = 60.0

#: a ``Retry-After`` is honoured up to here: a server that asks for hours gets its retries used up, not a frozen run
LONGEST_RETRY_AFTER_S = 300.0

#: kinds that another attempt may cure; statuses 501 and 505 of ``http_5xx`` are taken out again below
_PASSING = frozenset(
    {
        ErrorKind.CONNECT,
        ErrorKind.RESET,
        ErrorKind.TIMEOUT_CONNECT,
        ErrorKind.TIMEOUT_FIRST_BYTE,
        ErrorKind.TIMEOUT_BETWEEN_TOKENS,
        ErrorKind.TIMEOUT_TOTAL,
        ErrorKind.HTTP_429,
        ErrorKind.HTTP_5XX,
    }
)

#: "not implemented" and "HTTP version not supported" stay true on the next attempt
_LASTING_STATUSES = frozenset({501, 505})


def is_retryable(failure: Failure, outcome: Outcome, attempt: int, status: int | None = None) -> bool:
    """Whether another attempt may succeed; the caller still counts attempts against ``limits.retries``.

    A reply that broke off in the middle is a result (``truncated``), not a request to send again. SiliconFlow at
    times answers a valid body with 400 / 20015 "The parameter is invalid"; that is tried again, once.

    Args:
        failure: how the attempt failed.
        outcome: the attempt's outcome.
        attempt: number of the attempt that failed, from 1.
        status: its HTTP status, where one came.
    """
    if outcome is not Outcome.FAILED:
        return False
    if failure.kind is ErrorKind.HTTP_400:
        return attempt == 1 and _is_spurious_refusal(failure)
    return failure.kind in _PASSING and status not in _LASTING_STATUSES


def backoff_s(attempt: int, failure: Failure, first_s: float, random: Random) -> float:
    """Seconds to wait after a failed attempt: doubling with full jitter, and never less than ``Retry-After``.

    Without ``Retry-After``: uniform in 0..min(:data:`LONGEST_BACKOFF_S`, ``first_s`` x 2^(attempt - 1)), after
    M. Brooker, "Exponential Backoff And Jitter", 2015. With it: the server's wait, cut to
    :data:`LONGEST_RETRY_AFTER_S`, and the same jitter on top, so that requests refused together do not come back
    together. It holds for this attempt alone.

    Args:
        attempt: number of the attempt that failed, from 1.
        failure: how it failed; carries ``retry_after_s``.
        first_s: ceiling of the first wait.
        random: source of the jitter.
    """
    ceiling_s = min(LONGEST_BACKOFF_S, first_s * 2.0 ** min(attempt - 1, 64))
    return _floor_s(failure.retry_after_s) + random.uniform(0.0, ceiling_s)


def _floor_s(retry_after_s: float | None) -> float:
    if retry_after_s is None or math.isnan(retry_after_s):
        return 0.0
    return min(max(retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)


def _is_spurious_refusal(failure: Failure) -> bool:
    return failure.code == "20015" and "the parameter is invalid" in failure.detail.lower()
