"""One run: one worker in this process, or several in their own, every exchange recorded at once."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from bench.domain import ErrorKind, Exchange, Failure, Outcome, Timeline
from bench.measure.budget import BudgetLedger
from bench.measure.cache import open_cache
from bench.measure.course import Course, Listed, following
from bench.measure.crew import WorkerDiedError, conduct, dismiss, fork_crew
from bench.measure.leases import Lessor, is_capped
from bench.measure.plan import Plan
from bench.measure.senders import check_reachable, open_transports, warm
from bench.measure.servers import Servers
from bench.measure.shards import WHOLE
from bench.measure.stop import Stop
from bench.measure.vitals import Vitals
from bench.measure.worker import Worker
from bench.progress import Progress, figures
from bench.record import Record, SpendingLog

#: streams, or requests per second, that one process times truly; ``engine.processes=auto`` adds one beyond each
STREAMS_PER_PROCESS = 250
RATE_PER_PROCESS = 250


@dataclass(frozen=True)
class Measured:
    """A run that has sent all it will: its open record, why it stopped, how the client did, and what held it back.

    ``held_s``: account and model -> what held its requests back -> seconds.
    """

    record: Record
    stop: Stop
    vitals: list[Vitals]
    held_s: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(
    plan: Plan,
    servers: Servers,
    progress: Progress,
    open_record: Callable[[], Record],
    course: Course | None = None,
) -> Measured:
    """Send what has no terminal row yet and record every exchange; returns once all is quiet.

    ``open_record`` is called when every server has answered, so a run that cannot start leaves no folder behind.
    ``course`` decides the stages; those of the plan, in order, by default.

    Raises:
        ConfigError: a key is missing, a server cannot be reached, the cache cannot be written; nothing was sent.
        WorkerDiedError: a worker process ended early; the run can be resumed.
    """
    open_cache(plan.experiment, progress.note)  # refused before anything is sent or forked
    loop, course = event_loop(plan), course or Listed(plan)
    count = process_count(plan)
    if count == 1:
        return loop(_alone(plan, servers, progress, open_record, course))  # type: ignore[no-any-return]
    loop(_reach(plan, servers))
    hands = fork_crew(plan, servers, count, loop)
    try:
        return loop(_together(plan, hands, progress, open_record, course))  # type: ignore[no-any-return]
    except WorkerDiedError as error:
        raise WorkerDiedError("; ".join(dismiss(hands)) or str(error)) from None
    finally:
        dismiss(hands)


def event_loop(plan: Plan) -> Callable[..., Any]:
    """What runs a coroutine to its end: uvloop where it is wanted and exists."""
    if plan.experiment.engine.uvloop:
        try:
            import uvloop
        except ImportError:  # not built for this platform
            return asyncio.run
        return uvloop.run
    return asyncio.run


def process_count(plan: Plan) -> int:
    """How many worker processes: what ``engine.processes`` says, or by the load and the processors there are.

    Limits and budget are as exact with several processes as with one.
    """
    config = plan.experiment
    if config.stop.is_set:  # a rule for stopping sees every reply before the next request goes out
        return 1
    most = [cell.config.load.in_flight_bound for cell in plan.cells]
    streams = max((bound for bound in most if bound is not None), default=0)
    wanted = config.engine.processes
    if wanted == "auto":
        rate = max(cell.config.load.peak_rate or 0.0 for cell in plan.cells)
        by_load = max(math.ceil(streams / STREAMS_PER_PROCESS), math.ceil(rate / RATE_PER_PROCESS), 1)
        wanted = min(by_load, available_processors())
    if not hasattr(os, "fork"):
        return 1
    smallest: int = min((bound for bound in most if bound is not None), default=wanted)
    return max(1, min(int(wanted), smallest))


def available_processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _reach(plan: Plan, servers: Servers) -> None:
    async with AsyncExitStack() as stack:
        await check_reachable(await open_transports(plan, servers, stack))


async def _alone(
    plan: Plan, servers: Servers, progress: Progress, open_record: Callable[[], Record], course: Course
) -> Measured:
    stop = Stop()
    vitals: list[Vitals] = []
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            senders = await open_transports(plan, servers, stack)
            await check_reachable(senders)
            await warm(senders, plan, WHOLE)
            record = _opened(open_record, stack)
            ledger, done = _ledger(plan, record, stop, stack), record.done()

            def sink(exchange: Exchange) -> None:
                try:
                    packed = record.append(exchange)
                except OSError as error:
                    stop.disk_full(error)
                else:
                    course.saw(packed)
                    progress.finished(figures(exchange))

            worker = Worker(
                plan,
                WHOLE,
                senders,
                done,
                stop=stop,
                sink=sink,
                note=progress.note,
                throttled=progress.throttled,
                clock=time.monotonic_ns,
                ledger=ledger,
                closed=course.closed,
            )
            progress.start(plan.total, len(done), record.path.name)
            while (stage := following(course, record, stop)) is not None:
                vitals += [await worker.run_stage(stage, time.monotonic_ns())]
    return Measured(record, stop, vitals, worker.held_s())


async def _together(
    plan: Plan, hands: Any, progress: Progress, open_record: Callable[[], Record], course: Course
) -> Measured:
    stop = Stop()
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            record = _opened(open_record, stack)
            progress.start(plan.total, len(record.done()), f"{record.path.name} ({len(hands)} processes)")
            lessor = Lessor(plan, _ledger(plan, record, stop, stack), time.monotonic_ns)
            vitals = await conduct(hands, course, record, progress, stop, lessor)
    return Measured(record, stop, vitals, lessor.held_s())


def _ledger(plan: Plan, record: Record, stop: Stop, stack: AsyncExitStack) -> BudgetLedger:
    """The run's budget, less what its earlier sessions spent."""
    budget = plan.experiment.budget
    if not is_capped(budget):
        return BudgetLedger(budget, time.monotonic_ns)
    log = SpendingLog(record.path, record.origin_ns, time.monotonic_ns, stop.disk_full)
    stack.callback(log.close)
    return BudgetLedger(budget, time.monotonic_ns, log.earlier, log)


def _opened(open_record: Callable[[], Record], stack: AsyncExitStack) -> Record:
    """The record, which a bug leaves as a crash would: closed, and ready to be resumed."""
    record = open_record()
    stack.push(lambda kind, error, trace: None if kind is None else record.close())
    return record


def unsent(plan: Plan, record: Record, reason: str) -> Iterator[Exchange]:
    """A row for every planned request that has none yet (of a plan that a duration decides: none)."""
    if plan.total is None:
        return
    done = record.done()
    for request in plan.requests():
        if request.request_id not in done:
            failure = Failure(ErrorKind.CANCELLED, reason)
            yield Exchange(request, Outcome.NOT_SENT, Timeline(due_ns=record.origin_ns), failure=failure)
