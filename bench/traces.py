"""Recorded loads: when requests arrived and how long they were, from the trace formats in use.

A trace is CSV or JSON Lines, gzipped or not; which columns it has tells its format. Rows are kept as packed columns: a
million of them take some tens of megabytes.
"""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from bench.domain import ConfigError
from bench.files import Problems, json_rows, opened, resolve, text_lines
from bench.trace_fields import MILLISECOND_NS, SECOND_NS, ids_of, time_of, tokens_of

#: columns named in a message about a file of no known format
SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Layout:
    """A trace format: what its columns are called.

    Attributes:
        unit_ns: of timestamps that are numbers; wall-clock texts need none.
        blocks: the column of ids of equal prompt blocks, where the format has one.
    """

    name: str
    time: str
    input: str
    output: str
    unit_ns: int = SECOND_NS
    blocks: str | None = None

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that a file of this format must have."""
        return self.time, self.input, self.output


LAYOUTS = (
    Layout("Azure LLM inference", "TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    Layout("Mooncake", "timestamp", "input_length", "output_length", MILLISECOND_NS, "hash_ids"),
    Layout("BurstGPT", "Timestamp", "Request tokens", "Response tokens"),
    Layout("plain", "timestamp", "input_tokens", "output_tokens"),
)


@dataclass(frozen=True)
class Trace:
    """The requests of a recorded load in order of time (those of equal time in file order).

    Attributes:
        path: the file, as it was named.
        arrival_ns: nanoseconds after the first arrival.
        input_tokens, output_tokens: lengths.
        lines: line of each row in the file.
        block_ids, block_ends: ids of equal prompt blocks of all rows one after another, and where each row's end; both
            empty when the format has none.
    """

    path: str
    arrival_ns: array[int]
    input_tokens: array[int]
    output_tokens: array[int]
    lines: array[int]
    block_ids: array[int]
    block_ends: array[int]

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def blocks_of(self, row: int) -> array[int]:
        """The block ids of a row; none where the trace has none."""
        if not self.block_ends:
            return array("q")
        return self.block_ids[self.block_ends[row - 1] if row else 0 : self.block_ends[row]]

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) over times, lengths and blocks: equal hashes, equal traces, wherever the file lies."""
        digest = hashlib.sha256()
        for column in (self.arrival_ns, self.input_tokens, self.output_tokens, self.block_ids, self.block_ends):
            digest.update(len(column).to_bytes(8, "little") + column.tobytes())
        return digest.hexdigest()


def read_trace(path: str, key: str = "load.path") -> Trace:
    """Read a trace; a file that has not changed since is not read again.

    Args:
        path: CSV or JSON Lines, ``.gz`` or not; relative to the working directory.
        key: the configuration key that names it, for messages.

    Raises:
        ConfigError: no such file, columns of no known format, rows without time or lengths (each with its line).
    """
    found = resolve(path, key=key)
    status = found.stat()
    return _read(path, found.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(named: str, path: Path, modified_ns: int, size: int) -> Trace:
    """``modified_ns`` and ``size`` are there to tell a file from its next version."""
    problems = Problems()
    rows = _Rows()
    with opened(path) as stream:
        numbered = text_lines(Path(named), stream, problems)
        records = _records(named, numbered, problems)
        layout: Layout | None = None
        for line, record in records:
            layout = layout or layout_of(named, record)
            try:
                rows.add(line, record, layout)
            except ValueError as error:
                problems.add(f"{named}:{line}: {error}")
    problems.refuse()
    if not rows.lines:
        raise ConfigError(f"{named}: the trace has no rows; give it at least one")
    return rows.trace(named)


def layout_of(path: str, columns: Mapping[str, object]) -> Layout:
    """The format that has these columns.

    Raises:
        ConfigError: none has; names the columns found and those of every format.
    """
    for layout in LAYOUTS:
        if all(name in columns for name in layout.columns):
            return layout
    found = [repr(name) for name in columns][:SHOWN_COLUMNS]
    known = "; ".join(f"{layout.name}: {', '.join(layout.columns)}" for layout in LAYOUTS)
    raise ConfigError(
        f"{path}: its columns are of no known trace format; found {', '.join(found) or 'none'}; known are {known}. "
        f"Rename the columns of the file to `timestamp,input_tokens,output_tokens` (seconds, tokens, tokens)"
    )


def _records(
    path: str, lines: Iterator[tuple[int, str]], problems: Problems
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their line numbers: JSON objects when the first line that is not blank starts with ``{``, else CSV."""
    first = next(((number, text) for number, text in lines if text.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("{"):
        yield from json_rows(path, chain((first,), lines), problems)
    else:
        yield from _csv_rows(path, first, lines, problems)


def _csv_rows(
    path: str, first: tuple[int, str], rest: Iterator[tuple[int, str]], problems: Problems
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader((text for _, text in chain((first,), rest)), strict=True)
    skipped = first[0] - 1
    try:
        header = [name.strip() for name in next(reader, [])]
        layout_of(path, dict.fromkeys(header))
        for cells in reader:
            if len(cells) == len(header):
                yield skipped + reader.line_num, dict(zip(header, cells, strict=True))
            elif cells:
                at = f"{path}:{skipped + reader.line_num}"
                problems.add(f"{at}: {len(cells)} cells where the header names {len(header)} columns")
    except csv.Error as error:
        problems.add(f"{path}:{skipped + reader.line_num}: not valid CSV: {error}")


class _Rows:
    """Columns while they grow."""

    def __init__(self) -> None:
        self.times, self.lines = array("q"), array("q")
        self.inputs, self.outputs = array("q"), array("q")
        self.block_ids, self.block_ends = array("q"), array("q")

    def add(self, line: int, record: Mapping[str, Any], layout: Layout) -> None:
        """Take one row whole, or raise ``ValueError`` and take nothing of it."""
        time_ns = _field(record, layout.time, lambda value: time_of(value, layout.unit_ns))
        tokens = [_field(record, name, tokens_of) for name in (layout.input, layout.output)]
        blocks = _field(record, layout.blocks, ids_of) if layout.blocks and layout.blocks in record else ()
        self.times.append(time_ns)
        self.inputs.append(tokens[0])
        self.outputs.append(tokens[1])
        self.lines.append(line)
        self.block_ids.extend(blocks)
        self.block_ends.append(len(self.block_ids))

    def trace(self, path: str) -> Trace:
        """The trace in order of time, counted from its first arrival."""
        first = min(self.times)
        if all(one <= other for one, other in pairwise(self.times)):
            order: list[int] | range = range(len(self.times))
        else:
            order = sorted(range(len(self.times)), key=self.times.__getitem__)
        ids, ends = self.block_ids, self.block_ends
        if isinstance(order, list):
            ids, ends = array("q"), array("q")
            for row in order:
                ids.extend(self.block_ids[self.block_ends[row - 1] if row else 0 : self.block_ends[row]])
                ends.append(len(ids))
        return Trace(
            path=path,
            arrival_ns=array("q", (self.times[row] - first for row in order)),
            input_tokens=array("q", (self.inputs[row] for row in order)),
            output_tokens=array("q", (self.outputs[row] for row in order)),
            lines=array("q", (self.lines[row] for row in order)),
            block_ids=ids,
            block_ends=ends if ids else array("q"),
        )


def _field(record: Mapping[str, Any], name: str, read: Callable[[Any], Any]) -> Any:
    if name not in record:
        raise ValueError(f"lacks `{name}`")
    try:
        return read(record[name])
    except ValueError as error:
        raise ValueError(f"`{name}` {error}") from None
