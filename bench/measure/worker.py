"""One shard of a run in one process: its lanes against its transports, stage by stage."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from random import Random
from typing import Any

from bench.domain import Cell, Exchange, Failure, Request
from bench.measure.budget import BudgetLedger, Ledger
from bench.measure.cache import open_cache
from bench.measure.dispatch import Lane, Run, Sender, run_lane
from bench.measure.garbage import rare_collections
from bench.measure.holds import Hold
from bench.measure.lag import LagMeter
from bench.measure.leases import LeasedLimits, Lessee, is_limited
from bench.measure.limits import AccountLimits, Limiter
from bench.measure.offline import Presence
from bench.measure.plan import Plan, Stage, lane_members
from bench.measure.shards import Shard, shard_of, share
from bench.measure.stop import Stop
from bench.measure.vitals import Vitals, Watch

#: how long requests in flight may go on after a run was asked to stop
GRACE_S = 5.0
#: finished exchanges that a worker process may hold before they are written, where the load sets no bound
MOST_UNWRITTEN = 256


class Worker:
    """Runs the requests of one shard. The bound of the load is the shard's share; limits and budget are the run's.

    Args:
        senders: what sends the requests of each cell, by cell id.
        done: ids of requests that an earlier session finished.
        sink: takes each finished exchange at once.
        note: shows a person a line.
        throttled: told now and then what holds the shard back.
        room: waits until fewer than so many finished exchanges are not yet in the record; ``None`` where each is
            recorded at once.
        ledger: the run's budget; without it, one of this worker alone.
        lessee: asks for the permits of limited accounts where several processes share them.
        closed: why nothing more of a cell is to be sent, by cell id; may grow.
    """

    def __init__(
        self,
        plan: Plan,
        shard: Shard,
        senders: Mapping[str, Sender],
        done: AbstractSet[str],
        *,
        stop: Stop,
        sink: Callable[[Exchange], None],
        note: Callable[[str], None],
        throttled: Callable[[str | None], None],
        clock: Callable[[], int],
        room: Callable[[int], Awaitable[None]] | None = None,
        ledger: Ledger | None = None,
        lessee: Lessee | None = None,
        closed: Mapping[str, Failure] | None = None,
    ) -> None:
        self._plan, self._shard, self._senders, self._done = plan, shard, senders, done
        self._stop, self._sink, self._note, self._throttled, self._clock = stop, sink, note, throttled, clock
        self._room = room
        self._ledger = ledger or BudgetLedger(plan.experiment.budget, clock)
        self._lessee = lessee
        self._closed = {} if closed is None else closed
        self._limits: dict[str, Limiter] = {}
        self._room_waits = 0
        self._presence: defaultdict[str, Presence] = defaultdict(Presence)
        self._cache = open_cache(plan.experiment, note)
        self._lag = LagMeter(clock)

    async def run_stage(self, stage: Stage, start_ns: int) -> Vitals:
        """All lanes of the stage side by side, until every exchange has ended; how this process did meanwhile.

        When the run is stopped, requests in flight may go on for ``GRACE_S``; what is left then is cancelled.
        """
        run = Run(
            slots=self._slots(stage),
            ledger=self._ledger,
            sink=self._ended,
            lag=self._lag,
            stop=self._stop.event,
            start_ns=start_ns,
            random=Random(f"{self._plan.seed}:{stage.index}:{self._shard.index}:retry"),
            clock=self._clock,
            room=self._room and partial(self._await_room, self._room, self._most_unwritten(stage)),
            note=self._note,
            cache=self._cache,
            closed=self._closed,
        )
        members, senders = lane_members(stage), self._senders_of(stage)
        lanes = [
            Lane(
                key,
                self._remaining(requests),
                senders,
                self._limits_of(key, stage.cells[members[key][0]]),
                self._presence[key],
            )
            for key, requests in self._plan.lanes(stage).items()
        ]
        watch = Watch(stage.index, self._shard.index, self._lag, self._clock)
        lag = asyncio.ensure_future(self._lag.watch())
        try:
            with rare_collections():
                await self._run_lanes(lanes, run)
        finally:
            await _cancel(lag)
            vitals = watch.stop()
        return vitals

    def _ended(self, exchange: Exchange) -> None:
        if self._cache is not None:
            self._cache.saw(exchange)
        self._sink(exchange)

    async def _run_lanes(self, lanes: Sequence[Lane], run: Run) -> None:
        all_started: asyncio.Future[Any] = asyncio.gather(*(run_lane(lane, run) for lane in lanes))
        stopped = asyncio.ensure_future(self._stop.event.wait())
        shown = asyncio.ensure_future(self._show_throttle(lanes))
        try:
            await asyncio.wait([all_started, stopped], return_when=asyncio.FIRST_COMPLETED)
            if all_started.done():
                all_started.result()
                quiet = asyncio.ensure_future(run.quiet())
                await asyncio.wait({quiet, stopped}, return_when=asyncio.FIRST_COMPLETED)
                await _cancel(quiet)
            else:
                await _cancel(all_started)
            if run.in_flight and self._stop.disk_error is None:
                self._note(
                    f"{self._stop.reason or 'a bug'}: waiting up to {GRACE_S:g} s for {len(run.in_flight)} requests "
                    f"in flight (Ctrl-C again to cancel them)"
                )
                await self._last_of(run)
        finally:
            await _cancel(stopped, shown, all_started, *run.in_flight)
        if run.bug is not None:
            raise run.bug

    async def _last_of(self, run: Run) -> None:
        """Until all requests in flight have ended, for ``GRACE_S`` at most and only while nobody is in a hurry."""
        quiet, hurried = asyncio.ensure_future(run.quiet()), asyncio.ensure_future(self._stop.hurry.wait())
        try:
            await asyncio.wait({quiet, hurried}, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(quiet, hurried)

    async def _show_throttle(self, lanes: Sequence[Lane]) -> None:
        while True:
            hold = next(self._holds(lanes), None)
            self._throttled(None if hold is None else str(hold))
            await asyncio.sleep(0.5)

    def _holds(self, lanes: Sequence[Lane]) -> Iterator[Hold]:
        for hold in (self._ledger.hold, *(lane.limits.hold for lane in lanes)):
            if hold is not None:
                yield hold
        if self._room_waits:
            yield Hold("record")

    async def _await_room(self, room: Callable[[int], Awaitable[None]], most: int) -> None:
        self._room_waits += 1
        try:
            await room(most)
        finally:
            self._room_waits -= 1

    def held_s(self) -> dict[str, dict[str, float]]:
        """How long requests waited for limits that this process keeps: account and model -> what held them -> s."""
        kept = {key: one.held_s() for key, one in self._limits.items() if isinstance(one, AccountLimits)}
        return {key: held for key, held in kept.items() if held}

    def _remaining(self, requests: Iterator[Request]) -> Iterator[Request]:
        mine = shard_of(requests, self._shard)
        return (request for request in mine if request.request_id not in self._done) if self._done else mine

    def _senders_of(self, stage: Stage) -> Mapping[str, Sender]:
        """A probe is sent like the cell that it varies."""
        if stage.probe is None:
            return self._senders
        return {stage.cells[0].cell_id: self._senders[self._plan.cells[stage.probe.position].cell_id]}

    def _slots(self, stage: Stage) -> asyncio.Semaphore | None:
        bound = stage.cells[0].config.load.in_flight_bound
        return None if bound is None else asyncio.Semaphore(share(bound, self._shard))

    def _most_unwritten(self, stage: Stage) -> int:
        bound = stage.cells[0].config.load.in_flight_bound
        return MOST_UNWRITTEN if bound is None else min(share(bound, self._shard), MOST_UNWRITTEN)

    def _limits_of(self, key: str, cell: Cell) -> Limiter:
        if key not in self._limits:
            limits = cell.config.limits
            self._limits[key] = (
                LeasedLimits(self._lessee, key, limits, self._clock, asyncio.sleep)
                if self._lessee is not None and is_limited(limits)
                else AccountLimits(limits, clock=self._clock)
            )
        return self._limits[key]


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
