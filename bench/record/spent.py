"""What a run with a budget has spent, written down before each send: a resumed run goes on from there.

``journal/spent.seg`` holds records as the journal does. An attempt that was reserved and of which nothing more is
known, because its session was killed, counts as it was reserved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.record.folder import JOURNAL
from bench.record.journal import Segment, Syncer, frames, recover

FILE = "spent.seg"


@dataclass(frozen=True, slots=True)
class Spent:
    """What earlier sessions of a run took: attempts sent, tokens, money, and seconds of measuring."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0


class Step(msgspec.Struct, frozen=True, array_like=True):
    """``what``: ``session`` begins, or an attempt is ``reserved``, ``used`` or ``unsent``; at so many seconds of it."""

    what: str
    at_s: float = 0.0
    number: int = 0
    tokens: int = 0
    cost: float = 0.0


class SpendingLog:
    """Takes every step of a :class:`bench.measure.budget.BudgetLedger`.

    Args:
        run: the run folder; its ``earlier`` spending is read at once.
        origin_ns: what the record's times are counted from.
        clock: monotonic nanoseconds.
        on_error: told when a step cannot be written.

    Raises:
        OSError: the file cannot be read or opened.
    """

    def __init__(
        self, run: Path, origin_ns: int, clock: Callable[[], int], on_error: Callable[[OSError], None]
    ) -> None:
        path = run / JOURNAL / FILE
        found = recover(path) if path.exists() else None
        self.earlier = spent_so_far(path) if found else Spent()
        self._clock, self._on_error, self._start_ns = clock, on_error, clock()
        self._segment = Segment(path, origin_ns, found)
        self._syncer = Syncer(path.parent)
        self._write(Step("session"))

    def reserved(self, number: int, tokens: int, cost: float | None) -> None:
        """An attempt may be sent from now on, and may use so much."""
        self._write(Step("reserved", self._elapsed_s(), number, tokens, cost or 0.0))

    def closed(self, number: int, tokens: int, cost: float, *, sent: bool) -> None:
        """It used so much; nothing of it counts unless it was sent."""
        self._write(Step("used" if sent else "unsent", self._elapsed_s(), number, tokens, cost))

    def close(self) -> None:
        """Sync and close."""
        self._syncer.want(self._segment.fd, close=True)
        self._syncer.close()

    def _elapsed_s(self) -> float:
        return (self._clock() - self._start_ns) / 1e9

    def _write(self, step: Step) -> None:
        try:
            self._segment.append(msgspec.msgpack.encode(step))
        except OSError as error:
            self._on_error(error)
        else:
            self._syncer.want(self._segment.fd)


def spent_so_far(path: Path) -> Spent:
    """The sum of all sessions in a log.

    Raises:
        OSError: the file cannot be read.
    """
    requests = tokens = 0
    cost = seconds = at_s = 0.0
    open_steps: dict[int, Step] = {}
    decode = msgspec.msgpack.Decoder(Step).decode
    payloads = (payload for _, payload in frames(path))
    next(payloads, None)  # the head
    for step in (*map(decode, payloads), Step("session")):
        if step.what == "session":
            done, seconds, at_s = list(open_steps.values()), seconds + at_s, 0.0
            open_steps.clear()
        else:
            at_s = max(at_s, step.at_s)
            reserved = open_steps.pop(step.number, None)
            done = [step] if step.what == "used" else []
            if step.what == "reserved":
                open_steps[step.number] = step
            elif reserved is None:
                done = []
        for one in done:
            requests, tokens, cost = requests + 1, tokens + one.tokens, cost + one.cost
    return Spent(requests, tokens, cost, seconds)
