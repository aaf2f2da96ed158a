"""What an attempt needs before it may be sent, and giving it back: a share of the budget, a permit and a slot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.domain import Answer, Cell, Outcome
from bench.measure.budget import Ledger, Reservation
from bench.measure.limits import Limiter, Permit
from bench.measure.spending import cost_of, spent_tokens

#: a reply with such a status has generated nothing
HTTP_ERROR = 400


@dataclass(slots=True, eq=False)
class Place:
    """What one attempt holds while it is sent. It is given back once; what is called later changes nothing."""

    ledger: Ledger
    reservation: Reservation
    permit: Permit
    slots: asyncio.Semaphore | None
    _held: bool = True

    def give_back(self) -> None:
        """Nothing was sent: it counts as no request, no tokens and no cost."""
        if self._held:
            self.permit.settle(0)
            self.ledger.give_back(self.reservation)
            self._leave()

    def settle(self, cell: Cell, answer: Answer | None) -> None:
        """The attempt ended with this answer, or with none because it was cancelled.

        One that was sent and whose usage is unknown keeps what was reserved for it: it may have cost that much. So does
        a reply that broke off: the usage told so far counts what had come by then, not what the server went on with.
        """
        if answer is None:
            self._spend(None, None)
        elif answer.timeline.sent_ns is None:
            self.give_back()
        else:
            self.permit.on_result(answer.status, answer.failure)
            if answer.status is not None and answer.status >= HTTP_ERROR:
                self._spend(0, 0.0)
            elif answer.outcome is Outcome.OK:
                self._spend(spent_tokens(answer.reply), cost_of(cell, answer.reply)[0])
            else:
                self._spend(None, None)

    def _spend(self, tokens: int | None, cost: float | None) -> None:
        if self._held:
            self.permit.settle(tokens)
            self.ledger.settle(self.reservation, tokens, cost)
            self._leave()

    def _leave(self) -> None:
        self._held = False
        self.permit.release()
        if self.slots is not None:
            self.slots.release()


async def admit(
    tokens: int,
    cost: float | None,
    *,
    ledger: Ledger,
    limits: Limiter,
    slots: asyncio.Semaphore | None,
) -> Place | None:
    """Wait for all three; ``None`` when the budget is used up. A cancelled wait leaves nothing behind.

    Args:
        tokens: the most that the attempt can use, prompt and completion.
        cost: of those tokens; ``None`` when there is no price.
        ledger: the run's budget.
        limits: of the account and model.
        slots: the bound on requests in flight, ``None`` for no bound.
    """
    reservation = await ledger.reserve_in_turn(tokens, cost)
    if reservation is None:
        return None
    permit: Permit | None = None
    try:
        # nobody waits beyond the time that the budget allows
        async with asyncio.timeout(ledger.left_s):
            # the lane's permit comes before the shared slot, so a throttled model never sits on slots others could use
            permit = await limits.permit(tokens)
            if slots is not None:
                await slots.acquire()
    except BaseException as error:
        if permit is not None:
            permit.settle(0)
            permit.release()
        ledger.give_back(reservation)
        if not isinstance(error, TimeoutError):
            raise
        if ledger.exhausted_by is None:  # the timer's clock is a little ahead of the ledger's
            return await admit(tokens, cost, ledger=ledger, limits=limits, slots=slots)
        return None
    return Place(ledger, reservation, permit, slots)
