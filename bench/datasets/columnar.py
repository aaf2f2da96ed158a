"""Parquet files as datasets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.datasets import Dataset
from bench.domain import ConfigError, JsonObject
from bench.files import opened, resolve
from bench.registry import plugin


@plugin("dataset", "parquet")
@dataclass(frozen=True)
class Parquet(Dataset):
    """A ``.parquet`` file (or one gzipped as a whole); a place is ``file:N`` with N the row's number from 1."""

    kind: str = "parquet"

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Every row, null cells left out, dates and other types without a JSON form as text."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = resolve(self.path)
        number = 0
        with opened(path) as stream:
            source = io.BytesIO(stream.read()) if path.suffix == ".gz" else stream
            try:
                for batch in pq.ParquetFile(source).iter_batches(batch_size=1024):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{path}:{number}", {k: _plain(v) for k, v in row.items() if v is not None}
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # texts and dates that are none
                reason = str(error).splitlines()[0]
                raise ConfigError(f"{path}: not a readable Parquet file (after row {number}): {reason}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
