"""The client's own event-loop lag: how late the loop ran while a request was being timed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class LagMeter:
    """Wakes every ``period_s`` and notes by how much it was late.

    Keeps the last ``kept`` readings, so a request longer than ``kept * period_s`` sees the lag of its end only.
    """

    def __init__(self, clock: Callable[[], int], *, period_s: float = 0.02, kept: int = 4096) -> None:
        self._clock = clock
        self._period_s = period_s
        self._readings: deque[tuple[int, int]] = deque(maxlen=kept)

    async def watch(self) -> None:
        """Run until cancelled."""
        period_ns = int(self._period_s * 1e9)
        while True:
            asked = self._clock()
            await asyncio.sleep(self._period_s)
            woke = self._clock()
            self.note(woke, max(0, woke - asked - period_ns))

    def note(self, at_ns: int, lag_ns: int) -> None:
        """Add one reading."""
        self._readings.append((at_ns, lag_ns))

    def worst_since(self, since_ns: int) -> int | None:
        """The largest lag in nanoseconds read at or after a time; ``None`` when nothing was read since."""
        worst: int | None = None
        for at_ns, lag_ns in reversed(self._readings):
            if at_ns < since_ns:
                break
            worst = lag_ns if worst is None or lag_ns > worst else worst
        return worst
