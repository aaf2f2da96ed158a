"""Columns kept beside the runs so that they need not be read again: a cache, never the truth."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_VERSION = b"chatbench.index"


def write_index(path: Path, version: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Replace an index, whole or not at all; nothing is said where the place cannot be written.

    Args:
        version: of the meaning of the columns.
        columns: of equal length; texts, numbers, or numpy arrays (one per row, of any length).
    """
    part = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        table = pa.table(dict(columns)).replace_schema_metadata({_VERSION: version.encode()})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part, compression="zstd", use_dictionary=False)
        os.replace(part, path)
    except OSError:
        # a results folder that is read-only can be read all the same
        part.unlink(missing_ok=True)


def read_index(path: Path, version: str) -> dict[str, list[Any]] | None:
    """The columns of an index, those of arrays as numpy views; ``None`` where it is missing, damaged or of another
    version, so that it is to be built anew."""
    try:
        with pq.ParquetFile(path) as file:
            if (file.schema_arrow.metadata or {}).get(_VERSION) != version.encode():
                return None
            table = file.read()
    except (OSError, pa.ArrowException):
        return None
    return {name: _values(table.column(name).combine_chunks()) for name in table.column_names}


def _values(column: Any) -> list[Any]:
    if not pa.types.is_list(column.type):
        values: list[Any] = column.to_pylist()
        return values
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    ends = column.offsets.to_numpy()
    first = int(ends[0])
    return [flat[low - first : high - first] for low, high in pairwise(ends)]
