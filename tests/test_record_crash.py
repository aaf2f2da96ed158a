"""What a run folder holds after the worst: torn journals, kills at any moment, crashes between any two steps."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_cases import ORIGIN, full, plain

from bench.domain import ErrorKind, Outcome
from bench.record import Record, SegmentLimits, read_header, read_table
from bench.record.journal import Journal, frame, frames, read_segment, recover, segments
from bench.record.rows import pack

TABLES = ("requests", "choices", "attempts")
SMALL = SegmentLimits(rows=4)


def table_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table in the order of requests, whatever the order in which they were written."""
    found = {name: read_table(path, name).to_pylist() for name in TABLES}
    return {name: sorted(rows, key=lambda row: (row["request_id"], str(row))) for name, rows in found.items()}


def small_journal(folder: Path) -> tuple[bytes, list[int]]:
    """The bytes of a segment with four exchanges, and where each of its records ends."""
    journal = Journal(folder, ORIGIN, SegmentLimits())
    for number in range(4):
        journal.append(pack(plain(number)), terminal=True)
    journal.close()
    path = folder / "000001.seg"
    return path.read_bytes(), [end for end, _ in frames(path)]


def payloads(path: Path) -> list[bytes]:
    found = read_segment(path)
    return [] if found is None else list(found[1])


def test_a_segment_cut_at_any_byte_gives_every_record_before_the_cut(tmp_path: Path) -> None:
    whole, ends = small_journal(tmp_path)
    expected = [pack(plain(number)) for number in range(4)]
    path = tmp_path / "000001.seg"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        count = sum(end <= cut for end in ends[1:])
        assert payloads(path) == expected[:count]
        found = recover(path)
        assert (found.rows, found.dropped_bytes) == (count, cut - max([0, *(end for end in ends if end <= cut)]))
        assert path.stat().st_size == found.size == cut - found.dropped_bytes


def test_a_damaged_byte_anywhere_costs_nothing_before_it(tmp_path: Path) -> None:
    whole, ends = small_journal(tmp_path)
    path = tmp_path / "000001.seg"
    for place in range(ends[0], len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert payloads(path) == [pack(plain(number)) for number in range(sum(end <= place for end in ends[1:]))]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=60))
def test_whatever_follows_whole_records_is_read_as_a_torn_tail(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.seg"
    path.write_bytes(b"".join(map(frame, records)) + tail)
    assert [payload for _, payload in frames(path)][: len(records)] == records


def test_a_hole_of_zeros_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "hole.seg"
    path.write_bytes(frame(b"one") + bytes(4096))
    assert [payload for _, payload in frames(path)] == [b"one"]


class DiskFull:
    """``os.write`` that takes ``room`` more bytes and then says that the disk is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, fd: int, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, bytes(data)[: self.room])
        self.room -= written
        return written


def test_a_full_disk_raises_and_leaves_every_record_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN})
    record.append(plain(0))
    with monkeypatch.context() as patch:
        patch.setattr("bench.record.journal.os.write", DiskFull(room=50))
        for number in (1, 2):
            with pytest.raises(OSError, match="No space left"):
                record.append(plain(number))
    record.append(plain(3))
    record.finish(state="finished")
    assert [row["order"] for row in read_table(record.path, "requests").to_pylist()] == [0, 3]


def test_a_write_that_cannot_be_taken_back_ends_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN})
    record.append(plain(0))

    def no_truncate(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("bench.record.journal.os.write", DiskFull(room=50))
        patch.setattr("bench.record.journal.os.ftruncate", no_truncate)
        with pytest.raises(OSError, match="No space left"):
            record.append(plain(1))
    with pytest.raises(OSError, match="could not be taken back"):
        record.append(plain(2))
    record.close()
    with Record.reopen(record.path) as again:
        assert again.done() == {"req-000000"}
        assert read_header(record.path)["sessions"][0]["dropped_bytes"] == 50


def test_a_late_error_of_the_disk_stops_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, ORIGIN, SegmentLimits())

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("bench.record.journal.os.fsync", broken)
        journal.append(pack(plain(0)), terminal=True)
        journal._syncer.close()
        with pytest.raises(OSError, match="Input/output"):
            journal.append(pack(plain(1)), terminal=True)
    journal.close()


FULL_FILE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from record_cases import ORIGIN, plain
from bench.record import Record
record = Record.create(Path(sys.argv[1]), "demo", {"origin_ns": ORIGIN})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    for number in range(10_000):
        record.append(plain(number))
except OSError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    record.finish(state="interrupted")
    print(number, record.path)
"""


def test_a_file_system_that_really_refuses_costs_only_the_record_it_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_FILE, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, path = done.stdout.split()
    assert int(number) > 10
    orders = [row["order"] for row in read_table(Path(path), "requests", ["order"]).to_pylist()]
    assert orders == list(range(int(number)))


def test_parquet_that_cannot_be_written_leaves_a_run_to_reopen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN})
    record.append(full())

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bench.record.seal.sync_file", no_space)
        with pytest.raises(OSError, match="No space left"):
            record.finish(state="finished")
    assert {path.name for path in record.path.iterdir()} == {"run.json", "journal"}
    again = Record.reopen(record.path)
    again.finish(state="finished")
    assert [row["request_id"] for row in read_table(again.path, "requests").to_pylist()] == ["req-000001"]


@pytest.mark.parametrize("program", ["/bin/false", "/does/not/exist"])
def test_without_a_sealing_process_finish_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr("bench.record.background.sys.executable", program)
    record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN}, limits=SMALL)
    for number in range(10):
        record.append(plain(number))
    assert len(segments(record.path / "journal")) == 3
    record.finish(state="finished")
    assert [row["order"] for row in read_table(record.path, "requests").to_pylist()] == list(range(10))


def test_full_segments_are_sealed_by_a_process_of_their_own(tmp_path: Path) -> None:
    record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN}, limits=SMALL)
    for number in range(10):
        record.append(plain(number))
    record.close()  # waits for the sealing process, and seals nothing itself
    assert [path.name for path in segments(record.path / "journal")] == ["000003.seg"]
    assert [row["order"] for row in read_table(record.path, "requests").to_pylist()] == list(range(8))
    with Record.reopen(record.path, limits=SMALL) as again:
        assert len(again.done()) == 10


# --- crashes between any two steps ---------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class DyingSystem:
    """The calls that change a folder. At number ``at`` the process dies: from then on nothing has an effect."""

    STEPS = ("replace", "fsync", "unlink", "mkdir", "rmdir", "truncate", "ftruncate")

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0
        self._thread = threading.get_ident()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for step in self.STEPS:
            patch.setattr(os, step, self._wrap(getattr(os, step)))
        write = os.write
        patch.setattr(os, "write", lambda fd, data: len(data) if self.calls > self.at else write(fd, data))

    def _wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread:
                return step(*args, **options)
            self.calls += 1
            if self.calls == self.at + 1:
                raise Crash
            return step(*args, **options) if self.calls <= self.at else None

        return call


class SealsAtOnce:
    """In place of the sealing process: seals where it is asked to, so that a crash can hit it."""

    def __init__(self, run: Path, lock_fd: int) -> None:
        self._run = run

    def seal(self, segment: Path) -> None:
        from bench.record.seal import seal_segment

        seal_segment(self._run, segment)

    def close(self) -> None:
        """Nothing is left to do."""


CANCELLED = ErrorKind.CANCELLED
REQUESTS = 11


def first_session(record: Record, acknowledged: list[int]) -> None:
    """Five done, two cancelled, the rest not sent; interrupted."""
    for number in range(7):
        if number in (3, 5):
            record.append(plain(number, Outcome.CANCELLED, CANCELLED))
        else:
            record.append(plain(number))
            acknowledged.append(number)
    unsent = [plain(number, Outcome.NOT_SENT, CANCELLED) for number in range(7, REQUESTS)]
    record.finish(state="interrupted", unsent=unsent)


def last_session(path: Path, limits: SegmentLimits, acknowledged: list[int]) -> None:
    """All that is not done; finished."""
    with Record.reopen(path, limits=limits) as record:
        done = record.done()
        assert done >= {f"req-{number:06d}" for number in acknowledged}
        for number in range(REQUESTS):
            exchange = plain(number)
            if exchange.request.request_id not in done:
                record.append(exchange)
                acknowledged.append(number)
        record.finish(state="finished")


@pytest.mark.slow
@pytest.mark.parametrize("limits", [SegmentLimits(), SMALL], ids=["single", "parts"])
def test_a_crash_between_any_two_steps_loses_and_duplicates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: SegmentLimits
) -> None:
    monkeypatch.setattr("bench.record.writer.Sealer", SealsAtOnce)
    expected = None
    for at in range(1000):
        record = Record.create(tmp_path, "demo", {"origin_ns": ORIGIN}, limits=limits)
        acknowledged: list[int] = []
        system = DyingSystem(at)
        crashed = False
        with monkeypatch.context() as patch:
            system.install(patch)
            try:
                first_session(record, acknowledged)
                last_session(record.path, limits, acknowledged)
            except Crash:
                crashed = True
                record.close()
        if read_header(record.path)["state"] != "finished":
            last_session(record.path, limits, acknowledged)
        found = table_rows(record.path)
        assert [row["order"] for row in found["requests"]] == list(range(REQUESTS)), f"crash at step {at}"
        assert {row["outcome"] for row in found["requests"]} == {"ok"}
        expected = expected or found
        assert found == expected, f"crash at step {at}"
        if not crashed:
            break
    else:
        pytest.fail("the run has more steps than were tried")
    assert at > 20


# --- kill -9 -------------------------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from record_cases import ORIGIN, plain
from bench.record import Record, SegmentLimits
place, limits = Path(sys.argv[1]), SegmentLimits(rows=20)
if (place / "run.json").exists():
    record = Record.reopen(place, limits=limits)
else:
    record = Record.create(place, "demo", {"origin_ns": ORIGIN}, limits=limits)
print(record.path, flush=True)
done = record.done()
for number in range(100_000):
    exchange = plain(number)
    if exchange.request.request_id not in done:
        record.append(exchange)
        print(number, flush=True)
"""


def killed_after(place: Path, acknowledgements: int) -> tuple[Path, list[int]]:
    """Start or resume a run, kill it once so many appends have returned; its folder and all acknowledged numbers."""
    command = [sys.executable, "-c", WORKER, str(place), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        path = Path(worker.stdout.readline().rstrip("\n"))
        said = [worker.stdout.readline() for _ in range(acknowledgements)]
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.readlines()
    return path, [int(line) for line in said if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_rows_survive_kill_9_at_random_moments(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    path, acknowledged = killed_after(tmp_path, moments.randint(1, 120))
    for _ in range(2):
        path, more = killed_after(path, moments.randint(1, 120))
        acknowledged += more
    assert len(acknowledged) == len(set(acknowledged))
    record = Record.reopen(path)
    done = record.done()
    assert done >= {f"req-{number:06d}" for number in acknowledged}
    record.finish(state="finished")
    orders = sorted(row["order"] for row in read_table(path, "requests", ["order"]).to_pylist())
    assert len(orders) == len(set(orders)) == len(done)
    # at most one append per kill had returned without having been told
    assert orders == list(range(len(orders)))
    assert len(orders) - len(acknowledged) <= 3


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from record_cases import ORIGIN, plain
from bench.record import Record, SegmentLimits
record = Record.create(Path(sys.argv[1]), "demo", {"origin_ns": ORIGIN}, limits=SegmentLimits(rows=10_000))
unit = 1024 if sys.platform == "linux" else 1
for number in range(60_000):
    record.append(plain(number))
    if number == 10_000:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before)
record.finish(state="finished")
print(record.path)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown_bytes, path = done.stdout.split()
    assert int(grown_bytes) < 4 * 1024 * 1024
    assert read_table(Path(path), "requests", ["order"]).column(0).to_pylist() == list(range(60_000))
