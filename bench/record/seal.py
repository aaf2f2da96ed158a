"""Sealing: packed exchanges become Parquet, whole or not at all.

A segment is sealed into ``choices``, ``attempts`` and ``requests``, in this order: each is written beside the journal,
synced, and moved into place; then the segment is removed. So a part of ``requests`` says that its segment is sealed,
and a crash between any two steps leaves either the segment, to be sealed again, or its parts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.record.folder import JOURNAL, TAIL, part_path, sync_file, sync_folder, table_path
from bench.record.journal import ASIDE, read_segment, segments
from bench.record.rows import unpack
from bench.record.schemas import DURATIONS, EVENT_KIND_NAMES, SEALED, fitted, writer_options

_BATCH_ROWS = 4096
_BATCH_BYTES = 4 * 1024 * 1024


class Batch:
    """Unpacked exchanges of one clock origin, up to a bounded number of rows and bytes."""

    def __init__(self, origin_ns: int) -> None:
        self.origin_ns = origin_ns
        self.requests: list[list[Any]] = []
        self.choices: list[list[Any]] = []
        self.attempts: list[list[Any]] = []
        self._bytes = 0

    def add(self, payload: bytes) -> None:
        """Take one packed exchange in."""
        request, choices, attempts = unpack(payload)
        self.requests.append(request)
        self.choices += choices
        self.attempts += attempts
        self._bytes += len(payload)

    @property
    def full(self) -> bool:
        """Whether it is time to write the batch out."""
        return len(self.requests) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES

    def tables(self) -> dict[str, Any]:
        """The batch as one Arrow table for each of :data:`bench.record.schemas.SEALED`."""
        rows = {"choices": self.choices, "attempts": self.attempts, "requests": self.requests}
        return {name: to_table(rows[name], schema, self.origin_ns) for name, schema in SEALED.items()}


def to_table(rows: list[list[Any]], schema: Any, origin_ns: int) -> Any:
    """Rows in column order to an Arrow table; marks are counted from ``origin_ns``."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pa.Table.from_arrays(
        [_column(list(values), field, origin_ns) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def _column(values: list[Any], field: Any, origin_ns: int) -> Any:
    if field.name == "event_ns":
        return _lists(values, 8, pc.subtract(_from_bytes(values, pa.int64()), pa.scalar(origin_ns, pa.int64())))
    if field.name == "event_kind":
        return _lists(values, 1, pa.DictionaryArray.from_arrays(_from_bytes(values, pa.int8()), EVENT_KIND_NAMES))
    array = fitted(values, field.type)
    if field.name.endswith("_ns") and field.name not in DURATIONS:
        return pc.subtract(array, pa.scalar(origin_ns, pa.int64()))
    return array


def _from_bytes(values: list[bytes], kind: Any) -> Any:
    joined = b"".join(values)
    return pa.Array.from_buffers(kind, len(joined) * 8 // kind.bit_width, [None, pa.py_buffer(joined)])


def _lists(values: list[bytes], width: int, items: Any) -> Any:
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value) // width)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)


class Sheets:
    """The three tables of some exchanges, being written beside the journal until they are published."""

    def __init__(self, staging: Path) -> None:
        """Raises OSError when the folder cannot be written."""
        self._parts = {name: staging / f"tmp-{name}.parquet" for name in SEALED}
        self._writers: dict[str, Any] = {}
        self._batch: Batch | None = None
        try:
            for name, schema in SEALED.items():
                self._writers[name] = pq.ParquetWriter(self._parts[name], schema, **writer_options(schema))
        except OSError:
            self.discard()
            raise

    def add(self, payload: bytes, origin_ns: int) -> None:
        """Take one packed exchange whose times count from ``origin_ns``."""
        if self._batch is not None and (self._batch.full or self._batch.origin_ns != origin_ns):
            self._flush()
        if self._batch is None:
            self._batch = Batch(origin_ns)
        self._batch.add(payload)

    def add_segment(self, path: Path) -> None:
        """Take every whole record of a segment; none where the segment does not exist."""
        found = read_segment(path) if path.exists() else None
        if found is not None:
            for payload in found[1]:
                self.add(payload, found[0])

    def _flush(self) -> None:
        if self._batch is not None:
            for name, table in self._batch.tables().items():
                self._writers[name].write_table(table)
            self._batch = None

    def publish(self, targets: Mapping[str, Path]) -> None:
        """Sync the tables and move each to its place, ``requests`` last.

        Raises:
            OSError: disk full or the like; what is not yet in place stays out.
        """
        self._flush()
        for name in SEALED:
            self._writers.pop(name).close()
            sync_file(self._parts[name])
        for name in SEALED:
            os.replace(self._parts[name], targets[name])
            sync_folder(targets[name].parent)

    def discard(self) -> None:
        """Drop what is not published."""
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close()
        for path in self._parts.values():
            path.unlink(missing_ok=True)


def seal_segment(run: Path, segment: Path) -> None:
    """Turn a full segment into one part of each table and remove it; nothing to do when it is gone.

    Raises:
        OSError: disk full or the like; the segment is still there.
    """
    targets = {name: part_path(run, name, segment.stem) for name in SEALED}
    if segment.exists() and not targets["requests"].exists():
        for path in targets.values():
            path.parent.mkdir(exist_ok=True)
        write_sheets(segment.parent, targets, [segment])
    segment.unlink(missing_ok=True)


def write_sheets(staging: Path, targets: Mapping[str, Path], found: Iterable[Path]) -> None:
    """Write the exchanges of segments to one file for each table and publish these.

    Raises:
        OSError: disk full or the like; nothing half-written is left.
    """
    sheets = Sheets(staging)
    try:
        for segment in found:
            sheets.add_segment(segment)
        sheets.publish(targets)
    except Exception:
        sheets.discard()
        raise


def seal_all(run: Path) -> None:
    """Seal what the journal holds when no more is to come.

    A run that never filled a segment becomes single files and keeps its segment; a longer one becomes folders of parts,
    with the exchanges that are not terminal in the last part.

    Raises:
        OSError: disk full or the like; what is not sealed is still in the journal.
    """
    journal = run / JOURNAL
    found, aside = segments(journal), journal / ASIDE
    if len(found) <= 1 and not any(table_path(run, table).is_dir() for table in SEALED):
        write_sheets(journal, {name: table_path(run, name) for name in SEALED}, [*found, aside])
        return
    for segment in found:
        seal_segment(run, segment)
    if aside.exists():
        write_sheets(journal, {name: part_path(run, name, TAIL) for name in SEALED}, [aside])
