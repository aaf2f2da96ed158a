"""The journal: append-only segments of checksummed records, one write per finished exchange.

A record is a little-endian ``u32 length``, ``u32 crc32`` of the payload, and the payload. The first record of a segment
holds ``{"version", "origin_ns"}``: the clock origin of the rows that follow.

What survives what: a record is handed to the operating system before :meth:`Journal.append` returns, so it survives the
death of the process at any moment (``kill -9``, out of memory). A thread of its own calls ``fsync`` a second after the
first unsynced write, and when a segment is full, so a power cut or a crash of the machine costs at most about the last
second; what it tears is detected by length and checksum and dropped.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.domain import ConfigError

VERSION = 1
ASIDE = "aside.seg"
SYNC_EVERY_S = 1.0

_HEAD = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """A segment is full, and sealed into Parquet, when it reaches either."""

    rows: int = 20_000
    bytes: int = 64 * 1024 * 1024


class SegmentHead(msgspec.Struct, frozen=True):
    """First record of a segment. ``origin_ns`` is what the times of its rows are counted from."""

    version: int
    origin_ns: int


def frame(payload: bytes) -> bytes:
    """One record as it lies on disk."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """``(offset after the record, payload)`` of every whole record, up to the first torn or damaged one."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = 0
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            # a hole left by a power cut reads as zeros, and crc32(b"") is 0: an empty record is never valid
            if length == 0 or length > size - end - _HEAD.size:
                return
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != checksum:
                return
            end += _HEAD.size + length
            yield end, payload


def write_frames(path: Path, payloads: Iterator[bytes]) -> None:
    """A small file of records, whole or not at all.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    part = path.with_name(f"tmp-{path.name}")
    with part.open("wb") as file:
        for payload in payloads:
            file.write(frame(payload))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_segment(path: Path) -> tuple[int, Iterator[bytes]] | None:
    """``(origin_ns, packed exchanges)`` of a segment; ``None`` when not even its head is whole.

    Raises:
        ConfigError: the segment was written by a newer version.
    """
    records = frames(path)
    first = next(records, None)
    if first is None:
        return None
    head = _head(path, first[1])
    return head.origin_ns, (payload for _, payload in records)


def _head(path: Path, payload: bytes) -> SegmentHead:
    try:
        head = msgspec.msgpack.decode(payload, type=SegmentHead)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: not a journal segment ({error}); move the file away and try again") from error
    if head.version != VERSION:
        raise ConfigError(f"{path}: journal version {head.version} is not known; use the version that wrote it")
    return head


def segments(folder: Path) -> list[Path]:
    """The segments of a journal folder, oldest first."""
    return sorted(path for path in folder.glob("*.seg") if path.stem.isdigit())


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is whole in a segment: rows, and the bytes behind them that were cut off."""

    origin_ns: int | None
    rows: int
    size: int
    dropped_bytes: int


def recover(path: Path) -> Recovered:
    """Cut a torn tail off a segment.

    Raises:
        OSError: the segment cannot be read or written.
        ConfigError: it is of a newer version.
    """
    origin_ns, rows, size = None, -1, 0
    for end, payload in frames(path):
        if origin_ns is None:
            origin_ns = _head(path, payload).origin_ns
        rows, size = rows + 1, end
    dropped = path.stat().st_size - size
    if dropped:
        os.truncate(path, size)
    return Recovered(origin_ns, max(rows, 0), size, dropped)


class Segment:
    """An open segment file that grows by whole records."""

    def __init__(self, path: Path, origin_ns: int, found: Recovered | None = None) -> None:
        """Start a segment, or go on with one as :func:`recover` left it.

        Raises:
            OSError: the file cannot be opened or its head not be written.
        """
        self.path = path
        self.rows = found.rows if found else 0
        self.size = found.size if found else 0
        self._broken = False
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self.size:
            try:
                self._write(frame(msgspec.msgpack.encode(SegmentHead(VERSION, origin_ns))))
            except OSError:
                os.close(self.fd)
                raise

    def append(self, payload: bytes) -> None:
        """One more record, or none of it.

        Raises:
            OSError: disk full or the like; the segment is as it was before.
        """
        self._write(frame(payload))
        self.rows += 1

    def _write(self, record: bytes) -> None:
        if self._broken:
            raise OSError(f"{self.path}: an earlier write failed half-way and could not be taken back")
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError:
            try:
                os.ftruncate(self.fd, self.size)
            except OSError:
                self._broken = True
            raise
        self.size += len(record)


class Syncer:
    """A thread that calls ``fsync`` about a second after a write, off the event loop; on the folder too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._wanted: dict[int, bool] = {}  # file descriptor -> close it after the sync
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.error: OSError | None = None

    def want(self, fd: int, *, close: bool = False) -> None:
        """Ask for a sync of a file descriptor; with ``close`` it belongs to the syncer from now on."""
        if not close and fd in self._wanted:
            return
        with self._lock:
            self._wanted[fd] = close
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(SYNC_EVERY_S)
            self._wake.clear()
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            # duplicates, because a descriptor can be handed back with close=True while it is being synced
            wanted = [(fd if close else os.dup(fd)) for fd, close in self._wanted.items()]
            self._wanted.clear()
        if wanted:
            with contextlib.suppress(FileNotFoundError):  # a finished run has no journal any more
                wanted.append(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        for fd in wanted:
            try:
                os.fsync(fd)
            except OSError as error:
                self.error = error
            finally:
                os.close(fd)

    def close(self) -> None:
        """Sync what is asked for and end the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._sync()


class Journal:
    """The open journal of a run: numbered segments of settled exchanges, and one aside for those to be sent again."""

    def __init__(self, folder: Path, origin_ns: int, limits: SegmentLimits, first_number: int = 1) -> None:
        self.folder = folder
        self.origin_ns = origin_ns
        self.limits = limits
        self._number = first_number
        self._current: Segment | None = None
        self._aside: Segment | None = None
        self._syncer = Syncer(folder)

    def go_on_with(self, path: Path, found: Recovered) -> None:
        """Append to the last segment of an earlier session."""
        self._number = int(path.stem)
        self._current = Segment(path, self.origin_ns, found)

    def append(self, payload: bytes, *, terminal: bool) -> Path | None:
        """Write one packed exchange; returns the segment that this write filled, if it did.

        Raises:
            OSError: disk full or the like, now or in a late ``fsync``; nothing of this record is kept.
        """
        if self._syncer.error is not None:
            raise self._syncer.error
        if not terminal:
            if self._aside is None:
                self._aside = Segment(self.folder / ASIDE, self.origin_ns)
            self._aside.append(payload)
            self._syncer.want(self._aside.fd)
            return None
        if self._current is None:
            self._current = Segment(self.folder / f"{self._number:06d}.seg", self.origin_ns)
        current = self._current
        current.append(payload)
        if current.rows < self.limits.rows and current.size < self.limits.bytes:
            self._syncer.want(current.fd)
            return None
        self._syncer.want(current.fd, close=True)
        self._current = None
        self._number += 1
        return current.path

    def close(self) -> None:
        """Sync and close every segment."""
        for segment in (self._current, self._aside):
            if segment is not None:
                self._syncer.want(segment.fd, close=True)
        self._current = self._aside = None
        self._syncer.close()
