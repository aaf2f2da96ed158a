"""The writer of a run folder: one process at a time takes exchanges in and leaves tables behind."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.domain import Cell, ConfigError, Exchange, Sample
from bench.record import staged
from bench.record.background import Sealer
from bench.record.folder import JOURNAL, Lock, create_folder, sealed_parts, sync_folder, unwritable
from bench.record.header import STATES, complete, read_header, session_origin_ns, write_header
from bench.record.journal import Journal, SegmentLimits, read_segment, segments
from bench.record.recovery import recover_run
from bench.record.rows import pack, settled, unpack


class Record:
    """An open run folder.

    Exchanges go to the journal at once. Full segments are sealed into parts of ``requests.parquet`` and its siblings by
    a process of their own; :meth:`finish` seals the rest. A run that never filled a segment ends as single files.
    What survives a crash, and when data reaches the disk, is told in :mod:`bench.record.journal`.

    Attributes:
        path: the run folder.
        header: the content of ``run.json``; change it with :meth:`update`.
        origin_ns: what this session's monotonic times are counted from.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], lock: Lock, journal: Journal) -> None:
        """Use :meth:`create` or :meth:`reopen`."""
        self.path = path
        self.header: dict[str, Any] = dict(header)
        self.origin_ns = journal.origin_ns
        self._lock = lock
        self._journal = journal
        self._sealer = Sealer(path, lock.fd)
        self._open = True
        self._unsettled: set[str] = set()

    @property
    def run_id(self) -> str:
        """Names the run: the name of its folder."""
        return str(self.header["run_id"])

    @classmethod
    def create(
        cls,
        results_dir: Path,
        name: str,
        header: Mapping[str, Any],
        *,
        limits: SegmentLimits | None = None,
        moment: datetime | None = None,
        short_id: Callable[[], str] | None = None,
    ) -> Record:
        """Start a run in ``results_dir/name/<UTC time>-<short id>``.

        Args:
            header: what ``run.json`` says beyond schema_version, run_id, name, state, started_at and the clock origin,
                which are filled in unless given (``origin_ns`` is the raw monotonic origin).
            limits: when a journal segment is full.
            moment: start of the run by the wall clock, in UTC; now, unless given.
            short_id: makes the last part of the folder's name; random unless given.

        Raises:
            ConfigError: the results folder cannot be written; names it.
        """
        moment = moment or datetime.now(UTC)
        path = create_folder(results_dir, name, moment, *([short_id] if short_id else []))
        try:
            whole = complete(header, path)
            write_header(path, whole)
            journal = Journal(path / JOURNAL, whole["origin_ns"], limits or SegmentLimits())
            return cls(path, whole, Lock(path), journal)
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise unwritable(path, error) from error

    @classmethod
    def reopen(cls, path: Path, *, limits: SegmentLimits | None = None) -> Record:
        """Go on with a run that was interrupted or killed.

        Tables that a later :meth:`finish` writes anew are removed, rows that are not terminal are forgotten, torn
        journal records are cut off (their bytes are counted in the header's ``sessions``).

        Raises:
            ConfigError: no run folder, a finished run, or a run that another process is writing.
        """
        path = path.absolute()
        _refuse_finished(path)
        lock = Lock(path)
        try:
            header = _refuse_finished(path)  # again: the run may have been finished while the lock was awaited
            found = recover_run(path, session_origin_ns(header), limits or SegmentLimits())
            record = cls(path, header, lock, found.journal)
            record.update(state="running", sessions=[*header.get("sessions", []), found.session])
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise unwritable(path, error) from error
            raise
        for segment in found.full:
            record._sealer.seal(segment)
        return record

    def done(self) -> set[str]:
        """The ids of the requests that have a terminal row, sealed or journalled."""
        found: set[str] = set()
        for segment in segments(self._journal.folder):
            with contextlib.suppress(FileNotFoundError):  # sealed since it was listed: its part is read below
                records = read_segment(segment)
                found.update(unpack(payload)[0][0] for payload in (records[1] if records else ()))
        parts = [part for _, part in sealed_parts(self.path)]
        if parts:
            from bench.record.reading import column_values

            for part in parts:
                found.update(column_values(part, "request_id"))
        return found

    def write_cells(self, cells: Sequence[Cell]) -> None:
        """Keep the cells for ``cells.parquet``, which :meth:`finish` writes.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        staged.keep_cells(self._journal.folder, cells)

    def write_samples(self, sets: Mapping[str, Sequence[Sample]]) -> None:
        """Keep the samples of every dataset key for ``samples.parquet``, which :meth:`finish` writes.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        staged.keep_samples(self._journal.folder, sets)

    def append(self, exchange: Exchange) -> bytes:
        """Write an exchange to the journal; when this returns, the death of this process does not lose it.

        Gives it back packed.

        Raises:
            OSError: disk full or the like; the journal holds everything up to the exchange before.
        """
        packed = pack(exchange)
        self.append_packed(packed, terminal=settled(exchange))
        return packed

    def append_packed(self, payload: bytes, *, terminal: bool) -> None:
        """:meth:`append` of what :func:`bench.record.rows.pack` made, perhaps in another process of this machine.

        Raises:
            OSError: as :meth:`append`.
        """
        self._write(payload, terminal)
        if not terminal:
            self._unsettled.add(unpack(payload)[0][0])

    def _write(self, payload: bytes, terminal: bool) -> None:
        if not self._open:
            raise ValueError(f"{self.path}: the record is closed")
        full = self._journal.append(payload, terminal=terminal)
        if full is not None:
            self._sealer.seal(full)

    def update(self, **changes: Any) -> None:
        """Change keys of ``run.json``, atomically.

        Raises:
            OSError: the disk is full or the folder cannot be written; ``run.json`` is as before.
        """
        changed = {**self.header, **changes}
        write_header(self.path, changed)
        self.header = changed

    def finish(self, *, state: str, unsent: Iterable[Exchange] = ()) -> None:
        """Write all tables, count outcomes into the header, set its ``state`` and close the record.

        Args:
            state: ``finished``, or ``interrupted``: then the journal stays and :meth:`reopen` can go on.
            unsent: an exchange for each planned request without a terminal row (streamed, never held as a whole);
                one that has been appended as cancelled keeps that row.

        Raises:
            OSError: disk full or the like; the journal still holds everything and the run can be reopened.
        """
        if state not in STATES[1:]:
            raise ValueError(f"state={state!r}: must be finished or interrupted")
        try:
            for exchange in unsent:
                # one cancelled in flight has no terminal row either, but its own row says more than "not sent"
                if exchange.request.request_id not in self._unsettled:
                    self._write(pack(exchange), settled(exchange))
            self._journal.close()
            self._sealer.close()
            self._write_tables()
            self.update(state=state, counts=_counts(self.path))
            if state == "finished":
                shutil.rmtree(self._journal.folder)
                sync_folder(self.path)
        finally:
            self.close()

    def _write_tables(self) -> None:
        # pyarrow takes a while to import, and the first request should not wait for it
        from bench.record.seal import seal_all
        from bench.record.tables import write_cells, write_samples

        seal_all(self.path)
        write_cells(self.path)
        write_samples(self.path)

    def close(self) -> None:
        """Let the run go; without :meth:`finish` it stays as after a crash, to be reopened."""
        if self._open:
            self._open = False
            self._journal.close()
            self._sealer.close()
            self._lock.release()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_finished(path: Path) -> dict[str, Any]:
    header = read_header(path)
    if header.get("state") == "finished":
        raise ConfigError(f"{path}: the run is finished; there is nothing to resume")
    if not (path / JOURNAL).is_dir():
        raise ConfigError(f"{path}: the run's {JOURNAL} folder is missing, so it cannot go on; start a new run")
    return header


def _counts(path: Path) -> dict[str, int]:
    from bench.record.reading import counts

    return counts(path, "requests", "outcome")
