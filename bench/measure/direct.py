"""Requests past aiohttp's client session: aiohttp connects, pools, secures and parses heads; one write sends a request.

A session costs more per request than all else in a client: a task to write, tracing, cookies, redirects. None of it is
wanted here, and a write of one's own can be stamped where it happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from bench.measure.rawbody import RawConnection
from bench.measure.tracing import Sending

_NO_LIMIT = aiohttp.ClientTimeout(total=None)


class Direct:
    """POST requests to one address over the connections of a connector whose protocol is :class:`RawConnection`."""

    def __init__(
        self, connector: aiohttp.BaseConnector, url: URL, headers: Mapping[str, str], *, verify_tls: bool
    ) -> None:
        self._connector = connector
        # never sent itself: it tells the connector where to, and which headers aiohttp would send
        self._request = aiohttp.ClientRequest(
            "POST", url, headers=headers, loop=asyncio.get_running_loop(), ssl=verify_tls
        )
        fields = {name: value for name, value in self._request.headers.items() if name.lower() != "content-length"}
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("ascii")

    async def connect(self) -> aiohttp.connector.Connection:
        """A connection, new or out of the pool; to be released or closed by the caller.

        Raises:
            aiohttp.ClientError, OSError: it cannot be made.
        """
        return await self._connector.connect(self._request, traces=[], timeout=_NO_LIMIT)

    async def send(self, body: bytes, sending: Sending) -> aiohttp.connector.Connection:
        """Send one request; gives its connection.

        Raises:
            aiohttp.ClientError, OSError: no connection, or it closed.
        """
        sending.connect_start_ns = start_ns = sending.clock()
        connection = await self.connect()
        try:
            protocol, transport = _raw(connection), connection.transport
            if protocol.made_ns < start_ns:
                sending.connect_start_ns = None
            sending.connected()
            if transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
            # stamped before the write: the server may have it, and answer, before a write that sends at once returns
            sent_ns = sending.clock()
            transport.write(request)
            sending.wrote(len(body), sent_ns)
        except BaseException:
            connection.close()
            raise
        return connection

    async def answer(self, connection: aiohttp.connector.Connection) -> tuple[RawResponseMessage, Any]:
        """The head of the response, and the reader of its body.

        Raises:
            aiohttp.ClientError, OSError: the connection broke, or what came is no HTTP.
        """
        while True:
            try:
                message, content = await _raw(connection).read()
            except HttpProcessingError as error:
                raise aiohttp.ClientResponseError(
                    self._request.request_info, (), status=error.code, message=error.message, headers=error.headers
                ) from error
            if not 100 <= message.code <= 199 or message.code == 101:
                return message, content


def _raw(connection: aiohttp.connector.Connection) -> RawConnection:
    protocol = connection.protocol
    if not isinstance(protocol, RawConnection):
        raise TypeError(f"{type(protocol).__name__} is not the protocol that this connector was given")
    return protocol
