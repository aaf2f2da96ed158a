"""Reading a run back: tables as Arrow, samples and choices as the nouns of :mod:`bench.domain`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.domain import Choice, ConfigError, EventKind, Outcome, Sample
from bench.record.folder import table_path
from bench.record.header import read_header

BATCH_ROWS = 8192

_MISSING = {
    "scores": "score it with `bench score`",
    "requests": "finish it with `bench resume`",
    "choices": "finish it with `bench resume`",
    "attempts": "finish it with `bench resume`",
}
_CHOICE_COLUMNS = ["request_id", "choice", "text", "reasoning", "tool_calls", "finish_reason"]
_EVENT_COLUMNS = ["event_ns", "event_kind"]


@dataclass(frozen=True, slots=True)
class RecordedChoice:
    """A choice of a recorded reply, and whose it is. Its event marks count from the run's origin."""

    request_id: str
    cell_id: str
    sample_id: str
    outcome: Outcome
    choice: Choice


def read_table(path: Path, table: str, columns: list[str] | None = None) -> Any:
    """A table of a run folder as one ``pyarrow.Table``, be it one file or a folder of parts.

    Args:
        path: the run folder.
        table: ``requests``, ``choices``, ``attempts``, ``scores``, ``cells`` or ``samples``.
        columns: only these, in this order; all unless given.

    Raises:
        ConfigError: no run folder, the run has no such table (yet), a damaged file (named), or no such column.
    """
    tables = []
    for part in parts_of(path, table):
        with _opened(part, columns) as file:
            tables.append(file.read(columns=columns))
    return pa.concat_tables(tables)


def iter_batches(
    path: Path, table: str, columns: list[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[Any]:
    """A table of a run folder as ``pyarrow.RecordBatch`` of at most ``batch_rows`` rows, read as they are needed.

    Raises:
        ConfigError: as :func:`read_table`.
    """
    for part in parts_of(path, table):
        yield from _part_batches(part, columns, batch_rows)


def _part_batches(part: Path, columns: list[str] | None, batch_rows: int) -> Iterator[Any]:
    with _opened(part, columns) as file:
        yield from file.iter_batches(batch_size=batch_rows, columns=columns)


def parts_of(path: Path, table: str) -> list[Path]:
    """The files of a table in the order of their rows.

    Raises:
        ConfigError: no run folder, or the run has no such table (yet).
    """
    found = table_path(path, table)
    if found.is_file():
        return [found]
    parts = sorted(found.glob("part-*.parquet"))
    if not parts:
        state = read_header(path).get("state")
        raise ConfigError(
            f"{path}: the run is {state} and has no {found.name}; {_MISSING.get(table, 'start the run again')}"
        )
    return parts


@contextmanager
def _opened(part: Path, columns: Sequence[str] | None) -> Iterator[Any]:
    try:
        with pq.ParquetFile(part) as file:
            known = file.schema_arrow.names
            absent = [name for name in columns or () if name not in known]
            if absent:
                raise ConfigError(f"{part}: has no column {', '.join(absent)}; it was not written by this program")
            yield file
    except (pa.ArrowException, OSError) as error:
        # one line: Arrow repeats its own and the path, and the bytes it met may be anything
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{part}: is damaged or cannot be read ({said!r}); restore it or remove the run") from error


def part_rows(part: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of one Parquet file as plain values.

    Raises:
        ConfigError: a damaged file or no such column.
    """
    for batch in _part_batches(part, columns, BATCH_ROWS):
        yield from batch.to_pylist()


def column_values(part: Path, column: str) -> list[Any]:
    """All values of one column of one Parquet file.

    Raises:
        ConfigError: a damaged file or no such column.
    """
    with _opened(part, [column]) as file:
        values: list[Any] = file.read(columns=[column]).column(0).to_pylist()
    return values


def counts(path: Path, table: str, column: str) -> dict[str, int]:
    """How often each value of a column occurs.

    Raises:
        ConfigError: as :func:`read_table`.
    """
    found = pc.value_counts(read_table(path, table, [column]).column(0).combine_chunks())
    return {str(item["values"]): int(item["counts"]) for item in found.to_pylist()}


def read_samples(path: Path) -> dict[str, dict[str, Sample]]:
    """The samples of a run: dataset key -> sample id -> sample.

    Raises:
        ConfigError: as :func:`read_table`.
    """
    sets: dict[str, dict[str, Sample]] = {}
    for batch in iter_batches(path, "samples"):
        for row in batch.to_pylist():
            sets.setdefault(row["dataset_key"], {})[row["sample_id"]] = Sample(
                sample_id=row["sample_id"],
                messages=tuple(json.loads(row["messages"])),
                target=_json(row["target"]),
                tags=tuple(json.loads(row["tags"])),
                fields=json.loads(row["fields"]),
                tools=None if row["tools"] is None else tuple(json.loads(row["tools"])),
                response_format=_json(row["response_format"]),
                place=row["place"] or "",
            )
    return sets


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def read_choices(path: Path, *, events: bool = False, batch_rows: int = BATCH_ROWS) -> Iterator[list[RecordedChoice]]:
    """The choices of a run in batches, each with whose it is; what offline scoring reads.

    Args:
        path: the run folder.
        events: also the times and kinds of every event, which scoring does not need and which make it slower.
        batch_rows: choices in a batch at most.

    Raises:
        ConfigError: as :func:`read_table`; or ``choices`` and ``requests`` do not belong together.
    """
    requests = parts_of(path, "requests")
    choices = parts_of(path, "choices")
    if len(requests) != len(choices):
        raise ConfigError(f"{path}: requests.parquet has {len(requests)} parts and choices.parquet {len(choices)}")
    for request_part, choice_part in zip(requests, choices, strict=True):
        # both files of a part are written in the same order, so one pass over each joins them
        owners = _owners(request_part)
        owner: tuple[str, str, str, str] | None = None
        for batch in _part_batches(choice_part, _CHOICE_COLUMNS + (_EVENT_COLUMNS if events else []), batch_rows):
            found = []
            for row in batch.to_pylist():
                while owner is None or owner[0] != row["request_id"]:
                    owner = next(owners, None)
                    if owner is None:
                        raise ConfigError(f"{choice_part}: request {row['request_id']!r} is not in {request_part}")
                found.append(RecordedChoice(owner[0], owner[1], owner[2], Outcome(owner[3]), _choice(row)))
            yield found


def _owners(part: Path) -> Iterator[tuple[str, str, str, str]]:
    for batch in _part_batches(part, ["request_id", "cell_id", "sample_id", "outcome"], BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _choice(row: dict[str, Any]) -> Choice:
    return Choice(
        index=row["choice"],
        text=row["text"],
        reasoning=row["reasoning"],
        tool_calls=tuple(json.loads(row["tool_calls"])) if row["tool_calls"] else (),
        finish_reason=row["finish_reason"],
        event_ns=tuple(row.get("event_ns") or ()),
        event_kind=tuple(EventKind(kind) for kind in row.get("event_kind") or ()),
    )
