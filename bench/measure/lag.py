"""The client's own event-loop lag: how late the loop ran while a request was being timed."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence


class LagMeter:
    """Wakes every ``period_s`` and notes by how much it was late.

    Keeps the last ``kept`` readings, so a request longer than ``kept * period_s`` sees the lag of its end only.
    """

    def __init__(self, clock: Callable[[], int], *, period_s: float = 0.02, kept: int = 4096) -> None:
        self._clock = clock
        self._period_s = period_s
        self.period_ms = period_s * 1e3
        self._readings: deque[tuple[int, int]] = deque(maxlen=kept)
        self._edges_ns: tuple[int, ...] = ()
        self._counts: list[int] = [0]
        self._worst_ns = 0

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
        self._counts[bisect_left(self._edges_ns, lag_ns)] += 1
        self._worst_ns = max(self._worst_ns, lag_ns)

    def begin(self, edges_ms: Sequence[float]) -> None:
        """Start a histogram over bins with these upper edges; the last bin is open."""
        self._edges_ns = tuple(int(edge * 1e6) for edge in edges_ms)
        self._counts, self._worst_ns = [0] * (len(edges_ms) + 1), 0

    def end(self) -> tuple[tuple[int, ...], int]:
        """The histogram's counts and the worst lag in nanoseconds since :meth:`begin`."""
        return tuple(self._counts), self._worst_ns

    def worst_since(self, since_ns: int) -> int | None:
        """The largest lag in nanoseconds read at or after a time; ``None`` when nothing was read since."""
        worst: int | None = None
        for at_ns, lag_ns in reversed(self._readings):
            if at_ns < since_ns:
                break
            worst = lag_ns if worst is None or lag_ns > worst else worst
        return worst
