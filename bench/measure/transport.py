"""One HTTP attempt at a chat completion: the request's bytes out, an :class:`bench.domain.Answer` back.

The only module that knows aiohttp's client. Bytes are stamped when they are read and kept as they are; events and JSON
are decoded after the body has ended. A failure of the world is part of the answer and never an exception.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bench import __version__
from bench.config import Timeout
from bench.domain import Answer, ConfigError, Failure
from bench.measure.answer import answer, coding, too_large
from bench.measure.deadlines import Marks, Watch
from bench.measure.direct import Direct
from bench.measure.errors import without_secret
from bench.measure.rawbody import DONE_TAILS, OverLimitError, RawBody, keep_bodies_raw
from bench.measure.tracing import Sending, failure_of, trace_config
from bench.providers import Provider

#: seconds an idle connection is kept; below the 5 s after which common servers (uvicorn, Node) close theirs, so that no
#: request is written into a connection that is just being closed
KEEP_ALIVE_S = 4.0

#: request bodies above this are written in pieces, because aiohttp would copy them whole
WRITE_WHOLE_BYTES = 1 << 20

#: a probe asks whether anything answers at all; it need not wait longer for that
PROBE_S = 5.0

#: what a deadline waits for, by its setting
DEADLINES = {
    "connect_s": "connection",
    "first_byte_s": "first byte",
    "first_token_s": "first token",
    "between_tokens_s": "further token",
    "total_s": "end",
}


class Transport:
    """A pool of connections to one provider, as an async context manager.

    Args:
        provider: where to and with which headers; its ``base_url`` must be set.
        timeout: the deadlines of every sending.
        api_key: the secret itself; it goes into the Authorization header and nowhere else.
        max_body_bytes: the most that is read of one body; also the most that a compressed one may become.
        clock: nanoseconds on the clock of all marks.
        raw_bodies: keep bodies past aiohttp's reader where the installed aiohttp allows it, else through its reader.

    Raises:
        ConfigError: ``base_url``, a header or the key cannot be used in a request.
    """

    def __init__(
        self,
        provider: Provider,
        timeout: Timeout,
        *,
        api_key: str | None,
        max_body_bytes: int,
        clock: Callable[[], int] = time.monotonic_ns,
        raw_bodies: bool = True,
    ) -> None:
        self._base = _base_url(provider)
        self._provider, self._timeout, self._api_key = provider, timeout, api_key or ""
        self._max_body_bytes, self._clock, self._raw_bodies = max_body_bytes, clock, raw_bodies
        self._headers = _request_headers(provider, self._api_key)
        self._session: aiohttp.ClientSession | None = None
        self._warming: Direct | None = None
        self._direct: Direct | None = None
        self._decoding = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=self._headers,
            trace_configs=[trace_config()],
            auto_decompress=False,
            trust_env=False,
        )
        return self

    def _connector(self) -> aiohttp.TCPConnector:
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self._provider.verify_tls, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=300
        )
        raw = self._raw_bodies and keep_bodies_raw(connector, self._max_body_bytes, self._clock)
        url = self._base / "chat/completions"
        direct = Direct(connector, url, self._headers, verify_tls=self._provider.verify_tls)
        self._warming, self._direct = direct, direct if raw else None
        return connector

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        """One attempt: sends ``body`` (JSON) and reads the answer to its end, a deadline or a failure.

        Args:
            body: the request body, complete.
            stream: whether it asks for a stream: the deadlines between send and end hold for streams only.
            due_ns: passed on to the answer's timeline, as is ``permit_ns``.
            permit_ns: see ``due_ns``.
            on_sent: called once, when the last byte is handed to the socket.

        Raises:
            asyncio.CancelledError: the caller's own cancellation; the connection is closed.
        """
        sending = Sending(Marks(self._clock()), self._clock, len(body), on_sent)
        marks = sending.marks
        watch = Watch(marks, self._timeout, stream=stream, clock=self._clock)
        broken: Failure | None = None
        try:
            broken = await self._exchange(body, sending, watch)
        except asyncio.CancelledError:
            if not watch.caused():
                raise
            broken = self._deadline(watch)
            if broken is None:
                marks.end_ns = marks.reads[-1][0]
        except (aiohttp.ClientError, OSError) as error:
            broken = failure_of(error, stream=stream)
        finally:
            watch.stop()
        if marks.end_ns is None:
            marks.end_ns = self._clock()
        # one reply per turn of the loop: were all that end together decoded in one, the reads of others would wait
        await self._decoding.acquire()
        asyncio.get_running_loop().call_soon(self._decoding.release)
        return answer(
            sending, broken, due_ns=due_ns, permit_ns=permit_ns, limit_bytes=self._max_body_bytes, secret=self._api_key
        )

    async def warm(self, connections: int) -> None:
        """Opens connections that the first requests then find open; spends no request. What fails is left to them."""
        warming = self._warming
        if warming is None:
            return

        async def connect() -> aiohttp.connector.Connection:
            async with asyncio.timeout(self._timeout.connect_s):
                return await warming.connect()

        opened = await asyncio.gather(*[connect() for _ in range(connections)], return_exceptions=True)
        for connection in opened:
            if not isinstance(connection, BaseException):
                connection.release()

    async def probe(self) -> str | None:
        """Whether anything answers at ``base_url``: a sentence naming the URL if nothing does. Spends no token."""
        url = self._base / "models"
        limit_s = min(PROBE_S, self._timeout.connect_s or PROBE_S)
        try:
            async with asyncio.timeout(limit_s):
                async with self._open_session().get(url, allow_redirects=False, trace_request_ctx=None):
                    return None
        except aiohttp.ClientResponseError:
            return None
        except TimeoutError:
            reason = f"no answer within {limit_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = without_secret(failure_of(error, stream=False).detail, self._api_key)
        return f"{self._base} cannot be reached ({reason}): check provider.base_url and that the server is running."

    async def _exchange(self, body: bytes, sending: Sending, watch: Watch) -> Failure | None:
        """Sends and reads to the end; the failure is that of a body over the limit."""
        marks = sending.marks
        sending.watch = watch
        if self._direct is not None and len(body) <= WRITE_WHOLE_BYTES:
            return await self._exchange_directly(self._direct, body, sending, watch)
        response = await self._open_session().post(
            self._base / "chat/completions",
            data=body if len(body) <= WRITE_WHOLE_BYTES else io.BytesIO(body),
            allow_redirects=False,
            trace_request_ctx=sending,
        )
        try:
            sending.status, sending.headers = response.status, response.headers
            marks.opaque = coding(response.headers) != "identity"
            marks.headers_ns = self._clock()
            return await self._read(response.content, marks, watch)
        finally:
            response.close()

    async def _exchange_directly(self, direct: Direct, body: bytes, sending: Sending, watch: Watch) -> Failure | None:
        """The same past aiohttp's session."""
        marks = sending.marks
        connection = await direct.send(body, sending)
        try:
            message, content = await direct.answer(connection)
            sending.status, sending.headers = message.code, message.headers
            marks.opaque = coding(message.headers) != "identity"
            marks.headers_ns = self._clock()
            failure = await self._read(content, marks, watch)
            if failure is None:
                connection.release()
            return failure
        finally:
            connection.close()  # does nothing to one that was released

    async def _read(self, content: aiohttp.StreamReader, marks: Marks, watch: Watch) -> Failure | None:
        """Keeps every read of the body with its stamp."""
        if isinstance(content, RawBody):
            return await self._read_raw(content, marks, watch)
        reads: list[tuple[int, bytes]] = []
        marks.look = lambda: reads
        left = self._max_body_bytes
        while data := await content.readany():
            now_ns = self._clock()
            reads.append((now_ns, data))
            left -= len(data)
            if left < 0:
                return too_large(self._max_body_bytes)
            if len(reads) == 1:
                watch.enter_phase()
            if data.endswith(DONE_TAILS):
                marks.done_ns = now_ns
                watch.enter_phase()
        marks.end_ns = self._clock()
        return None

    async def _read_raw(self, body: RawBody, marks: Marks, watch: Watch) -> Failure | None:
        """Waits for the end of a body that keeps its reads itself."""

        def mark() -> None:
            marks.done_ns = body.done_ns
            watch.enter_phase()

        marks.headers_ns, marks.look, body.on_mark = body.head_ns, lambda: body.reads, mark
        if body.reads:
            mark()
        try:
            await body.readany()
        except OverLimitError:
            return too_large(self._max_body_bytes)
        marks.end_ns = body.end_ns
        return None

    def _deadline(self, watch: Watch) -> Failure | None:
        """The failure of a deadline that passed; ``None`` where a stream that was done was merely not closed."""
        if watch.expired is None:
            return None
        seconds = getattr(self._timeout, watch.key)
        return Failure(watch.expired, f"no {DEADLINES[watch.key]} within {seconds:g} s (timeout.{watch.key})")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a Transport sends only inside its own `async with`")
        return self._session


def _base_url(provider: Provider) -> URL:
    try:
        url = URL(provider.base_url or "")
    except ValueError as error:
        raise ConfigError(f"provider.base_url={provider.base_url!r}: not a URL ({error}).") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"provider.base_url={provider.base_url!r}: must be an http:// or https:// address.")
    return url


def _request_headers(provider: Provider, api_key: str) -> CIMultiDict[str]:
    """The headers of every request; the provider's own go before the defaults, the key before both."""
    for name, value in {**provider.headers, "": api_key}.items():
        if not (value.isascii() and value.isprintable() and name.isascii() and name.isprintable()):
            whose = f"provider.headers.{name!r}" if name else str(provider.api_key_env)
            raise ConfigError(f"{whose}: holds characters that no HTTP header may hold; set it anew.")
    headers = CIMultiDict(
        {
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"chatbench/{__version__}",
        }
    )
    headers.update(provider.headers)
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return headers
