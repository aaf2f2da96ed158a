"""Answers to the shipped prompt sets, right with a set probability: so that accuracy tables mean something.

Every row of ``datasets/*.jsonl`` has a ``prompt``, a complete correct reply ``reference`` and a plausible wrong one of
the same form ``flawed``; both are texts, or lists of tool calls ``{"name", "arguments"}``. A request is answered by the
row whose prompt occurs in its last user message (the longest such). Long-context prompts are solved by looking for the
hidden sentence. Everything else gets filler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import msgspec

ToolCalls = list[dict[str, Any]]

_QUESTION = re.compile(r"magic number of ([^\n?]{1,200})\?")
_LARGEST = 2**64


@dataclass(frozen=True, slots=True)
class Row:
    """One question of a shipped prompt set with a right and a wrong reply."""

    prompt: str
    reference: str | ToolCalls
    flawed: str | ToolCalls


class Answers:
    """The rows of the prompt sets, found by the text of a message."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = sorted(rows, key=lambda row: len(row.prompt), reverse=True)
        self._exact = {row.prompt: row for row in self._rows}
        self._search = lru_cache(maxsize=4_096)(self._scan)

    @property
    def rows(self) -> list[Row]:
        """All rows, longest prompt first."""
        return self._rows

    def find(self, message: str) -> Row | None:
        """The row whose prompt occurs in a message, the longest of several; a needle's is made up on the spot."""
        if (row := self._exact.get(message)) is not None:
            return row
        return self._search(message) if len(message) < 20_000 else self._scan(message)

    def _scan(self, message: str) -> Row | None:
        return solve_needle(message) or next((row for row in self._rows if row.prompt in message), None)


def solve_needle(message: str) -> Row | None:
    """The hidden number that a long-context prompt asks for, or ``None`` when it is no such prompt."""
    names = _QUESTION.findall(message, max(0, len(message) - 2_000))
    if not names:
        return None
    name = names[-1]
    hidden = re.search(rf"magic number of {re.escape(name)} is (\d+)", message)
    if hidden is None:
        return None
    number = hidden.group(1)
    wrong = str((int(number) * 7 + 13) % 10 ** len(number)).zfill(len(number))
    return Row(f"{name}={number}", number, wrong)


def load_answers(folder: Path) -> Answers:
    """The rows of every ``*.jsonl`` in a folder that have a prompt and both replies."""
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            row = msgspec.json.decode(line) if line.strip() else {}
            if isinstance(row, Mapping) and {"prompt", "reference", "flawed"} <= row.keys():
                rows.append(Row(row["prompt"], row["reference"], row["flawed"]))
    return Answers(rows)


def uniform(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _LARGEST


def is_right(
    *, seed: int, model: str, row: Row, skill: float, temperature: float, correlation: float, random: Random
) -> bool:
    """Whether a model answers a row rightly, with probability ``skill`` over rows.

    At temperature 0 it is decided once and for all by a hash of model and row. Above, a share ``correlation`` of the
    answers is decided that way and the rest drawn from ``random``: the mean stays the skill, repeats correlate.
    """
    fixed = uniform(seed, model, row.prompt)
    if temperature > 0 and random.random() >= correlation:
        return random.random() < skill
    return fixed < skill
