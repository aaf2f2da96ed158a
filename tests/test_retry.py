"""Retry policy: what another attempt may cure, and how long to wait for it."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ErrorKind, Failure, Outcome
from bench.measure.errors import failure_in
from bench.measure.retry import LONGEST_BACKOFF_S, LONGEST_RETRY_AFTER_S, backoff_s, is_retryable

RETRYABLE = {
    ErrorKind.CONNECT,
    ErrorKind.RESET,
    ErrorKind.TIMEOUT_CONNECT,
    ErrorKind.TIMEOUT_FIRST_BYTE,
    ErrorKind.TIMEOUT_BETWEEN_TOKENS,
    ErrorKind.TIMEOUT_TOTAL,
    ErrorKind.HTTP_429,
    ErrorKind.HTTP_5XX,
}
SPURIOUS = Failure(ErrorKind.HTTP_400, "The parameter is invalid. Please check again.", code="20015")


@pytest.mark.parametrize("kind", list(ErrorKind))
@pytest.mark.parametrize("attempt", [1, 2, 9])
def test_every_kind_of_failure_has_a_verdict(kind: ErrorKind, attempt: int) -> None:
    assert is_retryable(Failure(kind), Outcome.FAILED, attempt) == (kind in RETRYABLE)


@pytest.mark.parametrize(("status", "verdict"), [(500, True), (502, True), (503, True), (504, True), (501, False)])
def test_server_errors_that_last_are_not_tried_again(status: int, verdict: bool) -> None:
    assert is_retryable(Failure(ErrorKind.HTTP_5XX), Outcome.FAILED, 1, status) is verdict


@pytest.mark.parametrize("kind", sorted(RETRYABLE))
@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.CANCELLED, Outcome.NOT_SENT])
def test_what_ended_or_was_cancelled_is_never_sent_again(kind: ErrorKind, outcome: Outcome) -> None:
    assert not is_retryable(Failure(kind), outcome, 1)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_a_reply_that_broke_off_counts_by_what_broke_it(kind: ErrorKind) -> None:
    assert is_retryable(Failure(kind), Outcome.TRUNCATED, 1, 200) == (kind in RETRYABLE)


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        ({"error": {"code": 50507, "message": "Request failed: Unknown error.", "data": None}}, True),
        ({"code": 50603, "message": "System is really busy.", "data": None}, True),
        ({"code": 50602, "message": "Details: RPM limit reached."}, True),
        ({"error": {"message": "x", "code": 503}}, True),
        ({"error": {"message": "x", "code": "429"}}, True),
        ({"error": {"message": "x", "http_status_code": 422}}, False),
        ({"error": {"message": "x", "code": 501}}, False),
        ({"error": {"message": "x", "type": "server_error", "code": None}}, True),
        ({"error": {"message": "x", "type": "rate_limit_error"}}, True),
        ({"error": "text", "error_type": "overloaded"}, True),
        ({"error": {"message": "x", "type": "InternalServerError", "code": 500}}, True),
        ({"error": {"message": "x", "type": "invalid_request_error"}}, False),
        ({"error": {"message": "x", "code": "insufficient_quota"}}, False),
        ({"code": 20015, "message": "The parameter is invalid. Please check again."}, False),
        ({"code": 20012, "message": "Model does not exist."}, False),
        ({"error": "something"}, False),
    ],
)
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TRUNCATED])
def test_an_error_inside_a_stream_counts_by_what_it_names(
    payload: dict[str, Any], outcome: Outcome, verdict: bool
) -> None:
    failure = failure_in(payload)
    assert failure is not None
    assert is_retryable(failure, outcome, 1, 200) is verdict


def test_the_spurious_parameter_refusal_is_tried_again_once() -> None:
    assert is_retryable(SPURIOUS, Outcome.FAILED, 1, 400)
    assert not is_retryable(SPURIOUS, Outcome.FAILED, 2, 400)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(ErrorKind.HTTP_400, "The parameter is invalid.", code="20012"),
        Failure(
            ErrorKind.HTTP_400, "Value error, current model does not support parameter `enable_thinking`.", "20015"
        ),
        Failure(ErrorKind.HTTP_400, "The parameter is invalid.", code=None),
    ],
)
def test_other_refusals_with_400_are_final(failure: Failure) -> None:
    assert not is_retryable(failure, Outcome.FAILED, 1, 400)


@given(attempt=st.integers(1, 10_000), first_s=st.floats(0, 100), seed=st.integers(0, 2**32))
def test_the_wait_doubles_up_to_a_minute_with_full_jitter(attempt: int, first_s: float, seed: int) -> None:
    wait = backoff_s(attempt, Failure(ErrorKind.HTTP_5XX), first_s, Random(seed))
    assert 0 <= wait <= min(LONGEST_BACKOFF_S, first_s * 2.0 ** min(attempt - 1, 1000))


def test_jitter_fills_the_whole_range() -> None:
    random = Random(1)
    waits = [backoff_s(3, Failure(ErrorKind.RESET), 0.5, random) for _ in range(2000)]
    assert min(waits) < 0.02
    assert max(waits) > 1.98
    assert sum(waits) / len(waits) == pytest.approx(1.0, rel=0.1)


@given(retry_after_s=st.floats(0, 1e6), attempt=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_retry_after_is_a_floor_up_to_its_bound(retry_after_s: float, attempt: int, seed: int) -> None:
    failure = Failure(ErrorKind.HTTP_429, retry_after_s=retry_after_s)
    wait = backoff_s(attempt, failure, 0.5, Random(seed))
    assert min(retry_after_s, LONGEST_RETRY_AFTER_S) <= wait <= LONGEST_RETRY_AFTER_S + LONGEST_BACKOFF_S


@pytest.mark.parametrize("nonsense", [-5.0, math.nan, -math.inf, math.inf])
def test_a_nonsensical_retry_after_freezes_nothing(nonsense: float) -> None:
    wait = backoff_s(1, Failure(ErrorKind.HTTP_429, retry_after_s=nonsense), 0.5, Random(0))
    assert 0 <= wait <= LONGEST_RETRY_AFTER_S + 0.5


def test_the_same_seed_waits_the_same() -> None:
    failure = Failure(ErrorKind.CONNECT)
    assert backoff_s(4, failure, 1.0, Random(7)) == backoff_s(4, failure, 1.0, Random(7))
