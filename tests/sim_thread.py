"""Simulators with different knobs on one event loop in a thread: quicker than a process for each."""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from pathlib import Path

from bench.config import Model
from bench.places import shipped
from bench.providers.sim import SimKnobs
from bench.sim.answers import Answers, load_answers
from bench.sim.api import Service
from bench.sim.process import service_models
from bench.sim.serve import listen
from bench.sim.truth import TruthLog
from bench.sim.wire import Connection


@cache
def models() -> dict[str, Model]:
    return service_models()


@cache
def answers(folder: Path | None = None) -> Answers:
    return load_answers(folder or shipped("datasets"))


class SimThread:
    """A context manager; :meth:`serve` starts one more simulator and gives its port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._logs: list[TruthLog] = []
        self._servers: list[asyncio.Server] = []
        self._connections: list[Connection] = []

    def __enter__(self) -> SimThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve(self, knobs: SimKnobs) -> int:
        return asyncio.run_coroutine_threadsafe(self._serve(knobs), self._loop).result()

    async def _serve(self, knobs: SimKnobs) -> int:
        listening = listen(0)
        log = TruthLog(knobs.truth_log)
        self._logs.append(log)
        service = Service(knobs, models(), answers(), log, self._loop)

        def connect() -> Connection:
            self._connections.append(Connection(service.handle, knobs.framing.write_bytes))
            return self._connections[-1]

        self._servers.append(await self._loop.create_server(connect, sock=listening))
        return int(listening.getsockname()[1])

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.close()
        for log in self._logs:
            log.close()
        await asyncio.sleep(0)  # closed transports report so in the next turn
