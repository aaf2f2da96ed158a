"""Bodies past aiohttp's reader: aiohttp connects, pools, secures, writes and parses heads; bodies are kept raw.

A stream of tokens is thousands of tiny reads, and aiohttp's ``StreamReader`` costs several times what the socket does.
Here each read is stamped inside ``data_received`` and left alone, de-chunked when somebody looks or the body may have
ended; whoever awaits the body is woken once, at its end. This stands on a little of aiohttp's private surface (what
:class:`RawConnection` overrides, and ``TCPConnector._factory``), so :func:`keep_bodies_raw` proves that surface on a
canned response first, and leaves the connector alone where it does not hold: the public reader then serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD

from bench.measure.codings import CodingError, Dechunker, Reads, dechunk_whole, end_of_head

#: a head longer than this is left to aiohttp, to be refused there
MAX_HEAD_BYTES = 65_536

#: what a read ends with when it ends a stream, inside a chunk or not
DONE_TAILS = tuple(b"[DONE]" + 2 * end + chunk_end for end in (b"\n", b"\r\n") for chunk_end in (b"\r\n", b""))


#: de-chunked at least this often, so that little is left to do when streams end together
_SETTLE_READS = 16

#: how a read may start that ends the line before a last chunk, or starts that chunk
_MAY_END = (b"0", b"\r", b"\n")


class OverLimitError(aiohttp.ClientPayloadError):
    """The body passes the limit that was set."""


class RawBody(aiohttp.StreamReader):
    """A body as its stamped reads; the reader itself stays empty and only ends, or fails.

    Attributes:
        head_ns: when the head was complete.
        end_ns: when the body was complete, ``None`` before.
        done_ns: when a read ended in ``[DONE]``.
        on_mark: called when the first bytes came and when ``done_ns`` was set.
    """

    def __init__(self, handler: RawConnection, message: RawResponseMessage, ns: int) -> None:
        super().__init__(handler, 65_536, loop=asyncio.get_running_loop())
        self.head_ns = ns
        self.end_ns: int | None = None
        self.done_ns: int | None = None
        self.on_mark: Callable[[], None] | None = None
        length = message.headers.get("Content-Length")
        self.until_close = not message.chunked and length is None
        self._pieces: Reads = []
        self._coded: Reads = []
        self._dechunker = Dechunker(self._pieces) if message.chunked else None
        self._broken: CodingError | None = None
        self._look = True
        self._left = int(length) if length is not None and not message.chunked else 0
        self._room = handler.limit_bytes
        self._empty = True

    @property
    def reads(self) -> Reads:
        """Stamp and bytes of each piece so far, de-chunked, in order; it ends before what is malformed."""
        with contextlib.suppress(CodingError):
            self._settle()
        return self._pieces

    def take(self, ns: int, data: bytes) -> bool:
        """Keeps one read; ``True`` when it ended the body.

        Raises:
            OverLimitError, CodingError: the body is too large, or not what its head says.
        """
        self._room -= len(data)
        if self._room < 0:
            raise OverLimitError
        if self._dechunker is not None:
            self._coded.append((ns, data))
            # the last chunk's size line starts with 0, at the start of a read or after a line end
            look = self._look or len(self._coded) >= _SETTLE_READS or data.startswith(_MAY_END) or b"\r\n0" in data
            ended = look and self._settle()
        else:
            if kept := data if self.until_close else data[: self._left]:
                self._pieces.append((ns, kept))
            self._left -= len(data)
            ended = not self.until_close and self._left <= 0
        mark = self._empty and bool(data)
        if ended:
            self.end_ns = ns
        elif data.endswith(DONE_TAILS):
            self.done_ns, mark = ns, True
        self._empty = self._empty and not data
        if mark and self.on_mark is not None:
            self.on_mark()
        return ended

    def _settle(self) -> bool:
        """De-chunks what is there; ``True`` when it ended the body.

        Raises:
            CodingError: this is not chunked coding.
        """
        dechunker, coded = self._dechunker, self._coded
        if self._broken is not None:
            raise self._broken
        if dechunker is None or not coded:
            return False
        self._coded = []
        if dechunker.between_chunks and (whole := dechunk_whole(coded)) is not None:
            self._pieces += whole[0]
            self._look = False
            return whole[1]
        ended = False
        try:
            for ns, data in coded:
                ended = dechunker.feed(ns, data)
        except CodingError as error:
            self._broken, self._look = error, True
            raise
        self._look = dechunker.within_framing
        return ended

    @property
    def holds_nothing(self) -> bool:
        """Whether the head says that no byte follows (``Content-Length: 0``)."""
        return not self.until_close and self._dechunker is None and self._left == 0

    def has_rest(self) -> bool:
        """Whether more came than belongs to the body; the connection is then of no further use."""
        return bool(self._dechunker.rest) if self._dechunker is not None else self._left < 0

    def broken_by(self, error: BaseException | None) -> aiohttp.ClientError:
        """What to raise for a connection that was lost inside the body."""
        if isinstance(error, OSError):
            return aiohttp.ClientOSError(*error.args)
        size = sum(len(data) for _, data in self.reads)
        return aiohttp.ClientPayloadError(f"the connection was closed inside the body, after {size} bytes of it")


class Phase(Enum):
    """What the next bytes on a connection belong to."""

    IDLE = "no request is out"
    HEAD = "a head"
    BODY = "a body kept raw"
    PARSED = "a response that aiohttp parses itself"


class RawConnection(ResponseHandler):
    """aiohttp's connection protocol, parsing heads only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int, clock: Callable[[], int]) -> None:
        super().__init__(loop)
        self.limit_bytes = limit_bytes
        self.raw: RawBody | None = None
        self._clock = clock
        self._phase = Phase.IDLE
        self._head = b""
        self._head_ns, self.made_ns = 0, clock()

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be written on this connection."""
        self._phase, self._head, self.raw = Phase.HEAD, b"", None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        ns = self._clock()
        if self._phase is Phase.BODY:
            self._take(ns, data)
        elif self._phase is Phase.HEAD:
            self._take_head(ns, data)
        elif self._phase is Phase.PARSED:
            super().data_received(data)
        elif data:
            # nobody asked: what this connection would answer next could not be trusted
            self.force_close()
            if self.transport is not None:
                self.transport.close()

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """aiohttp's parser has a head: give its response a raw body."""
        message, payload = data
        if self._phase is Phase.HEAD and message.code >= 200:
            if payload is EMPTY_PAYLOAD:
                self._phase = Phase.IDLE
            else:
                self._phase, self.raw = Phase.BODY, RawBody(self, message, self._head_ns)
                data = message, self.raw
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone: ends a body that lasts until then, breaks any other."""
        body = self.raw
        if self._phase in (Phase.BODY, Phase.IDLE):
            # aiohttp's parser has not seen the body and would take it for missing
            self._parser = None
            self._payload = None
        if body is not None and not body.is_eof():
            if body.until_close and exc is None:
                body.end_ns = self._clock()
                body.feed_eof()
            else:
                body.set_exception(body.broken_by(exc))
        self._phase, self.raw = Phase.IDLE, None
        super().connection_lost(exc)

    def _take_head(self, ns: int, data: bytes) -> None:
        data, self._head = self._head + data, b""
        while data and self._phase is Phase.HEAD:
            end = end_of_head(data)
            if end is None:
                if len(data) <= MAX_HEAD_BYTES:
                    self._head = data
                else:
                    self._leave_to_aiohttp(data)
                return
            self._head_ns, queued = ns, len(self._buffer)
            super().data_received(data[:end])
            data = data[end:]
            if self._phase is Phase.HEAD and len(self._buffer) == queued:
                # refused, or not yet a head for aiohttp
                self._leave_to_aiohttp(data)
                return
        if self._phase is Phase.BODY:
            self._payload = self.raw
            if data or (self.raw is not None and self.raw.holds_nothing):
                self._take(ns, data)
        elif data:
            self.force_close()

    def _leave_to_aiohttp(self, data: bytes) -> None:
        self._phase = Phase.PARSED
        super().data_received(data)

    def _take(self, ns: int, data: bytes) -> None:
        body = self.raw
        if body is None:
            return
        try:
            ended = body.take(ns, data)
        except (OverLimitError, CodingError) as error:
            self._phase, self.raw = Phase.IDLE, None
            self.force_close()
            body.set_exception(error if isinstance(error, OverLimitError) else aiohttp.ClientPayloadError(str(error)))
            if self.transport is not None:
                self.transport.close()
            return
        if ended:
            self._phase, self.raw = Phase.IDLE, None
            if body.has_rest():
                self.force_close()
            body.feed_eof()


def keep_bodies_raw(connector: aiohttp.TCPConnector, limit_bytes: int, clock: Callable[[], int]) -> bool:
    """Makes the responses of ``connector`` have :class:`RawBody` bodies; ``False``, and no change, where this fails.

    Args:
        connector: one that has made no connection yet.
        limit_bytes: the most that a body may hold.
        clock: nanoseconds, for the stamps.
    """
    factory = getattr(connector, "_factory", None)
    if not (isinstance(factory, partial) and factory.func is ResponseHandler and surface_holds()):
        return False
    # setattr, because to the type checker this private attribute makes ResponseHandlers only
    setattr(connector, "_factory", partial(RawConnection, limit_bytes=limit_bytes, clock=clock, **factory.keywords))  # noqa: B010
    return True


def surface_holds() -> bool:
    """Whether a canned response, fed in awkward pieces to a :class:`RawConnection`, gives the right raw body."""
    try:
        handler = RawConnection(asyncio.get_running_loop(), limit_bytes=1000, clock=time.monotonic_ns)
        handler.set_response_params(auto_decompress=False, read_until_eof=True)
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for piece in (wire[:20], wire[20:53], wire[53:-1]):
            handler.data_received(piece)
        body = handler.raw
        if body is None or body.is_eof() or not handler.should_close:
            return False
        handler.data_received(wire[-1:])
        return body.is_eof() and [data for _, data in body.reads] == [b"abc", b"de"]
    except Exception:  # noqa: BLE001 - whatever a changed private surface raises means the same: do without it
        return False
