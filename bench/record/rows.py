"""Exchanges as packed rows: what one journal record holds, and how text and numbers are made fit to store.

A packed exchange is the msgpack array ``[request row, [choice row, ...], [attempt row, ...]]``, each row in the column
order below, with times as read from the monotonic clock. Event marks travel as raw little-endian int64 and event kinds
as one byte each, so that neither packing nor sealing makes a Python object per token.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.domain import Attempt, Choice, ErrorKind, EventKind, Exchange, Failure, Label, Outcome, Usage


def names(text: str) -> list[str]:
    """Column names out of one spaced text."""
    return text.split()


REQUEST_COLUMNS = names(
    "request_id cell_id sample_id repeat order provider model stream n "
    "due_ns permit_ns sent_ns headers_ns first_byte_ns first_reasoning_ns first_answer_ns last_token_ns end_ns "
    "outcome error_kind error_detail error_code status attempts "
    "prompt_tokens completion_tokens reasoning_tokens cached_tokens usage_source cost currency "
    "response_id response_model system_fingerprint trace_id extra "
    "connect_ns bytes_in events cached warmup loop_lag_ns"
)
CHOICE_COLUMNS = names(
    "request_id choice text reasoning tool_calls finish_reason "
    "first_reasoning_ns first_answer_ns last_token_ns event_ns event_kind"
)
ATTEMPT_COLUMNS = names(
    "request_id attempt sent_ns end_ns status error_kind error_detail error_code retry_after_s waited_ns"
)

#: the byte that stands for an event kind is its place here
EVENT_KINDS = (EventKind.REASONING, EventKind.ANSWER, EventKind.TOOL)

_ERROR_DETAIL_CHARS = 2000
_NAME_CHARS = 500
_EXTRA_CHARS = 16_000
_INT64_MAX = 2**63 - 1
_CODE = {kind: code for code, kind in enumerate(EVENT_KINDS)}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of ``scores.parquet``: one choice under one scorer. ``value`` is in 0..1, ``None`` when unscored."""

    request_id: str
    choice: int
    scorer: str
    value: float | None
    label: Label
    extracted: str | None = None
    detail: str = ""
    scorer_version: str = ""


def is_terminal(outcome: Outcome, kind: ErrorKind | None) -> bool:
    """Whether a resumed run leaves such a request alone.

    Cancelled requests, and requests that an interruption kept from being sent, are sent again; one that was not sent
    because its budget was spent, its model is offline or it was given up as too late is settled.
    """
    if outcome is Outcome.NOT_SENT:
        return kind in (ErrorKind.BUDGET, ErrorKind.MODEL_OFFLINE, ErrorKind.TIMEOUT_TOTAL)
    return outcome is not Outcome.CANCELLED


def settled(exchange: Exchange) -> bool:
    """:func:`is_terminal` of an exchange."""
    return is_terminal(exchange.outcome, exchange.failure.kind if exchange.failure else None)


def pack(exchange: Exchange) -> bytes:
    """The journal record of an exchange. Pure: a worker process can pack and another one append.

    Lone surrogates become U+FFFD, numbers that do not fit int64 become null, error texts are cut.
    """
    row = _rows(exchange)
    try:
        return _encode(row)
    except (UnicodeEncodeError, OverflowError):
        return _encode(storable(row))


def unpack(payload: bytes) -> list[Any]:
    """``[request row, choice rows, attempt rows]`` of a packed exchange.

    Raises:
        ValueError: not a packed exchange.
    """
    try:
        rows = _decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"the record is no exchange: {error}") from error
    if not _is_exchange(rows):
        raise ValueError("the record does not hold one exchange")
    return rows


def _is_exchange(rows: list[Any]) -> bool:
    if len(rows) != 3 or not all(isinstance(row, list) for row in rows):
        return False
    request, *others = rows
    widths = (len(CHOICE_COLUMNS), len(ATTEMPT_COLUMNS))
    return len(request) == len(REQUEST_COLUMNS) and all(
        isinstance(row, list) and len(row) == width for one, width in zip(others, widths, strict=True) for row in one
    )


def pack_row(row: Any) -> bytes:
    """Any JSON-like value as msgpack, made storable first where that is needed."""
    try:
        return _encode(row)
    except (UnicodeEncodeError, OverflowError):
        return _encode(storable(row))


def storable(value: Any) -> Any:
    """The same nested value with text that is valid UTF-8 and integers that fit int64 (others become ``None``)."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return _int64(value)
    return value


def mended(text: str) -> str:
    """Text that UTF-8 can hold: surrogate pairs are joined, lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return str(text)


def json_text(value: Any) -> str:
    """JSON for a text column: readable characters, ``str`` for what JSON cannot hold, storable."""
    return mended(json.dumps(value, ensure_ascii=False, default=str))


def _int64(value: int | None) -> int | None:
    return value if value is not None and -_INT64_MAX <= value <= _INT64_MAX else None


def _name(text: str | None) -> str | None:
    return text[:_NAME_CHARS] if text is not None else None


def _rows(exchange: Exchange) -> tuple[Any, ...]:
    request, reply = exchange.request, exchange.reply
    choices = [_choice_row(request.request_id, choice) for choice in reply.choices] if reply else []
    attempts = [_attempt_row(request.request_id, attempt) for attempt in exchange.attempts]
    return _request_row(exchange, choices), choices, attempts


def _request_row(exchange: Exchange, choices: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    request, timeline, reply = exchange.request, exchange.timeline, exchange.reply
    params = request.cell.params
    usage = reply.usage if reply else None
    return (
        request.request_id,
        request.cell.cell_id,
        request.sample.sample_id,
        request.repeat,
        request.order,
        params.get("provider.name"),
        params.get("model.name"),
        params.get("sampling.stream"),
        params.get("sampling.n"),
        timeline.due_ns,
        timeline.permit_ns,
        timeline.sent_ns,
        timeline.headers_ns,
        timeline.first_byte_ns,
        min((c[6] for c in choices if c[6] is not None), default=None),
        min((c[7] for c in choices if c[7] is not None), default=None),
        max((c[8] for c in choices if c[8] is not None), default=None),
        timeline.end_ns,
        exchange.outcome,
        *_error(exchange.failure),
        exchange.status,
        len(exchange.attempts),
        *_usage(usage),
        exchange.cost,
        exchange.currency,
        _name(reply.response_id) if reply else None,
        _name(reply.response_model) if reply else None,
        _name(reply.system_fingerprint) if reply else None,
        _name(exchange.trace_id),
        _extra(reply.extra) if reply and reply.extra else None,
        timeline.connect_ns,
        exchange.bytes_in,
        reply.events if reply else 0,
        exchange.cached,
        request.warmup,
        timeline.loop_lag_ns,
    )


def _error(failure: Failure | None) -> tuple[str | None, str | None, str | None]:
    if failure is None:
        return None, None, None
    return failure.kind, failure.detail[:_ERROR_DETAIL_CHARS], _name(failure.code)


def _usage(usage: Usage | None) -> tuple[int | str | None, ...]:
    if usage is None:
        return None, None, None, None, None
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens, usage.cached_tokens)
    return (*map(_int64, counts), "server")


def _extra(extra: Any) -> str | None:
    text = json_text(dict(extra))
    return text if len(text) <= _EXTRA_CHARS else None


def _choice_row(request_id: str, choice: Choice) -> tuple[Any, ...]:
    times, kinds = choice.event_ns, choice.event_kind
    count = len(times)
    # most replies hold answer text alone; counting by identity is far cheaper than a look-up per token
    codes = b"\x01" * count if kinds.count(EventKind.ANSWER) == count else bytes([_CODE[kind] for kind in kinds])
    reasoning = codes.find(0)
    answer = count - len(codes.lstrip(b"\x00"))
    return (
        request_id,
        choice.index,
        choice.text,
        choice.reasoning,
        json_text(choice.tool_calls) if choice.tool_calls else None,
        _name(choice.finish_reason),
        times[reasoning] if reasoning >= 0 else None,
        times[answer] if answer < count else None,
        times[-1] if count else None,
        struct.pack(f"<{count}q", *times),
        codes,
    )


def _attempt_row(request_id: str, attempt: Attempt) -> tuple[Any, ...]:
    failure = attempt.failure
    return (
        request_id,
        attempt.number,
        attempt.sent_ns,
        attempt.end_ns,
        attempt.status,
        *_error(failure),
        failure.retry_after_s if failure else None,
        attempt.waited_ns,
    )
