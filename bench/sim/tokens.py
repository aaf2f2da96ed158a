"""The simulator's own tokenizer: words, digit groups, single signs and CJK characters, each with its leading space."""

from __future__ import annotations

import re
from typing import Any

TOKEN = re.compile(r"\s*(?:[A-Za-z]{1,12}|\d{1,3}|[^\sA-Za-z\d])|\s+")
MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1_000

_REMEMBERED = 2_000
_counts: dict[tuple[int, int], int] = {}


def tokenize(text: str) -> list[str]:
    """Split a text into tokens; joined again they give the text."""
    return TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """Number of tokens of a text. Counts of recent texts are remembered by hash: prompts come many times."""
    key = (hash(text), len(text))
    count = _counts.get(key)
    if count is None:
        count = len(TOKEN.findall(text))
        if len(_counts) >= _REMEMBERED:
            _counts.clear()
        _counts[key] = count
    return count


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts whose text parts are joined by line breaks."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def count_prompt(body: dict[str, Any], encoded_tools: str) -> int:
    """Input tokens of a request body whose messages are known to be well formed."""
    total = count_tokens(encoded_tools)
    for message in body["messages"]:
        content = message.get("content")
        total += MESSAGE_TOKENS + count_tokens(text_of(content))
        if isinstance(content, list):
            total += IMAGE_TOKENS * sum(part.get("type") != "text" for part in content)
        if message.get("tool_calls"):
            total += count_tokens(str(message["tool_calls"]))
    return total
