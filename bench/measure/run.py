"""One run: stages of lanes against transports, every exchange recorded at once, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from bench.domain import ErrorKind, Exchange, Failure, Outcome, Request, Timeline
from bench.measure.budget import BudgetLedger
from bench.measure.dispatch import Lane, Run, run_lane
from bench.measure.lag import LagMeter
from bench.measure.limits import AccountLimits
from bench.measure.plan import Plan, Stage, lane_key
from bench.measure.senders import open_transports
from bench.measure.servers import Servers
from bench.measure.shards import WHOLE, Shard, shard_of
from bench.record import Record

#: how long requests in flight may go on after the first Ctrl-C
GRACE_S = 5.0


class Progress(Protocol):
    """What shows a person how the run goes."""

    def start(self, total: int | None, done: int, label: str) -> None:
        """The run begins; ``done`` requests of ``total`` are finished already."""

    def finished(self, exchange: Exchange) -> None:
        """One more planned request has its outcome."""

    def note(self, text: str) -> None:
        """A line for the person."""

    def throttled(self, by: str | None) -> None:
        """What holds the run back at the moment, if anything."""

    def close(self) -> None:
        """The run is over."""


@dataclass
class Stop:
    """Why and whether to stop: set by signals and by a record that cannot be written.

    ``hurry`` is set when a person asks again: requests in flight are then not waited for.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str | None = None
    disk_error: OSError | None = None

    def set(self, reason: str) -> None:
        """Ask for an orderly stop; the first reason stays."""
        self.reason = self.reason or reason
        self.event.set()


async def measure(
    plan: Plan,
    servers: Servers,
    progress: Progress,
    open_record: Callable[[], Record],
    *,
    shard: Shard = WHOLE,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[Record, Stop]:
    """Send what has no terminal row yet and record every exchange; returns once all is quiet.

    ``open_record`` is called when every server has answered, so a run that cannot start leaves no folder behind.

    Raises:
        ConfigError: a key is missing or a server cannot be reached; nothing was sent.
    """
    stop = Stop()
    ledger = BudgetLedger(plan.experiment.budget, clock=clock)
    limits: dict[str, AccountLimits] = {}
    lag = LagMeter(clock)
    with _signals(stop):
        async with AsyncExitStack() as stack:
            senders = await open_transports(plan, servers, stack)
            record = open_record()
            # a bug leaves the run as a crash would: closed, and ready to be resumed
            stack.push(lambda kind, error, trace: None if kind is None else record.close())
            done = record.done()
            sink = _sink(record, progress, stop)
            watch = asyncio.ensure_future(lag.watch())
            stack.callback(watch.cancel)
            progress.start(plan.total, len(done), record.path.name)
            for stage in plan.stages:
                if stop.event.is_set():
                    break
                run = Run(
                    slots=_slots(stage),
                    ledger=ledger,
                    sink=sink,
                    lag=lag,
                    stop=stop.event,
                    start_ns=clock(),
                    random=Random(f"{plan.seed}:{stage.index}:{shard.index}:retry"),
                    clock=clock,
                )
                lanes = [
                    Lane(key, _remaining(shard_of(requests, shard), done), senders, _limits_of(limits, stage, key))
                    for key, requests in plan.lanes(stage).items()
                ]
                await _run_stage(lanes, run, stop, progress)
    return record, stop


async def _run_stage(lanes: Sequence[Lane], run: Run, stop: Stop, progress: Progress) -> None:
    """All lanes side by side; then the requests in flight, for ``GRACE_S`` only when the run was stopped."""
    starters = [asyncio.ensure_future(run_lane(lane, run)) for lane in lanes]
    stopped = asyncio.ensure_future(stop.event.wait())
    shown = asyncio.ensure_future(_show_throttle(lanes, progress))
    try:
        waiting: set[asyncio.Future[Any]] = {stopped, *starters}
        while not stopped.done() and any(not s.done() for s in starters):
            await asyncio.wait(waiting - {s for s in starters if s.done()}, return_when=asyncio.FIRST_COMPLETED)
            for starter in starters:
                if starter.done():
                    starter.result()
        if stopped.done():
            for starter in starters:
                starter.cancel()
        while run.in_flight and not stopped.done():
            await asyncio.wait({stopped, *run.in_flight}, return_when=asyncio.FIRST_COMPLETED)
        if run.in_flight and stop.disk_error is None:
            progress.note(
                f"{stop.reason or 'a bug'}: waiting up to {GRACE_S:g} s for {len(run.in_flight)} requests in flight "
                f"(Ctrl-C again to cancel them)"
            )
            await _last_of(run, stop)
    finally:
        await _cancel(stopped, shown, *starters, *run.in_flight)
    if run.bug is not None:
        raise run.bug


async def _last_of(run: Run, stop: Stop) -> None:
    """Until all requests in flight have ended, for ``GRACE_S`` at most and only while nobody is in a hurry."""
    ended = asyncio.ensure_future(asyncio.wait(set(run.in_flight)))
    hurried = asyncio.ensure_future(stop.hurry.wait())
    try:
        await asyncio.wait({ended, hurried}, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(ended, hurried)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _show_throttle(lanes: Sequence[Lane], progress: Progress) -> None:
    while True:
        progress.throttled(next((lane.limits.throttled_by for lane in lanes if lane.limits.throttled_by), None))
        await asyncio.sleep(0.5)


def _remaining(requests: Iterator[Request], done: set[str]) -> Iterator[Request]:
    return (request for request in requests if request.request_id not in done) if done else requests


def _slots(stage: Stage) -> asyncio.Semaphore | None:
    load = stage.cells[0].config.load
    bounds = [b for b in (getattr(load, "concurrency", None), load.max_concurrency) if b is not None]
    return asyncio.Semaphore(min(bounds)) if bounds else None


def _limits_of(known: dict[str, AccountLimits], stage: Stage, key: str) -> AccountLimits:
    if key not in known:
        config = next(cell.config for cell in stage.cells if lane_key(cell.config) == key)
        known[key] = AccountLimits(config.limits)
    return known[key]


def _sink(record: Record, progress: Progress, stop: Stop) -> Callable[[Exchange], None]:
    def sink(exchange: Exchange) -> None:
        try:
            record.append(exchange)
        except OSError as error:
            stop.disk_error = stop.disk_error or error
            stop.set(f"the record cannot be written: {error.strerror or error}")
        else:
            progress.finished(exchange)

    return sink


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: stop in order. A second one: cancel what is in flight."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.event.is_set():
            stop.hurry.set()
        stop.set("interrupted")

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, on_signal)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def unsent(plan: Plan, record: Record, reason: str) -> Iterator[Exchange]:
    """A row for every planned request that has none yet (of a plan that a duration decides: none)."""
    if plan.total is None:
        return
    done = record.done()
    for request in plan.requests():
        if request.request_id not in done:
            failure = Failure(ErrorKind.CANCELLED, reason)
            yield Exchange(request, Outcome.NOT_SENT, Timeline(due_ns=record.origin_ns), failure=failure)
