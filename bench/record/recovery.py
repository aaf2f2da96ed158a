"""Recovery: a run folder as a crash or an interruption left it, brought back to sealed parts and a whole journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.record.folder import JOURNAL, TAIL, part_path, remove, sealed_parts, table_path
from bench.record.journal import ASIDE, Journal, Recovered, SegmentLimits, recover, segments

_TABLES = ("requests", "choices", "attempts")


@dataclass(frozen=True, slots=True)
class RecoveredRun:
    """The journal to go on with, full segments still to be sealed, and what ``run.json`` says about the session."""

    journal: Journal
    full: list[Path]
    session: dict[str, Any]


def recover_run(run: Path, origin_ns: int, limits: SegmentLimits) -> RecoveredRun:
    """Drop what will be written anew and torn records, then open the journal behind the last whole record.

    Raises:
        OSError: the folder cannot be written.
        ConfigError: the journal is of a newer version.
    """
    folder = run / JOURNAL
    for leftover in folder.glob("tmp-*"):
        leftover.unlink()
    _forget_unsettled(run)
    kept: list[tuple[Path, Recovered]] = []
    dropped_bytes = 0
    for segment in segments(folder):
        found = recover(segment)
        dropped_bytes += found.dropped_bytes
        if part_path(run, "requests", segment.stem).exists() or found.rows == 0:
            segment.unlink()
        else:
            kept.append((segment, found))
    numbers = [number for number, _ in sealed_parts(run)] + [int(segment.stem) for segment, _ in kept]
    journal = Journal(folder, origin_ns, limits, first_number=max(numbers, default=0) + 1)
    if kept:
        found = kept[-1][1]
        # rows of another clock (the machine was booted since) cannot share a segment
        if found.origin_ns == origin_ns and found.rows < limits.rows and found.size < limits.bytes:
            journal.go_on_with(*kept.pop())
    session = {
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "origin_ns": origin_ns,
        "dropped_bytes": dropped_bytes,
    }
    return RecoveredRun(journal, [segment for segment, _ in kept], session)


def _forget_unsettled(run: Path) -> None:
    """Remove rows that will come again: the tail part; or single files, whose settled rows the journal still holds."""
    parts = table_path(run, "requests").is_dir()
    for table in _TABLES:
        if parts:
            part_path(run, table, TAIL).unlink(missing_ok=True)
        else:
            remove(table_path(run, table))
    (run / JOURNAL / ASIDE).unlink(missing_ok=True)
