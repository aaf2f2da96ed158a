"""The JSON of a chat completion, streamed or not, as typed values: exact shapes fast, any other shape tolerantly.

A chunk is read into :class:`Chunk` by msgspec in a microsecond or two. A chunk that is JSON but not of that shape (a
number where a text belongs, a token count as a float) is read field by field instead, and what makes no sense is
taken as absent. What is seldom looked at (usage, errors, server timings) stays raw until it is needed.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from bench.depth import too_deep
from bench.domain import Usage

#: a choice index beyond this is no index but damage
MAX_INDEX = 65_535
MAX_TOKENS = 2**53
#: what a server says about its own work (timings) is a few hundred bytes
MAX_TRUTH_BYTES = 16_384

ABSENT = msgspec.Raw()
NULL = b"null"

Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_INDEX)]


class Function(msgspec.Struct, gc=False):
    """The function of a tool call, or a fragment of it."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A tool call or a delta of one."""

    index: Index | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to a choice; also the ``message`` of a reply that is not streamed."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    """One element of ``choices``. ``text`` is where legacy completions put the content."""

    index: Index | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = ABSENT


class Chunk(msgspec.Struct, gc=False):
    """One payload: a stream's chunk or a whole reply."""

    choices: list[ChunkChoice] | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    timings: msgspec.Raw = ABSENT
    perf_metrics: msgspec.Raw = ABSENT
    x_groq: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(Chunk)


def read_chunk(data: str) -> Chunk | None:
    """The payload ``data`` as a chunk, ``None`` where it is not a JSON object (or is nested beyond all reason)."""
    if too_deep(data):
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        # wrong types, lone surrogates, NaN: whatever the tolerant reader can still make sense of
        pass
    payload = read_json(data)
    return _tolerant_chunk(payload) if isinstance(payload, dict) else None


def read_exactly(payload: bytes) -> Chunk | None:
    """The payload as a chunk, ``None`` where it is not exactly of the shape of :class:`Chunk`."""
    if too_deep(payload):
        return None
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def read_json(data: str | bytes) -> Any:
    """The JSON value in ``data``; ``None`` where there is none, or one nested beyond all reason."""
    if too_deep(data):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def says_something(raw: msgspec.Raw) -> bool:
    """Whether a field that was kept raw is present, not null and not an empty object."""
    return bool(raw) and bytes(raw) not in (NULL, b"{}")


def raw_value(raw: msgspec.Raw) -> Any:
    """The value of a field that was kept raw, ``None`` where it is absent or null."""
    encoded = bytes(raw)
    return None if not encoded or encoded == NULL else read_json(encoded)


def server_truth(raw: msgspec.Raw) -> Any:
    """The value of a field that is kept for the record as it is: ``None`` where it is absent, damaged or huge."""
    if not says_something(raw) or len(bytes(raw)) > MAX_TRUTH_BYTES:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def split_content(content: str | list[Any] | None) -> tuple[str, str]:
    """Text and reasoning of ``content``, which is a text or a list of parts (Mistral's thinking models)."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text: list[str] = []
    reasoning: list[str] = []
    for part in content:
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, dict):
            thinks = str(part.get("type", "")).startswith(("thinking", "reasoning"))
            (reasoning if thinks else text).append(_text_of_part(part))
    return "".join(text), "".join(reasoning)


def read_usage(value: Any) -> Usage | None:
    """Token counts of a usage object; ``None`` where it holds none."""
    if not isinstance(value, dict):
        return None
    output_details, input_details = value.get("completion_tokens_details"), value.get("prompt_tokens_details")
    usage = Usage(
        prompt_tokens=_count(value, "prompt_tokens"),
        completion_tokens=_count(value, "completion_tokens"),
        reasoning_tokens=_first(_count(output_details, "reasoning_tokens"), _count(value, "reasoning_tokens")),
        cached_tokens=_first(
            _count(input_details, "cached_tokens"),
            _count(value, "prompt_cache_hit_tokens"),
            _count(value, "cached_tokens"),
        ),
    )
    return None if usage == Usage() else usage


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)


def _count(holder: Any, key: str) -> int | None:
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TOKENS:
        return None
    return int(value)


def _text_of_part(part: dict[str, Any]) -> str:
    for key in ("text", "thinking", "reasoning", "content"):
        value = part.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "".join(v if isinstance(v, str) else _text_of_part(v) for v in value if isinstance(v, str | dict))
    return ""


def _tolerant_chunk(payload: dict[str, Any]) -> Chunk:
    choices = payload.get("choices")
    kept_raw = ("usage", "error", "timings", "perf_metrics", "x_groq")
    return Chunk(
        choices=[_tolerant_choice(c) for c in choices if isinstance(c, dict)] if isinstance(choices, list) else None,
        id=_text(payload.get("id")),
        model=_text(payload.get("model")),
        system_fingerprint=_text(payload.get("system_fingerprint")),
        **{key: as_raw(payload.get(key)) for key in kept_raw},
    )


def _tolerant_choice(choice: dict[str, Any]) -> ChunkChoice:
    return ChunkChoice(
        index=_index(choice.get("index")),
        delta=_tolerant_delta(choice.get("delta")),
        message=_tolerant_delta(choice.get("message")),
        text=_text(choice.get("text")),
        finish_reason=_text(choice.get("finish_reason")),
        usage=as_raw(choice.get("usage")),
    )


def _tolerant_delta(delta: Any) -> Delta | None:
    if not isinstance(delta, dict):
        return None
    content, calls = delta.get("content"), delta.get("tool_calls")
    return Delta(
        content=content if isinstance(content, list) else _text(content),
        reasoning_content=_text(delta.get("reasoning_content")),
        reasoning=_text(delta.get("reasoning")),
        refusal=_text(delta.get("refusal")),
        tool_calls=[_tolerant_call(c) for c in calls if isinstance(c, dict)] if isinstance(calls, list) else None,
    )


def _tolerant_call(call: dict[str, Any]) -> ToolCall:
    function = call.get("function")
    fields = function if isinstance(function, dict) else {}
    arguments = fields.get("arguments")
    if isinstance(arguments, dict | list):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(
        index=_index(call.get("index")),
        id=_text(call.get("id")),
        function=Function(_text(fields.get("name")), _text(arguments)),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _index(value: Any) -> int | None:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    valid = isinstance(whole, int) and not isinstance(whole, bool) and 0 <= whole <= MAX_INDEX
    return whole if valid else None


def as_raw(value: Any) -> msgspec.Raw:
    """``value`` as a raw field; ``None`` is an absent one."""
    return ABSENT if value is None else msgspec.Raw(json.dumps(value).encode())
