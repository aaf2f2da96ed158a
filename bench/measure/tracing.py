"""What aiohttp tells of an attempt: moments by its tracing, failures by its exceptions."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp

from bench.domain import ErrorKind, Failure
from bench.measure.deadlines import Marks, Watch
from bench.measure.errors import plain

NO_HEADERS: Mapping[str, str] = {}


@dataclass(slots=True)
class Sending:
    """What is written down while one attempt is sent and read."""

    marks: Marks
    clock: Callable[[], int]
    unsent: int
    on_sent: Callable[[], None] | None
    watch: Watch | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    connect_start_ns: int | None = None
    connect_ns: int | None = None

    def connected(self) -> None:
        """A connection is there, new or reused."""
        self.marks.connected_ns = now_ns = self.clock()
        if self.connect_start_ns is not None:
            self.connect_ns = now_ns - self.connect_start_ns

    def wrote(self, size: int, at_ns: int | None = None) -> None:
        """A part of the request body was handed to the socket, ``at_ns`` or just now."""
        self.unsent -= size
        if self.unsent > 0:
            return
        self.marks.sent_ns = self.clock() if at_ns is None else at_ns
        if self.watch is not None:
            self.watch.enter_phase()
        if self.on_sent is not None:
            self.on_sent()


def trace_config() -> aiohttp.TraceConfig:
    """Marks what aiohttp does in the :class:`Sending` given as ``trace_request_ctx``; a probe gives none."""
    config = aiohttp.TraceConfig()

    async def connecting(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        if isinstance(sending := context.trace_request_ctx, Sending):
            sending.connect_start_ns = sending.clock()

    async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        if isinstance(sending := context.trace_request_ctx, Sending):
            sending.connected()

    async def chunk_sent(
        _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        if isinstance(sending := context.trace_request_ctx, Sending):
            sending.wrote(len(params.chunk))

    config.on_connection_create_start.append(connecting)
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    config.on_request_chunk_sent.append(chunk_sent)
    return config


def failure_of(error: Exception, *, stream: bool) -> Failure:
    """The failure that an exception of the client library stands for."""
    detail = plain(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        kind = ErrorKind.TLS
    elif isinstance(error, aiohttp.ClientConnectorError):
        kind = ErrorKind.CONNECT
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        kind = ErrorKind.TIMEOUT_CONNECT
    elif isinstance(error, aiohttp.ClientPayloadError) and "ConnectionResetError" not in detail:
        # a stream that just stops is truncated; half a document is worth nothing, whichever way it stopped
        kind = ErrorKind.STREAM_TRUNCATED if stream else ErrorKind.RESET
    elif isinstance(error, aiohttp.ClientResponseError):
        kind, detail = ErrorKind.BAD_PAYLOAD, plain(f"the answer is not HTTP: {error.message}")
    elif isinstance(error, aiohttp.InvalidURL):
        kind = ErrorKind.CONNECT
    else:
        kind = ErrorKind.RESET
    return Failure(kind, detail)
