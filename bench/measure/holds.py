"""What holds a run back at the moment, in words for a person; and the waits before retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_WORDS = {
    "adaptive": "429 and 503",
    "backoff": "waits to retry",
    "concurrency": "limits.concurrency",
    "record": "the disk",
    "retry_after": "Retry-After",
    "rpm": "limits.rpm",
    "tpm": "limits.tpm",
}


@dataclass(frozen=True, slots=True)
class Hold:
    """What holds back the next request.

    Attributes:
        reason: ``adaptive backoff concurrency record retry_after rpm tpm``, or ``budget.`` and a cap.
        left_s: how long, as things stand; ``None`` where that is not known.
        at_a_time: how many may be in flight, where refusals have lowered it.
    """

    reason: str
    left_s: float | None = None
    at_a_time: int | None = None

    def __str__(self) -> str:
        words = _WORDS.get(self.reason, self.reason)
        if self.at_a_time is not None:
            words += f": {self.at_a_time} at a time"
        return words if self.left_s is None or self.left_s < 1 else f"{words}, {self.left_s:.0f} s"


class Retries:
    """The waits of attempts that are to be tried again; they hold no permit.

    Args:
        clock: monotonic nanoseconds.
        sleep: waits so many seconds of that clock.
    """

    def __init__(self, clock: Callable[[], int], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock, self._sleep = clock, sleep
        self._waits: dict[object, tuple[int, bool]] = {}

    @property
    def hold(self) -> Hold | None:
        """The wait that ends first; ``None`` when there is none."""
        if not self._waits:
            return None
        until_ns, asked = min(self._waits.values())
        return Hold("retry_after" if asked else "backoff", max(until_ns - self._clock(), 0) / 1e9)

    async def back_off(self, seconds: float, *, asked: bool = False) -> None:
        """Sleep before a retry; ``asked`` when the server named the wait."""
        mine = object()
        self._waits[mine] = self._clock() + round(seconds * 1e9), asked
        try:
            await self._sleep(seconds)
        finally:
            del self._waits[mine]
