"""Pace against a per-minute limit: smooth, and never over the limit in any 60 s window, wherever that begins.

Two rules hold a grant back, each with one purpose. The *log* of the last minute's charges makes the limit exact: a
grant waits until the charges younger than the window leave room for it. The *pace* makes the stream smooth: grants
are due one interval after another (the generic cell rate algorithm, ITU-T I.371), so a minute's allowance is never
spent in its first second.

Pure bookkeeping: time comes in as an argument, nothing here waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MINUTE_NS = 60_000_000_000

#: two grants may reach the server this much closer together than they left, and a server's window still holds
ARRIVAL_JITTER_NS = 2_000_000_000

#: how far a grant may run ahead of the even spacing, so that a late wake-up costs no throughput
CATCH_UP_NS = 500_000_000

#: weight that the history keeps when one more settled charge joins the expected share of a reservation
_MEMORY = 0.9


@dataclass(slots=True, eq=False)
class Charge:
    """One grant's entry in the log: ``units`` are the reserved ones until they are settled."""

    at_ns: int
    units: int


class MinutePace:
    """One limit of ``per_minute`` units (requests, or tokens).

    A limit below one unit a minute is one unit in a proportionally longer window. A charge that alone exceeds the
    limit is counted as the whole limit: it goes when the window is empty.

    Args:
        per_minute: units in any 60 s; greater than 0.
    """

    def __init__(self, per_minute: float) -> None:
        stretch = 1 / min(per_minute, 1.0)
        self.cap = int(max(per_minute, 1.0))
        self._window_ns = round(MINUTE_NS * stretch) + ARRIVAL_JITTER_NS
        self._log: deque[Charge] = deque()
        self._in_window = 0
        self._due_ns: int | None = None
        self._reserved, self._used = 1.0, 1.0

    def ready_ns(self, units: int, now_ns: int) -> int:
        """Earliest time at which ``units`` may be granted as things stand; ``now_ns`` when at once."""
        self._forget(now_ns)
        paced_ns = now_ns if self._due_ns is None else max(now_ns, self._due_ns - CATCH_UP_NS)
        excess = self._in_window + min(units, self.cap) - self.cap
        if excess <= 0:
            return paced_ns
        for charge in self._log:
            excess -= charge.units
            if excess <= 0:
                return max(paced_ns, charge.at_ns + self._window_ns)
        raise AssertionError("the log holds every unit of the window")

    def take(self, units: int, now_ns: int) -> Charge:
        """Charge a grant made now; call it only when :meth:`ready_ns` allows it."""
        charge = Charge(now_ns, min(units, self.cap))
        self._log.append(charge)
        self._in_window += charge.units
        # The pace counts what such reservations turned out to use, else it would slow the run to the reserved rate.
        # Safety does not hang on this guess: the log counts a reservation in full until it is settled.
        expected = charge.units * self._used / self._reserved
        start_ns = now_ns if self._due_ns is None else max(now_ns, self._due_ns)
        self._due_ns = start_ns + round(expected * self._window_ns / self.cap)
        return charge

    def settle(self, charge: Charge, units: int) -> None:
        """Replace a charge's reservation by what was really used (0: nothing was sent); once per charge."""
        if units > 0:
            self._reserved = _MEMORY * self._reserved + charge.units
            self._used = _MEMORY * self._used + units
        if self._log and charge.at_ns >= self._log[0].at_ns:
            self._in_window += units - charge.units
            charge.units = units

    def _forget(self, now_ns: int) -> None:
        while self._log and now_ns - self._log[0].at_ns >= self._window_ns:
            self._in_window -= self._log.popleft().units
