"""One run: one worker in this process, or several in their own, every exchange recorded at once."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.domain import ErrorKind, Exchange, Failure, Outcome, Timeline
from bench.measure.course import Course, Listed, following
from bench.measure.crew import conduct, dismiss, fork_crew
from bench.measure.plan import Plan
from bench.measure.senders import check_reachable, open_transports, warm
from bench.measure.servers import Servers
from bench.measure.shards import WHOLE
from bench.measure.stop import Stop
from bench.measure.vitals import Vitals
from bench.measure.worker import Worker
from bench.progress import Progress, figures
from bench.record import Record

#: streams, or requests per second, that one process times truly; ``engine.processes=auto`` adds one beyond each
STREAMS_PER_PROCESS = 250
RATE_PER_PROCESS = 250


@dataclass(frozen=True)
class Measured:
    """A run that has sent all it will: its open record, why it stopped, and how the client did."""

    record: Record
    stop: Stop
    vitals: list[Vitals]


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
        ConfigError: a key is missing or a server cannot be reached; nothing was sent.
        WorkerDiedError: a worker process ended early; the run can be resumed.
    """
    loop, course = event_loop(plan), course or Listed(plan)
    count = process_count(plan)
    if count == 1:
        return loop(_alone(plan, servers, progress, open_record, course))  # type: ignore[no-any-return]
    loop(_reach(plan, servers))
    hands = fork_crew(plan, servers, count, loop)
    try:
        return loop(_together(plan, hands, progress, open_record, course))  # type: ignore[no-any-return]
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

    ``auto`` keeps one process where a budget or a rate limit holds, for those are exact in one place only.
    """
    config = plan.experiment
    most = [cell.config.load.in_flight_bound for cell in plan.cells]
    streams = max((bound for bound in most if bound is not None), default=0)
    wanted = config.engine.processes
    if wanted == "auto":
        limits = [cell.config.limits for cell in plan.cells]
        limited = any(one.concurrency or one.rpm or one.tpm for one in limits)
        capped = any(cap is not None for cap in vars(config.budget).values())
        rate = max(cell.config.load.peak_rate or 0.0 for cell in plan.cells)
        by_load = max(math.ceil(streams / STREAMS_PER_PROCESS), math.ceil(rate / RATE_PER_PROCESS), 1)
        wanted = 1 if limited or capped else min(by_load, available_processors())
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
            done = record.done()

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
            )
            progress.start(plan.total, len(done), record.path.name)
            while (stage := following(course, record, stop)) is not None:
                vitals += [await worker.run_stage(stage, time.monotonic_ns())]
    return Measured(record, stop, vitals)


async def _together(
    plan: Plan, hands: Any, progress: Progress, open_record: Callable[[], Record], course: Course
) -> Measured:
    stop = Stop()
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            record = _opened(open_record, stack)
            progress.start(plan.total, len(record.done()), f"{record.path.name} ({len(hands)} processes)")
            vitals = await conduct(hands, course, record, progress, stop)
    return Measured(record, stop, vitals)


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
