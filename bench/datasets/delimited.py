"""CSV and its relatives: one row per record, under a header line or under columns named in the configuration."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.datasets.published import Published
from bench.domain import ConfigError, JsonObject
from bench.files import Problems, text_lines
from bench.registry import plugin
from bench.sources import Part

MAX_CELL_CHARS = 16 * 1024 * 1024


@plugin("dataset", "csv")
@dataclass(frozen=True)
class Csv(Published):
    """``.csv`` files, gzipped or not.

    Every cell is text; cells of ``messages``, ``tools`` and ``response_format`` hold JSON, a cell of ``tags`` words
    separated by commas. An empty ``id`` or ``target`` is as good as none.

    Attributes:
        delimiter: one character; write ``"\\t"`` for tab-separated files.
        columns: names of the columns, for files without a header line.
        quoted: whether cells may be in double quotes; false where a quote is a character like any other.
    """

    kind: str = "csv"
    delimiter: str = ","
    columns: list[str] = field(default_factory=list)
    quoted: bool = True

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """Every good record of one file."""
        if len(self.delimiter) != 1:
            raise ConfigError(f"dataset.delimiter={self.delimiter!r}: must be one character")
        yield from self._records(
            part.name, (line for _, line in text_lines(part.name, part.stream, problems)), problems
        )

    def _records(self, path: str, lines: Iterator[str], problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        csv.field_size_limit(MAX_CELL_CHARS)
        reader = (
            csv.reader(lines, delimiter=self.delimiter, strict=True)
            if self.quoted
            else csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)
        )
        try:
            header = self.columns or next(reader, [])
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
