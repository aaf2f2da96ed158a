"""Permits: who may send now, under the limits of one provider account and model.

Every cell and every process of a run that talks to the same account and model shares one :class:`AccountLimits` (other
processes ask for leases, :mod:`bench.measure.leases`). A permit is taken before a request's clock starts, so no latency
ever includes the wait for it, and once per HTTP attempt, retries included, because the server counts those too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bench.config import Limits
from bench.domain import ErrorKind, Failure
from bench.measure.concurrency import Concurrency
from bench.measure.holds import Hold, Retries
from bench.measure.pacing import END_JITTER_NS, Charge, MinutePace

Reason = Literal["adaptive", "backoff", "concurrency", "rpm", "tpm"]

#: statuses that say "too many", whatever the body says
REFUSALS = frozenset({429, 503})


class Permit(Protocol):
    """The right to send one HTTP attempt now. Release it when the attempt's exchange has ended, however it ended."""

    @property
    def on_sent(self) -> Callable[[], None] | None:
        """To be called when the attempt leaves: only then can its minute begin; ``None`` where nothing hangs on it."""

    def settle(self, tokens: int | None) -> None:
        """Replace the reserved tokens by those really used, prompt and completion; 0 when nothing was generated.

        ``None`` (the server reported no usage) keeps the reservation. Only the first call with a number counts.
        """

    def on_result(self, status: int | None, failure: Failure | None = None) -> None:
        """Tell adaptive concurrency how the attempt ended: 429 and 503 cut it, success lets it grow."""

    def release(self) -> None:
        """Give the place in flight back; a second call does nothing."""


class Limiter(Protocol):
    """What grants permits."""

    @property
    def hold(self) -> Hold | None:
        """What holds back who waits now."""

    async def permit(self, tokens: int) -> Permit:
        """Wait for the right to send one attempt that may use so many tokens."""

    async def back_off(self, seconds: float, *, asked: bool = False) -> None:
        """Sleep before a retry, holding no permit; ``asked`` when the server named the wait."""


def is_refusal(status: int | None, failure: Failure | None) -> bool:
    """Whether the server said "too many"."""
    return status in REFUSALS or (failure is not None and failure.kind is ErrorKind.HTTP_429)


class GrantedPermit:
    """A permit of an :class:`AccountLimits`; see :class:`Permit`."""

    def __init__(self, account: AccountLimits, granted_ns: int, start: Charge | None, tokens: Charge | None) -> None:
        self.granted_ns = granted_ns
        self._account, self._start, self._tokens = account, start, tokens
        self._released = False

    @property
    def on_sent(self) -> Callable[[], None] | None:
        """See :class:`Permit`."""
        return None if self._start is None else self._sent

    def _sent(self) -> None:
        self._account._close(self._start, None)

    def settle(self, tokens: int | None) -> None:
        """See :class:`Permit`."""
        if tokens is not None:
            self._account._close_tokens(self._tokens, tokens)

    def on_result(self, status: int | None, failure: Failure | None = None) -> None:
        """See :class:`Permit`."""
        self.learn(refused=is_refusal(status, failure), succeeded=failure is None)

    def learn(self, *, refused: bool, succeeded: bool) -> None:
        """:meth:`on_result`, already judged."""
        self._account._learn(self.granted_ns, refused=refused, succeeded=succeeded)

    def release(self) -> None:
        """See :class:`Permit`. An attempt of which nothing is known by now counts as sent now, as it was reserved."""
        if not self._released:
            self._released = True
            self._account._release(self._start, self._tokens)


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
        self._most = limits.concurrency
        self._rpm = None if limits.rpm is None else MinutePace(limits.rpm)
        self._tpm = None if limits.tpm is None else MinutePace(limits.tpm, END_JITTER_NS)
        self._turns: deque[_Turn] = deque()
        self._in_flight = 0
        self._retries = Retries(clock, sleep)
        self._held_ns: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        """Permits granted and not yet released."""
        return self._in_flight

    @property
    def concurrency(self) -> int | None:
        """How many may be in flight now; ``None`` is no limit. Changes when it is adaptive."""
        return self._concurrency.limit

    @property
    def hold(self) -> Hold | None:
        """What holds back the next one to go, for the live display; ``None`` when nobody waits."""
        if not self._turns:
            return self._retries.hold
        now_ns = self._clock()
        held = self._hold(self._turns[0].tokens, now_ns)
        if held is None:
            return None
        reason, until_ns = held
        left_s = None if until_ns is None else (until_ns - now_ns) / 1e9
        return Hold(reason, left_s, self._concurrency.limit if reason == "adaptive" else None)

    def held_s(self) -> dict[str, float]:
        """Seconds in which somebody waited for a permit, by what held back the next one to go."""
        return {reason: held_ns / 1e9 for reason, held_ns in self._held_ns.items()}

    async def permit(self, tokens: int) -> GrantedPermit:
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
                elif hold := self._hold(tokens, since_ns := self._clock()):
                    try:
                        await self._wait(turn, hold[1])
                    finally:
                        self._held_ns[hold[0]] += self._clock() - since_ns
                else:
                    return self._grant(tokens)
        finally:
            turn.gone = True
            while self._turns and self._turns[0].gone:
                self._turns.popleft()
            self._wake()

    async def back_off(self, seconds: float, *, asked: bool = False) -> None:
        """Sleep before a retry, holding no permit, so that the display can say what the run waits for."""
        await self._retries.back_off(seconds, asked=asked)

    def _hold(self, tokens: int, now_ns: int) -> tuple[Reason, int | None] | None:
        """What holds a permit back and until when (``None``: until another request ends), or ``None``: nothing."""
        limit = self._concurrency.limit
        if limit is not None and self._in_flight >= limit:
            return ("concurrency" if limit == self._most else "adaptive"), None
        holds: list[tuple[int, Reason]] = [(self._concurrency.resume_ns, "backoff")]
        paces: tuple[tuple[MinutePace | None, int, Reason], ...] = ((self._rpm, 1, "rpm"), (self._tpm, tokens, "tpm"))
        for pace, units, reason in paces:
            if pace is not None:
                ready_ns = pace.ready_ns(units, now_ns)
                if ready_ns is None:
                    return reason, None
                holds.append((ready_ns, reason))
        until_ns, reason = max(holds)
        return (reason, until_ns) if until_ns > now_ns else None

    def _grant(self, tokens: int) -> GrantedPermit:
        now_ns = self._clock()
        start = None if self._rpm is None else self._rpm.take(1, now_ns)
        charge = None if self._tpm is None else self._tpm.take(tokens, now_ns)
        self._in_flight += 1
        return GrantedPermit(self, now_ns, start, charge)

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

    def _close(self, start: Charge | None, units: int | None) -> None:
        if self._rpm is not None and start is not None:
            self._rpm.close(start, units, self._clock())
            self._wake()

    def _close_tokens(self, charge: Charge | None, units: int | None) -> None:
        if self._tpm is not None and charge is not None:
            self._tpm.close(charge, units, self._clock())
            self._wake()

    def _learn(self, granted_ns: int, *, refused: bool, succeeded: bool) -> None:
        if refused:
            self._concurrency.on_refusal(granted_ns, self._clock(), self._in_flight)
        elif succeeded:
            self._concurrency.on_success()
            self._wake()

    def _release(self, start: Charge | None, tokens: Charge | None) -> None:
        self._close(start, None)
        self._close_tokens(tokens, None)
        self._in_flight -= 1
        self._wake()
