"""Parquet files as datasets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.datasets.published import Published
from bench.domain import JsonObject
from bench.files import Problems
from bench.registry import plugin
from bench.sources import Part

#: of a file inside a gzip file or an archive, which is read into memory; a longer one reads as damaged
MAX_PACKED_BYTES = 1 << 30


@plugin("dataset", "parquet")
@dataclass(frozen=True)
class Parquet(Published):
    """``.parquet`` files (or ones gzipped as a whole); a place is ``file:N`` with N the row's number from 1."""

    kind: str = "parquet"

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """Every row, null cells left out, dates and other types without a JSON form as text."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = 0
        plain_file = part.path.suffix == ".parquet"
        source = part.stream if plain_file else io.BytesIO(part.stream.read(MAX_PACKED_BYTES))
        try:
            for batch in pq.ParquetFile(source).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{part.name}:{number}", {k: _plain(v) for k, v in row.items() if v is not None}
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # texts and dates that are none
            reason = str(error).splitlines()[0]
            problems.add(f"{part.name}: not a readable Parquet file (after row {number}): {reason}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
