"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.datasets.published import Published
from bench.domain import JsonObject
from bench.files import Problems, json_rows, text_lines
from bench.registry import plugin
from bench.sources import Part


@plugin("dataset", "jsonl")
@dataclass(frozen=True)
class JsonLines(Published):
    """``.jsonl`` files, gzipped or not; blank lines are skipped."""

    kind: str = "jsonl"

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """Every good line of one file."""
        for number, row in json_rows(part.name, text_lines(part.name, part.stream, problems), problems):
            yield f"{part.name}:{number}", row
