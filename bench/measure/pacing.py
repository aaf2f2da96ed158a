"""Pace against a per-minute limit: smooth, and never over the limit in any 60 s window, wherever that begins.

Two rules hold a grant back, each with one purpose. The *log* makes the limit exact: it holds what is open (granted, and
not yet known to have reached the server) and what was closed less than a window ago, and a grant waits until both leave
room for it. Servers differ in when they count, on arrival, while they generate or at the end; a charge that stays open
until its last possible moment is covered under each. The *pace* makes the stream smooth: grants are due one interval
after another (the generic cell rate algorithm, ITU-T I.371), so that no minute's allowance goes in its first second.

Pure bookkeeping: time comes in as an argument, nothing here waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MINUTE_NS = 60_000_000_000

#: two starts may reach the server this much closer together than they left, and a server's window still holds
ARRIVAL_JITTER_NS = 2_000_000_000

#: a server may count the end of a reply this much later than the client has read it
END_JITTER_NS = 1_000_000_000

#: how far a grant may run ahead of the even spacing, so that a late wake-up costs no throughput
CATCH_UP_NS = 500_000_000

#: weight that the history keeps when one more closed charge joins the expected share of a reservation
_MEMORY = 0.9


@dataclass(slots=True, eq=False)
class Charge:
    """One grant's entry: ``units`` are the reserved ones while it is open, and ``closed_ns`` is ``None``.

    ``paced_ns`` is by how much it put off the next grant.
    """

    units: int
    paced_ns: int
    closed_ns: int | None = None


class MinutePace:
    """One limit of ``per_minute`` units (requests, or tokens).

    A limit below one unit a minute is one unit in a proportionally longer window. A charge that alone exceeds the
    limit is counted as the whole limit: it goes when the window is empty.

    Args:
        per_minute: units in any 60 s; greater than 0.
        jitter_ns: how much longer than a minute a closed charge is held.
    """

    def __init__(self, per_minute: float, jitter_ns: int = ARRIVAL_JITTER_NS) -> None:
        stretch = 1 / min(per_minute, 1.0)
        self.cap = int(max(per_minute, 1.0))
        self._window_ns = round(MINUTE_NS * stretch) + jitter_ns
        self._log: deque[Charge] = deque()
        self._open = self._in_window = 0
        self._due_ns: int | None = None
        self._reserved, self._used = 1.0, 1.0

    def ready_ns(self, units: int, now_ns: int) -> int | None:
        """Earliest time at which ``units`` may be granted as things stand; ``now_ns`` when at once.

        ``None`` when there is no room until an open charge is closed.
        """
        self._forget(now_ns)
        paced_ns = now_ns if self._due_ns is None else max(now_ns, self._due_ns - CATCH_UP_NS)
        excess = self._open + self._in_window + min(units, self.cap) - self.cap
        if excess <= 0:
            return paced_ns
        for charge in self._log:
            excess -= charge.units
            if excess <= 0:
                return max(paced_ns, (charge.closed_ns or 0) + self._window_ns)
        return None

    def take(self, units: int, now_ns: int) -> Charge:
        """Open a charge for a grant made now; call it only when :meth:`ready_ns` allows it."""
        units = min(units, self.cap)
        self._open += units
        # The pace counts what such reservations turned out to use, else it would slow the run to the reserved rate.
        # Safety does not hang on this guess: the log counts a reservation in full until it is closed.
        expected = units * self._used / self._reserved
        start_ns = now_ns if self._due_ns is None else max(now_ns, self._due_ns)
        charge = Charge(units, round(expected * self._window_ns / self.cap))
        self._due_ns = start_ns + charge.paced_ns
        return charge

    def close(self, charge: Charge, units: int | None, now_ns: int) -> None:
        """Nothing more of the charge will reach the server; only the first call for a charge counts.

        Args:
            units: what was really used (0: nothing); ``None`` when that is not known keeps the reservation.
            now_ns: from here on the window of the charge counts; calls come in the order of time.
        """
        if charge.closed_ns is not None:
            return
        self._open -= charge.units
        charge.closed_ns = now_ns
        if units is not None and units > 0:
            self._reserved = _MEMORY * self._reserved + charge.units
            self._used = _MEMORY * self._used + units
        if units == 0 and self._due_ns is not None:
            self._due_ns -= charge.paced_ns  # a refused attempt's part of the minute is there for the next one
        charge.units = charge.units if units is None else units
        if charge.units > 0:
            self._in_window += charge.units
            self._log.append(charge)

    def _forget(self, now_ns: int) -> None:
        while self._log and now_ns - (self._log[0].closed_ns or 0) >= self._window_ns:
            self._in_window -= self._log.popleft().units
