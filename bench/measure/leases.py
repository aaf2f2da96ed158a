"""Limits and budget of several processes: the parent keeps them, its workers hold leases.

There is one :class:`AccountLimits` per account and model and one :class:`BudgetLedger` in the whole run, in the parent.
A worker asks over its link for each permit and each reservation and tells what became of it, so the limits are as exact
as in one process, and first come is first served across processes. A worker that dies holds no lock: what it had is
given back when its link closes, as if all of it had been sent and used.

Only what is limited is asked for. Without limits a worker decides alone, adaptive concurrency included: each process
then answers the refusals that it meets itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import msgspec

from bench.config import Budget, Experiment, Limits
from bench.domain import Failure
from bench.measure.budget import BudgetLedger, Cap, Reservation
from bench.measure.holds import Hold, Retries
from bench.measure.limits import AccountLimits, GrantedPermit, is_refusal
from bench.measure.plan import Plan, lane_key

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def is_limited(limits: Limits) -> bool:
    """Whether processes must share them."""
    return any(one is not None for one in (limits.concurrency, limits.rpm, limits.tpm))


def is_capped(budget: Budget) -> bool:
    """Whether processes must share it."""
    return any(cap is not None for cap in vars(budget).values())


class Lessee:
    """A worker's end: asks for leases, and tells what became of them.

    Args:
        send: passes a message to the :class:`Desk` of this worker.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Cap | None]] = {}

    def hear(self, message: bytes) -> None:
        """An answer of the desk."""
        number, cap = _decode(message)
        future = self._asked.pop(number, None)
        if future is not None and not future.done():
            future.set_result(cap)

    async def ask(self, what: str, *amounts: Any) -> tuple[int, Cap | None]:
        """The number of the lease, once it is granted; or the cap that refused it."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self.tell(what, number, *amounts)
        try:
            return number, await future
        except asyncio.CancelledError:
            self._asked.pop(number, None)
            self.tell("give_back", number)  # it may have been granted meanwhile
            raise

    def tell(self, what: str, number: int, *amounts: Any) -> None:
        """What became of a lease."""
        self._send(_encode((what, number, *amounts)))


class LeasedPermit:
    """A permit that the parent granted; see :class:`bench.measure.limits.Permit`."""

    def __init__(self, lessee: Lessee, number: int, *, paced: bool) -> None:
        self._lessee, self._number, self._paced = lessee, number, paced
        self._tokens: int | None = None
        self._learnt: tuple[bool, bool] | None = None
        self._released = False

    @property
    def on_sent(self) -> Callable[[], None] | None:
        """See :class:`bench.measure.limits.Permit`."""
        return self._sent if self._paced else None

    def _sent(self) -> None:
        self._lessee.tell("sent", self._number)

    def settle(self, tokens: int | None) -> None:
        """See :class:`bench.measure.limits.Permit`; told with :meth:`release`."""
        self._tokens = tokens if self._tokens is None else self._tokens

    def on_result(self, status: int | None, failure: Failure | None = None) -> None:
        """See :class:`bench.measure.limits.Permit`; told with :meth:`release`."""
        self._learnt = is_refusal(status, failure), failure is None

    def release(self) -> None:
        """See :class:`bench.measure.limits.Permit`."""
        if not self._released:
            self._released = True
            self._lessee.tell("end", self._number, self._tokens, self._learnt)


class LeasedLimits:
    """An account's limits as a worker sees them; see :class:`bench.measure.limits.Limiter`."""

    def __init__(
        self,
        lessee: Lessee,
        key: str,
        limits: Limits,
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._lessee, self._key, self._paced = lessee, key, limits.rpm is not None
        self._retries = Retries(clock, sleep)

    @property
    def hold(self) -> Hold | None:
        """Waits before retries alone; the rest is the parent's to know."""
        return self._retries.hold

    async def permit(self, tokens: int) -> LeasedPermit:
        """See :class:`bench.measure.limits.Limiter`."""
        number, _ = await self._lessee.ask("permit", self._key, tokens)
        return LeasedPermit(self._lessee, number, paced=self._paced)

    async def back_off(self, seconds: float, *, asked: bool = False) -> None:
        """See :class:`bench.measure.limits.Limiter`."""
        await self._retries.back_off(seconds, asked=asked)


class LeasedLedger:
    """The run's budget as a worker sees it; see :class:`bench.measure.budget.Ledger`.

    Args:
        end_ns: when the time is up; ``None`` without a cap on it.
    """

    def __init__(self, lessee: Lessee, end_ns: int | None, clock: Callable[[], int]) -> None:
        self._lessee, self._end_ns, self._clock = lessee, end_ns, clock
        self._closed_by: Cap | None = None

    @property
    def exhausted_by(self) -> Cap | None:
        """The cap that closed the ledger, as far as this worker has heard."""
        if self._closed_by is None and self._end_ns is not None and self._clock() >= self._end_ns:
            self._closed_by = "seconds"
        return self._closed_by

    @property
    def left_s(self) -> float | None:
        """Seconds until the time is up."""
        return None if self._end_ns is None else (self._end_ns - self._clock()) / 1e9

    @property
    def hold(self) -> Hold | None:
        """Known to the parent alone."""
        return None

    async def reserve_in_turn(self, tokens: int, cost: float | None) -> Reservation | None:
        """See :meth:`bench.measure.budget.BudgetLedger.reserve_in_turn`."""
        if self.exhausted_by is not None:  # for good: there is nothing to ask
            return None
        number, cap = await self._lessee.ask("reserve", tokens, cost)
        if cap is not None:
            self._closed_by = cap
            return None
        return Reservation(tokens, 0, number)

    def settle(self, reservation: Reservation, tokens: int | None, cost: float | None) -> None:
        """See :meth:`bench.measure.budget.BudgetLedger.settle`."""
        if reservation.is_open:
            reservation.is_open = False
            self._lessee.tell("settle", reservation.number, tokens, cost)

    def give_back(self, reservation: Reservation) -> None:
        """See :meth:`bench.measure.budget.BudgetLedger.give_back`."""
        if reservation.is_open:
            reservation.is_open = False
            self._lessee.tell("give_back", reservation.number)


class Lessor:
    """The parent's side: what all workers share.

    Args:
        plan: whose limits hold.
        ledger: the run's budget.
        clock: monotonic nanoseconds.
    """

    def __init__(self, plan: Plan, ledger: BudgetLedger, clock: Callable[[], int]) -> None:
        configs: dict[str, Experiment] = {lane_key(cell.config): cell.config for cell in plan.cells}
        self.accounts = {
            key: AccountLimits(config.limits, clock=clock)
            for key, config in configs.items()
            if is_limited(config.limits)
        }
        self.ledger = ledger

    def held_s(self) -> dict[str, dict[str, float]]:
        """How long requests waited for limits: account and model -> what held them back -> seconds."""
        return {key: held for key, one in self.accounts.items() if (held := one.held_s())}

    def holds(self) -> Iterator[Hold]:
        """What holds back those who wait now."""
        for hold in (*(one.hold for one in self.accounts.values()), self.ledger.hold):
            if hold is not None:
                yield hold


class Desk:
    """What one worker holds.

    Args:
        send: passes a message to the worker's :class:`Lessee`.
    """

    def __init__(self, lessor: Lessor, send: Callable[[bytes], None]) -> None:
        self._lessor, self._send = lessor, send
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._permits: dict[int, GrantedPermit] = {}
        self._reservations: dict[int, Reservation] = {}

    def hear(self, message: bytes) -> None:
        """A question of the worker, or what became of a lease."""
        what, number, *amounts = _decode(message)
        if what in ("permit", "reserve"):
            asked = self._permit(number, *amounts) if what == "permit" else self._reserve(number, *amounts)
            self._waiting[number] = asyncio.ensure_future(asked)
        elif what == "sent":
            if (on_sent := self._permits[number].on_sent) is not None:
                on_sent()
        elif what == "end":
            self._end(self._permits.pop(number), *amounts)
        elif what == "settle":
            self._lessor.ledger.settle(self._reservations.pop(number), *amounts)
        elif what == "give_back":
            self._give_back(number)

    async def _permit(self, number: int, key: str, tokens: int) -> None:
        try:
            self._permits[number] = await self._lessor.accounts[key].permit(tokens)
            self._send(_encode((number, None)))
        finally:
            del self._waiting[number]

    async def _reserve(self, number: int, tokens: int, cost: float | None) -> None:
        ledger = self._lessor.ledger
        try:
            reservation = await ledger.reserve_in_turn(tokens, cost)
            if reservation is not None:
                self._reservations[number] = reservation
            self._send(_encode((number, None if reservation else ledger.exhausted_by)))
        finally:
            del self._waiting[number]

    def _end(self, permit: GrantedPermit, tokens: int | None, learnt: tuple[bool, bool] | None) -> None:
        permit.settle(tokens)
        if learnt is not None:
            permit.learn(refused=learnt[0], succeeded=learnt[1])
        permit.release()

    def _give_back(self, number: int) -> None:
        if number in self._waiting:
            self._waiting[number].cancel()
        elif number in self._permits:
            self._end(self._permits.pop(number), 0, None)
        elif number in self._reservations:
            self._lessor.ledger.give_back(self._reservations.pop(number))

    async def close(self) -> None:
        """The worker is gone: what it held counts as sent and used."""
        waiting = list(self._waiting.values())
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for permit in self._permits.values():
            permit.release()
        for reservation in self._reservations.values():
            self._lessor.ledger.settle(reservation, None, None)
        self._permits.clear()
        self._reservations.clear()
