"""The key is nowhere, whatever fails and however the server repeats it: not in answers, records, output or logs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bench_process import start
from scripted_server import CLOSE, LAST_CHUNK, RESET, ScriptedServer, Step, chunk, head, streamed, whole

from bench.config import Timeout
from bench.domain import Answer, ErrorKind, Outcome
from bench.measure.transport import Transport
from bench.providers import Provider
from bench.record import read_table

CANARY = "canary-3f9c2b7e41d8a6500d"
BEARER = f"Bearer {CANARY}"
ERROR = json.dumps({"error": {"message": f"bad key {CANARY}", "code": CANARY, "type": CANARY}}).encode()


def delta(text: str) -> bytes:
    return b'data: {"id":%s,"model":%s,"choices":[{"delta":{"content":%s}}]}\n\n' % (
        *2 * (json.dumps(BEARER).encode(),),
        json.dumps(text).encode(),
    )


SAID = delta(f"you sent {BEARER}, didn't you")
OPEN: list[Step] = [head(transfer_encoding="chunked", x_request_id=BEARER, openai_processing_ms=BEARER), chunk(SAID)]
NAMES = {301: "Moved", 400: "Bad", 401: "No", 402: "Pay", 403: "No", 404: "None", 410: "Gone", 429: "Slow", 503: "Busy"}


def refusals() -> dict[ErrorKind, list[Step]]:
    """A refusal with each status, that repeats the key in its body, its code and its headers."""
    kinds = {301: ErrorKind.HTTP_OTHER, 503: ErrorKind.HTTP_5XX}
    return {
        kinds.get(status) or ErrorKind(f"http_{status}"): whole(
            ERROR,
            f"{status} {name} {BEARER}",
            location=f"http://h/?k={CANARY}",
            x_request_id=BEARER,
            retry_after=CANARY,
        )
        for status, name in NAMES.items()
    }


#: kind of error -> what brings it about; an event is waited for until the client has given up
SCRIPTS: dict[ErrorKind, Callable[[], list[Step]]] = {
    ErrorKind.RESET: lambda: [b"HTTP/1.1 200 OK\r\nX: " + BEARER.encode(), RESET],
    ErrorKind.TIMEOUT_FIRST_BYTE: lambda: [head(transfer_encoding="chunked", x_request_id=BEARER), asyncio.Event()],
    ErrorKind.TIMEOUT_BETWEEN_TOKENS: lambda: [*OPEN, asyncio.Event()],
    ErrorKind.STREAM_ERROR: lambda: streamed([SAID, b"data: " + ERROR + b"\n\n"]),
    ErrorKind.STREAM_TRUNCATED: lambda: [*OPEN, CLOSE],
    ErrorKind.BAD_PAYLOAD: lambda: streamed([SAID, b"data: {" + BEARER.encode() + b"\n\n"]),
    ErrorKind.TOO_LARGE: lambda: [*OPEN, *[chunk(SAID)] * 3000, LAST_CHUNK],
    **{kind: (lambda steps=steps: steps) for kind, steps in refusals().items()},  # type: ignore[misc]  # bound at once
}
LIMIT_BYTES = 100_000
NOT_HTTP = {
    "an answer that is not HTTP": BEARER.encode() + b"\r\n\r\n",
    "a broken head": b"HTTP/1.1 200 OK\r\n" + BEARER.encode() + b"\r\n\r\n",
}


async def post(base_url: str, deadlines: Timeout) -> Answer:
    async with Transport(Provider(base_url=base_url), deadlines, api_key=CANARY, max_body_bytes=LIMIT_BYTES) as client:
        now_ns = time.monotonic_ns()
        return await client.send(b"{}", stream=True, due_ns=now_ns, permit_ns=now_ns)


def asked(script: Callable[[], list[Step]], timeout: Timeout) -> Answer:
    """One answer of a scripted server."""

    async def go() -> Answer:
        async with ScriptedServer([script()]) as server:
            return await post(server.base_url, timeout)

    return asyncio.run(asyncio.wait_for(go(), 60))


def greeted(words: bytes, timeout: Timeout) -> Answer:
    """What comes of TLS with somebody who says these words at once, or nothing."""

    async def go() -> Answer:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(words)
            try:
                await reader.read()
            finally:
                writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            return await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", timeout)

    return asyncio.run(asyncio.wait_for(go(), 60))


def unanswered() -> Answer:
    """What comes of a port that nobody listens on."""

    async def go() -> Answer:
        async with ScriptedServer([[]]) as server:
            base_url = server.base_url
        return await post(base_url, SHORT)

    return asyncio.run(asyncio.wait_for(go(), 60))


SHORT = Timeout(first_byte_s=0.3, between_tokens_s=0.3)


@pytest.mark.parametrize("kind", SCRIPTS)
def test_no_answer_holds_the_key(
    kind: ErrorKind, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = asked(SCRIPTS[kind], SHORT)
    assert answer.failure is not None
    assert answer.failure.kind is kind
    spread = "".join([repr(answer), *capfd.readouterr(), caplog.text])
    assert CANARY not in spread
    assert CANARY[:12] not in spread


@pytest.mark.parametrize("wire", NOT_HTTP.values(), ids=NOT_HTTP)
def test_no_word_on_what_is_not_http_holds_the_key(wire: bytes) -> None:
    answer = asked(lambda: [wire, CLOSE], SHORT)
    assert answer.failure is not None
    assert answer.failure.kind is ErrorKind.BAD_PAYLOAD
    assert CANARY[:12] not in repr(answer)


@pytest.mark.parametrize(
    ("kind", "fail"),
    [
        (ErrorKind.CONNECT, unanswered),
        (ErrorKind.TLS, lambda: greeted(BEARER.encode() * 10, SHORT)),
        (ErrorKind.TIMEOUT_CONNECT, lambda: greeted(b"", Timeout(connect_s=0.2))),
        (ErrorKind.TIMEOUT_TOTAL, lambda: asked(lambda: [*OPEN, asyncio.Event()], Timeout(total_s=0.5))),
    ],
)
def test_no_failure_to_connect_or_to_end_holds_the_key(kind: ErrorKind, fail: Callable[[], Answer]) -> None:
    answer = fail()
    assert answer.failure is not None
    assert answer.failure.kind is kind
    assert CANARY[:12] not in repr(answer)


def test_a_reply_that_repeats_the_key_is_kept_without_it_and_a_short_key_is_no_secret() -> None:
    answer = asked(lambda: streamed([SAID, b"data: [DONE]\n\n"]), SHORT)
    assert (answer.outcome, answer.reply is not None) == (Outcome.OK, True)
    assert answer.reply is not None
    assert answer.reply.choices[0].text == "you sent Bearer ***, didn't you"
    assert CANARY[:12] not in repr(answer)


def texts(results: Path) -> str:
    """Every byte of every file under a folder as text, tables uncompressed."""
    found = []
    for path in sorted(results.rglob("*")):
        if path.suffix == ".parquet":
            found.append(json.dumps(pq.read_table(path).to_pylist(), default=str))
        elif path.is_file():
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


@pytest.mark.slow
def test_the_key_is_nowhere_after_any_kind_of_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run over every kind that a server can cause, to its tables, report and display."""
    monkeypatch.chdir(tmp_path)
    last = [ErrorKind.HTTP_404, ErrorKind.HTTP_404]
    order = [kind for kind in SCRIPTS if kind not in (*last, ErrorKind.HTTP_410)] + last
    rows = "".join(f'{{"id": "{i}", "prompt": "question {i}", "target": "x"}}\n' for i in range(len(order) + 3))
    (tmp_path / "rows.jsonl").write_text(rows)

    async def run() -> tuple[int | None, str, list[str]]:
        scripts: Sequence[Sequence[Step]] = [whole(b'{"data": []}'), *[SCRIPTS[kind]() for kind in order]]
        async with ScriptedServer(scripts) as server:
            arguments = ["run", "dataset=jsonl", "dataset.path=rows.jsonl", "provider=compatible", "load.concurrency=1"]
            arguments += [f"provider.base_url={server.base_url}", "provider.api_key_env=MY_KEY", "limits.retries=0"]
            arguments += ["timeout.first_byte_s=0.5", "timeout.between_tokens_s=0.5", "limits.adaptive=false"]
            arguments += [f"engine.max_body_bytes={LIMIT_BYTES}"]
            process = await asyncio.to_thread(start, arguments, tmp_path, {"MY_KEY": CANARY})
            out, err = await asyncio.to_thread(process.communicate)
            return process.returncode, out + err, [got.headers.get("authorization", "") for got in server.requests]

    code, said, sent = asyncio.run(run())
    assert code == 3, said
    assert sent == [BEARER] * (len(order) + 1)
    (path,) = (tmp_path / "results" / "run").iterdir()
    kinds: list[Any] = read_table(path, "requests", ["error_kind"]).column(0).to_pylist()
    assert sorted(kinds) == sorted([*order, *3 * ["model_offline"]])
    kept = texts(tmp_path)
    assert "MY_KEY" in kept
    assert "you sent Bearer ***" in kept
    for text in (said, kept):
        assert CANARY not in text
        assert CANARY[:12] not in text
