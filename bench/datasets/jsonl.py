"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.datasets.published import Published
from bench.domain import JsonObject
from bench.files import Problems, parse_json, text_lines
from bench.registry import plugin
from bench.sources import Part


@plugin("dataset", "jsonl")
@dataclass(frozen=True)
class JsonLines(Published):
    """``.jsonl`` files, gzipped or not; blank lines are skipped."""

    kind: str = "jsonl"

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """Every good line of one file."""
        for number, line in text_lines(part.name, part.stream, problems):
            if not line.strip():
                continue
            place = f"{part.name}:{number}"
            try:
                row = parse_json(line)
            except ValueError as error:
                problems.add(f"{place}: invalid JSON: {error}")
                continue
            if isinstance(row, dict):
                yield place, row
            else:
                problems.add(f"{place}: a row must be a JSON object {{...}}, this one is a {type(row).__name__}")
