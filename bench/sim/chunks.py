"""The bytes of replies: stream chunks from pre-encoded templates, and the body of a reply that is not streamed."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.providers.sim import UsageStyle
from bench.sim.compose import Spoken

encode = msgspec.json.encode

ANSWER, REASONING, OPEN_CALL, CALL_ARGUMENTS, FINISH = range(5)
KIND_NAMES = ("answer", "reasoning", "tool", "tool")

Step = tuple[int, str, int, int]
"""What one chunk carries: its kind, text (name or finish reason), number of tokens, and which tool call."""


def steps_of(spoken: Spoken, sizes: list[int], leak_names: bool) -> list[Step]:
    """A choice as the steps of its stream, in chunks of so many tokens as ``sizes`` gives, round and round.

    ``leak_names`` puts each call's name in front of its arguments, the known defect of one model family.
    """
    steps: list[Step] = []
    for kind, call, tokens in ((REASONING, 0, spoken.reasoning), (ANSWER, 0, spoken.answer)):
        steps += _chunked(kind, call, tokens, sizes)
    for index, call_ in enumerate(spoken.calls):
        steps.append((OPEN_CALL, call_.name, 1, index))
        if leak_names:
            steps.append((CALL_ARGUMENTS, call_.name + "\n", 0, index))
        steps += _chunked(CALL_ARGUMENTS, index, call_.arguments, sizes)
    steps.append((FINISH, spoken.finish_reason, 0, 0))
    return steps


def _chunked(kind: int, call: int, tokens: list[str], sizes: list[int]) -> list[Step]:
    if sizes == [1]:
        return [(kind, token, 1, call) for token in tokens]
    steps: list[Step] = []
    at = 0
    while at < len(tokens):
        part = tokens[at : at + sizes[len(steps) % len(sizes)]]
        steps.append((kind, "".join(part), len(part), call))
        at += len(part)
    return steps


class Chunks:
    """The events of one stream. Counts tokens as they are written, for the usage that chunks carry."""

    def __init__(
        self,
        *,
        response_id: str,
        created: int,
        model: str,
        prompt_tokens: int,
        style: UsageStyle,
        role_repeat: bool,
        call_ids: list[list[str]],
        crlf: bool,
    ) -> None:
        self._newline = b"\r\n" if crlf else b"\n"
        head = {"id": response_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._role = b',"role":"assistant"' if role_repeat else b""
        self._end = self._newline * 2
        self._style = style
        self._call_ids = call_ids
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        self.reasoning_tokens = 0

    def opening(self, index: int, thinking: bool) -> bytes:
        """The first chunk of a choice: a role and no token."""
        fields = b'"content":null,"reasoning_content":""' if thinking else b'"content":"","reasoning_content":null'
        return self._chunk(index, fields + b',"role":"assistant"')

    def step(self, index: int, step: Step) -> bytes:
        """The chunk of a step."""
        kind, text, tokens, call = step
        self.completion_tokens += tokens
        if kind == ANSWER:
            return self._chunk(index, b'"content":%b,"reasoning_content":null%b' % (encode(text), self._role))
        if kind == REASONING:
            self.reasoning_tokens += tokens
            return self._chunk(index, b'"content":null,"reasoning_content":%b%b' % (encode(text), self._role))
        if kind == FINISH:
            return self._chunk(index, b'"content":"","reasoning_content":null', encode(text), last=True)
        if kind == OPEN_CALL:
            call_id = encode(self._call_ids[index][call])
            named = b'"id":%b,"type":"function","function":{"name":%b,"arguments":""}' % (call_id, encode(text))
        else:
            named = b'"id":null,"type":null,"function":{"name":"","arguments":%b}' % encode(text)
        delta = b'"content":null,"reasoning_content":null%b,"tool_calls":[{"index":%d,%b}]' % (self._role, call, named)
        return self._chunk(index, delta)

    def broken(self, index: int) -> bytes:
        """A chunk that is no JSON."""
        return b'%b{"index":%d,"delta":{"content":"lost%b' % (self._head, index, self._end)

    def closing(self) -> bytes:
        """What comes between the last choice's end and ``[DONE]``: the usage of servers that send it there."""
        if self._style is not UsageStyle.trailing:
            return b""
        return b'%b],"system_fingerprint":""%b}%b' % (self._head, self._usage(last=True), self._end)

    def done(self) -> bytes:
        """The mark that ends a stream."""
        return b"data: [DONE]" + self._end

    def error(self, top_level: bool) -> bytes:
        """An error after the stream began, in one of the two shapes in use."""
        error = {"code": 50507, "message": "Request failed: Unknown error.", "data": None}
        return b"data: %b%b" % (encode({"error": error} if top_level else error), self._end)

    def comment(self) -> bytes:
        """A comment line."""
        return b": keep-alive" + self._end

    def usage(self) -> dict[str, Any]:
        """Tokens so far, as an object."""
        return usage_of(self.prompt_tokens, self.completion_tokens, self.reasoning_tokens)

    def _chunk(self, index: int, delta: bytes, finish: bytes = b"null", last: bool = False) -> bytes:
        usage = self._usage(last) if self._style is UsageStyle.every_chunk else b""
        return b'%b{"index":%d,"delta":{%b},"finish_reason":%b}],"system_fingerprint":""%b}%b' % (
            self._head, index, delta, finish, usage, self._end,
        )  # fmt: skip

    def _usage(self, last: bool) -> bytes:
        if last:
            return b',"usage":' + encode(self.usage())
        prompt, completion, reasoning = self.prompt_tokens, self.completion_tokens, self.reasoning_tokens
        details = b',"completion_tokens_details":{"reasoning_tokens":%d}' % reasoning if reasoning else b""
        return b',"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}' % (
            prompt, completion, prompt + completion, details,
        )  # fmt: skip


def usage_of(prompt: int, completion: int, reasoning: int) -> dict[str, Any]:
    """The usage object; ``completion`` includes ``reasoning``."""
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    cache = {"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 0}
    return usage | cache | {"prompt_cache_miss_tokens": prompt}


def whole_body(
    response_id: str, created: int, model: str, prompt_tokens: int, spoken: list[Spoken], finish: bool = True
) -> bytes:
    """The body of a reply that is not streamed; without ``finish`` its finish reasons are missing."""
    choices = []
    for said in spoken:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(said.answer)}
        if said.reasoning:
            message["reasoning_content"] = "".join(said.reasoning)
        if said.calls:
            message["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for call in said.calls
            ]
        reason = said.finish_reason if finish else None
        choices.append({"index": said.index, "message": message, "finish_reason": reason})
    usage = usage_of(prompt_tokens, sum(s.tokens for s in spoken), sum(len(s.reasoning) for s in spoken))
    head = {"id": response_id, "object": "chat.completion", "created": created, "model": model}
    return encode({**head, "choices": choices, "usage": usage, "system_fingerprint": ""})
