"""The reply of a stream of the usual kind: one choice of text, with or without reasoning, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.domain import Choice, EventKind, Reply
from bench.measure.assemble import whole
from bench.measure.payloads import Chunk, raw_value, read_usage

_ANSWER, _REASONING = EventKind.ANSWER, EventKind.REASONING


def plain_reply(chunks: Sequence[Chunk], stamps: Sequence[int]) -> Reply | None:
    """What :class:`bench.measure.assemble.Assembly` makes of these chunks of a stream that ended with ``[DONE]``.

    ``None`` where anything is out of the usual: several choices, tool calls, refusals, content in parts, errors,
    server timings, or no choice at all.
    """
    text: list[str] = []
    reasoning: list[str] = []
    event_ns: list[int] = []
    event_kind: list[EventKind] = []
    usages: list[msgspec.Raw] = []
    finish_reason: str | None = None
    seen = False
    for chunk, ns in zip(chunks, stamps, strict=True):
        choices = chunk.choices
        if choices is None or chunk.error or chunk.timings or chunk.perf_metrics or chunk.x_groq:
            return None
        if chunk.usage:
            usages.append(chunk.usage)
        if not choices:
            continue
        choice = choices[0]
        delta = choice.delta
        if delta is None or choice.index or choice.usage or len(choices) > 1:
            return None
        seen = True
        content, thought = delta.content, delta.reasoning_content or delta.reasoning
        if delta.tool_calls or delta.refusal or (content and content.__class__ is not str):
            return None
        if thought:
            reasoning.append(thought)
        if content:
            text.append(content)  # type: ignore[arg-type]  # a list was refused above
            event_ns.append(ns)
            event_kind.append(_ANSWER)
        elif thought:
            event_ns.append(ns)
            event_kind.append(_REASONING)
        if choice.finish_reason:
            finish_reason = choice.finish_reason
            if finish_reason == "error":
                return None
    if not seen:
        return None
    choice_made = Choice(
        index=0,
        text=whole("".join(text)),
        reasoning=whole("".join(reasoning)),
        finish_reason=finish_reason and whole(finish_reason),
        event_ns=tuple(event_ns),
        event_kind=tuple(event_kind),
    )
    response_id = next((chunk.id for chunk in chunks if chunk.id), None)
    model = next((chunk.model for chunk in chunks if chunk.model), None)
    fingerprint = next((chunk.system_fingerprint for chunk in chunks if chunk.system_fingerprint), None)
    found = (read_usage(raw_value(raw)) for raw in reversed(usages))
    return Reply(
        choices=(choice_made,),
        usage=next((usage for usage in found if usage is not None), None),
        response_id=response_id and whole(response_id),
        response_model=model and whole(model),
        system_fingerprint=fingerprint and whole(fingerprint),
        events=len(event_ns),
        done=True,
    )
