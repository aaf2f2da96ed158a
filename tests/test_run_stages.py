"""Measuring, stage by stage: orderly stops, hurried stops, full disks, bugs, and what a run leaves behind then."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bench_process import PATIENCE_S
from measured import Counted, open_record
from setups import experiment, rows_file
from test_dispatch import ScriptedSender

from bench.domain import Answer
from bench.measure import run as run_module
from bench.measure import worker as worker_module
from bench.measure.plan import Plan, make_plan
from bench.measure.run import measure, unsent
from bench.measure.servers import Servers
from bench.measure.stop import Stop
from bench.record import Record, read_table


class Holding(ScriptedSender):
    """Answers the first ``quick`` requests; the others hang until they are cancelled. Calls back on each request."""

    def __init__(self, quick: int, on_call: Callable[[int], None]) -> None:
        super().__init__(hold=asyncio.Event())
        self.quick, self.on_call = quick, on_call

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        if self.calls < self.quick:
            self.hold, held = None, self.hold
            answering = super().send(body, stream=stream, due_ns=due_ns, permit_ns=permit_ns)
            answer = await answering
            self.hold = held
            return answer
        self.on_call(self.calls + 1)
        return await super().send(body, stream=stream, due_ns=due_ns, permit_ns=permit_ns)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One cell of 20 requests, 4 at a time."""
    return make_plan([experiment(rows_file(tmp_path, 20), load={"kind": "closed", "concurrency": 4})])


def measured(
    plan: Plan, sender: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, record: Record | None = None
) -> tuple[Record, Stop, Counted]:
    """Measure a plan with a sender of its own instead of connections."""

    async def senders(plan: Plan, servers: Servers, stack: AsyncExitStack) -> dict[str, Any]:
        return {cell.cell_id: sender for cell in plan.cells}

    async def nothing(*_: Any) -> None: ...

    monkeypatch.setattr(run_module, "open_transports", senders)
    monkeypatch.setattr(run_module, "check_reachable", nothing)
    monkeypatch.setattr(run_module, "warm", nothing)
    progress = Counted()
    done = measure(plan, Servers([]), progress, lambda: record or open_record(plan, folder / "results"))
    return done.record, done.stop, progress


def outcomes(path: Path) -> Counter[str]:
    return Counter(read_table(path, "requests", ["outcome"]).column(0).to_pylist())


def finish(record: Record, plan: Plan, stop: Stop) -> None:
    record.finish(state="interrupted" if stop.reason else "finished", unsent=unsent(plan, record, stop.reason or ""))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_what_is_in_flight_end(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sender = ScriptedSender()
    send, arrivals = sender.send, count(1)

    async def interrupting(body: bytes, **known: Any) -> Answer:
        if next(arrivals) == 9:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)  # the signal is delivered while this request is in flight
        return await send(body, **known)

    sender.send = interrupting  # type: ignore[method-assign]  # a double of a double
    record, stop, _ = measured(plan, sender, tmp_path, monkeypatch)
    assert stop.reason == "interrupted"
    finish(record, plan, stop)
    got = outcomes(record.path)
    assert got.keys() == {"ok", "not_sent"}
    assert 10 <= got["ok"] == sender.calls < 20
    assert got.total() == 20


def test_a_second_signal_cancels_what_is_in_flight(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(call: int) -> None:
        if call == 8:
            loop = asyncio.get_running_loop()
            os.kill(os.getpid(), signal.SIGINT)
            loop.call_later(0.05, os.kill, os.getpid(), signal.SIGINT)

    monkeypatch.setattr(worker_module, "GRACE_S", 3600.0)
    record, stop, progress = measured(plan, Holding(5, twice), tmp_path, monkeypatch)
    assert stop.reason == "interrupted"
    assert any("Ctrl-C again" in line for line in progress.notes)
    finish(record, plan, stop)
    got = outcomes(record.path)
    assert (got["ok"], got.total()) == (5, 20)
    assert 3 <= got["cancelled"] <= 4


def test_what_hangs_is_cancelled_after_the_grace(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(call: int) -> None:
        if call == 9:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(worker_module, "GRACE_S", 0.05)
    record, stop, _ = measured(plan, Holding(5, once), tmp_path, monkeypatch)
    finish(record, plan, stop)
    assert outcomes(record.path) == {"ok": 5, "cancelled": 4, "not_sent": 11}


def test_a_resumed_run_sends_only_what_is_left(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(call: int) -> None:
        if call == 9:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(worker_module, "GRACE_S", 0.05)
    record, stop, _ = measured(plan, Holding(5, once), tmp_path, monkeypatch)
    finish(record, plan, stop)
    sender = ScriptedSender()
    again, stop, progress = measured(plan, sender, tmp_path, monkeypatch, Record.reopen(record.path))
    finish(again, plan, stop)
    assert (sender.calls, progress.done_before, stop.reason) == (15, 5, None)
    assert outcomes(record.path) == {"ok": 20}


def test_a_full_disk_stops_the_run_in_order(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, left = Record.append_packed, iter([None] * 7)

    def full(self: Record, payload: bytes, *, terminal: bool) -> None:
        if next(left, "full") == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, payload, terminal=terminal)

    monkeypatch.setattr(Record, "append_packed", full)
    sender = ScriptedSender()
    record, stop, progress = measured(plan, sender, tmp_path, monkeypatch)
    assert stop.disk_error is not None
    assert stop.disk_error.errno == errno.ENOSPC
    assert stop.reason == "the record cannot be written: No space left on device"
    assert len(progress.outcomes) == 7
    assert sender.calls < 20
    record.close()
    monkeypatch.setattr(Record, "append_packed", append)
    again, stop, _ = measured(plan, ScriptedSender(), tmp_path, monkeypatch, Record.reopen(record.path))
    finish(again, plan, stop)
    assert outcomes(record.path) == {"ok": 20}


def test_a_bug_crashes_and_finished_rows_survive(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is no failure of the world: it is never written down as a cancelled request of a finished run."""
    sender = ScriptedSender()
    send = sender.send

    async def broken(body: bytes, **known: Any) -> Answer:
        if sender.calls == 6:
            raise RuntimeError("a bug")
        return await send(body, **known)

    sender.send = broken  # type: ignore[method-assign]  # a double of a double
    with pytest.raises(RuntimeError, match="a bug"):
        measured(plan, sender, tmp_path, monkeypatch)
    (path,) = (tmp_path / "results" / "made").iterdir()
    again, stop, progress = measured(plan, ScriptedSender(), tmp_path, monkeypatch, Record.reopen(path))
    assert progress.done_before >= 6
    finish(again, plan, stop)
    assert outcomes(path) == {"ok": 20}


BROKEN_PARENT = """
import sys
from pathlib import Path
from measured import run_measured
from setups import experiment
from bench.record import Record

def broken(*_, **__):
    raise ValueError("a bug")

Record.append_packed = broken
run_measured([experiment(Path("rows.jsonl"), engine={"processes": 2})], Path("results"))
"""


@pytest.mark.slow
def test_a_bug_beside_several_workers_ends_the_run_too(tmp_path: Path) -> None:
    """It must not leave the parent waiting for workers that have nothing more to say."""
    rows_file(tmp_path, 20)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", BROKEN_PARENT], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert err.splitlines()[-1] == "ValueError: a bug"
