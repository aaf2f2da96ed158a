"""Raw stamped reads of a response to a :class:`bench.domain.Reply`: pure functions, run after the stream has ended.

What servers disagree about is settled here. Reasoning is ``reasoning_content``, else ``reasoning``, else the thinking
parts of a content array. State is kept by choice index. Usage stands at the top, else in the first choice, else under
``x_groq``; the last one that says anything counts and nothing is summed, so a server that streams usage once per
choice (llama.cpp with ``n`` > 1) is recorded with its last. Errors are looked for in every payload, at status 200 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.domain import Choice, ErrorKind, EventKind, Failure, JsonObject, Outcome, Reply
from bench.measure.errors import failure_in, plain
from bench.measure.payloads import (
    Chunk,
    ChunkChoice,
    Delta,
    ToolCall,
    as_raw,
    raw_value,
    read_chunk,
    read_json,
    read_usage,
    says_something,
    server_truth,
    split_content,
)
from bench.measure.sse import BOM, FIELD_ERROR, Frame, parse

DONE = "[DONE]"

Reads = Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body amounts to. ``reply`` is partial, or ``None``, where ``failure`` is set."""

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
        return Decoded(Outcome.FAILED, None, _bad(f"not a JSON object: {text[:200]}" if text else "an empty body"))
    assembly = _Assembly()
    assembly.take(chunk, 0, streamed=False)
    if not assembly.choices:
        return Decoded(Outcome.FAILED, None, _bad(f"a reply without choices: {text[:200]}"))
    failure = assembly.failure
    return Decoded(Outcome.OK if failure is None else Outcome.FAILED, assembly.reply(done=False), failure)


def decode_stream(reads: Reads, broken: Failure | None = None) -> Decoded:
    """A stream of server-sent events.

    ``ok`` when every choice that was seen has finished or ``[DONE]`` was seen; an error said by the server, a payload
    that cannot be read and a stream without any choice fail; an end without either mark is truncated.
    """
    parsed = parse(reads)
    assembly = _Assembly()
    done = False
    for ns, event, data in parsed.frames:
        if event == "message" and data.startswith("{"):
            chunk = read_chunk(data)
            if chunk is None:
                assembly.fail(_bad(f"a chunk that is not JSON: {data[:200]}"))
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
        return Decoded(Outcome.FAILED, reply if reply.choices else None, assembly.failure)
    if reply.choices and (done or all(c.finish_reason for c in reply.choices)):
        return Decoded(Outcome.OK, reply)
    if broken is not None:
        truncated = broken.kind is ErrorKind.STREAM_TRUNCATED and reply.choices
        return Decoded(Outcome.TRUNCATED if truncated else Outcome.FAILED, reply if reply.choices else None, broken)
    if not reply.choices:
        return Decoded(Outcome.FAILED, None, _bad("a stream without any choice"))
    cut = " in the middle of an event" if parsed.unterminated else ""
    detail = f"the stream ended{cut} with neither finish_reason nor [DONE]"
    return Decoded(Outcome.TRUNCATED, reply, Failure(ErrorKind.STREAM_TRUNCATED, detail))


@dataclass(slots=True)
class _Call:
    """A tool call being put together."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """A choice being put together."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    call_at: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None
    event_ns: list[int] = field(default_factory=list)
    event_kind: list[EventKind] = field(default_factory=list)

    def take_delta(self, delta: Delta) -> EventKind | None:
        """Adds a delta; tells what it carried (the answer, if it carried reasoning too), ``None`` for nothing."""
        kind = None
        content, reasoning = delta.content, delta.reasoning_content or delta.reasoning
        if content is not None and not isinstance(content, str):
            content, thinking = split_content(content)
            reasoning = reasoning or thinking
        if reasoning:
            self.reasoning.append(reasoning)
            kind = EventKind.REASONING
        if delta.tool_calls:
            said = [self.take_call(call, place) for place, call in enumerate(delta.tool_calls)]
            kind = EventKind.TOOL if any(said) else kind
        content = content or delta.refusal
        if content:
            self.text.append(content)
            kind = EventKind.ANSWER
        return kind

    def take_call(self, delta: ToolCall, place: int) -> bool:
        """Merges a tool-call delta, tells whether it said anything. Empty and null never overwrite."""
        function = delta.function
        name = (function.name if function else None) or ""
        arguments = (function.arguments if function else None) or ""
        key = delta.index if delta.index is not None else place
        call = self.call_at.get(key)
        # two calls under one index: the second brings an id and a name of its own
        if call is None or (delta.id and name and call.id and call.id != delta.id):
            call = self.call_at[key] = _Call()
            self.calls.append(call)
        call.id = delta.id or call.id
        call.name = name or call.name
        if arguments:
            call.arguments.append(arguments)
        return bool(delta.id or name or arguments)

    def choice(self, index: int) -> Choice:
        """The finished choice."""
        calls: list[JsonObject] = [
            {
                "id": whole(c.id),
                "type": "function",
                "function": {"name": whole(c.name), "arguments": whole("".join(c.arguments))},
            }
            for c in self.calls
            if c.id or c.name or c.arguments
        ]
        return Choice(
            index=index,
            text=whole("".join(self.text)),
            reasoning=whole("".join(self.reasoning)),
            tool_calls=tuple(calls),
            finish_reason=self.finish_reason and whole(self.finish_reason),
            event_ns=tuple(self.event_ns),
            event_kind=tuple(self.event_kind),
        )


class _Assembly:
    """A reply being put together from chunks."""

    def __init__(self) -> None:
        self.choices: dict[int, _Open] = {}
        self.failure: Failure | None = None
        self._usages: list[msgspec.Raw] = []
        self._names: list[str | None] = [None, None, None]
        self._extra: dict[str, Any] = {}

    def fail(self, failure: Failure) -> None:
        """Keeps the first failure: what follows it is its echo."""
        if self.failure is None:
            self.failure = failure

    def take(self, chunk: Chunk, ns: int, *, streamed: bool) -> None:
        """Adds one chunk."""
        choices = chunk.choices or ()
        for choice in choices:
            self._take_choice(choice, ns, streamed=streamed)
        if says_something(chunk.usage):
            self._usages.append(chunk.usage)
        elif choices and says_something(choices[0].usage):
            self._usages.append(choices[0].usage)
        elif chunk.x_groq:
            nested = raw_value(chunk.x_groq)
            if isinstance(nested, dict):
                self._usages.append(as_raw(nested.get("usage")))
        names = self._names
        if names[0] is None or names[1] is None or names[2] is None:
            self._names = [names[0] or chunk.id, names[1] or chunk.model, names[2] or chunk.system_fingerprint]
        if chunk.timings:
            self._extra["timings"] = server_truth(chunk.timings)
        if chunk.perf_metrics:
            self._extra["perf_metrics"] = server_truth(chunk.perf_metrics)

    def _take_choice(self, choice: ChunkChoice, ns: int, *, streamed: bool) -> None:
        """Adds one element of ``choices``; one without delta and finish_reason (Azure's late ones) changes nothing."""
        delta, finish_reason = choice.delta or choice.message, choice.finish_reason
        if delta is None:
            if choice.text is None and not finish_reason:
                return
            delta = Delta(content=choice.text)
        index = choice.index or 0
        open_ = self.choices.get(index)
        if open_ is None:
            open_ = self.choices[index] = _Open()
        kind = open_.take_delta(delta)
        if finish_reason:
            open_.finish_reason = finish_reason
            if finish_reason == "error":
                self.fail(Failure(ErrorKind.STREAM_ERROR, "the server ended the reply with finish_reason 'error'"))
        if streamed and kind is not None:
            open_.event_ns.append(ns)
            open_.event_kind.append(kind)

    def take_unusual(self, chunk: Chunk, ns: int, data: str) -> None:
        """A chunk without choices or with an ``error``: a failure, or usage and the like."""
        if (failure := failure_in(read_json(data))) is not None:
            self.fail(failure)
        self.take(chunk, ns, streamed=True)

    def take_odd_frame(self, frame: Frame) -> None:
        """A frame that is no chunk: an ``error`` event or field, an empty event, or damage."""
        data = frame.data.strip()
        payload = read_json(data)
        if frame.event in ("error", FIELD_ERROR):
            said = failure_in(payload) or failure_in({"error": payload if isinstance(payload, dict) else data})
            self.fail(said or Failure(ErrorKind.STREAM_ERROR, "an error event without words"))
        elif data.startswith("{") and (chunk := read_chunk(data)) is not None:
            self.take_unusual(chunk, frame.ns, data)
        elif isinstance(payload, str):
            self.fail(Failure(ErrorKind.STREAM_ERROR, plain(payload)))
        elif data:
            self.fail(_bad(f"a chunk that is not a JSON object: {data[:200]}"))

    def reply(self, done: bool) -> Reply:
        """The reply as far as it came."""
        choices = tuple([open_.choice(index) for index, open_ in sorted(self.choices.items())])
        response_id, model, fingerprint = [n and whole(n) for n in self._names]
        usages = (read_usage(raw_value(raw)) for raw in reversed(self._usages))
        return Reply(
            choices=choices,
            usage=next((usage for usage in usages if usage is not None), None),
            response_id=response_id,
            response_model=model,
            system_fingerprint=fingerprint,
            events=sum([len(c.event_ns) for c in choices]),
            done=done,
            extra={key: value for key, value in self._extra.items() if value is not None},
        )


def whole(text: str) -> str:
    """``text`` with surrogate pairs that two chunks shared joined, and lone surrogates replaced: valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _bad(detail: str) -> Failure:
    return Failure(ErrorKind.BAD_PAYLOAD, plain(detail))


def _first_bytes(reads: Reads) -> bytes:
    """The first bytes of a body after a byte order mark and white space."""
    head = b""
    for _, data in reads:
        head = (head + data).removeprefix(BOM).lstrip()
        if len(head) >= len(BOM):
            break
    return head
