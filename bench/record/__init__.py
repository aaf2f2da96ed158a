"""The waist: everything left of the run folder measures, everything right of it judges and shows.

A run folder holds ``run.json``, a journal while it is unfinished, and Parquet tables; this package alone writes them.
Names that need pyarrow are loaded on first use, because it takes a while to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.record.background import spare_pandas
from bench.record.folder import find_run, is_scored
from bench.record.header import SCHEMA_VERSION, amend_header, read_header
from bench.record.journal import SegmentLimits
from bench.record.rows import ScoreRow, is_terminal, pack, settled
from bench.record.spent import SpendingLog, Spent
from bench.record.writer import Record

if TYPE_CHECKING:
    from bench.record.reading import RecordedChoice, iter_batches, read_choices, read_samples, read_table
    from bench.record.tables import write_scores

__all__ = [
    "SCHEMA_VERSION",
    "Record",
    "RecordedChoice",
    "ScoreRow",
    "SegmentLimits",
    "SpendingLog",
    "Spent",
    "amend_header",
    "find_run",
    "is_scored",
    "is_terminal",
    "iter_batches",
    "pack",
    "read_choices",
    "read_header",
    "read_samples",
    "read_table",
    "settled",
    "spare_pandas",
    "write_scores",
]

_LATE = {
    "RecordedChoice": "bench.record.reading",
    "iter_batches": "bench.record.reading",
    "read_choices": "bench.record.reading",
    "read_samples": "bench.record.reading",
    "read_table": "bench.record.reading",
    "write_scores": "bench.record.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
