"""What a person sees while a run goes on: one bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from bench.domain import Outcome
from bench.progress import Figures
from bench.show.terminal import printable

NS_PER_S = 1e9
BAR_EVERY_S = 0.1
RATE_WINDOW_S = 10.0


@dataclass
class Tally:
    """Sums over the finished requests of this session."""

    done: int = 0
    ok: int = 0
    failed: int = 0
    cut_off: int = 0
    not_sent: int = 0
    output_tokens: int = 0
    cost: dict[str, float] = field(default_factory=dict)

    def add(self, one: Figures) -> None:
        """Count one finished request; the cost of each currency on its own."""
        self.done += 1
        if one.outcome == Outcome.OK:
            self.ok += 1
        elif one.outcome == Outcome.NOT_SENT:
            self.not_sent += 1
        elif one.outcome == Outcome.CANCELLED:
            self.cut_off += 1
        else:
            self.failed += 1
        self.output_tokens += one.completion_tokens
        if one.cost is not None:
            unit = one.currency or ""
            self.cost[unit] = self.cost.get(unit, 0.0) + one.cost


class Bars:
    """Live progress of one run; every method may be called from the thread that dispatches.

    A finished request costs a few additions and one look at the clock; what is drawn is drawn at most ten times a
    second on a terminal and once per ``every_s`` in a log, which never gets a carriage return.

    Args:
        stream: where to write; standard error unless given, so that standard output stays clean for tables.
        clock: seconds on a monotonic clock.
        every_s: how often a line is written when ``stream`` is no terminal.
        terminal: whether ``stream`` is one; asked of the stream unless given.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = 5.0,
        terminal: bool | None = None,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._every_s = BAR_EVERY_S if self._terminal else every_s
        self._tally = Tally()
        self._label, self._before, self._held_by = "", 0, ""
        self._total: int | None = None
        self._started_s = self._next_s = clock()
        self._window: deque[tuple[float, int, int]] = deque()
        self._bar: Any = None

    def start(self, total: int | None, done: int = 0, label: str = "") -> None:
        """Begin: ``total`` planned requests (``None``: not known), of which an earlier session finished ``done``."""
        self._total, self._before, self._label, self._held_by = total, done, printable(label, 40), ""
        self._tally = Tally()
        self._started_s = self._clock()
        self._next_s = self._started_s + self._every_s
        self._window = deque([(self._started_s, 0, 0)])
        if self._terminal:
            self._bar = _bar(self._stream, total, done, self._label)
        else:
            resumed = f", {done:,} of them done before" if done else ""
            self._line(
                ("" if total is None else f"{total:,} ") + f"{'request' if total == 1 else 'requests'} planned{resumed}"
            )

    def finished(self, figures: Figures) -> None:
        """One request got its terminal outcome."""
        self._tally.add(figures)
        self._tick()

    def throttled(self, by: str | None) -> None:
        """What holds the run back at the moment (a limit's name), if anything; shown with the figures."""
        self._held_by = printable(by, 40) if by else ""
        self._tick()

    def note(self, text: str) -> None:
        """One line of text for the person, above the bar."""
        self._line(printable(text, 1000))

    def close(self) -> None:
        """Show the last state and end the bar; further calls do nothing."""
        self._held_by = ""
        if self._terminal:
            if self._bar is not None:
                self._show(self._clock())
                self._bar.close()
                self._bar = None
        elif self._window:
            self._show(self._clock())
        self._window.clear()

    def _tick(self) -> None:
        now_s = self._clock()
        if now_s >= self._next_s and self._window:
            self._next_s = now_s + self._every_s
            self._show(now_s)

    def _show(self, now_s: float) -> None:
        tally = self._tally
        self._window.append((now_s, tally.done, tally.output_tokens))
        while len(self._window) > 2 and self._window[1][0] <= now_s - RATE_WINDOW_S:
            self._window.popleft()
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.n = self._before + tally.done
            self._bar.eta_text = self._eta()
            self._bar.refresh()
        elif not self._terminal:
            done = self._before + tally.done
            share = f"/{self._total:,} requests ({done / self._total:.0%})" if self._total else " requests"
            eta = self._eta()
            left = f", about {eta} left" if eta else ""
            self._line(f"{done:,}{share}, {self._figures()}{left}")

    def _figures(self) -> str:
        tally = self._tally
        (first_s, _, first_tokens), (last_s, _, tokens) = self._window[0], self._window[-1]
        figures = [f"{tally.ok:,} ok", f"{tally.failed:,} failed"]
        if tally.cut_off:
            figures.append(f"{tally.cut_off:,} cut off")
        if tally.not_sent:
            figures.append(f"{tally.not_sent:,} not sent")
        if tally.output_tokens and last_s > first_s:
            figures.append(f"{(tokens - first_tokens) / (last_s - first_s):,.0f} tok/s")
        figures += [f"{cost:.3g} {printable(unit, 8)}".strip() for unit, cost in sorted(tally.cost.items())]
        if self._held_by:
            figures.append(f"held back by {self._held_by}")
        return ", ".join(figures)

    def _eta(self) -> str:
        """Time left at the pace of the last seconds; empty while there is none."""
        (first_s, first_done, _), (last_s, done, _) = self._window[0], self._window[-1]
        left = (self._total or 0) - self._before - done
        if left <= 0 or done <= first_done:
            return ""
        return duration((last_s - first_s) / (done - first_done) * left)

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
            return
        self._stream.write(f"{self._label}: {text}\n" if self._label else f"{text}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _bar(stream: TextIO, total: int | None, done: int, label: str) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic only in its stubs
        # no watcher thread: this class decides itself when to draw
        monitor_interval = 0
        eta_text = ""

        @property
        def format_dict(self) -> Any:
            shape = super().format_dict
            # a terminal that does not know its size says 0 rows, on which tqdm would draw nothing
            self.nrows = self.nrows if (self.nrows or 0) > 1 else 20
            return {**shape, "eta": self.eta_text or "?"}

    # a plain lock: tqdm's own default makes a semaphore for processes, which nothing here needs
    Bar.set_lock(threading.RLock())
    return Bar(
        total=total,
        initial=done,
        desc=f"{label}: " if label else None,
        file=stream,
        dynamic_ncols=True,
        unit="req",
        bar_format=None
        if total is None
        else "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix} [ETA {eta}]",
    )
