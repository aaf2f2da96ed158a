"""Cells and samples kept beside the journal from the start of a run: a killed run can still be scored and viewed.

They become Parquet when the run ends: the import of pyarrow must not hold the first request back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.domain import Cell, Sample
from bench.record.journal import frames, write_frames
from bench.record.rows import json_text, pack_row

CELLS = "cells.rows"
SAMPLES = "samples.rows"


def keep_cells(folder: Path, cells: Sequence[Cell]) -> None:
    """One row per cell: ``[fixed columns, parameters as JSON text]``.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    write_frames(folder / CELLS, (pack_row(_cell_row(cell)) for cell in cells))


def _cell_row(cell: Cell) -> tuple[dict[str, Any], str]:
    fixed = {
        "cell_id": cell.cell_id,
        "index": cell.index,
        "label": cell.label,
        "swept": list(cell.swept),
        "dataset_key": cell.dataset_key,
    }
    return fixed, json_text(dict(cell.params))


def keep_samples(folder: Path, sets: Mapping[str, Sequence[Sample]]) -> None:
    """One row per sample in the column order of ``samples.parquet``.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    rows = (_sample_row(key, sample) for key, samples in sets.items() for sample in samples)
    write_frames(folder / SAMPLES, (pack_row(row) for row in rows))


def _sample_row(key: str, sample: Sample) -> tuple[str | None, ...]:
    return (
        key,
        sample.sample_id,
        json_text(sample.messages),
        None if sample.target is None else json_text(sample.target),
        json_text(sample.tags),
        json_text(dict(sample.fields)),
        None if sample.tools is None else json_text(sample.tools),
        None if sample.response_format is None else json_text(sample.response_format),
        sample.place,
    )


def kept(path: Path) -> Iterator[Any]:
    """The rows of a kept file, none where it does not exist."""
    if path.exists():
        for _, payload in frames(path):
            yield msgspec.msgpack.decode(payload)
