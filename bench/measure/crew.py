"""Several worker processes under one record: each has its shard, this process keeps the journal and the display.

Workers are forked before any event loop runs, so they share the plan without copying it. Parent and worker talk over a
socket pair: down go ``stage`` (which, when its clock starts, the probe where a search made it, and when the budget's
time is up), ``written`` (one exchange is in the journal), ``stop`` and ``hurry``; up come ``ready``, ``exchange``
(packed for the journal), ``note``, ``held`` and ``done`` (with the worker's vitals); ``lease`` goes both ways, for what
all share (:mod:`bench.measure.leases`). A worker whose parent is gone ends at once: its socket closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass
from typing import Any

import msgspec

from bench.domain import Exchange
from bench.measure.course import Course, following
from bench.measure.leases import Desk, LeasedLedger, Lessee, Lessor, is_capped
from bench.measure.link import Link
from bench.measure.plan import Plan
from bench.measure.probes import Probe
from bench.measure.senders import open_transports, warm
from bench.measure.servers import Servers
from bench.measure.shards import Shard
from bench.measure.stop import Stop
from bench.measure.vitals import Vitals
from bench.measure.worker import Worker
from bench.progress import Figures, Progress, figures
from bench.record import Record, pack, settled

READY, EXCHANGE, NOTE, HELD, DONE, STAGE, STOP, HURRY, WRITTEN, LEASE = range(10)

#: a stage's clock starts so long after it was called, so that every worker has heard of it by then
START_MARGIN_NS = 20_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class WorkerDiedError(Exception):
    """A worker process ended before its stage did; what it had finished is in the record."""


class Unwritten:
    """Exchanges that a worker has finished and the parent has not yet written to the journal.

    A worker with as many of them as it may have requests in flight starts no further one: what a crash can lose stays
    bounded, and a parent that cannot keep up shows as late sends instead of being hidden.
    """

    def __init__(self) -> None:
        self._count = 0
        self._fewer = asyncio.Event()

    def add(self) -> None:
        """One more was finished."""
        self._count += 1

    def remove(self) -> None:
        """One was written."""
        self._count -= 1
        self._fewer.set()

    async def room(self, most: int) -> None:
        """Until fewer than ``most`` are unwritten."""
        while self._count >= most:
            self._fewer.clear()
            await self._fewer.wait()


@dataclass(frozen=True)
class Hand:
    """One forked worker as its parent sees it."""

    shard: Shard
    pid: int
    end: socket.socket


def fork_crew(plan: Plan, servers: Servers, count: int, loop: Callable[..., Any]) -> list[Hand]:
    """Fork ``count`` workers. Call with no event loop running and, ideally, no threads.

    ``loop`` runs a coroutine to its end (``asyncio.run`` or uvloop's).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    hands: list[Hand] = []
    for index in range(count):
        ours, theirs = socket.socketpair()
        shard = Shard(index, count)
        pid = os.fork()
        if pid == 0:
            for other in (ours, *(hand.end for hand in hands)):
                other.close()
            _work_and_exit(plan, servers, shard, theirs, loop)
        theirs.close()
        hands.append(Hand(shard, pid, ours))
    return hands


def _work_and_exit(plan: Plan, servers: Servers, shard: Shard, end: socket.socket, loop: Callable[..., Any]) -> None:
    """The whole life of a worker process; never returns, and runs none of the parent's exit handlers."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to all; the parent decides
            signal.signal(number, signal.SIG_IGN)
        loop(_serve(plan, servers, shard, end))
        code = 0
    except BaseException:  # noqa: BLE001 - the last line of a process: said, and then it ends
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


async def _serve(plan: Plan, servers: Servers, shard: Shard, end: socket.socket) -> None:
    link = await Link.over(end)
    stop, unwritten, lessee = Stop(), Unwritten(), Lessee(lambda message: link.send(LEASE, message))

    def sink(exchange: Exchange) -> None:
        unwritten.add()
        link.send(EXCHANGE, _encode((settled(exchange), *astuple(figures(exchange)), pack(exchange))))

    async with AsyncExitStack() as stack:
        senders = await open_transports(plan, servers, stack)
        await warm(senders, plan, shard)
        link.send(READY)
        commands: asyncio.Queue[Any] = asyncio.Queue()
        listening = asyncio.ensure_future(_listen(link, stop, unwritten, lessee, commands))
        stack.callback(listening.cancel)
        worker: Worker | None = None
        while (command := await commands.get()) is not None:
            index, start_ns, done, probe, end_ns = command
            worker = worker or Worker(
                plan,
                shard,
                senders,
                frozenset(done),
                stop=stop,
                sink=sink,
                note=lambda text: link.send(NOTE, text.encode()),
                throttled=lambda by: link.send(HELD, (by or "").encode()),
                clock=time.monotonic_ns,
                room=unwritten.room,
                ledger=LeasedLedger(lessee, end_ns, time.monotonic_ns) if is_capped(plan.experiment.budget) else None,
                lessee=lessee,
            )
            stage = plan.stage(index, Probe(*probe) if probe else None)
            vitals = await worker.run_stage(stage, start_ns)
            link.send(DONE, _encode(vitals.row()))
    await link.close()


async def _listen(link: Link, stop: Stop, unwritten: Unwritten, lessee: Lessee, commands: asyncio.Queue[Any]) -> None:
    async for kind, payload in link.messages():
        if kind == STAGE:
            commands.put_nowait(_decode(payload))
        elif kind == STOP:
            stop.set(payload.decode())
        elif kind == HURRY:
            stop.hurry.set()
        elif kind == WRITTEN:
            unwritten.remove()
        elif kind == LEASE:
            lessee.hear(payload)
    if not stop.event.is_set():  # the parent is gone or has nothing more: nobody would record what we do
        stop.set("the run is over")
        stop.hurry.set()
    commands.put_nowait(None)


async def conduct(
    hands: Sequence[Hand], course: Course, record: Record, progress: Progress, stop: Stop, lessor: Lessor
) -> list[Vitals]:
    """Run every stage on all workers at once; exchanges go to the record as they come, leases to who asks first.

    Raises:
        WorkerDiedError: a worker ended early; what finished is in the record, and the run can be resumed.
    """
    crew = [_Member(await Link.over(hand.end), hand.shard, record, course, progress, stop, lessor) for hand in hands]
    passing_on = asyncio.ensure_future(_pass_on(crew, stop))
    showing = asyncio.ensure_future(_show_throttle(crew, lessor, progress))
    done = sorted(record.done())
    vitals: list[Vitals] = []
    try:
        await asyncio.gather(*(member.expect(READY) for member in crew))
        while (stage := following(course, record, stop)) is not None:
            probe = None if stage.probe is None else astuple(stage.probe)
            start_ns = time.monotonic_ns() + START_MARGIN_NS
            for member in crew:
                member.link.send(STAGE, _encode((stage.index, start_ns, done, probe, lessor.ledger.end_ns)))
            answers = await asyncio.gather(*(member.expect(DONE) for member in crew))
            vitals += [Vitals.of(_decode(answer)) for answer in answers]
    finally:
        passing_on.cancel()
        showing.cancel()
        await asyncio.gather(*(member.close() for member in crew))
    return vitals


def dismiss(hands: Sequence[Hand]) -> list[str]:
    """Wait for all workers to end; they do once their sockets are closed. Says which did not end well, and how."""
    said = []
    for hand in hands:
        hand.end.close()
    for hand in hands:
        code = 0
        with contextlib.suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(hand.pid, 0)[1])
        if code:
            how = "its error is above" if code > 0 else f"killed by signal {-code}, perhaps for want of memory"
            said.append(f"worker {hand.shard.index} of {hand.shard.count} ended early ({how})")
    return said


class _Member:
    """The parent's end of one worker: exchanges to the record, the rest to whoever waits for it."""

    def __init__(
        self, link: Link, shard: Shard, record: Record, course: Course, progress: Progress, stop: Stop, lessor: Lessor
    ) -> None:
        self.link, self._shard, self.held_by = link, shard, ""
        self._desk = Desk(lessor, lambda message: link.send(LEASE, message))
        self._record, self._course, self._progress, self._stop = record, course, progress, stop
        self._answers: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._reading = asyncio.ensure_future(self._read())

    async def expect(self, kind: int) -> bytes:
        """The payload of the next ``READY`` or ``DONE``."""
        answer = await self._answers.get()
        if answer is None:
            await self._reading  # raises what went wrong here, if it was not the worker
        if answer is None or answer[0] != kind:
            raise WorkerDiedError(f"worker {self._shard.index} of {self._shard.count} ended early")
        return answer[1]

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._desk.close()
        await self.link.close()

    async def _read(self) -> None:
        try:
            async for kind, payload in self.link.messages():
                if kind == EXCHANGE:
                    self._take(payload)
                elif kind == LEASE:
                    self._desk.hear(payload)
                elif kind == NOTE:
                    self._progress.note(payload.decode())
                elif kind == HELD:
                    self.held_by = payload.decode()
                else:
                    self._answers.put_nowait((kind, payload))
        finally:
            self._answers.put_nowait(None)

    def _take(self, payload: bytes) -> None:
        terminal, *shown, packed = _decode(payload)
        try:
            self._record.append_packed(packed, terminal=terminal)
        except OSError as error:
            self._stop.disk_full(error)
        else:
            self.link.send(WRITTEN)
            self._course.saw(packed)
            self._progress.finished(Figures(*shown))


async def _pass_on(crew: Sequence[_Member], stop: Stop) -> None:
    """Tell all workers when the run is to stop, and when there is no time left."""
    await stop.event.wait()
    for member in crew:
        member.link.send(STOP, (stop.reason or "").encode())
    if stop.disk_error is None:
        await stop.hurry.wait()
    for member in crew:
        member.link.send(HURRY)


async def _show_throttle(crew: Sequence[_Member], lessor: Lessor, progress: Progress) -> None:
    while True:
        shared = (str(hold) for hold in lessor.holds())
        progress.throttled(next(shared, None) or next((member.held_by for member in crew if member.held_by), None))
        await asyncio.sleep(0.5)
