"""Permits: who may send now, under the limits of one provider account and model.

Every cell of a run that talks to the same account and model shares one :class:`AccountLimits`. A permit is taken before
a request's clock starts, so no latency ever includes the wait for it, and once per HTTP attempt, retries included,
because the server counts those too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from bench.config import Limits
from bench.domain import ErrorKind, Failure
from bench.measure.concurrency import Concurrency
from bench.measure.pacing import Charge, MinutePace

Reason = Literal["backoff", "concurrency", "rpm", "tpm"]

#: statuses that say "too many", whatever the body says
REFUSALS = frozenset({429, 503})


class Permit:
    """The right to send one HTTP attempt now. Release it when the attempt's exchange has ended, however it ended."""

    def __init__(self, account: AccountLimits, granted_ns: int, charge: Charge | None) -> None:
        self.granted_ns = granted_ns
        self._account = account
        self._charge = charge
        self._released = False

    def settle(self, tokens: int | None) -> None:
        """Replace the reserved tokens by those really used, prompt and completion; 0 when nothing was sent.

        ``None`` (the server reported no usage) keeps the reservation. Only the first call with a number counts.
        """
        if tokens is not None and self._charge is not None:
            charge, self._charge = self._charge, None
            self._account._settle(charge, tokens)

    def on_result(self, status: int | None, failure: Failure | None = None) -> None:
        """Tell adaptive concurrency how the attempt ended: 429 and 503 cut it, success lets it grow."""
        refused = status in REFUSALS or (failure is not None and failure.kind is ErrorKind.HTTP_429)
        self._account._learn(self.granted_ns, refused=refused, succeeded=failure is None)

    def release(self) -> None:
        """Give the place in flight back; a second call does nothing."""
        if not self._released:
            self._released = True
            self._account._release()


@dataclass(slots=True, eq=False)
class _Turn:
    tokens: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


class AccountLimits:
    """Concurrency, requests per minute and tokens per minute of one account and model; first come, first served.

    Args:
        limits: the configured limits; ``None`` parts do not limit.
        clock: monotonic nanoseconds.
        sleep: waits so many seconds of that clock.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._concurrency = Concurrency(limits.concurrency, adaptive=limits.adaptive, pause_s=limits.backoff_s)
        self._rpm = None if limits.rpm is None else MinutePace(limits.rpm)
        self._tpm = None if limits.tpm is None else MinutePace(limits.tpm)
        self._turns: deque[_Turn] = deque()
        self._in_flight = 0
        self._backing_off = 0

    @property
    def in_flight(self) -> int:
        """Permits granted and not yet released."""
        return self._in_flight

    @property
    def concurrency(self) -> int | None:
        """How many may be in flight now; ``None`` is no limit. Changes when it is adaptive."""
        return self._concurrency.limit

    @property
    def throttled_by(self) -> Reason | None:
        """What holds the run back now, for the live display; ``None`` when nothing waits for a permit or a retry."""
        if self._turns:
            hold = self._hold(self._turns[0].tokens, self._clock())
            return None if hold is None else hold[0]
        return "backoff" if self._backing_off else None

    async def permit(self, tokens: int) -> Permit:
        """Wait for a place in flight, a start and ``tokens`` of the minute; then take all three.

        A cancelled wait leaves nothing behind. A reservation larger than ``tpm`` itself counts as all of ``tpm``.

        Args:
            tokens: estimate of the prompt + ``max_tokens`` x ``n``: the most that this attempt can use.
        """
        if not self._turns and self._hold(tokens, self._clock()) is None:
            return self._grant(tokens)
        turn = _Turn(tokens)
        self._turns.append(turn)
        try:
            while True:
                if self._turns[0] is not turn:
                    await self._wait(turn, None)
                elif hold := self._hold(tokens, self._clock()):
                    await self._wait(turn, hold[1])
                else:
                    return self._grant(tokens)
        finally:
            turn.gone = True
            while self._turns and self._turns[0].gone:
                self._turns.popleft()
            self._wake()

    async def back_off(self, seconds: float) -> None:
        """Sleep before a retry, holding no permit, so that the display can say what the run waits for."""
        self._backing_off += 1
        try:
            await self._sleep(seconds)
        finally:
            self._backing_off -= 1

    def _hold(self, tokens: int, now_ns: int) -> tuple[Reason, int | None] | None:
        """What holds a permit back and until when (``None``: until another request ends), or ``None``: nothing."""
        if self._concurrency.limit is not None and self._in_flight >= self._concurrency.limit:
            return "concurrency", None
        holds: list[tuple[int, Reason]] = [(self._concurrency.resume_ns, "backoff")]
        if self._rpm is not None:
            holds.append((self._rpm.ready_ns(1, now_ns), "rpm"))
        if self._tpm is not None:
            holds.append((self._tpm.ready_ns(tokens, now_ns), "tpm"))
        until_ns, reason = max(holds)
        return (reason, until_ns) if until_ns > now_ns else None

    def _grant(self, tokens: int) -> Permit:
        now_ns = self._clock()
        if self._rpm is not None:
            self._rpm.take(1, now_ns)
        charge = None if self._tpm is None else self._tpm.take(tokens, now_ns)
        self._in_flight += 1
        return Permit(self, now_ns, charge)

    async def _wait(self, turn: _Turn, until_ns: int | None) -> None:
        """Wait until somebody wakes this turn, or until a time of the clock."""
        if until_ns is None:
            await turn.woken.wait()
        else:
            # At least a microsecond: a wait rounded down to nothing would spin on a clock that stands still.
            delay_s = max(until_ns - self._clock(), 1_000) / 1e9
            timer = asyncio.ensure_future(self._sleep(delay_s))
            timer.add_done_callback(lambda done: None if done.cancelled() else turn.woken.set())
            try:
                await turn.woken.wait()
            finally:
                timer.cancel()
        turn.woken.clear()

    def _wake(self) -> None:
        if self._turns:
            self._turns[0].woken.set()

    def _settle(self, charge: Charge, tokens: int) -> None:
        if self._tpm is not None:
            self._tpm.settle(charge, tokens)
            self._wake()

    def _learn(self, granted_ns: int, *, refused: bool, succeeded: bool) -> None:
        if refused:
            self._concurrency.on_refusal(granted_ns, self._clock(), self._in_flight)
        elif succeeded:
            self._concurrency.on_success()
            self._wake()

    def _release(self) -> None:
        self._in_flight -= 1
        self._wake()
