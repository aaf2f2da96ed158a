"""CSV and its relatives: a header line, then one row per record."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bench.datasets import Dataset
from bench.domain import ConfigError, JsonObject
from bench.files import Problems, opened, resolve, text_lines
from bench.registry import plugin

MAX_CELL_CHARS = 16 * 1024 * 1024


@plugin("dataset", "csv")
@dataclass(frozen=True)
class Csv(Dataset):
    """A ``.csv`` file with a header, gzipped or not.

    Every cell is text; cells of ``messages``, ``tools`` and ``response_format`` hold JSON, a cell of ``tags`` words
    separated by commas. An empty ``id`` or ``target`` is as good as none.

    Attributes:
        delimiter: one character; write ``"\\t"`` for tab-separated files.
    """

    kind: str = "csv"
    delimiter: str = ","

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Every good row; what is wrong with the others is raised after the last one."""
        if len(self.delimiter) != 1:
            raise ConfigError(f"dataset.delimiter={self.delimiter!r}: must be one character")
        path = resolve(self.path)
        problems = Problems()
        with opened(path) as stream:
            yield from self._records(str(path), (line for _, line in text_lines(path, stream, problems)), problems)
        problems.refuse()

    def _records(self, path: str, lines: Iterator[str], problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        csv.field_size_limit(MAX_CELL_CHARS)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            header = next(reader, [])
            twice = sorted(name for name, count in Counter(header).items() if count > 1)
            if twice:
                problems.add(f"{path}:1: the header names {', '.join(twice)} more than once; rename the columns")
                return
            start = reader.line_num + 1
            for cells in reader:
                place, start = f"{path}:{start}", reader.line_num + 1
                if len(cells) == len(header):
                    yield place, dict(zip(header, cells, strict=True))
                elif cells:
                    problems.add(f"{place}: {len(cells)} cells where the header names {len(header)} columns")
        except csv.Error as error:
            problems.add(f"{path}:{reader.line_num}: not valid CSV: {error}")
