"""Raw stamped reads of a response to a :class:`bench.domain.Reply`: pure functions, run after the stream has ended.

What servers disagree about is settled here. Reasoning is ``reasoning_content``, else ``reasoning``, else the thinking
parts of a content array. State is kept by choice index. Usage stands at the top, else in the first choice, else under
``x_groq``; the last one that says anything counts and nothing is summed, so a server that streams usage once per
choice (llama.cpp with ``n`` > 1) is recorded with its last. Errors are looked for in every payload, at status 200 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.domain import ErrorKind, Failure, Outcome, Reply
from bench.measure.assemble import Assembly, bad_payload
from bench.measure.errors import failure_in
from bench.measure.payloads import read_chunk, read_json, says_something
from bench.measure.plainly import plain_reply
from bench.measure.sse import BOM, Frame, parse

DONE = "[DONE]"

Reads = Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body amounts to. ``reply`` is partial, or ``None``, where ``failure`` is set.

    ``outcome`` is ``truncated`` where a failure struck after a part of the answer had come, whatever its kind.
    """

    outcome: Outcome
    reply: Reply | None = None
    failure: Failure | None = None


def decode(reads: Reads, broken: Failure | None = None) -> Decoded:
    """A response body with status 200, whatever was asked for: a stream or one JSON document, by what it starts with.

    Args:
        reads: ``(stamp in ns, bytes)`` of every read, de-chunked and decompressed.
        broken: how the connection failed, where the body did not end properly; a reply that is complete all the same
            (every choice finished, or ``[DONE]`` seen) is not spoilt by it.
    """
    head = _first_bytes(reads)
    if head.startswith((b"{", b"[", b'"')):
        return decode_document(b"".join([data for _, data in reads]), broken)
    return decode_stream(reads, broken)


def decode_document(body: bytes, broken: Failure | None = None) -> Decoded:
    """One JSON document; blank lines in front of it (DeepSeek's keep-alive) do no harm."""
    if broken is not None:
        return Decoded(Outcome.FAILED, None, broken)
    text = body.removeprefix(BOM).decode("utf-8", "replace").strip()
    payload = read_json(text)
    if (failure := failure_in(payload)) is not None:
        return Decoded(Outcome.FAILED, None, failure)
    chunk = read_chunk(text) if isinstance(payload, dict) else None
    if chunk is None:
        return Decoded(
            Outcome.FAILED, None, bad_payload(f"not a JSON object: {text[:200]}" if text else "an empty body")
        )
    assembly = Assembly()
    assembly.take(chunk, 0, streamed=False)
    if not assembly.choices:
        return Decoded(Outcome.FAILED, None, bad_payload(f"a reply without choices: {text[:200]}"))
    reply, failure = assembly.reply(done=False), assembly.failure
    return Decoded(Outcome.OK, reply) if failure is None else _broken_off(reply, failure)


def decode_stream(reads: Reads, broken: Failure | None = None) -> Decoded:
    """A stream of server-sent events.

    ``ok`` when every choice that was seen has finished or ``[DONE]`` was seen. An error said by the server, a payload
    that cannot be read and a connection that broke leave a ``truncated`` reply where a part of an answer (text,
    reasoning or a tool call) had come, else a failed one; each keeps its own kind of error. An end with neither mark is
    truncated even before the first word: the stream had begun to answer.
    """
    if (reply := plain_reply(reads)) is not None:
        return Decoded(Outcome.OK, reply)
    parsed = parse(reads)
    assembly = Assembly()
    done = False
    for ns, event, data in parsed.frames:
        if event == "message" and data.startswith("{"):
            chunk = read_chunk(data)
            if chunk is None:
                assembly.fail(bad_payload(f"a chunk that is not JSON: {data[:200]}"))
            elif chunk.choices is None or says_something(chunk.error):
                assembly.take_unusual(chunk, ns, data)
            else:
                assembly.take(chunk, ns, streamed=True)
        elif data.strip() == DONE:
            done = True
        else:
            assembly.take_odd_frame(Frame(ns, event, data))
    reply = assembly.reply(done)
    if assembly.failure is not None:
        return _broken_off(reply, assembly.failure)
    if reply.choices and (done or all(c.finish_reason for c in reply.choices)):
        return Decoded(Outcome.OK, reply)
    if broken is not None:
        return _broken_off(reply, broken)
    if not reply.choices:
        return Decoded(Outcome.FAILED, None, bad_payload("a stream without any choice"))
    cut = " in the middle of an event" if parsed.unterminated else ""
    detail = f"the stream ended{cut} with neither finish_reason nor [DONE]"
    return Decoded(Outcome.TRUNCATED, reply, Failure(ErrorKind.STREAM_TRUNCATED, detail))


def _broken_off(reply: Reply, failure: Failure) -> Decoded:
    """A reply that a failure cut short: truncated where a part of an answer had come."""
    began = failure.kind is ErrorKind.STREAM_TRUNCATED and bool(reply.choices)
    if began or any(choice.text or choice.reasoning or choice.tool_calls for choice in reply.choices):
        return Decoded(Outcome.TRUNCATED, reply, failure)
    return Decoded(Outcome.FAILED, reply if reply.choices else None, failure)


def _first_bytes(reads: Reads) -> bytes:
    """The first bytes of a body after a byte order mark and white space."""
    head = b""
    for _, data in reads:
        head = (head + data).removeprefix(BOM).lstrip()
        if len(head) >= len(BOM):
            break
    return head
