"""HTTP/1.1 on a raw socket, as far as a chat-completions server needs it.

Written out by hand because a simulator of faults must own its bytes: it ends bodies early, resets connections and
writes single bytes; and because it starts in a fraction of the time of a web framework.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, complete. Header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Dress:
    """Oddities of one response's head: an interim response before it, its version, headers without end or sense."""

    early_hints: bool = False
    http_1_0: bool = False
    flood_headers: int = 0


PLAIN_DRESS = Dress()
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n"
#: with 118 bytes of value, 257 KiB
FLOOD_HEADERS = 2_000


class _BadRequestError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Connection(asyncio.Protocol):
    """One client connection. Requests are handled one at a time; pipelined ones wait.

    The handler is called with each request and answers through :meth:`respond`, or :meth:`begin`, :meth:`write` and
    :meth:`end`, or breaks off with :meth:`close` and :meth:`reset`; at once or later. ``on_gone`` is called if the
    client leaves before the answer is complete, ``on_room`` when a full send buffer has drained. ``dress`` holds for
    the next response head alone.
    """

    def __init__(self, handle: Callable[[HttpRequest, Connection], None], write_bytes: int = 0) -> None:
        self._handle = handle
        self._write_bytes = write_bytes
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._request: HttpRequest | None = None
        self._sending: deque[bytes | Callable[[], None]] = deque()
        self._continued = False
        self.full = False
        self.dress = PLAIN_DRESS
        self._dress = PLAIN_DRESS
        self.on_gone: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._sending.clear()
        if self.on_gone is not None:
            gone, self.on_gone, self.on_room = self.on_gone, None, None
            gone()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._serve_next()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self.on_room is not None:
            self.on_room()

    # the handler's side

    def respond(self, status: int, body: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """A complete response; the connection stays open if the client wants it."""
        length = ("content-length", str(len(body)))
        self._send(self._head(status, [("content-type", content_type), length, *headers]) + body)
        self._then(self._finished)

    def claim(self, length: int, part: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """The head of a 200 response of ``length`` bytes, and only a part of them."""
        size = ("content-length", str(length))
        self._send(self._head(200, [("content-type", content_type), size, *headers]) + part)

    def begin(self, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """The head of a 200 response of unknown length."""
        framing = [] if self.dress.http_1_0 else [("transfer-encoding", "chunked")]
        self._send(self._head(200, [("content-type", content_type), *framing, *headers]))

    def write(self, data: bytes) -> None:
        """A part of the body, as one HTTP chunk where there are chunks."""
        self._send(data if self._dress.http_1_0 else b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """The proper end of a body of unknown length."""
        if not self._dress.http_1_0:
            self._send(b"0\r\n\r\n")
        self._then(self._finished)

    def close(self) -> None:
        """End the connection where it stands, what was written first."""
        self._then(self._close)

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self._then(self._reset)

    # inside

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        """A response head in the dress that was set for it."""
        self._dress, self.dress = self.dress, PLAIN_DRESS
        flood = [(f"x-flood-{number:04d}", "f" * 118) for number in range(self._dress.flood_headers)]
        version = "HTTP/1.0" if self._dress.http_1_0 else "HTTP/1.1"
        first = f"{version} {status} {_PHRASES.get(status, 'Unknown')}"
        lines = [first, *(f"{name}: {value}" for name, value in (*headers, *flood))]
        hint = HINT if self._dress.early_hints else b""
        return hint + "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _send(self, data: bytes) -> None:
        if self._transport is None:
            return
        if not self._write_bytes:
            self._transport.write(data)
            return
        idle = not self._sending
        step = self._write_bytes
        self._sending.extend(data[at : at + step] for at in range(0, len(data), step))
        if idle:
            self._pump()

    def _then(self, action: Callable[[], None]) -> None:
        """Do something after everything sent before it."""
        if self._sending:
            self._sending.append(action)
        else:
            action()

    def _pump(self) -> None:
        """One small write per turn of the event loop, so that they leave one by one."""
        while self._sending and self._transport is not None:
            item = self._sending[0]
            if isinstance(item, bytes):
                self._transport.write(item)
                asyncio.get_running_loop().call_soon(self._pumped)
                return
            self._sending.popleft()
            item()

    def _pumped(self) -> None:
        if self._sending:
            self._sending.popleft()
            self._pump()

    def _finished(self) -> None:
        self.on_gone = self.on_room = None
        request, self._request = self._request, None
        asked = request is not None and request.headers.get("connection", "").lower() == "close"
        if asked or self._dress.http_1_0:
            self._close()
        elif self._received:
            asyncio.get_running_loop().call_soon(self._serve_next)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _reset(self) -> None:
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self._transport.abort()

    def _serve_next(self) -> None:
        if self._request is not None:
            return
        try:
            request = self._parse()
        except _BadRequestError as error:
            self._received.clear()  # what follows cannot be told apart from it; kept, it would be parsed again for ever
            self.respond(error.status, str(error).encode(), "text/plain; charset=utf-8", [("connection", "close")])
            self._close()
            return
        if request is not None:
            self._continued = False
            self._request = request
            self._handle(request, self)

    def _parse(self) -> HttpRequest | None:
        """Take one complete request off the received bytes, if there is one."""
        received = self._received
        end = received.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(received) > MAX_HEAD_BYTES:
                raise _BadRequestError(431, "request head too large")
            return None
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise _BadRequestError(400, "not an HTTP/1.1 request")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            unpacked = _unchunk(received, start)
        else:
            unpacked = _by_length(received, start, headers.get("content-length", "0"))
        if unpacked is None:
            if headers.get("expect", "").lower() == "100-continue" and not self._continued and self._transport:
                self._continued = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body, after = unpacked
        del received[:after]
        target = urlsplit(words[1])
        return HttpRequest(words[0], target.path, dict(parse_qsl(target.query)), headers, body)


def _by_length(received: bytearray, start: int, length: str) -> tuple[bytes, int] | None:
    if not (length.isascii() and length.isdigit()):
        raise _BadRequestError(400, "bad content-length")
    after = start + int(length)
    if after - start > MAX_BODY_BYTES:
        raise _BadRequestError(413, "request body too large")
    return (bytes(received[start:after]), after) if len(received) >= after else None


def _unchunk(received: bytearray, at: int) -> tuple[bytes, int] | None:
    parts = bytearray()
    while (line_end := received.find(b"\r\n", at)) >= 0:
        digits = bytes(received[at:line_end]).split(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError:
            raise _BadRequestError(400, "bad chunk size") from None
        if size < 0 or len(parts) + size > MAX_BODY_BYTES:
            raise _BadRequestError(413, "request body too large")
        at = line_end + 2
        if size == 0:
            trailer_end = received.find(b"\r\n", at)  # trailers are not used by any client of this API
            return None if trailer_end < 0 else (bytes(parts), trailer_end + 2)
        if len(received) < at + size + 2:
            return None
        parts += received[at : at + size]
        at += size + 2
    return None
