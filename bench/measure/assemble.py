"""Putting a reply together from its chunks: texts, reasoning, tool calls, usage and events, kept by choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.domain import Choice, ErrorKind, EventKind, Failure, JsonObject, Reply
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
from bench.measure.sse import FIELD_ERROR, Frame


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


class Assembly:
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
            self.fail(bad_payload(f"a chunk that is not a JSON object: {data[:200]}"))

    def reply(self, done: bool) -> Reply:
        """The reply as far as it came."""
        choices = tuple([open_.choice(index) for index, open_ in sorted(self.choices.items())])
        response_id, model, fingerprint = [whole(n) if n else None for n in self._names]
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


def says_token(data: str) -> bool:
    """Whether the data of a frame is a chunk with text, reasoning or a tool call in it: an event of some choice."""
    chunk = read_chunk(data) if data.lstrip().startswith("{") else None
    if chunk is None:
        return False
    assembly = Assembly()
    assembly.take(chunk, 0, streamed=True)
    return any(open_.event_ns for open_ in assembly.choices.values())


def whole(text: str) -> str:
    """``text`` with surrogate pairs that two chunks shared joined, and lone surrogates replaced: valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def bad_payload(detail: str) -> Failure:
    """The failure of something that is not what it should be; ``detail`` may quote it."""
    return Failure(ErrorKind.BAD_PAYLOAD, plain(detail))
