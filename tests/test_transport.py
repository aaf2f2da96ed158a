"""The transport against a scripted server, over both ways of reading a body: raw, and through aiohttp's reader."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_server import CLOSE, LAST_CHUNK, RESET, ScriptedServer, Step, chunk, head, pieces, streamed, whole

from bench.config import Timeout
from bench.domain import Answer, ConfigError, ErrorKind, EventKind, Outcome
from bench.measure import deadlines, rawbody
from bench.measure.errors import without_secret
from bench.measure.rawbody import surface_holds
from bench.measure.transport import Transport
from bench.providers import Provider

KEY = "sk-test-0123456789"
FOREVER = asyncio.Event  # made inside the loop, never set


@pytest.fixture(params=["raw", "raw on uvloop", "reader"])
def raw(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether bodies are kept raw; one of the three ways runs on uvloop, as the product does."""
    if "uvloop" in request.param:
        monkeypatch.setattr(asyncio, "run", pytest.importorskip("uvloop").run)
    return "raw" in request.param


def delta(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":%s}}]}\n\n' % json.dumps(text).encode()


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = [delta("Hel"), delta("lo "), delta("wörld 😀"), FINISH, DONE]
TEXT = "Hello wörld 😀"
DOCUMENT = json.dumps(
    {
        "choices": [{"index": 0, "message": {"content": "42"}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 1},
    }
).encode()


def transport(base_url: str, raw: bool, timeout: Timeout | None = None, **options: Any) -> Transport:
    provider = Provider(base_url=base_url, **options.pop("provider", {}))
    options = {"api_key": KEY, "max_body_bytes": 1 << 20, **options}
    return Transport(provider, timeout or Timeout(), raw_bodies=raw, **options)


async def post(t: Transport, *, stream: bool = True, body: bytes = b"{}", **options: Any) -> Answer:
    now_ns = time.monotonic_ns()
    return await t.send(body, stream=stream, due_ns=now_ns, permit_ns=now_ns, **options)


def exchange(
    scripts: Sequence[Sequence[Step]],
    raw: bool,
    timeout: Timeout | None = None,
    *,
    stream: bool = True,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> tuple[list[Answer], ScriptedServer]:
    """One answer per script, one after the other over one transport."""

    async def go() -> tuple[list[Answer], ScriptedServer]:
        async with ScriptedServer(scripts, tls) as server, transport(server.base_url, raw, timeout, **options) as t:
            return [await post(t, stream=stream) for _ in scripts], server

    return asyncio.run(go())


def one(script: Sequence[Step], raw: bool, timeout: Timeout | None = None, **options: Any) -> Answer:
    return exchange([script], raw, timeout, **options)[0][0]


def text(answer: Answer) -> str:
    assert answer.reply is not None, answer
    return answer.reply.choices[0].text


def kind(answer: Answer) -> ErrorKind:
    assert answer.failure is not None, answer
    assert answer.outcome in (Outcome.FAILED, Outcome.TRUNCATED)
    return answer.failure.kind


# what arrives


def test_a_stream_and_its_timeline(raw: bool) -> None:
    answer = one(streamed(EVENTS, x_siliconcloud_trace_id="t1"), raw)
    assert (answer.outcome, answer.status, answer.failure, answer.trace_id) == (Outcome.OK, 200, None, "t1")
    assert answer.reply is not None
    assert (text(answer), answer.reply.events, answer.reply.done) == (TEXT, 3, True)
    assert answer.bytes_in == sum(map(len, EVENTS))
    marks = answer.timeline
    (choice,) = answer.reply.choices
    in_order = [marks.due_ns, marks.permit_ns, marks.sent_ns, marks.headers_ns, marks.first_byte_ns]
    in_order += [*choice.event_ns, marks.end_ns]
    assert None not in in_order
    assert in_order == sorted(in_order)  # type: ignore[type-var]  # none is None, as just asserted
    assert choice.event_kind == (EventKind.ANSWER,) * 3
    assert marks.connect_ns is not None
    assert marks.connect_ns > 0


def test_a_document(raw: bool) -> None:
    answer = one(whole(DOCUMENT, content_type="application/json"), raw, stream=False)
    assert (answer.outcome, text(answer), answer.bytes_in) == (Outcome.OK, "42", len(DOCUMENT))
    assert answer.timeline.end_ns is not None


def test_what_is_sent(raw: bool) -> None:
    sent: list[float] = []

    async def go() -> ScriptedServer:
        async with ScriptedServer([whole(DOCUMENT)]) as server:
            provider = {"headers": {"X-Extra": "1"}}
            async with transport(server.base_url + "/", raw, provider=provider) as t:
                await post(t, stream=False, body=b'{"model":"m"}', on_sent=lambda: sent.append(1))
            async with transport(server.base_url, raw, api_key=None, provider={"headers": {"accept": "x"}}) as t:
                await post(t, stream=False)
            return server

    first, second = asyncio.run(go()).requests
    assert first.line == "POST /v1/chat/completions HTTP/1.1"
    assert first.body == b'{"model":"m"}'
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-extra"] == "1"
    assert "authorization" not in second.headers
    assert second.headers["accept"] == "x"
    assert sent == [1]


def test_a_request_of_megabytes_is_sent_whole(raw: bool) -> None:
    body = json.dumps({"prompt": "x" * 3_000_000}).encode()
    sent: list[int] = []

    async def go() -> tuple[Answer, ScriptedServer]:
        async with ScriptedServer([whole(DOCUMENT)]) as server, transport(server.base_url, raw) as t:
            return await post(t, stream=False, body=body, on_sent=lambda: sent.append(1)), server

    answer, server = asyncio.run(go())
    assert answer.outcome is Outcome.OK
    assert server.requests[0].body == body
    assert len(sent) == 1


FRAMINGS: dict[str, list[Step]] = {
    "chunked": streamed(EVENTS),
    "one chunk": streamed([b"".join(EVENTS)]),
    "one byte a chunk": streamed([b"".join(EVENTS)[i : i + 1] for i in range(sum(map(len, EVENTS)))]),
    "content length": whole(b"".join(EVENTS), content_type="text/event-stream"),
    "until close": [head(content_type="text/event-stream", connection="close"), *EVENTS, CLOSE],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\n\r\n", *EVENTS, CLOSE],
    "CRLF frames": streamed([event.replace(b"\n", b"\r\n") for event in EVENTS]),
    "lone CR frames": streamed([event.replace(b"\n", b"\r") for event in EVENTS]),
    "extensions and trailers": [
        head(transfer_encoding="chunked"),
        *[b"%X ;a=b\r\n%s\r\n" % (len(event), event) for event in EVENTS],
        b"0\r\nX-Trailer: 1\r\nX-More: 0\r\n\r\n",
    ],
    "100 Continue first": [b"HTTP/1.1 100 Continue\r\n\r\n", *streamed(EVENTS)],
    # longer than the raw way looks at: aiohttp then reads the whole response
    "a head of 80 kB": [
        head(transfer_encoding="chunked", **{f"x_filler_{i}": "x" * 4000 for i in range(20)})[:70_000],
        head(transfer_encoding="chunked", **{f"x_filler_{i}": "x" * 4000 for i in range(20)})[70_000:],
        *map(chunk, EVENTS),
        LAST_CHUNK,
    ],
    "head and body in one write": [b"".join(s for s in streamed(EVENTS) if isinstance(s, bytes))],
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_framings(name: str, raw: bool) -> None:
    script = FRAMINGS[name]
    (first, second), server = exchange([script, script], raw)
    for answer in (first, second):
        assert (answer.outcome, text(answer), answer.failure) == (Outcome.OK, TEXT, None)
        assert answer.bytes_in >= sum(map(len, EVENTS))
    closes = CLOSE in script
    assert server.connections == (2 if closes else 1)
    assert (second.timeline.connect_ns is None) == (not closes)


@pytest.mark.parametrize("name", ["chunked", "content length", "extensions and trailers", "100 Continue first"])
@pytest.mark.parametrize("size", [1, 7])
def test_any_split_of_the_wire_gives_the_same(name: str, size: int, raw: bool) -> None:
    wire = b"".join(step for step in FRAMINGS[name] if isinstance(step, bytes))
    (first, second), server = exchange([pieces(wire, size)] * 2, raw)
    assert [text(first), text(second)] == [TEXT, TEXT]
    assert server.connections == 1


def test_close_after_the_reply_is_no_failure_and_not_reused(raw: bool) -> None:
    script = [head(content_length=str(len(DOCUMENT)), connection="close") + DOCUMENT, CLOSE]
    answers, server = exchange([script, script], raw, stream=False)
    assert [a.outcome for a in answers] == [Outcome.OK, Outcome.OK]
    assert server.connections == 2


def test_bytes_after_the_end_do_not_reach_the_next_answer() -> None:
    script = [*whole(DOCUMENT)[:-1], bytes(whole(DOCUMENT)[-1]) + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]  # type: ignore[arg-type]  # a step of whole() is bytes
    answers, server = exchange([script, whole(DOCUMENT)], True, stream=False)
    assert [a.outcome for a in answers] == [Outcome.OK, Outcome.OK]
    assert server.connections == 2


def test_bytes_on_an_idle_connection_close_it() -> None:
    async def go() -> tuple[Answer, int]:
        stray = asyncio.Event()
        late = [*whole(DOCUMENT), stray, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"]
        async with ScriptedServer([late, whole(DOCUMENT)]) as server, transport(server.base_url, True) as t:
            await post(t, stream=False)
            stray.set()
            await server.ended.wait()
            return await post(t, stream=False), server.connections

    answer, connections = asyncio.run(go())
    assert (answer.status, answer.outcome, connections) == (200, Outcome.OK, 2)


# connections


def test_warm_connections_are_used_and_cost_no_request(raw: bool) -> None:
    async def go() -> tuple[list[Answer], int, int]:
        async with ScriptedServer([streamed(EVENTS)]) as server, transport(server.base_url, raw) as t:
            await t.warm(5)
            before = len(server.requests)
            answers = await asyncio.gather(*[post(t) for _ in range(5)])
            return answers, before, server.connections

    answers, before, connections = asyncio.run(go())
    assert (before, connections) == (0, 5)
    assert [text(a) for a in answers] == [TEXT] * 5
    assert {a.timeline.connect_ns for a in answers} == {None}


def unused_port() -> int:
    async def go() -> int:
        async with ScriptedServer([[]]) as server:
            return server.port

    return asyncio.run(go())


def test_nobody_there(raw: bool) -> None:
    base_url = f"http://127.0.0.1:{unused_port()}/v1"

    async def go() -> tuple[str | None, Answer]:
        async with transport(base_url, raw) as t:
            await t.warm(2)
            return await t.probe(), await post(t)

    problem, answer = asyncio.run(go())
    assert problem is not None
    assert base_url in problem
    assert (kind(answer), answer.status, answer.timeline.sent_ns) == (ErrorKind.CONNECT, None, None)


@pytest.mark.parametrize("script", [whole(b"{}"), whole(b"no", "401 Unauthorized"), [b"garbage\r\n\r\n", CLOSE]])
def test_probe_is_content_with_any_answer_and_asks_for_models(script: list[Step], raw: bool) -> None:
    async def go() -> tuple[str | None, str]:
        async with ScriptedServer([script]) as server, transport(server.base_url, raw) as t:
            return await t.probe(), server.requests[0].line

    assert asyncio.run(go()) == (None, "GET /v1/models HTTP/1.1")


def test_probe_of_a_silent_server(raw: bool) -> None:
    async def go() -> str | None:
        async with (
            ScriptedServer([[FOREVER()]]) as server,
            transport(server.base_url, raw, Timeout(connect_s=0.1)) as t,
        ):
            return await t.probe()

    assert "no answer within 0.1 s" in str(asyncio.run(go()))


def test_environment_proxies_and_cookies_are_ignored(raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    answers, server = exchange([whole(DOCUMENT, set_cookie="a=b"), whole(DOCUMENT)], raw, stream=False)
    assert [a.outcome for a in answers] == [Outcome.OK, Outcome.OK]
    assert "cookie" not in server.requests[1].headers


# errors with a status


def test_error_status(raw: bool) -> None:
    body = b'{"code":50603,"message":"Details: TPM limit reached.","data":null}'
    answers, server = exchange([whole(body, "429 Too Many Requests", retry_after="7"), streamed(EVENTS)], raw)
    refused, served = answers
    assert (kind(refused), refused.status, refused.reply) == (ErrorKind.HTTP_429, 429, None)
    assert refused.failure is not None
    assert (refused.failure.code, refused.failure.retry_after_s) == ("50603", 7.0)
    assert "TPM" in refused.failure.detail
    assert served.outcome is Outcome.OK
    assert server.connections == 1


def test_redirects_are_not_followed(raw: bool) -> None:
    script = whole(b"", "307 Temporary Redirect", location="http://127.0.0.1:1/steal")
    answers, server = exchange([script], raw)
    assert (kind(answers[0]), answers[0].status, len(server.requests)) == (ErrorKind.HTTP_OTHER, 307, 1)
    assert answers[0].failure is not None
    assert "127.0.0.1:1" in answers[0].failure.detail


@pytest.mark.parametrize(
    "script",
    [
        whole(
            json.dumps({"error": {"message": f"Incorrect API key: {KEY}", "code": KEY}}).encode(), "401 Unauthorized"
        ),
        whole(("x" * 490 + KEY).encode(), "401 Unauthorized"),
        streamed([f'data: {{"error":"bad key {KEY}"}}\n\n'.encode()]),
        whole(json.dumps(KEY).encode()),
    ],
)
def test_the_key_is_never_repeated(script: list[Step], raw: bool) -> None:
    answer = one(script, raw)
    assert answer.failure is not None
    assert KEY[:6] not in repr(answer)
    assert "***" in answer.failure.detail


def test_without_secret_strikes_out_a_cut_secret_too() -> None:
    assert without_secret("key abcdef…", "abcdefgh") == "key ***"
    assert without_secret("nothing here", "abcdefgh") == "nothing here"


@pytest.mark.parametrize("script", [[head("204 No Content")], whole(b""), streamed([]), whole(b"<html>hi</html>")])
def test_successes_that_say_nothing(script: list[Step], raw: bool) -> None:
    assert kind(one(script, raw)) is ErrorKind.BAD_PAYLOAD
    assert kind(one(script, raw, stream=False)) is ErrorKind.BAD_PAYLOAD


def test_a_document_where_a_stream_was_asked_for_and_the_other_way_round(raw: bool) -> None:
    assert text(one(whole(DOCUMENT), raw, stream=True)) == "42"
    assert text(one(streamed(EVENTS), raw, stream=False)) == TEXT


# connections that break


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [[CLOSE], [RESET], [b"HTTP/1.1 200 OK\r\nContent-", CLOSE]])
def test_no_answer_at_all_is_a_reset(script: list[Step], stream: bool, raw: bool) -> None:
    answer = one(script, raw, stream=stream)
    assert (kind(answer), answer.reply, answer.status) == (ErrorKind.RESET, None, None)
    assert answer.timeline.sent_ns is not None


@pytest.mark.parametrize(
    "start", [head(transfer_encoding="chunked") + chunk(delta("Hel")), head(content_length="5000") + delta("Hel")]
)
def test_a_stream_that_is_cut_keeps_its_part(start: bytes, raw: bool) -> None:
    cut = one([start, CLOSE], raw)
    assert (cut.outcome, kind(cut), cut.status, text(cut)) == (
        Outcome.TRUNCATED,
        ErrorKind.STREAM_TRUNCATED,
        200,
        "Hel",
    )


def test_a_proper_end_without_finish_is_truncated(raw: bool) -> None:
    answers, server = exchange([streamed(EVENTS[:2]), streamed(EVENTS)], raw)
    assert (answers[0].outcome, kind(answers[0]), text(answers[0])) == (
        Outcome.TRUNCATED,
        ErrorKind.STREAM_TRUNCATED,
        "Hello ",
    )
    assert server.connections == 1


def test_a_reset_inside_a_stream(raw: bool) -> None:
    async def go() -> Answer:
        received = asyncio.Event()
        script: list[Step] = [head(transfer_encoding="chunked"), chunk(delta("Hel")), received, RESET]
        async with ScriptedServer([script]) as server, transport(server.base_url, raw) as t:
            sending = asyncio.create_task(post(t))
            # a reset drops what the client has not read yet: let it read first
            await server.waiting.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            received.set()
            return await sending

    answer = asyncio.run(go())
    assert (answer.outcome, kind(answer), text(answer)) == (Outcome.TRUNCATED, ErrorKind.RESET, "Hel")


def test_a_document_that_is_cut_is_a_reset(raw: bool) -> None:
    answer = one([head(content_length="500") + DOCUMENT[:20], CLOSE], raw, stream=False)
    assert (kind(answer), answer.reply, answer.status) == (ErrorKind.RESET, None, 200)


def test_a_break_after_the_end_of_the_reply_spoils_nothing(raw: bool) -> None:
    script = [head(transfer_encoding="chunked"), *map(chunk, EVENTS), CLOSE]
    answer = one(script, raw)
    assert (answer.outcome, answer.failure, text(answer)) == (Outcome.OK, None, TEXT)


@pytest.mark.parametrize("wire", [b"SMTP ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", b"\0" * 70_000])
def test_what_is_not_http(wire: bytes, raw: bool) -> None:
    answer = one([wire, CLOSE], raw)
    assert (kind(answer), answer.status) == (ErrorKind.BAD_PAYLOAD, None)


@pytest.mark.parametrize("framing", [b"xyz\r\n", b"-5\r\n", b"5\r\nabcdefgh\r\n", b"5" * 5000])
def test_broken_chunk_framing_keeps_the_part(framing: bytes, raw: bool) -> None:
    script = [head(transfer_encoding="chunked"), chunk(delta("Hel")), framing, CLOSE]
    answer = one(script, raw, Timeout(between_tokens_s=0.1))
    # aiohttp's reader does not tell of broken framing inside a body: there the deadline ends the wait
    expected = {ErrorKind.STREAM_TRUNCATED} if raw else {ErrorKind.STREAM_TRUNCATED, ErrorKind.TIMEOUT_BETWEEN_TOKENS}
    assert kind(answer) in expected
    assert text(answer) == "Hel"


# deadlines


def test_deadline_for_connecting(raw: bool) -> None:
    async def go() -> Answer:
        # a server that never answers the TLS handshake
        async with ScriptedServer([[FOREVER()]]) as server:
            base_url = server.base_url.replace("http:", "https:")
            async with transport(base_url, raw, Timeout(connect_s=0.1)) as t:
                return await post(t)

    answer = asyncio.run(go())
    assert (kind(answer), answer.timeline.sent_ns) == (ErrorKind.TIMEOUT_CONNECT, None)
    assert answer.failure is not None
    assert answer.failure.detail == "no connection within 0.1 s (timeout.connect_s)"


def hanging(make: Callable[[], Sequence[Step]], raw: bool, timeout: Timeout, stream: bool = True) -> Answer:
    async def go() -> Answer:
        script = [*make(), FOREVER()]
        async with ScriptedServer([script]) as server, transport(server.base_url, raw, timeout) as t:
            return await post(t, stream=stream)

    return asyncio.run(go())


@pytest.mark.parametrize("start", [[], [head(transfer_encoding="chunked")]])
def test_deadline_for_the_first_byte(start: list[Step], raw: bool) -> None:
    answer = hanging(lambda: start, raw, Timeout(first_byte_s=0.1, between_tokens_s=0.01))
    assert (kind(answer), answer.reply) == (ErrorKind.TIMEOUT_FIRST_BYTE, None)
    assert answer.status == (200 if start else None)


def test_the_first_byte_of_a_document_may_take_long(raw: bool) -> None:
    timeout = Timeout(first_byte_s=0.02, between_tokens_s=0.02)
    answer = one([0.1, *whole(DOCUMENT)], raw, timeout, stream=False)
    assert answer.outcome is Outcome.OK


def test_deadline_between_tokens_and_comments_do_not_move_it(raw: bool) -> None:
    comments: list[Step] = [step for _ in range(200) for step in (0.02, chunk(b": keep-alive\n\n"))]
    start: list[Step] = [head(transfer_encoding="chunked"), chunk(delta("Hel"))]
    timeout = Timeout(between_tokens_s=0.2, first_byte_s=0.1, total_s=2.0)
    answer = hanging(lambda: [*start, *comments], raw, timeout)
    assert (kind(answer), text(answer)) == (ErrorKind.TIMEOUT_BETWEEN_TOKENS, "Hel")


def test_comments_before_the_first_token_leave_it_the_time_of_the_first_byte(raw: bool) -> None:
    waiting: list[Step] = [step for _ in range(8) for step in (chunk(b": queued\n\n"), 0.03)]
    script: list[Step] = [head(transfer_encoding="chunked"), *waiting, *map(chunk, EVENTS), LAST_CHUNK]
    assert text(one(script, raw, Timeout(first_byte_s=30, between_tokens_s=0.1))) == TEXT
    answer = hanging(lambda: [script[0], *waiting], raw, Timeout(first_byte_s=0.05, between_tokens_s=0.05))
    assert kind(answer) is ErrorKind.TIMEOUT_BETWEEN_TOKENS


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}\n\n'
NO_TOKENS = (b": keep-alive\n\n", ROLE, USAGE, b"data:\n\n", b'data: {"choices":[]}\n\n')


@pytest.mark.parametrize("first", [[], [chunk(ROLE)], [chunk(b": queued\n\n")], [chunk(delta("Hel"))]])
def test_deadline_for_the_first_token(first: list[Step], raw: bool) -> None:
    """What came decides the kind; the setting is named; and with a token it is over."""
    timeout = Timeout(first_byte_s=30, first_token_s=0.05, between_tokens_s=0.15, total_s=10)
    answer = hanging(lambda: [head(transfer_encoding="chunked"), *first], raw, timeout)
    assert kind(answer) is (ErrorKind.TIMEOUT_BETWEEN_TOKENS if first else ErrorKind.TIMEOUT_FIRST_BYTE)
    assert answer.failure is not None
    came = first == [chunk(delta("Hel"))]
    assert answer.outcome is (Outcome.TRUNCATED if came else Outcome.FAILED)
    expected = "further token within 0.15 s" if came else "first token within 0.05 s (timeout.first_token_s)"
    assert expected in answer.failure.detail


@pytest.mark.parametrize("idle", NO_TOKENS)
def test_only_tokens_move_the_deadline_between_tokens(idle: bytes, raw: bool) -> None:
    """Keep-alive comments, role-only, usage and empty chunks for ever, each split over two reads."""
    start: list[Step] = [head(transfer_encoding="chunked"), chunk(delta("Hel"))]
    idling: list[Step] = [step for _ in range(200) for step in (0.01, chunk(idle[:4]), 0.01, chunk(idle[4:]))]
    timeout = Timeout(between_tokens_s=0.15, first_byte_s=0.05, total_s=5.0)
    answer = hanging(lambda: [*start, *idling], raw, timeout)
    assert (answer.outcome, kind(answer), text(answer)) == (
        Outcome.TRUNCATED,
        ErrorKind.TIMEOUT_BETWEEN_TOKENS,
        "Hel",
    )
    first_token = hanging(lambda: [start[0], *idling], raw, Timeout(first_token_s=0.1, total_s=5.0))
    assert (first_token.outcome, kind(first_token)) == (Outcome.FAILED, ErrorKind.TIMEOUT_BETWEEN_TOKENS)


def test_tokens_cut_into_many_reads_move_the_deadline(raw: bool) -> None:
    slow: list[Step] = [
        step for event in EVENTS[:3] for at in range(0, len(event), 9) for step in (0.005, chunk(event[at : at + 9]))
    ]
    script: list[Step] = [head(transfer_encoding="chunked"), *slow, *map(chunk, EVENTS[3:]), LAST_CHUNK]
    pause_s = 0.005 * (len(EVENTS[0]) // 9 + 1)
    answer = one(script, raw, Timeout(first_token_s=20 * pause_s, between_tokens_s=10 * pause_s, total_s=10))
    assert (answer.outcome, text(answer)) == (Outcome.OK, TEXT)


@pytest.mark.parametrize("stream", [True, False])
def test_deadline_for_the_whole(stream: bool, raw: bool) -> None:
    tokens: list[Step] = [step for _ in range(200) for step in (chunk(delta("x")), 0.02)]
    answer = hanging(lambda: [head(transfer_encoding="chunked"), *tokens], raw, Timeout(total_s=0.2), stream)
    assert kind(answer) is ErrorKind.TIMEOUT_TOTAL
    assert set(text(answer)) == {"x"}


def test_a_stream_that_is_done_but_not_closed_is_ok(raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "DONE_GRACE_S", 0.05)
    answer = hanging(lambda: [head(transfer_encoding="chunked"), *map(chunk, EVENTS)], raw, Timeout())
    given_up_ns = time.monotonic_ns()
    assert (answer.outcome, text(answer), answer.failure) == (Outcome.OK, TEXT, None)
    # the reply ended with its last byte, not when we stopped waiting
    assert answer.timeline.end_ns is not None
    assert given_up_ns - answer.timeline.end_ns >= 50_000_000


def test_no_deadlines_at_all(raw: bool) -> None:
    timeout = Timeout(connect_s=None, first_byte_s=None, between_tokens_s=None, total_s=None)
    assert text(one(streamed(EVENTS), raw, timeout)) == TEXT


def test_the_callers_cancellation_propagates_and_closes(raw: bool) -> None:
    async def go() -> int:
        async with ScriptedServer([[head(transfer_encoding="chunked"), chunk(delta("a")), FOREVER()]]) as server:
            async with transport(server.base_url, raw) as t:
                sending = asyncio.create_task(post(t))
                await server.waiting.wait()
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                await server.client_gone()
            return server.connections

    assert asyncio.run(asyncio.wait_for(go(), 10)) == 1


# limits and codings


@pytest.mark.parametrize(
    "script",
    [
        [head(transfer_encoding="chunked"), *[chunk(delta("x" * 100))] * 100],
        [head(content_length="1000000"), *[b"x" * 1000] * 1000],
        [head(), *[b"x" * 1000] * 100, CLOSE],
        whole(gzip.compress(b"x" * 1_000_000), content_encoding="gzip"),
    ],
)
def test_bodies_over_the_limit(script: list[Step], raw: bool) -> None:
    answer = one(script, raw, max_body_bytes=2000)
    assert (kind(answer), answer.reply) == (ErrorKind.TOO_LARGE, None)
    assert answer.bytes_in < 200_000


def deflated(data: bytes, wbits: int) -> bytes:
    deflate = zlib.compressobj(wbits=wbits)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: deflated(data, -15)),
        ("identity", bytes),
    ],
)
def test_compressed_although_nobody_asked(coding: str, compress: Callable[[bytes], bytes], raw: bool) -> None:
    data = compress(b"".join(EVENTS))
    script: list[Step] = [head(transfer_encoding="chunked", content_encoding=coding)]
    script += [chunk(data[i : i + 20]) for i in range(0, len(data), 20)]
    assert text(one([*script, LAST_CHUNK], raw)) == TEXT


def test_codings_that_cannot_be_undone(raw: bool) -> None:
    assert kind(one(whole(DOCUMENT, content_encoding="br"), raw)) is ErrorKind.BAD_PAYLOAD
    assert kind(one(whole(DOCUMENT, content_encoding="gzip"), raw)) is ErrorKind.BAD_PAYLOAD
    refused = one(whole(b"?", "503 Busy", content_encoding="br"), raw)
    assert (kind(refused), refused.status) == (ErrorKind.HTTP_5XX, 503)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server context with a self-signed certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command, which makes the test certificate, is not installed")
    folder: Path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_tls_is_verified_unless_told_otherwise(certificate: ssl.SSLContext, raw: bool) -> None:
    refused = one(streamed(EVENTS), raw, tls=certificate)
    assert (kind(refused), refused.timeline.sent_ns) == (ErrorKind.TLS, None)
    served = one(streamed(EVENTS), raw, tls=certificate, provider={"verify_tls": False})
    assert text(served) == TEXT


# the private surface, and configuration


def test_the_installed_aiohttp_lets_bodies_be_kept_raw() -> None:
    async def go() -> bool:
        return surface_holds()

    assert asyncio.run(go())


def test_a_changed_aiohttp_leaves_the_public_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: Any, **__: Any) -> None:
        raise AttributeError("moved")

    monkeypatch.setattr(rawbody.RawConnection, "feed_data", changed)
    assert text(one(streamed(EVENTS), True)) == TEXT


def test_unusable_configuration_is_refused_at_once() -> None:
    for base_url in (None, "ftp://host/v1", "/v1", "http://[::1"):
        with pytest.raises(ConfigError, match=r"provider\.base_url"):
            Transport(Provider(base_url=base_url), Timeout(), api_key=None, max_body_bytes=1)
    for key in ("a\nb", "schlüssel"):
        provider = Provider(base_url="http://h/v1", api_key_env="THE_KEY")
        with pytest.raises(ConfigError, match="THE_KEY") as caught:
            Transport(provider, Timeout(), api_key=key, max_body_bytes=1)
        assert key not in str(caught.value)
    with pytest.raises(ConfigError, match=r"provider\.headers"):
        Transport(Provider(base_url="http://h", headers={"X": "a\r\nb"}), Timeout(), api_key=None, max_body_bytes=1)


def test_many_at_once(raw: bool) -> None:
    async def go() -> list[Answer]:
        def together(t: Transport) -> list[Awaitable[Answer]]:
            return [post(t) for _ in range(40)]

        async with ScriptedServer([streamed(EVENTS)]) as server, transport(server.base_url, raw) as t:
            return [*await asyncio.gather(*together(t)), *await asyncio.gather(*together(t))]

    assert [text(answer) for answer in asyncio.run(go())] == [TEXT] * 80
