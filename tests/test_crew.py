"""Several worker processes under one record: the same rows as one process gives, and orderly ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured import Counted, open_record, run_measured
from setups import experiment, rows_file
from test_dispatch import ScriptedSender

from bench.config import Engine
from bench.measure import crew as crew_module
from bench.measure.crew import Unwritten, WorkerDiedError
from bench.measure.link import Link
from bench.measure.plan import make_plan
from bench.measure.run import measure, process_count, unsent
from bench.measure.servers import Servers
from bench.measure.shards import Shard, share
from bench.measure.stop import Stop
from bench.measure.worker import Worker
from bench.record import Record, read_table

FAST: dict[str, Any] = {"kind": "sim", "name": "sim", "knobs": {"speed": 0}}


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_shares_add_up(whole: int, count: int) -> None:
    assert sum(share(whole, Shard(i, count)) for i in range(count)) == whole


def rows(path: Path) -> list[tuple[Any, ...]]:
    columns = ["request_id", "outcome", "prompt_tokens", "completion_tokens", "order", "warmup"]
    return sorted(tuple(row.values()) for row in read_table(path, "requests", columns).to_pylist())


def texts(path: Path) -> Counter[tuple[str, int, str]]:
    columns = ["request_id", "choice", "text"]
    return Counter(tuple(row.values()) for row in read_table(path, "choices", columns).to_pylist())


@pytest.mark.slow
def test_processes_give_the_rows_that_one_process_gives(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 40)

    def run(processes: int) -> Path:
        cells = [
            experiment(data, provider=FAST, engine={"processes": processes}, sampling={"temperature": 0.0, "n": n})
            for n in (1, 2)
        ]
        return run_measured(cells, tmp_path / "results").path

    one, three = run(1), run(3)
    assert rows(one) == rows(three)
    assert texts(one) == texts(three)
    assert len(rows(one)) == 80


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_and_the_rest_can_be_resumed(tmp_path: Path) -> None:
    slow = {"kind": "sim", "name": "sim", "knobs": {"speed": 1}}
    config = experiment(rows_file(tmp_path, 60), provider=slow, engine={"processes": 2}, load__concurrency=4)
    forked: list[int] = []
    fork = crew_module.fork_crew

    class Killing(Counted):
        def finished(self, figures: Any) -> None:
            super().finished(figures)
            if len(self.outcomes) == 10:
                os.kill(forked[1], signal.SIGKILL)

    progress = Killing()

    def remembering(*args: Any) -> Any:
        hands = fork(*args)
        forked.extend(hand.pid for hand in hands)
        return hands

    with Servers([config]) as servers, pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.measure.run.fork_crew", remembering)
        plan = make_plan([config])
        with pytest.raises(WorkerDiedError, match="worker 1 of 2"):
            measure(plan, servers, progress, lambda: open_record(plan, tmp_path / "results"))
    (path,) = (tmp_path / "results" / "made").iterdir()
    for pid in forked:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    record = Record.reopen(path)
    assert len(record.done()) >= 9
    record.finish(state="interrupted", unsent=unsent(plan, record, "worker died"))
    assert len(rows(path)) == 60


@pytest.mark.slow
def test_an_interrupt_stops_all_processes_in_order(tmp_path: Path) -> None:
    class Interrupting(Counted):
        def finished(self, figures: Any) -> None:
            super().finished(figures)
            if len(self.outcomes) == 12:
                os.kill(os.getpid(), signal.SIGINT)

    config = experiment(rows_file(tmp_path, 60), engine={"processes": 2}, load__concurrency=4)
    progress = Interrupting()
    with Servers([config]) as servers:
        plan = make_plan([config])
        done = measure(plan, servers, progress, lambda: open_record(plan, tmp_path / "results"))
    assert done.stop.reason == "interrupted"
    done.record.finish(state="interrupted", unsent=unsent(plan, done.record, "interrupted"))
    outcomes = Counter(row[1] for row in rows(done.record.path))
    assert outcomes.total() == 60
    assert 12 <= outcomes["ok"] < 60
    assert {vitals.shard for vitals in done.vitals} == {0, 1}


def test_auto_follows_the_load_whatever_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measure.run.available_processors", lambda: 4)
    data = rows_file(tmp_path)

    def count(**changes: Any) -> int:
        return process_count(make_plan([experiment(data, **changes)]))

    assert count() == 1
    assert count(load={"kind": "closed", "concurrency": 500}) == 2
    assert count(load={"kind": "closed", "concurrency": 5000}) == 4
    assert count(load={"kind": "poisson", "rate": 700.0}) == 3
    assert count(load={"kind": "closed", "concurrency": 500}, limits={"rpm": 60}) == 2
    assert count(load={"kind": "closed", "concurrency": 500}, budget={"requests": 60}) == 2
    assert count(engine={"processes": 3}) == 3
    assert count(engine={"processes": 3}, load={"kind": "closed", "concurrency": 2}) == 2
    assert Engine().processes == "auto"


def test_a_worker_starts_nothing_while_too_much_is_unwritten() -> None:
    async def go() -> list[str]:
        said: list[str] = []
        unwritten = Unwritten()
        await unwritten.room(1)
        unwritten.add()
        unwritten.add()

        async def start() -> None:
            await unwritten.room(2)
            said.append("started")

        starting = asyncio.ensure_future(start())
        await asyncio.sleep(0)
        said.append("waiting")
        unwritten.remove()
        await starting
        return said

    assert asyncio.run(go()) == ["waiting", "started"]


def test_a_stage_asks_for_room_before_each_start(tmp_path: Path) -> None:
    """The bound is the shard's share of what may be in flight."""
    plan = make_plan([experiment(rows_file(tmp_path, 6), load={"kind": "closed", "concurrency": 8})])
    sender, asked = ScriptedSender(), list[int]()

    async def room(most: int) -> None:
        asked.append(most)

    async def go() -> None:
        worker = Worker(
            plan,
            Shard(0, 2),
            {cell.cell_id: sender for cell in plan.cells},
            frozenset(),
            stop=Stop(),
            sink=lambda _: None,
            note=lambda _: None,
            throttled=lambda _: None,
            clock=time.monotonic_ns,
            room=room,
        )
        await worker.run_stage(plan.stages[0], time.monotonic_ns())

    asyncio.run(go())
    assert sender.calls == 3
    assert asked == [4] * 3


def test_what_is_told_to_an_end_that_is_gone_is_dropped_without_an_error() -> None:
    """A worker whose parent was killed has requests to cut off, each of which it would report."""
    uvloop = pytest.importorskip("uvloop", reason="its transports refuse to write once they are closed")
    ours, theirs = socket.socketpair()

    async def main() -> None:
        link = await Link.over(ours)
        theirs.close()
        assert [message async for message in link.messages()] == []
        for _ in range(3):
            link.send(1, b"x" * 100_000)
            await asyncio.sleep(0)
        await link.close()

    uvloop.run(main())
