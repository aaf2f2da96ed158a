"""How many requests may be in flight: a fixed number, or one that backs off when the server refuses.

Additive increase, multiplicative decrease (Chiu and Jain, 1989): a refusal cuts the number, at most once per round
trip; a round of successes adds one. The cut is half of the share of answers that were refusals of late (as DCTCP cuts
by the share of marked packets: Alizadeh et al., 2010), so a server that refuses everything halves the number, and one
that refuses a few in a hundred, whatever is in flight, does not push a paced run far below its rate. At the floor of
one request, refusals in a row put a short, bounded pause between starts: one request at a time can still be far too
many a second. Any success ends the pause.

Pure bookkeeping: time comes in as an argument, nothing here waits.
"""

from __future__ import annotations

#: longest pause between starts at the floor, however often the server refuses
LONGEST_PAUSE_S = 15.0

#: weight of one more refusal in the share of refusals, and of one more success: a sudden overload is seen at once,
#: and forgotten slowly
_RISE, _FALL = 1 / 4, 1 / 16


class Concurrency:
    """The number of requests that may be in flight to one account and model.

    Args:
        most: never more than this; ``None`` is no limit until the first refusal.
        adaptive: whether refusals change anything.
        pause_s: pause after the second refusal in a row at the floor; doubles up to :data:`LONGEST_PAUSE_S`.
    """

    def __init__(self, most: int | None, *, adaptive: bool, pause_s: float) -> None:
        self.limit = most
        self.resume_ns = 0
        self._most = most
        self._adaptive = adaptive
        self._pause_s = pause_s
        self._cut_ns: int | None = None
        self._successes = 0
        self._refused_at_floor = 0
        self._refused_share = 1.0

    def on_success(self) -> None:
        """A request succeeded: after a round of them (as many as may be in flight) one more may be."""
        if not self._adaptive:
            return
        self._refused_share *= 1 - _FALL
        self.resume_ns = 0
        self._refused_at_floor = 0
        if self.limit is None or self.limit == self._most:
            return
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit += 1

    def on_refusal(self, granted_ns: int, now_ns: int, in_flight: int) -> None:
        """The server refused a request for being one too many (429, 503).

        Args:
            granted_ns: when the refused request got its permit; one granted before the last cut belongs to the
                round trip that this cut already answered.
            now_ns: when the refusal came.
            in_flight: requests in flight, the refused one included.
        """
        if not self._adaptive:
            return
        self._refused_share += _RISE * (1 - self._refused_share)
        if self._cut_ns is not None and granted_ns <= self._cut_ns:
            return
        self._cut_ns = now_ns
        self._successes = 0
        if self.limit == 1:
            self._refused_at_floor += 1
            if self._refused_at_floor > 1:
                doublings = min(self._refused_at_floor - 2, 32)
                self.resume_ns = now_ns + round(min(LONGEST_PAUSE_S, self._pause_s * 2**doublings) * 1e9)
            return
        # few may be in flight because of the pace alone: that says little of how many the server would take
        used = in_flight if self.limit is None else min(self.limit, 2 * in_flight)
        self.limit = max(1, int(used * (1 - self._refused_share / 2)))
