"""The deadlines of one HTTP attempt: one lazily moved timer, nothing to do per read.

A timer per read would cost more than the read. So the timer is set when an attempt enters a phase (connecting, waiting
for the first byte, reading) and, when it rings, looks at the reads so far and either rings again later or gives up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.config import Timeout
from bench.domain import ErrorKind
from bench.measure.sse import parse

NS_PER_S = 1_000_000_000
NEVER_NS = 1 << 62

#: how long a stream that has said ``[DONE]`` may take to end
DONE_GRACE_S = 1.0


@dataclass(slots=True)
class Marks:
    """What has happened to an attempt so far, in ns of the caller's clock; ``None``: not yet.

    ``look`` gives the reads of the body so far; ``opaque`` ones are compressed and cannot be looked into. ``done_ns``
    is the read that ended in ``[DONE]``.
    """

    start_ns: int
    connected_ns: int | None = None
    sent_ns: int | None = None
    headers_ns: int | None = None
    end_ns: int | None = None
    done_ns: int | None = None
    look: Callable[[], Sequence[tuple[int, bytes]]] = tuple
    opaque: bool = False

    @property
    def reads(self) -> Sequence[tuple[int, bytes]]:
        """Stamp and bytes of each read of the body so far."""
        return self.look()


class Watch:
    """Cancels the task of an attempt when one of its deadlines has passed.

    Attributes:
        expired: the deadline that passed, or ``None``.
        hung_after_done: a stream said ``[DONE]`` and then did not end; no failure of its own.
    """

    def __init__(self, marks: Marks, timeout: Timeout, *, stream: bool, clock: Callable[[], int]) -> None:
        self.expired: ErrorKind | None = None
        self.hung_after_done = False
        self._marks, self._timeout, self._stream, self._clock = marks, timeout, stream, clock
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a watch must be made inside the task that it guards")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._parsed: tuple[int, int | None] = (0, None)
        self._over = False
        self.enter_phase()

    def enter_phase(self) -> None:
        """Sets the timer anew; to be called when a mark was made that can bring the next deadline nearer."""
        if not self._over:
            self._set_timer(self._next_deadline()[0])

    def stop(self) -> None:
        """Ends the watch; what happens later no longer concerns it."""
        self._over = True
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def caused(self) -> bool:
        """Whether a cancellation that was just caught is this watch's own; takes it back if so."""
        mine = self.expired is not None or self.hung_after_done
        return mine and self._task.uncancel() <= self._cancelling

    def _set_timer(self, when_ns: int) -> None:
        self._cancel_timer()
        if when_ns < NEVER_NS:
            self._timer = self._loop.call_later(max(0, when_ns - self._clock()) / NS_PER_S, self._ring)

    def _ring(self) -> None:
        when_ns, kind = self._next_deadline()
        if self._clock() < when_ns:
            self._set_timer(when_ns)
            return
        self.stop()
        self.expired, self.hung_after_done = kind, kind is None
        self._task.cancel()

    def _next_deadline(self) -> tuple[int, ErrorKind | None]:
        marks, timeout = self._marks, self._timeout
        total = _after(marks.start_ns, timeout.total_s), ErrorKind.TIMEOUT_TOTAL
        if marks.done_ns is not None:
            return min(total[0], _after(marks.done_ns, DONE_GRACE_S)), None
        if marks.connected_ns is None:
            return _sooner((_after(marks.start_ns, timeout.connect_s), ErrorKind.TIMEOUT_CONNECT), total)
        if not self._stream or marks.sent_ns is None:
            return total
        first_byte_ns = _after(marks.sent_ns, timeout.first_byte_s)
        reads = marks.reads
        if not reads:
            return _sooner((first_byte_ns, ErrorKind.TIMEOUT_FIRST_BYTE), total)
        token_ns = self._last_token_ns(reads)
        deadline_ns = _after(token_ns or reads[0][0], timeout.between_tokens_s)
        if token_ns is None and first_byte_ns < NEVER_NS:
            # a server that says at once that it is alive has as long for its first token as a silent one
            deadline_ns = max(deadline_ns, first_byte_ns)
        return _sooner((deadline_ns, ErrorKind.TIMEOUT_BETWEEN_TOKENS), total)

    def _last_token_ns(self, reads: Sequence[tuple[int, bytes]]) -> int | None:
        """When the last read that was more than comments and blank lines came.

        A read with a ``data:`` field counts as it is; otherwise the stream is parsed, at most once per new read.
        """
        last_ns, last = reads[-1]
        if self._marks.opaque or b"data:" in last:
            return last_ns
        if self._parsed[0] != len(reads):
            frames = parse(reads).frames
            self._parsed = len(reads), frames[-1].ns if frames else None
        return self._parsed[1]


def _after(ns: int, seconds: float | None) -> int:
    return NEVER_NS if seconds is None else ns + int(seconds * NS_PER_S)


def _sooner(a: tuple[int, ErrorKind], b: tuple[int, ErrorKind]) -> tuple[int, ErrorKind]:
    return a if a[0] <= b[0] else b
