"""What a run may spend: requests, tokens, money, time; reserved before each send, so that no cap is ever exceeded.

Policy, in the order of the plan:

* Each HTTP attempt reserves the most it can use. What is spent and what is reserved together stay within every cap.
* A reservation that fails only because of others in flight may fit once they settle for less:
  :meth:`BudgetLedger.reserve_in_turn` waits for that, so that no later request overtakes it.
* One that could not fit even if everything in flight turned out free closes the ledger, and every later one is refused
  too, however small. Else a stopped run would be one of cheap requests; this way it is a prefix of the planned order.
* An attempt whose cost cannot be told (no price) is refused under a cap on cost.
* Caps are the run's, not the session's: a resumed run goes on from what its earlier sessions spent, and what was in
  flight when one of them was killed counts as reserved (:class:`bench.record.SpendingLog`).
* When the time is up nothing more starts; replies in flight are awaited, for cancelling them would leave out the long
  ones and so bias what was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.config import Budget
from bench.measure.holds import Hold
from bench.record import Spent

Cap = Literal["requests", "tokens", "cost", "seconds"]

#: cost is added up in whole trillionths of the currency, so that a cap of 0.3 holds three times 0.1
_COST_UNITS = 10**12


@dataclass(slots=True, eq=False)
class Reservation:
    """What one attempt holds of the budget, until :meth:`BudgetLedger.settle` or :meth:`BudgetLedger.give_back`."""

    tokens: int
    cost_units: int
    number: int = 0
    is_open: bool = True


class Diary(Protocol):
    """Writes every step down before it counts, so that a killed session can be added up."""

    def reserved(self, number: int, tokens: int, cost: float | None) -> None:
        """An attempt may be sent from now on, and may use so much."""

    def closed(self, number: int, tokens: int, cost: float, *, sent: bool) -> None:
        """It used so much; nothing of it counts unless it was sent."""


class Ledger(Protocol):
    """What an attempt's share of the budget is asked of."""

    @property
    def exhausted_by(self) -> Cap | None:
        """The cap that closed the ledger, for good."""

    @property
    def left_s(self) -> float | None:
        """Seconds until the time is up; ``None`` without a cap on time."""

    @property
    def hold(self) -> Hold | None:
        """What holds back who waits now."""

    async def reserve_in_turn(self, tokens: int, cost: float | None) -> Reservation | None:
        """Set aside the most that one attempt can use, or nothing once a cap is reached."""

    def settle(self, reservation: Reservation, tokens: int | None, cost: float | None) -> None:
        """Replace a reservation by what the attempt used."""

    def give_back(self, reservation: Reservation) -> None:
        """Undo a reservation whose attempt was never sent."""


class BudgetLedger:
    """The budget of a run: what is spent and reserved of it.

    Args:
        budget: the caps; ``None`` parts do not cap.
        clock: monotonic nanoseconds; ``seconds`` count from now on.
        earlier: what the run has spent before.
        diary: is told every step.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], int] = time.monotonic_ns,
        earlier: Spent | None = None,
        diary: Diary | None = None,
    ) -> None:
        earlier = earlier or Spent()
        self._budget = budget
        self._clock = clock
        self._diary = diary
        #: when the time is up, on the clock; ``None`` without a cap on it
        self.end_ns = None if budget.seconds is None else clock() + round((budget.seconds - earlier.seconds) * 1e9)
        self._cost_cap = None if budget.cost is None else round(budget.cost * _COST_UNITS)
        self._closed_by: Cap | None = None
        self._requests = earlier.requests
        self._spent_tokens, self._reserved_tokens = earlier.tokens, 0
        self._spent_cost, self._reserved_cost = _cost_units(earlier.cost), 0
        self._numbers = 0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()
        self._waits_for: Cap | None = None

    @property
    def exhausted_by(self) -> Cap | None:
        """The cap that closed the ledger, for good; ``None`` while there is budget left."""
        if self._closed_by is None and self.end_ns is not None and self._clock() >= self.end_ns:
            self._closed_by = "seconds"
        return self._closed_by

    @property
    def left_s(self) -> float | None:
        """See :class:`Ledger`."""
        return None if self.end_ns is None else (self.end_ns - self._clock()) / 1e9

    @property
    def hold(self) -> Hold | None:
        """The cap that the next reservation fits under only once those in flight have settled for less."""
        return None if self._waits_for is None else Hold(f"budget.{self._waits_for}")

    def reserve(self, tokens: int, cost: float | None) -> Reservation | None:
        """Set aside what one attempt can use at most, or ``None`` when that would exceed a cap.

        Closes the ledger unless :meth:`could_fit_later`.

        Args:
            tokens: estimate of the prompt + ``max_tokens`` x ``n``.
            cost: of those tokens, in the budget's currency; ``None`` when there is no price.
        """
        if self.exhausted_by is not None:
            return None
        cap = self._exceeded(tokens, cost, self._reserved_tokens, self._reserved_cost)
        if cap is not None:
            self._closed_by = self._exceeded(tokens, cost, 0, 0)
            return None
        self._numbers += 1
        if self._diary is not None:
            self._diary.reserved(self._numbers, tokens, cost)
        reservation = Reservation(tokens, _cost_units(cost), self._numbers)
        self._requests += 1
        self._reserved_tokens += reservation.tokens
        self._reserved_cost += reservation.cost_units
        return reservation

    def could_fit_later(self, tokens: int, cost: float | None) -> bool:
        """Whether such a reservation would fit if all those in flight turned out free: worth waiting for."""
        return self.exhausted_by is None and self._exceeded(tokens, cost, 0, 0) is None

    async def reserve_in_turn(self, tokens: int, cost: float | None) -> Reservation | None:
        """Like :meth:`reserve`, but first come, first served, and waiting while the reservation could fit later."""
        async with self._turn:
            try:
                while True:
                    reservation = self.reserve(tokens, cost)
                    if reservation is not None or not self.could_fit_later(tokens, cost):
                        return reservation
                    self._waits_for = self._exceeded(tokens, cost, self._reserved_tokens, self._reserved_cost)
                    self._settled.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self.left_s):
                            await self._settled.wait()
            finally:
                self._waits_for = None

    def settle(self, reservation: Reservation, tokens: int | None, cost: float | None) -> None:
        """Replace a reservation by what the attempt used; ``None`` (not reported) keeps the reserved amount.

        Only the first call for a reservation counts.
        """
        if self._close(reservation):
            tokens = reservation.tokens if tokens is None else tokens
            cost_units = reservation.cost_units if cost is None else _cost_units(cost)
            self._spent_tokens += tokens
            self._spent_cost += cost_units
            if self._diary is not None:
                self._diary.closed(reservation.number, tokens, cost_units / _COST_UNITS, sent=True)

    def give_back(self, reservation: Reservation) -> None:
        """Undo a reservation whose attempt was never sent: it counts as no request, no tokens, no cost."""
        if self._close(reservation):
            self._requests -= 1
            if self._diary is not None:
                self._diary.closed(reservation.number, 0, 0.0, sent=False)

    def _close(self, reservation: Reservation) -> bool:
        if not reservation.is_open:
            return False
        reservation.is_open = False
        self._reserved_tokens -= reservation.tokens
        self._reserved_cost -= reservation.cost_units
        self._settled.set()
        return True

    def _exceeded(self, tokens: int, cost: float | None, reserved_tokens: int, reserved_cost: int) -> Cap | None:
        """The cap that one more attempt would break on top of what is spent and this much reserved."""
        budget = self._budget
        if budget.requests is not None and self._requests >= budget.requests:
            return "requests"
        if budget.tokens is not None and self._spent_tokens + reserved_tokens + tokens > budget.tokens:
            return "tokens"
        if self._cost_cap is not None and (
            cost is None or self._spent_cost + reserved_cost + _cost_units(cost) > self._cost_cap
        ):
            return "cost"
        return None


def why_refused(cap: Cap | None, tokens: int, cost: float | None) -> str:
    """In words, which cap kept an attempt back that can use so many tokens and cost so much."""
    if cap == "tokens":
        return f"budget.tokens has no room for a request that can use {tokens:,} tokens"
    if cap == "cost" and cost is not None:
        return f"budget.cost has no room for a request that can cost {cost:.3g}"
    return f"budget.{cap} is used up"


def _cost_units(cost: float | None) -> int:
    return 0 if cost is None else round(cost * _COST_UNITS)
