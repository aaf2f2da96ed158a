"""From what was read of a response, and how the reading ended, to the :class:`bench.domain.Answer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bench.domain import Answer, ErrorKind, Failure, Outcome, Reply, Timeline
from bench.measure.codings import CodingError, TooLargeError, decompress
from bench.measure.decode import Decoded, Reads, decode
from bench.measure.errors import classify, plain, without_secret
from bench.measure.tracing import Sending

TRACE_HEADERS = ("x-siliconcloud-trace-id", "x-request-id", "request-id", "x-trace-id")

#: headers in which servers tell their own times; kept in ``Reply.extra["headers"]``
SERVER_TIME_HEADERS = ("fireworks-server-time-to-first-token", "openai-processing-ms")
KEPT_HEADERS = (*TRACE_HEADERS, *SERVER_TIME_HEADERS)

#: a shorter key (local servers take "EMPTY" or "none") may be a word of the reply, and is no secret
SHORTEST_SECRET = 12


def answer(
    sending: Sending, broken: Failure | None, *, due_ns: int, permit_ns: int, limit_bytes: int, secret: str
) -> Answer:
    """The answer of one attempt.

    Args:
        sending: what was marked and read.
        broken: how the attempt ended, where the body did not end properly.
        due_ns: passed on, as is ``permit_ns``.
        permit_ns: see ``due_ns``.
        limit_bytes: how large a compressed body may become.
        secret: struck out of the failure, of headers that are kept and of the reply, should a server have repeated it.
    """
    marks, headers, reads = sending.marks, sending.headers, sending.marks.reads
    decoded = _decoded(sending, reads, broken, limit_bytes)
    if broken is not None and decoded.failure is None and reads:
        # the reply was complete: what came after it is not part of it
        marks.end_ns = reads[-1][0]
    reply = decoded.reply
    kept = {name: without_secret(plain(headers[name], 200), secret) for name in KEPT_HEADERS if headers.get(name)}
    times = {name: kept[name][:100] for name in SERVER_TIME_HEADERS if name in kept}
    if reply is not None and times:
        reply = replace(reply, extra={**reply.extra, "headers": times})
    if reply is not None and len(secret) >= SHORTEST_SECRET and any(secret in said for said in _said(reply)):
        reply = _struck_reply(reply, secret)
    return Answer(
        outcome=decoded.outcome,
        timeline=Timeline(
            due_ns=due_ns,
            permit_ns=permit_ns,
            sent_ns=marks.sent_ns,
            headers_ns=marks.headers_ns,
            first_byte_ns=reads[0][0] if reads else None,
            end_ns=marks.end_ns,
            connect_ns=sending.connect_ns,
        ),
        status=sending.status,
        reply=reply,
        failure=_censored(decoded.failure, secret),
        bytes_in=sum([len(data) for _, data in reads]),
        trace_id=next((kept[name] for name in TRACE_HEADERS if name in kept), None),
    )


def too_large(limit_bytes: int) -> Failure:
    """The failure of a body that passes ``engine.max_body_bytes``."""
    return Failure(ErrorKind.TOO_LARGE, f"the body passes {limit_bytes} bytes (engine.max_body_bytes)")


def coding(headers: Mapping[str, str]) -> str:
    """The content coding of a response, ``identity`` where there is none."""
    return headers.get("content-encoding", "").strip().lower() or "identity"


def _decoded(sending: Sending, reads: Reads, broken: Failure | None, limit_bytes: int) -> Decoded:
    """What the body amounts to, by its status."""
    status = sending.status
    if status is None or (broken is not None and broken.kind is ErrorKind.TOO_LARGE):
        return Decoded(Outcome.FAILED, None, broken)
    succeeded = 200 <= status <= 299
    if sending.marks.opaque:
        try:
            reads = decompress(reads, coding(sending.headers), limit_bytes)
        except TooLargeError:
            return Decoded(Outcome.FAILED, None, too_large(limit_bytes))
        except CodingError as error:
            reads = error.pieces
            broken = broken or Failure(ErrorKind.BAD_PAYLOAD, plain(str(error)))
    if succeeded:
        return decode(reads, broken)
    failure = classify(status, sending.headers, b"".join([data for _, data in reads]))
    return Decoded(Outcome.FAILED, None, failure)


def _censored(failure: Failure | None, secret: str) -> Failure | None:
    if failure is None or not secret:
        return failure
    code = without_secret(failure.code, secret) if failure.code else None
    return replace(failure, detail=without_secret(failure.detail, secret), code=code)


def _said(reply: Reply) -> Iterator[str]:
    """All text of a reply."""
    for choice in reply.choices:
        yield choice.text
        yield choice.reasoning
        yield choice.finish_reason or ""
        if choice.tool_calls:
            yield str(choice.tool_calls)
    yield reply.response_id or ""
    yield reply.response_model or ""
    yield reply.system_fingerprint or ""
    if reply.extra:
        yield str(reply.extra)


def _struck_reply(reply: Reply, secret: str) -> Reply:
    """The reply without the secret."""

    def struck(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(secret, "***")
        if isinstance(value, Mapping):
            return {struck(key): struck(part) for key, part in value.items()}
        return [struck(part) for part in value] if isinstance(value, list | tuple) else value

    choices = [
        replace(
            choice,
            text=struck(choice.text),
            reasoning=struck(choice.reasoning),
            finish_reason=struck(choice.finish_reason),
            tool_calls=tuple(struck(choice.tool_calls)),
        )
        for choice in reply.choices
    ]
    return replace(
        reply,
        choices=tuple(choices),
        response_id=struck(reply.response_id),
        response_model=struck(reply.response_model),
        system_fingerprint=struck(reply.system_fingerprint),
        extra=struck(reply.extra),
    )
