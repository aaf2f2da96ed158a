"""The tables that do not come out of exchanges: cells, samples and scores; each written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.domain import ConfigError
from bench.record.folder import HEADER, JOURNAL, remove, sync_file, sync_folder, table_path, unwritable
from bench.record.rows import ScoreRow, json_text, mended
from bench.record.schemas import SAMPLES, SCORES, fitted, writer_options
from bench.record.staged import CELLS as KEPT_CELLS
from bench.record.staged import SAMPLES as KEPT_SAMPLES
from bench.record.staged import kept

_BATCH_ROWS = 2048
_INT64 = range(-(2**63), 2**63)


def write_scores(path: Path, rows: Iterable[ScoreRow]) -> None:
    """Replace ``scores.parquet`` of a run folder with rows that may come as a stream.

    Raises:
        ConfigError: ``path`` is no run folder, or cannot be written (disk full, permissions); the old scores stay.
    """
    if not (path / HEADER).is_file():
        raise ConfigError(f"{path}: is not a run folder (it has no {HEADER})")
    values = (
        (r.request_id, r.choice, r.scorer, r.value, str(r.label), r.extracted, r.detail, r.scorer_version) for r in rows
    )
    try:
        _write(table_path(path, "scores"), SCORES, values)
    except OSError as error:
        raise unwritable(path, error) from error


def write_samples(run: Path) -> None:
    """``samples.parquet`` from what was kept at the start of the run; nothing to do where nothing was.

    Raises:
        OSError: disk full or the like.
    """
    source = run / JOURNAL / KEPT_SAMPLES
    if source.exists():
        _write(table_path(run, "samples"), SAMPLES, kept(source))


def _write(target: Path, schema: Any, rows: Iterable[Sequence[Any]]) -> None:
    _publish(target, schema, _batches(schema, iter(rows)))


def _batches(schema: Any, rows: Iterator[Sequence[Any]]) -> Iterator[Any]:
    while chunk := list(islice(rows, _BATCH_ROWS)):
        columns = zip(*chunk, strict=True)
        arrays = [fitted(list(values), field.type) for values, field in zip(columns, schema, strict=True)]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _publish(target: Path, schema: Any, tables: Iterable[Any]) -> None:
    part = target.with_name(f".{target.name}.tmp")
    try:
        with pq.ParquetWriter(part, schema, **writer_options(schema)) as writer:
            for table in tables:
                writer.write_table(table)
        sync_file(part)
        if target.is_dir():
            remove(target)
        os.replace(part, target)
    except Exception:
        part.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_cells(run: Path) -> None:
    """``cells.parquet`` from what was kept at the start of the run: one flat column for each parameter of any cell.

    A parameter that is a number, a truth value or a text in every cell keeps its type, and null stands for "not set";
    one of mixed types, or that holds lists, is JSON text.

    Raises:
        OSError: disk full or the like.
    """
    source = run / JOURNAL / KEPT_CELLS
    if not source.exists():
        return
    rows = [(fixed, json.loads(params)) for fixed, params in kept(source)]
    columns: dict[str, Any] = {
        "cell_id": pa.array([fixed["cell_id"] for fixed, _ in rows], pa.string()),
        "index": pa.array([fixed["index"] for fixed, _ in rows], pa.int64()),
        "label": pa.array([fixed["label"] for fixed, _ in rows], pa.string()),
        "swept": pa.array([fixed["swept"] for fixed, _ in rows], pa.list_(pa.string())),
        "dataset_key": pa.array([fixed["dataset_key"] for fixed, _ in rows], pa.string()),
    }
    for name in dict.fromkeys(name for _, params in rows for name in params):
        columns[name if name not in columns else f"params.{name}"] = _flat([params.get(name) for _, params in rows])
    table = pa.table(columns)
    _publish(table_path(run, "cells"), table.schema, [table])


def _flat(values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    exact = all(value in _INT64 for value in values if type(value) is int)
    if kinds == {int} and exact:
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float} and exact:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds <= {str}:
        return pa.array([None if value is None else mended(value) for value in values], pa.string())
    return pa.array([None if value is None else json_text(value) for value in values], pa.string())
