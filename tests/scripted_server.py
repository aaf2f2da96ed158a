"""A local HTTP server that writes exactly the bytes it is told, in the pieces and at the moments it is told.

A script is a list of steps, one script per request: ``bytes`` are written and flushed, a number pauses for so many
seconds, an ``asyncio.Event`` is waited for, :data:`CLOSE` ends the connection and :data:`RESET` tears it down (RST).
Without either the connection stays open for the next request. The last script repeats.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self


class End(Enum):
    """How a script ends a connection."""

    CLOSE = "close"
    RESET = "reset"


CLOSE, RESET = End.CLOSE, End.RESET

Step = bytes | float | asyncio.Event | End


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """The server, as an async context manager; ``base_url`` is known inside it.

    Attributes:
        scripts: what is answered to the first, second ... request over all connections.
        requests: what was received.
        connections: connections accepted.
        waiting: set when a script has come to an ``asyncio.Event``.
        ended: set when a connection has ended, by whichever side.
    """

    scripts: Sequence[Sequence[Step]]
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def base_url(self) -> str:
        """Ends in ``/v1``, as a provider's does."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: list[asyncio.StreamReader] = []
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def client_gone(self) -> None:
        """Waits until the client has closed every connection whose script is waiting."""
        await asyncio.gather(*[reader.read() for reader in self._readers], return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._readers.append(reader)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(await read_request(reader))
                script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
                if not await self._play(script, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.ended.set()
            writer.close()

    async def _play(self, script: Iterable[Step], writer: asyncio.StreamWriter) -> bool:
        """Plays one script; tells whether the connection lives on."""
        for step in script:
            if writer.is_closing():
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                # lets a client in the same loop read before the next piece
                await asyncio.sleep(0)
            elif isinstance(step, asyncio.Event):
                self.waiting.set()
                await step.wait()
            elif isinstance(step, End):
                if step is RESET:
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                return False
            else:
                await asyncio.sleep(step)
        return True


async def read_request(reader: asyncio.StreamReader) -> Received:
    """One HTTP request with a ``Content-Length`` body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


def head(status: str = "200 OK", **headers: str) -> bytes:
    """A response head; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status}", *[f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body: bytes, status: str = "200 OK", **headers: str) -> list[Step]:
    """A script that answers with a ``Content-Length`` body."""
    return [head(status, content_length=str(len(body)), **headers) + body]


def chunk(data: bytes) -> bytes:
    """One chunk of chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def streamed(events: Iterable[bytes], **headers: str) -> list[Step]:
    """A script that streams each element of ``events`` as a chunk and a write of its own, and ends properly."""
    start = head(content_type="text/event-stream", transfer_encoding="chunked", **headers)
    return [start, *[chunk(event) for event in events], LAST_CHUNK]


def pieces(data: bytes, size: int) -> list[Step]:
    """``data`` in writes of ``size`` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]
