"""A stage of a plan played against a made-up server in virtual time, and what is left of what its requests shared."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import virtual_time

from bench.config import Budget
from bench.domain import Answer, Choice, ErrorKind, Exchange, Failure, Outcome, Reply, Timeline, Usage
from bench.measure.budget import BudgetLedger
from bench.measure.dispatch import Lane, Run, Sender, run_lane
from bench.measure.lag import LagMeter
from bench.measure.limits import AccountLimits
from bench.measure.plan import Plan

SECOND_NS = 1_000_000_000


@dataclass
class Served:
    """Answers each request after ``takes_s`` with what ``answer`` makes of its number and the moment it came."""

    answer: Callable[[int, float], Failure | None]
    takes_s: float = 0.2
    calls: int = 0
    status: int = 200

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        """An answer in virtual time; a failure's status is that of its kind."""
        loop = asyncio.get_running_loop()
        number, self.calls = self.calls, self.calls + 1
        sent_ns = virtual_time.clock()
        if on_sent is not None:
            on_sent()
        failure = self.answer(number, loop.time())
        await asyncio.sleep(self.takes_s)
        timeline = Timeline(due_ns, permit_ns, sent_ns, sent_ns, sent_ns, virtual_time.clock())
        if failure is not None:
            status = {ErrorKind.HTTP_5XX: 500}.get(failure.kind, 200)
            if failure.kind.startswith("http_4"):
                status = int(failure.kind[-3:])
            return Answer(Outcome.FAILED, timeline, status, failure=failure)
        reply = Reply((Choice(0, "4", finish_reason="stop"),), Usage(10, 2), done=True)
        return Answer(Outcome.OK, timeline, 200, reply)


@dataclass
class Played:
    """A stage that is over, or was cancelled: its exchanges in the order in which they ended, and what was left."""

    exchanges: list[Exchange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    slots_free: int | None = None
    in_flight: dict[str, int] = field(default_factory=dict)
    budget_left: int = 0
    took_s: float = 0.0

    def kinds(self) -> Counter[tuple[str, str | None]]:
        """How many ended in which way."""
        return Counter((e.outcome.value, e.failure.kind.value if e.failure else None) for e in self.exchanges)


def play(
    plan: Plan,
    server: Sender | dict[str, Any],
    *,
    budget: int = 1_000_000,
    stop_at_s: float | None = None,
    cancel_at_s: float | None = None,
    room: Callable[[], Any] | None = None,
) -> Played:
    """Run the plan's one stage to its end; stop it, or cancel all of it, at a moment."""
    played = Played()

    async def go() -> None:
        (stage,) = plan.stages
        bound = plan.experiment.load.in_flight_bound
        slots = None if bound is None else asyncio.Semaphore(bound)
        ledger = BudgetLedger(Budget(requests=budget), clock=virtual_time.clock)
        run = Run(
            slots=slots,
            ledger=ledger,
            sink=played.exchanges.append,
            lag=LagMeter(virtual_time.clock),
            stop=asyncio.Event(),
            start_ns=virtual_time.clock(),
            random=Random(0),
            clock=virtual_time.clock,
            room=room,
            note=played.notes.append,
        )
        limits: dict[str, AccountLimits] = {}
        lanes = []
        for key, requests in plan.lanes(stage).items():
            limits[key] = AccountLimits(plan.experiment.limits, clock=virtual_time.clock)
            sender = server[key.split()[-1]] if isinstance(server, dict) else server
            lanes.append(Lane(key, requests, {cell.cell_id: sender for cell in stage.cells}, limits[key]))
        running = [asyncio.ensure_future(run_lane(lane, run)) for lane in lanes]
        if stop_at_s is not None:
            asyncio.get_running_loop().call_later(stop_at_s, run.stop.set)
        if cancel_at_s is None:
            await asyncio.gather(*running)
            await run.quiet()
        else:
            await asyncio.sleep(cancel_at_s)
            for task in (*running, *run.in_flight):
                task.cancel()
            await asyncio.gather(*running, *run.in_flight, return_exceptions=True)
            await asyncio.sleep(0)
        played.took_s = asyncio.get_running_loop().time()
        played.slots_free = None if slots is None else slots._value
        played.in_flight = {key: one.in_flight for key, one in limits.items()}
        while played.budget_left < 50 and ledger.reserve(1, None) is not None:
            played.budget_left += 1

    virtual_time.run(go())
    return played
