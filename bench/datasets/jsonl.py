"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.datasets import Dataset
from bench.domain import JsonObject
from bench.files import Problems, opened, parse_json, resolve, text_lines
from bench.registry import plugin


@plugin("dataset", "jsonl")
@dataclass(frozen=True)
class JsonLines(Dataset):
    """A ``.jsonl`` file, gzipped or not; blank lines are skipped."""

    kind: str = "jsonl"

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Every good row; what is wrong with the others is raised after the last one."""
        path = resolve(self.path)
        problems = Problems()
        with opened(path) as stream:
            for number, line in text_lines(path, stream, problems):
                if not line.strip():
                    continue
                place = f"{path}:{number}"
                try:
                    row = parse_json(line)
                except ValueError as error:
                    problems.add(f"{place}: invalid JSON: {error}")
                    continue
                if isinstance(row, dict):
                    yield place, row
                else:
                    problems.add(f"{place}: a row must be a JSON object {{...}}, this one is a {type(row).__name__}")
        problems.refuse()
