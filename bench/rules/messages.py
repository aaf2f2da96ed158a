"""The rules on the messages of one sample, how they fit the context window, and a token estimate for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.rules.rule import Body, Breach, Case, Rule, Severity, is_int, items

ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 10
MESSAGE_TOKENS = 4
REPLY_TOKENS = 3
IMAGE_TOKENS = 1_000


def _fits(case: Case, _: Any) -> Iterator[Breach]:
    window = case.model.context_tokens if case.model is not None else None
    prompt, answer = case.prompt_tokens, case.body.get("max_tokens")
    if window is None or prompt is None:
        return
    answer = answer if is_int(answer) and 0 < answer < window else 1  # a bad cap has its own rules
    if prompt + answer <= window:
        return
    # An estimate is within a factor of two; what fits even then is the service's to judge.
    sure = not case.estimated or prompt // 2 + answer > window
    about = "about " if case.estimated else ""
    rule = f"an input of {about}{prompt} tokens and max_tokens={answer} exceed the context window of {window} tokens"
    yield Breach(rule, case.body.get("messages"), severity=Severity.ERROR if sure else Severity.WARNING)


def _messages(case: Case, value: Any) -> Iterator[Breach]:
    if not isinstance(value, list | tuple):
        yield Breach("is required, and must be a list of messages", value)
        return
    if not 1 <= len(value) <= MAX_MESSAGES:
        yield Breach(f"must hold 1 to {MAX_MESSAGES} messages", value)
    called = False
    for index, message in enumerate(value):
        if not isinstance(message, Mapping):
            yield Breach("must be an object with role and content", message, f"[{index}]")
            continue
        role = message.get("role")
        if role not in ROLES:
            yield Breach(f"must be one of {', '.join(ROLES)}", role, f"[{index}].role")
        if role == "tool" and not called:
            yield Breach("there is no assistant message with a tool call before it", role, f"[{index}].role")
        called = called or (role == "assistant" and bool(message.get("tool_calls")))
        yield from _content(message, f"[{index}].content")


def _content(message: Body, at: str) -> Iterator[Breach]:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    parts = content if isinstance(content, list | tuple) else ()
    typed = [isinstance(part, Mapping) and isinstance(part.get("type"), str) for part in parts]
    if not typed or not all(typed):
        yield Breach("is required, and must be a text or a list of parts with a type", content, at)


def _images(case: Case, value: Any) -> Iterator[Breach]:
    if case.model is None or case.model.vision:
        return
    for index, message in enumerate(items(value)):
        content = message.get("content") if isinstance(message, Mapping) else None
        kinds = [part.get("type") for part in items(content) if isinstance(part, Mapping)]
        strange = [kind for kind in kinds if isinstance(kind, str) and kind != "text"]
        if strange:
            yield Breach("the model takes text only, it is no vision model", strange[0], f"[{index}].content")


#: Judged once per sample.
MESSAGE_RULES: tuple[Rule, ...] = (
    Rule("messages", "messages", _messages, even_absent=True),
    Rule("messages_images", "messages", _images),
    Rule("messages_window", "messages", _fits),
)


def estimate_tokens(messages: Any, tools: Any = ()) -> int:
    """A cautious estimate of the input tokens of a request, without any tokenizer.

    Four ASCII characters make one token and every other character makes one of its own (true of old tokenizers,
    too many for today's Chinese); each message costs 4 tokens more, the reply's opening 3, and each part that is not
    text 1,000. Real counts are usually 0.6 to 1.1 of it. Any JSON is accepted.
    """
    total = REPLY_TOKENS + _count(tools)
    for message in items(messages):
        total += MESSAGE_TOKENS
        if not isinstance(message, Mapping):
            continue
        content = message.get("content")
        for part in items(content):
            is_text = isinstance(part, Mapping) and part.get("type") == "text"
            total += _count(part["text"] if is_text and "text" in part else "") if is_text else IMAGE_TOKENS
        total += _count(content) if isinstance(content, str) else 0
        total += _count(message.get("tool_calls"))
    return total


def _count(value: Any) -> int:
    """Tokens of all texts, keys and numbers in a JSON value (walked without recursion: depth is the sender's)."""
    ascii_characters = others = 0
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            plain = len(part) if part.isascii() else len(part.encode("ascii", "ignore"))
            ascii_characters += plain
            others += len(part) - plain
        elif isinstance(part, Mapping):
            rest += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            rest += part
        elif part is not None:
            ascii_characters += 4  # a number or a truth value: about one token
    return others + -(-ascii_characters // 4)
