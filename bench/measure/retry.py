"""Which failed attempts are worth another, and how long to wait before it. Pure functions."""

from __future__ import annotations

import math
from random import Random

from bench.domain import ErrorKind, Failure, Outcome

#: retries where ``limits.retries`` is not set: a closed load may wait, an open load must show what users saw
CLOSED_RETRIES = 3

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
_LASTING_CODES = frozenset(map(str, _LASTING_STATUSES))

#: what an error object inside a reply of status 200 names when the trouble will pass: SiliconFlow's codes that come
#: with 429, 500 and 503, and the words of other servers (compared in small letters, letters and digits alone)
_PASSING_CODES = frozenset(
    {
        *("50505", "50507", "50508", "50602", "50603"),
        *("ratelimitexceeded", "ratelimiterror", "ratelimitreached", "toomanyrequests"),
        *("servererror", "internalerror", "internalservererror", "apierror", "timeout", "timeouterror"),
        *("overloaded", "overloadederror", "engineoverloaded", "serverbusy"),
        *("serviceunavailable", "serviceunavailableerror", "gatewaytimeout"),
    }
)


def allowed_retries(limit: int | None, is_open: bool) -> int:
    """Further attempts after a first one that failed, by ``limits.retries`` and whether the load is open."""
    if limit is not None:
        return limit
    return 0 if is_open else CLOSED_RETRIES


def is_retryable(failure: Failure, outcome: Outcome, attempt: int, status: int | None = None) -> bool:
    """Whether another attempt may succeed; the caller still counts attempts against ``limits.retries``.

    By the kind of error, whether a part of the answer had come or not: refusals for load, server errors, broken
    connections and deadlines pass. An error object inside a stream counts by the status or code that it names. Other
    4xx, damaged payloads and a stream that simply ends too early (``stream_truncated``) are results: a server that
    leaves out the end does so again, and how often it does is what the run is to tell. SiliconFlow at times answers a
    valid body with 400 / 20015 "The parameter is invalid"; that is tried again, once.

    Args:
        failure: how the attempt failed.
        outcome: the attempt's outcome.
        attempt: number of the attempt that failed, from 1.
        status: its HTTP status, where one came.
    """
    if outcome not in (Outcome.FAILED, Outcome.TRUNCATED):
        return False
    if failure.kind is ErrorKind.HTTP_400:
        return attempt == 1 and _is_spurious_refusal(failure)
    if failure.kind is ErrorKind.STREAM_ERROR:
        return _bare(failure.code) in _PASSING_CODES
    lasting = status in _LASTING_STATUSES or failure.code in _LASTING_CODES
    return failure.kind in _PASSING and not lasting


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


def _bare(code: str | None) -> str:
    return "".join([c for c in (code or "").lower() if c.isalnum()])
