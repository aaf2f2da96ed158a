"""What a parent and its worker processes talk over: frames ``length, kind, payload`` on a socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

_HEAD = struct.Struct("<IB")


class Link:
    """Framed messages over one end of a socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """A link on a connected socket."""
        return cls(*await asyncio.open_connection(sock=end, limit=2**20))

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Hand one message to the socket at once; what does not fit waits in memory.

        Nothing is sent to an end that is gone: :meth:`messages` has ended then, which says so.
        """
        if not self._writer.is_closing():
            self._writer.write(_HEAD.pack(len(payload), kind) + payload)

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """Messages until the other end closes."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, kind = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                yield kind, await self._reader.readexactly(length)

    async def close(self) -> None:
        """Flush and close."""
        with contextlib.suppress(OSError):
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
