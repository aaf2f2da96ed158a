"""Servers that break every rule: each answer ends with its kind of error, in bounded memory, and the next is read.

What is merely unusual (any framing of HTTP, any split of the bytes) is in ``test_transport.py``.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from scripted_server import CLOSE, LAST_CHUNK, ScriptedServer, Step, chunk, head, streamed, whole

from bench.config import Timeout
from bench.domain import Answer, ErrorKind, Outcome
from bench.measure.transport import Transport
from bench.providers import Provider

LIMIT_BYTES = 50_000
OK, TRUNCATED, FAILED = Outcome.OK, Outcome.TRUNCATED, Outcome.FAILED
PATIENT = Timeout(connect_s=30.0, first_byte_s=30.0, between_tokens_s=30.0, total_s=60.0)
#: where a deadline is what ends the wait
QUICK = Timeout(connect_s=30.0, first_byte_s=0.5, between_tokens_s=0.3, total_s=60.0)


def delta(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":%s}}]}\n\n' % json.dumps(text).encode()


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = [delta("Hel"), delta("lo"), FINISH, DONE]
CHUNKED = head(content_type="text/event-stream", transfer_encoding="chunked")
SAID = [CHUNKED, chunk(EVENTS[0])]


@dataclass(frozen=True)
class Case:
    """A script, and how its answer ends: outcome, kind of error, and the text that came, where one is recorded.

    ``reader`` is how it ends through aiohttp's own reader, where that tells less: it says nothing of broken chunks, so
    that a deadline ends the wait.
    """

    steps: Sequence[Any]
    outcome: Outcome
    kind: ErrorKind | None = None
    text: str | None = None
    status: int | None = 200
    reader: tuple[Outcome, ErrorKind | None, int | None] | None = None


def endless(piece: bytes, count: int = 100_000) -> list[Step]:
    """More of the same than anybody reads."""
    return [piece] * count


def document(content: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}]}).encode()


def deflated(data: bytes) -> bytes:
    return zlib.compress(zlib.compress(data))


def raw_head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


TOO_LARGE, BAD, CUT, RESET = ErrorKind.TOO_LARGE, ErrorKind.BAD_PAYLOAD, ErrorKind.STREAM_TRUNCATED, ErrorKind.RESET
STALLED, SILENT = ErrorKind.TIMEOUT_BETWEEN_TOKENS, ErrorKind.TIMEOUT_FIRST_BYTE
EVENT_BYTES = b"".join(EVENTS)
FINE: list[Any] = whole(EVENT_BYTES, content_type="text/event-stream")
BOMB = gzip.compress(b'data: {"x":"' + bytes(30_000_000) + b'"}\n\n')

DAMAGED = gzip.compress(EVENT_BYTES)[:30] + b"\xff" * 60
#: how a reader that says nothing of broken chunks ends
WAITED = (TRUNCATED, STALLED, 200)

SIZES = {
    "a body of a gigabyte, as its head says": Case(
        [head(content_length="1073741824"), *endless(b"x" * 1000, 2000)], FAILED, TOO_LARGE
    ),
    "a body of a gigabyte, in one chunk": Case(
        [CHUNKED, b"40000000\r\n", *endless(b"x" * 1000, 2000)], FAILED, TOO_LARGE
    ),
    "a body until the connection closes": Case([head(), *endless(b"x" * 1000, 2000)], FAILED, TOO_LARGE),
    "a stream without end": Case([CHUNKED, *endless(chunk(delta("word ")), 5000)], FAILED, TOO_LARGE),
    "comments without end": Case([*SAID, *endless(chunk(b": alive\n\n" * 10), 5000)], FAILED, TOO_LARGE),
    "one event without end": Case([*SAID, chunk(b"data: "), *endless(chunk(b"x" * 500), 2000)], FAILED, TOO_LARGE),
    "a refusal of a gigabyte": Case(
        [head("500 Oops", content_length="1073741824"), *endless(b"x" * 1000, 2000)], FAILED, TOO_LARGE, status=500
    ),
    "a bomb of 30 MB in 30 kB": Case(whole(BOMB, content_encoding="gzip"), FAILED, TOO_LARGE),
    "a bomb inside a bomb": Case(whole(deflated(bytes(30_000_000)), content_encoding="deflate"), FAILED, BAD),
    "trailers without end": Case(
        [*SAID, *map(chunk, EVENTS[1:]), b"0\r\n", *endless(b"X-More: 1\r\n", 20_000)], OK, None, "Hello"
    ),
    "a chunk size without end": Case([*SAID, *endless(b"0000", 20_000)], TRUNCATED, CUT, "Hel", reader=WAITED),
    "a chunk extension without end": Case(
        [*SAID, b"5;", *endless(b"a=b;", 20_000)], TRUNCATED, CUT, "Hel", reader=WAITED
    ),
}
HEADS = {
    "a million headers": Case(
        [b"HTTP/1.1 200 OK\r\n", *endless(b"".join(b"X-%d: 1\r\n" % i for i in range(1000)), 1000)],
        *(FAILED, BAD, None, None),
    ),
    "one header of megabytes": Case([b"HTTP/1.1 200 OK\r\nX: ", *endless(b"y" * 4000, 2000)], FAILED, BAD, None, None),
    "a status line of megabytes": Case([b"HTTP/1.1 200 ", *endless(b"y" * 4000, 2000)], FAILED, BAD, None, None),
    "early hints first": Case(
        [raw_head("HTTP/1.1 103 Early Hints", "Link: </a>; rel=preload"), *FINE], OK, None, "Hello"
    ),
    "a hundred early hints first": Case(
        [raw_head("HTTP/1.1 103 Early Hints", "Link: </a>") * 100, *FINE], OK, None, "Hello"
    ),
    "100 and 103 cut anywhere": Case(
        [b"HTTP/1.1 100 Con", b"tinue\r\n\r", b"\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHT", FINE[0][2:]],
        *(OK, None, "Hello"),
    ),
    "nothing but early hints": Case(
        [raw_head("HTTP/1.1 103 Early Hints"), asyncio.Event],
        FAILED,
        SILENT,
        status=None,
    ),
    "HTTP/1.0 with a length": Case(
        [b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVENT_BYTES), EVENT_BYTES, CLOSE], OK, None, "Hello"
    ),
    "HTTP/1.0 without a length": Case([b"HTTP/1.0 200 OK\r\n\r\n", EVENT_BYTES, CLOSE], OK, None, "Hello"),
    "HTTP/1.0 cut short of its length": Case(
        [b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n", EVENTS[0], CLOSE], TRUNCATED, CUT, "Hel"
    ),
    "HTTP/0.9": Case([EVENT_BYTES, CLOSE], FAILED, BAD, None, None),
    "two lengths that differ": Case(
        [raw_head("HTTP/1.1 200 OK", "Content-Length: 5", f"Content-Length: {len(EVENT_BYTES)}") + EVENT_BYTES, CLOSE],
        *(FAILED, BAD, None, None),
    ),
    "a negative length": Case([head(content_length="-5") + EVENT_BYTES, CLOSE], FAILED, BAD, None, None),
    "a length that is no number": Case([head(content_length="ten") + EVENT_BYTES, CLOSE], FAILED, BAD, None, None),
    "NUL in a header": Case([raw_head("HTTP/1.1 200 OK", "X: a\0b"), CLOSE], FAILED, BAD, None, None),
    "a status of no meaning": Case(whole(b"", "799 Odd"), FAILED, ErrorKind.HTTP_OTHER, None, 799),
    "a switch of protocols": Case(
        [head("101 Switching Protocols", upgrade="x", connection="upgrade"), CLOSE],
        FAILED,
        ErrorKind.HTTP_OTHER,
        None,
        101,
    ),
}
BODIES = {
    "a web page": Case(whole(b"<html><body>Login</body></html>", content_type="text/html"), FAILED, BAD),
    "a picture": Case(whole(bytes(range(256)) * 8, content_type="image/png"), FAILED, BAD),
    "a stream called a picture": Case(whole(EVENT_BYTES, content_type="image/png"), OK, None, "Hello"),
    "a stream without a type": Case([head(content_length=str(len(EVENT_BYTES))), EVENT_BYTES], OK, None, "Hello"),
    "a document called a stream": Case(whole(document("42"), content_type="text/event-stream"), OK, None, "42"),
    "no body": Case([head("204 No Content")], FAILED, BAD, None, 204),
    "an empty body": Case(whole(b""), FAILED, BAD),
    "UTF-8 that is none": Case(
        streamed([b'data: {"choices":[{"delta":{"content":"a\xff\xfeb"}}]}\n\n', FINISH, DONE]),
        OK,
        None,
        "a\ufffd\ufffdb",
    ),
    "a character cut in two by the end": Case(
        [*SAID, chunk('data: {"choices":[{"delta":{"content":"\u4f60'.encode()[:-1]), LAST_CHUNK], TRUNCATED, CUT, "Hel"
    ),
    "UTF-16": Case(whole(document("42").decode().encode("utf-16")), FAILED, BAD),
    "JSON that is none": Case(streamed([*EVENTS[:1], b'data: {"choices":[{"delta":\n\n', DONE]), TRUNCATED, BAD, "Hel"),
    "JSON that is none at once": Case(streamed([b'data: {"choices":[{"delta":\n\n', DONE]), FAILED, BAD),
    "JSON a thousand deep": Case(whole(b"[" * 5000 + b"]" * 5000), FAILED, BAD),
    "numbers without end": Case(whole(b'{"choices": ' + b"9" * 20_000 + b"}"), FAILED, BAD),
    "choices that are none": Case(streamed([b'data: {"choices":[7,null,"x",{"delta":3}]}\n\n', DONE]), FAILED, BAD),
    "NUL and escapes in the text": Case(
        streamed([delta("\0\x1b[2J\x1b]0;owned\x07ok"), FINISH, DONE]), OK, None, "\0\x1b[2J\x1b]0;owned\x07ok"
    ),
    "bare NUL bytes": Case(streamed([b"\0" * 1000, DONE]), FAILED, BAD),
    "gzip that is damaged": Case(whole(DAMAGED, content_encoding="gzip"), FAILED, BAD),
    "a coding nobody knows": Case(whole(EVENT_BYTES, content_encoding="x-secret"), FAILED, BAD),
    "an error after the text": Case(
        streamed([*EVENTS[:1], b'data: {"error":{"message":"\\u001b[31mboom"}}\n\n', DONE]),
        *(TRUNCATED, ErrorKind.STREAM_ERROR, "Hel"),
    ),
}
FRAMES = {
    "a chunk size that is no number": Case([*SAID, b"xyz\r\n", CLOSE], TRUNCATED, CUT, "Hel", reader=WAITED),
    "a negative chunk size": Case([*SAID, b"-5\r\nabcde\r\n", CLOSE], TRUNCATED, CUT, "Hel", reader=WAITED),
    "a chunk size past 64 bits": Case(
        [*SAID, b"fffffffffffffffff\r\n", b"x" * 100, CLOSE], TRUNCATED, CUT, "Hel", reader=WAITED
    ),
    "a chunk longer than its size": Case([*SAID, b"5\r\nabcdefgh\r\n", CLOSE], TRUNCATED, CUT, "Hel", reader=WAITED),
    "a length beside chunks": Case(
        [head(content_length="10", transfer_encoding="chunked"), *map(chunk, EVENTS), LAST_CHUNK, CLOSE],
        *(FAILED, BAD, None, None),
    ),
    "trailers": Case([*SAID, *map(chunk, EVENTS[1:]), b"0\r\nX-Trailer: 1\r\n\r\n"], OK, None, "Hello"),
    "a length too short": Case(
        [head(content_length="70"), EVENT_BYTES], TRUNCATED, CUT, "Hel", reader=(FAILED, BAD, None)
    ),
}
CASES = {**SIZES, **HEADS, **BODIES, **FRAMES}


def transport(base_url: str, raw: bool, timeout: Timeout) -> Transport:
    return Transport(Provider(base_url=base_url), timeout, api_key="sk-0", max_body_bytes=LIMIT_BYTES, raw_bodies=raw)


async def send(client: Transport) -> Answer:
    now_ns = time.monotonic_ns()
    return await client.send(b"{}", stream=True, due_ns=now_ns, permit_ns=now_ns)


def told(case: Case, raw: bool) -> tuple[Answer, Answer]:
    """The answer of a hostile script, and that of a good one over the same transport."""

    waits = case.kind is SILENT or (not raw and case.reader == WAITED)
    timeout = QUICK if waits else PATIENT

    async def go() -> tuple[Answer, Answer]:
        steps = [step() if step is asyncio.Event else step for step in case.steps]
        async with ScriptedServer([steps, FINE]) as server, transport(server.base_url, raw, timeout) as client:
            return await send(client), await send(client)

    return asyncio.run(asyncio.wait_for(go(), 60))


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "reader"])
@pytest.mark.parametrize("name", CASES)
def test_hostile(name: str, raw: bool) -> None:
    case = CASES[name]
    answer, after = told(case, raw)
    expected = case.outcome, case.kind, case.status
    expected = expected if raw or case.reader is None else case.reader
    got = answer.outcome, answer.failure.kind if answer.failure else None, answer.status
    assert got == expected, answer.failure
    if case.text is not None and expected[0] is not FAILED:
        assert answer.reply is not None
        assert answer.reply.choices[0].text == case.text
    assert answer.bytes_in <= 2 * LIMIT_BYTES + 300_000
    assert answer.failure is None or answer.failure.detail.isprintable()
    assert (after.outcome, after.failure) == (OK, None), "the run goes on"


WIRE = b"".join(bytes(step) for step in streamed(EVENTS) if isinstance(step, bytes))


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "reader"])
def test_a_premature_end_at_every_byte(raw: bool) -> None:
    """Nothing, half a head, half a chunk, half an event: each has its kind, and what had come is kept."""

    async def go() -> list[Answer]:
        scripts: list[list[Step]] = [[WIRE[:size], CLOSE] if size else [CLOSE] for size in range(len(WIRE))]
        async with ScriptedServer(scripts) as server, transport(server.base_url, raw, PATIENT) as client:
            return [await send(client) for _ in scripts]

    body_at = WIRE.index(b"\r\n\r\n") + 4
    second_at, finish_at = WIRE.index(EVENTS[1]), WIRE.index(FINISH) + len(FINISH)
    for size, answer in enumerate(asyncio.run(asyncio.wait_for(go(), 60))):
        kind = answer.failure.kind if answer.failure else None
        if size < body_at:
            assert (answer.outcome, kind, answer.status) == (FAILED, RESET, None), size
        elif size < WIRE.index(EVENTS[0]) + len(EVENTS[0]):
            assert (answer.outcome, kind) in ((FAILED, CUT), (FAILED, BAD)), size
        elif size < finish_at:
            assert (answer.outcome, kind) == (TRUNCATED, CUT), size
            assert answer.reply is not None
            came = "Hello" if size >= second_at + len(EVENTS[1]) else "Hel"
            assert answer.reply.choices[0].text == came, size
        else:
            assert (answer.outcome, kind) == (OK, None), size


@pytest.mark.parametrize(
    "name", ["a body until the connection closes", "a million headers", "a bomb of 30 MB in 30 kB"]
)
def test_memory_stays_bounded(name: str) -> None:
    """Megabytes are sent; what this process holds at most, the script that sends them included, is a fraction."""
    case = CASES[name]
    tracemalloc.start()
    try:
        told(case, True)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000


def test_one_byte_at_a_time_costs_no_more_memory_than_its_bytes_are_worth() -> None:
    """50,000 reads of one byte: bounded like any other body."""
    case = Case([CHUNKED, *endless(b"1\r\nx\r\n", 60_000)], FAILED, TOO_LARGE)
    answer, _ = told(case, True)
    assert (answer.outcome, answer.bytes_in <= 2 * LIMIT_BYTES) == (FAILED, True)
