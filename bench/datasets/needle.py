"""Long contexts with one fact to find: made, not read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.datasets import Dataset
from bench.domain import ConfigError, JsonObject
from bench.registry import plugin

CHARS_PER_TOKEN = 4
"""Rough length of an English token; contexts are sized by it and the server's usage tells the true count."""

_WHO = [
    "The baker",
    "A tall gardener",
    "The ferryman",
    "Our neighbour",
    "The young teacher",
    "A clockmaker",
    "The miller",
]
_DID = ["walked past", "looked at", "talked about", "painted", "remembered", "repaired", "swept around", "drew"]
_WHAT = ["the stone bridge", "a row of poplars", "the old mill", "the fish market", "a wooden cart", "the bell tower"]
_WHEN = ["before breakfast", "on a windy evening", "while it rained", "after the harvest", "at noon", "in late spring"]
_AND = [
    "and hummed a tune",
    "and said nothing",
    "and thought of home",
    "then went on",
    "and bought some bread",
    "and smiled",
]
_FIRST = [
    "amber",
    "brisk",
    "cobalt",
    "dusty",
    "ember",
    "frosty",
    "gentle",
    "hollow",
    "ivory",
    "jolly",
    "kindly",
    "lunar",
]
_SECOND = ["otter", "lantern", "meadow", "falcon", "harbour", "cedar", "pebble", "violin", "comet", "saddle", "thistle"]


@plugin("dataset", "needle")
@dataclass(frozen=True)
class Needle(Dataset):
    """Filler text with one sentence ``The magic number of NAME is N.`` in it, and the question for that number.

    Lengths and depths are combined evenly. The same parameters give the same rows on every machine.

    Attributes:
        rows_wanted: how many rows.
        context_tokens: lengths of the contexts in tokens, at four characters each.
        depths: where the sentence stands, 0 (start) to 1 (end).
        seed: of names, numbers and filler.
    """

    kind: str = "needle"
    name: str = "needle"
    scorer: Any = "numeric"
    licence: str | None = "Apache-2.0"
    description: str = "A number to find in long filler text, by context length and depth"
    rows_wanted: int = 60
    context_tokens: list[int] = field(default_factory=lambda: [500, 2000, 8000])
    depths: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    seed: int = 0

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """The rows, with ``context_tokens`` and ``depth`` as fields and tags."""
        self._check()
        for number in range(self.rows_wanted):
            tokens = self.context_tokens[number % len(self.context_tokens)]
            depth = self.depths[number // len(self.context_tokens) % len(self.depths)]
            yield f"needle:{number + 1}", self._row(number, tokens, depth)

    def _check(self) -> None:
        problems = []
        if self.path is not None:
            problems.append("dataset.path: needle makes its rows and reads no file; leave it null")
        if self.rows_wanted < 1:
            problems.append(f"dataset.rows_wanted={self.rows_wanted}: must be at least 1")
        if not self.context_tokens or min(self.context_tokens) < 50:
            problems.append(f"dataset.context_tokens={self.context_tokens}: needs lengths of at least 50 tokens")
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            problems.append(f"dataset.depths={self.depths}: needs numbers between 0 and 1")
        if problems:
            raise ConfigError(*problems)

    def _row(self, number: int, tokens: int, depth: float) -> JsonObject:
        # Text seeds are hashed by a fixed algorithm, and `random()` is the one sequence that stays between versions.
        draw = random.Random(f"{self.seed}/{number}/{tokens}/{depth}").random
        name = f"{_pick(_FIRST, draw())} {_pick(_SECOND, draw())}"
        secret = 1_000_000 + int(draw() * 9_000_000)
        filler: list[str] = []
        length = 0
        while length < tokens * CHARS_PER_TOKEN:
            filler.append(" ".join(_pick(words, draw()) for words in (_WHO, _DID, _WHAT, _WHEN, _AND)) + ".")
            length += len(filler[-1]) + 1
        filler.insert(round(depth * len(filler)), f"The magic number of {name} is {secret}.")
        question = f"What is the magic number of {name}? Answer with the number only."
        return {
            "id": f"needle-{tokens}-{depth:g}-{number + 1:04d}",
            "prompt": f"{' '.join(filler)}\n\n{question}",
            "question": question,
            "target": secret,
            "tags": ["needle", f"tokens-{tokens}", f"depth-{depth:g}"],
            "context_tokens": tokens,
            "depth": depth,
            "reference": str(secret),
            "flawed": str(secret - 1 if secret % 2 else secret + 1),
        }


def _pick(words: list[str], share: float) -> str:
    return words[int(share * len(words))]
