"""The simulator's process: one event loop, one listening socket, and an end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading

from bench.catalogue import load_models
from bench.config import Model
from bench.places import shipped
from bench.providers.sim import SimKnobs
from bench.sim.answers import load_answers
from bench.sim.api import Service
from bench.sim.truth import TruthLog
from bench.sim.wire import Connection


def run(listening: socket.socket, knobs: SimKnobs, stdin_watch: bool) -> None:
    """Serve on a listening socket until interrupted, terminated or, with ``stdin_watch``, standard input closes."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(listening, knobs, stdin_watch))


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def service_models() -> dict[str, Model]:
    """The models of the service: the presets that name it as their provider."""
    return {name: model for name, model in load_models().items() if model.provider == "siliconflow"}


async def _serve(listening: socket.socket, knobs: SimKnobs, stdin_watch: bool) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    # Ctrl-C reaches every process of a terminal; a run that started this one still needs it to finish
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if stdin_watch else over.set)
    truth = TruthLog(knobs.truth_log)
    service = Service(knobs, service_models(), load_answers(shipped("datasets")), truth, loop)
    gc.freeze()  # presets and prompt sets live as long as the process
    server = await loop.create_server(lambda: Connection(service.handle, knobs.framing.write_bytes), sock=listening)
    if stdin_watch:
        threading.Thread(target=_await_end_of_input, args=(loop, over), daemon=True).start()
    try:
        await over.wait()
    finally:
        server.close()
        truth.close()


def _await_end_of_input(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    """The parent holds the other end of standard input; it closes even when the parent is killed."""
    while os.read(0, 4_096):
        pass
    loop.call_soon_threadsafe(over.set)
