"""Why and whether a run is to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stop:
    """Why and whether to stop: set by signals and by a record that cannot be written.

    ``hurry`` is set when a person asks again: requests in flight are then not waited for.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str | None = None
    disk_error: OSError | None = None

    def set(self, reason: str) -> None:
        """Ask for an orderly stop; the first reason stays."""
        self.reason = self.reason or reason
        self.event.set()

    def disk_full(self, error: OSError) -> None:
        """The record cannot be written: stop without waiting for anything."""
        self.disk_error = self.disk_error or error
        self.set(f"the record cannot be written: {error.strerror or error}")

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: stop in order. A second one: cancel what is in flight."""
        loop = asyncio.get_running_loop()
        handled = []
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._on_signal)
                handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self.event.is_set():
            self.hurry.set()
        self.set("interrupted")


async def unless_stopped(stop: asyncio.Event, wait: Coroutine[Any, Any, None]) -> None:
    """Wait, but no longer than the run goes on: nobody is served by sitting out a pause whose attempt is not sent."""
    waiting, stopped = asyncio.ensure_future(wait), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        stopped.cancel()
