"""The deadlines of one HTTP attempt: one lazily moved timer, nothing to do per read.

A timer per read would cost more than the read, and so would a look into it. So the timer is set when an attempt enters
a phase (connecting, waiting for the first byte, reading) to the earliest moment at which a deadline can pass. When it
rings, the reads so far are looked into, from the last one backwards, and it either rings again later or gives up.

From the first byte of a stream on, only tokens count: comments, blank lines, empty, role-only and usage chunks do not.
``timeout.first_token_s`` bounds the wait for the first one from the send on. Without it the wait ends
``between_tokens_s`` after the first byte, and not before ``first_byte_s`` is over: a server that says at once that it
is alive has as long for its first token as a silent one. A first token that does not come is told as
``timeout_first_byte`` where nothing at all had come, else as ``timeout_between_tokens``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.config import Timeout
from bench.domain import ErrorKind
from bench.measure.assemble import says_token
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
        key: the setting that it stands under.
        hung_after_done: a stream said ``[DONE]`` and then did not end; no failure of its own.
    """

    def __init__(self, marks: Marks, timeout: Timeout, *, stream: bool, clock: Callable[[], int]) -> None:
        self.expired: ErrorKind | None = None
        self.key = ""
        self.hung_after_done = False
        self._marks, self._timeout, self._stream, self._clock = marks, timeout, stream, clock
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a watch must be made inside the task that it guards")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._token_ns, self._token_at = 0, 0
        self._over = False
        self.enter_phase()

    def enter_phase(self) -> None:
        """Sets the timer anew; to be called when a mark was made that can bring the next deadline nearer."""
        if not self._over:
            self._set_timer(self._earliest().ns)

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
        deadline = self._earliest(look=True)
        if self._clock() < deadline.ns:
            self._set_timer(deadline.ns)
            return
        self.stop()
        self.expired, self.key, self.hung_after_done = deadline.kind, deadline.key, deadline.kind is None
        self._task.cancel()

    def _earliest(self, *, look: bool = False) -> _Deadline:
        """The next deadline; without a look into the reads, one that is perhaps too early."""
        marks, timeout = self._marks, self._timeout
        total = _Deadline(_after(marks.start_ns, timeout.total_s), ErrorKind.TIMEOUT_TOTAL, "total_s")
        if marks.done_ns is not None:
            return _first(total, _Deadline(_after(marks.done_ns, DONE_GRACE_S), None, ""))
        if marks.connected_ns is None:
            connect_ns = _after(marks.start_ns, timeout.connect_s)
            return _first(total, _Deadline(connect_ns, ErrorKind.TIMEOUT_CONNECT, "connect_s"))
        if not self._stream or marks.sent_ns is None:
            return total
        reads = marks.reads
        kind = ErrorKind.TIMEOUT_BETWEEN_TOKENS if reads else ErrorKind.TIMEOUT_FIRST_BYTE
        first_token = _Deadline(_after(marks.sent_ns, timeout.first_token_s), kind, "first_token_s")
        first_byte_ns = _after(marks.sent_ns, timeout.first_byte_s)
        if not reads:
            return _first(total, first_token, _Deadline(first_byte_ns, kind, "first_byte_s"))
        token_ns = self._last_token_ns(reads) if look else 0
        if token_ns or not look:
            between = _Deadline(_after(token_ns or reads[0][0], timeout.between_tokens_s), kind, "between_tokens_s")
            return _first(total, between) if look else _first(total, between, first_token)
        if timeout.first_token_s is not None:
            return _first(total, first_token)
        waited_ns = _after(reads[0][0], timeout.between_tokens_s)
        if first_byte_ns < NEVER_NS:
            waited_ns = max(waited_ns, first_byte_ns)
        return _first(total, _Deadline(waited_ns, kind, "between_tokens_s"))

    def _last_token_ns(self, reads: Sequence[tuple[int, bytes]]) -> int:
        """When the last read came that completed a token, 0 before any.

        Looks at the last read, then at twice as many, and so on back to the last token known: a stream that flows is
        known by a read or two. What cannot be looked into counts as it is.
        """
        if self._marks.opaque:
            return reads[-1][0]
        unknown, count = len(reads) - self._token_at, 1
        while True:
            first = len(reads) - min(count, unknown)
            said = [frame.ns for frame in parse(reads[first:]).frames if says_token(frame.data)]
            if said and said[-1] > self._token_ns:
                self._token_ns = said[-1]
                self._token_at = max(at for at in range(first, len(reads)) if reads[at][0] <= said[-1])
            if said or count >= unknown:
                return self._token_ns
            count *= 2


class _Deadline(NamedTuple):
    """A moment, what has happened when it passes (``None``: no failure), and the setting that says so."""

    ns: int
    kind: ErrorKind | None
    key: str


def _first(*deadlines: _Deadline) -> _Deadline:
    return min(deadlines, key=lambda deadline: deadline.ns)


def _after(ns: int, seconds: float | None) -> int:
    return NEVER_NS if seconds is None else ns + int(seconds * NS_PER_S)
