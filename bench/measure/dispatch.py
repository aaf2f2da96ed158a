"""The dispatcher: due requests in, finished exchanges out.

One loop per lane (an account's model) starts requests in planned order, each when it is due and has its permits; the
latency clock of a request starts only then. A closed load is the same loop with everything due at once and a bound on
how many are in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Protocol

from bench.config import Experiment
from bench.domain import Answer, Attempt, ErrorKind, Exchange, Failure, Outcome, Request, Timeline
from bench.measure.admission import Place, admit
from bench.measure.arrivals import is_endless, is_over
from bench.measure.body import encoded_body
from bench.measure.budget import Ledger, why_refused
from bench.measure.cache import Cache
from bench.measure.ceiling import most_of
from bench.measure.lag import LagMeter
from bench.measure.limits import Limiter
from bench.measure.missing_choices import filled
from bench.measure.offline import Presence
from bench.measure.retry import allowed_retries, backoff_s, is_retryable
from bench.measure.spending import cost_of, without_partial_usage
from bench.measure.stop import unless_stopped


class Sender(Protocol):
    """What sends one body: a transport, or a double of it."""

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        """One HTTP attempt; failures of the world come back as values."""


@dataclass
class Lane:
    """One account's model: its requests in order, who sends them, what holds them back and whether it is served."""

    key: str
    requests: Iterator[Request]
    senders: Mapping[str, Sender]
    limits: Limiter
    presence: Presence = field(default_factory=Presence)


@dataclass
class Run:
    """What the lanes of a stage share.

    Attributes:
        slots: bounds the requests in flight (closed loads, ``max_concurrency``); ``None`` for no bound.
        sink: takes each finished exchange at once.
        stop: set once nothing more is to be sent.
        start_ns: when the stage's clock started; due times count from it.
        room: waits while too many finished exchanges are not yet in the record.
        note: shows a person a line.
        cache: answers kept from earlier, where wanted; one takes no permit and no budget.
        closed: why nothing more of a cell is to be sent, by cell id; may grow.
        bug: what an exchange raised that no failure of the world explains; it stops the run, which then raises it.
    """

    slots: asyncio.Semaphore | None
    ledger: Ledger
    sink: Callable[[Exchange], None]
    lag: LagMeter
    stop: asyncio.Event
    start_ns: int
    random: Random
    clock: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    room: Callable[[], Awaitable[None]] | None = None
    note: Callable[[str], None] | None = None
    cache: Cache | None = None
    closed: Mapping[str, Failure] = field(default_factory=dict)
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    bug: BaseException | None = None
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def quiet(self) -> None:
        """Until nothing is in flight. One wake-up in all: a wait per exchange would slow the last ones down."""
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()

    def watch(self, exchange: asyncio.Task[None]) -> None:
        """Count an exchange as in flight until it ends."""
        self.in_flight.add(exchange)
        exchange.add_done_callback(self._ended)

    def _ended(self, exchange: asyncio.Task[None]) -> None:
        self.in_flight.discard(exchange)
        if not self.in_flight:
            self._idle.set()
        if not exchange.cancelled() and (bug := exchange.exception()) is not None:
            self.bug = self.bug or bug
            self.stop.set()


async def run_lane(lane: Lane, run: Run) -> None:
    """Start every request of the lane in order; returns when all of them were started (not finished).

    Requests that a budget no longer covers, whose model went offline, whose cell is closed, or that could not be sent
    within ``load.drop_after_s``, become ``not_sent`` rows. Where a duration decides how many requests there are, none
    are planned beyond the end of the budget or of the model.
    """
    for request in lane.requests:
        if run.stop.is_set():
            return
        closed, cache = run.closed.get(request.cell.cell_id), run.cache
        if closed is None and cache and (kept := cache.answered(request, run.start_ns + request.due_ns)) is not None:
            await _skip(run, kept)
            continue
        admitted: Place | Failure | None = closed or lane.presence.offline
        if admitted is None:
            if not await _wait_until(run, run.start_ns + request.due_ns) or is_over(
                request, run.clock() - run.start_ns
            ):
                return
            admitted = _unless_closed(run, request, await _admitted_in_time(lane, run, request))
        if isinstance(admitted, Failure):
            if is_endless(request) and admitted.kind is not ErrorKind.TIMEOUT_TOTAL:
                return
            await _skip(run, not_sent(request, run, admitted))
            continue
        await _start(lane, run, request, admitted)


def _unless_closed(run: Run, request: Request, admitted: Place | Failure) -> Place | Failure:
    """What was admitted, unless its cell was closed while it waited: then it gives its place back."""
    closed = run.closed.get(request.cell.cell_id)
    if closed is None or isinstance(admitted, Failure):
        return admitted
    admitted.give_back()
    return closed


async def _skip(run: Run, exchange: Exchange) -> None:
    if run.room is not None:
        await run.room()
    run.sink(exchange)
    # thousands may follow each other: signals, replies and the display have their turn in between
    await asyncio.sleep(0)


async def _start(lane: Lane, run: Run, request: Request, place: Place) -> None:
    """Send a request that was admitted. A cancelled wait leaves nothing behind."""
    try:
        if run.room is not None:
            await run.room()
    except BaseException:
        place.give_back()
        raise
    exchange = asyncio.ensure_future(_exchange(lane, run, request, place))
    # one that is cancelled before its first step never runs, and what it holds would be lost
    exchange.add_done_callback(lambda _: place.give_back())
    run.watch(exchange)
    # uvloop hands writes to the socket at the end of an iteration: one start per iteration keeps `sent` true
    await asyncio.sleep(0)


async def _wait_until(run: Run, due_ns: int) -> bool:
    """Sleep until a due time, waking for a stop. False when the run stopped first."""
    while (left_s := (due_ns - run.clock()) / 1e9) > 0:
        if run.stop.is_set():
            return False
        await run.sleep(min(left_s, 0.2))
    return not run.stop.is_set()


async def _admitted_in_time(lane: Lane, run: Run, request: Request) -> Place | Failure:
    """:func:`_admitted`, unless the request would be later than ``load.drop_after_s`` allows: then it is given up."""
    limit_s = request.cell.config.load.drop_after_s
    if limit_s is None:
        return await _admitted(lane, run, request)
    left_s = limit_s - (run.clock() - run.start_ns - request.due_ns) / 1e9
    if left_s > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                return await _admitted(lane, run, request)
    return Failure(ErrorKind.TIMEOUT_TOTAL, f"not sent within {limit_s:g} s of its due time (load.drop_after_s)")


async def _admitted(lane: Lane, run: Run, request: Request) -> Place | Failure:
    """All that one attempt needs, waited for; or that the budget is used up, or the model went offline meanwhile."""
    tokens, cost = most_of(request.cell.config, request.sample)
    place = await admit(tokens, cost, ledger=run.ledger, limits=lane.limits, slots=run.slots)
    if place is None:
        return Failure(ErrorKind.BUDGET, why_refused(run.ledger.exhausted_by, tokens, cost))
    if lane.presence.offline is not None:
        place.give_back()
        return lane.presence.offline
    return place


async def _exchange(lane: Lane, run: Run, request: Request, place: Place) -> None:
    """One planned request to its terminal outcome; emits exactly one exchange, ``cancelled`` when it is interrupted."""
    attempts: list[Attempt] = []
    exchange: Exchange | None = None
    try:
        exchange = await _attempts(lane, run, request, place, attempts)
    finally:
        run.sink(exchange or _cancelled(request, run, attempts))


async def _attempts(lane: Lane, run: Run, request: Request, place: Place, attempts: list[Attempt]) -> Exchange:
    """Attempts until one is final. Holds a permit and a slot while sending, neither while it backs off."""
    config: Experiment = request.cell.config
    body = encoded_body(request)
    first_permit_ns = run.clock()
    waited_s = 0.0
    while True:
        answer = await _attempt(lane, run, request, place, attempts, body, waited_s)
        number, failure = len(attempts), answer.failure
        if (
            failure is None
            or number > allowed_retries(config.limits.retries, config.load.is_open)
            or not is_retryable(failure, answer.outcome, number, answer.status)
        ):
            answer = await filled(request, answer, partial(_follow_up, lane, run, attempts))
            return _finished(request, run, answer, attempts, first_permit_ns)
        waited_s = backoff_s(number, failure, config.limits.backoff_s, run.random)
        await unless_stopped(run.stop, lane.limits.back_off(waited_s, asked=failure.retry_after_s is not None))
        if run.stop.is_set():
            return _cancelled(request, run, attempts)
        again = await _admitted(lane, run, request)
        if isinstance(again, Failure):
            return _finished(request, run, answer, attempts, first_permit_ns)
        place = again


async def _attempt(
    lane: Lane, run: Run, request: Request, place: Place, attempts: list[Attempt], body: bytes, waited_s: float = 0.0
) -> Answer:
    """One HTTP attempt, added to ``attempts``; gives back its place."""
    config: Experiment = request.cell.config
    answer: Answer | None = None
    due_ns, permit_ns = run.start_ns + request.due_ns, run.clock()
    sender = lane.senders[request.cell.cell_id]
    try:
        answer = await sender.send(
            body, stream=config.sampling.stream, due_ns=due_ns, permit_ns=permit_ns, on_sent=place.permit.on_sent
        )
        answer = without_partial_usage(answer, config)
    finally:
        place.settle(request.cell, answer)
    if lane.presence.saw(answer) and run.note is not None and lane.presence.offline is not None:
        run.note(f"{config.model.name}: {lane.presence.offline.detail}; its remaining requests are not sent")
    mark, waited_ns = answer.timeline, int(waited_s * 1e9)
    attempts.append(Attempt(len(attempts) + 1, mark.sent_ns, mark.end_ns, answer.status, answer.failure, waited_ns))
    return answer


async def _follow_up(lane: Lane, run: Run, attempts: list[Attempt], request: Request) -> Answer | None:
    """The answer to a request for missing choices; ``None`` when the run stopped or its budget is used up."""
    place = None if run.stop.is_set() else await _admitted(lane, run, request)
    if not isinstance(place, Place):
        return None
    return await _attempt(lane, run, request, place, attempts, encoded_body(request))


def _finished(request: Request, run: Run, answer: Answer, attempts: list[Attempt], permit_ns: int) -> Exchange:
    cost, currency = cost_of(request.cell, answer.reply)
    lag = run.lag.worst_since(permit_ns)
    return Exchange(
        request=request,
        outcome=answer.outcome,
        timeline=replace(answer.timeline, permit_ns=permit_ns, loop_lag_ns=lag),
        reply=answer.reply,
        failure=answer.failure,
        status=answer.status,
        attempts=tuple(attempts),
        bytes_in=answer.bytes_in,
        trace_id=answer.trace_id,
        cost=cost,
        currency=currency,
    )


def not_sent(request: Request, run: Run, failure: Failure) -> Exchange:
    """The row of a planned request that was never sent."""
    timeline = Timeline(due_ns=run.start_ns + request.due_ns)
    return Exchange(request, Outcome.NOT_SENT, timeline, failure=failure)


def _cancelled(request: Request, run: Run, attempts: list[Attempt]) -> Exchange:
    timeline = Timeline(due_ns=run.start_ns + request.due_ns)
    failure = Failure(ErrorKind.CANCELLED, "interrupted while in flight")
    return Exchange(request, Outcome.CANCELLED, timeline, failure=failure, attempts=tuple(attempts))
