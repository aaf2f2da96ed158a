"""Framing and faults on a raw socket, and the truth log beside them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sim_thread import SimThread

from bench.providers.sim import Faults, Framing, ModelKnobs, SimKnobs, ToolDelta, UsageStyle
from bench.sim.wire import Connection

PLAIN = "Qwen/Qwen2.5-7B-Instruct"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def threads() -> Iterator[SimThread]:
    with SimThread() as threads:
        yield threads


def post(body: dict[str, Any], head: str = "") -> bytes:
    content = json.dumps({"model": PLAIN, "messages": [{"role": "user", "content": "Hello?"}], **body}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


#: with the line end before it: a header may end in 0 as well
LAST_CHUNK = b"\r\n0\r\n\r\n"


def exchange(port: int, request: bytes, until: bytes | None = None) -> tuple[bytes, list[bytes], bool]:
    """All bytes, the separate reads, and whether the connection was reset. Reads to the end, or to ``until``."""
    reads: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        try:
            while data := client.recv(65536):
                reads.append(data)
                if until is not None and until in b"".join(reads[-30:]):
                    break
        except ConnectionResetError:
            return b"".join(reads), reads, True
    return b"".join(reads), reads, False


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """The body of a chunked response, and whether it ended properly."""
    rest, body = raw.partition(b"\r\n\r\n")[2], b""
    while (line := rest.partition(b"\r\n"))[1]:
        size = int(line[0], 16)
        if size == 0:
            return body, True
        body, rest = body + line[2][:size], line[2][size + 2 :]
    return body, False


def payloads(body: bytes) -> list[Any]:
    """The JSON of every event but ``[DONE]``."""
    lines = [line[6:] for line in body.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(events: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", ()))


def faulty(threads: SimThread, tmp_path: Path, **faults: float) -> tuple[int, Path]:
    log = tmp_path / "truth.jsonl"
    return threads.serve(SimKnobs(speed=0, faults=Faults(**faults), truth_log=str(log))), log


def truth(log: Path) -> dict[str, Any]:
    """The last logged row, which is written once the server sees the exchange as over."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    return rows[-1]


# framing


def test_the_shape_of_a_plain_stream(threads: SimThread) -> None:
    raw, _, _ = exchange(threads.serve(SimKnobs(speed=0)), post({"stream": True}), until=LAST_CHUNK)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    body, ended = unchunked(raw)
    assert ended
    assert body.endswith(b"data: [DONE]\n\n")
    events = payloads(body)
    first, last = events[0]["choices"][0], events[-1]["choices"][0]
    assert first["delta"] == {"content": "", "reasoning_content": None, "role": "assistant"}
    assert events[0]["usage"]["completion_tokens"] == 0
    assert last == {"index": 0, "delta": {"content": "", "reasoning_content": None}, "finish_reason": "stop"}
    assert [e["usage"]["completion_tokens"] for e in events[:-1]] == list(range(len(events) - 1))
    assert all(e["object"] == "chat.completion.chunk" and e["id"] == events[0]["id"] for e in events)


@pytest.mark.parametrize(
    "framing", [Framing(crlf=True), Framing(comment_every=2), Framing(write_bytes=1), Framing(write_bytes=7, crlf=True)]
)
def test_framing_changes_bytes_and_not_words(threads: SimThread, framing: Framing) -> None:
    request = post({"stream": True, "temperature": 0})
    plain, _ = unchunked(exchange(threads.serve(SimKnobs(speed=0)), request, until=LAST_CHUNK)[0])
    raw, reads, _ = exchange(threads.serve(SimKnobs(speed=0, framing=framing)), request, until=LAST_CHUNK)
    body, ended = unchunked(raw)
    assert ended
    assert text_of(payloads(body)) == text_of(payloads(plain)) != ""
    assert (b"\r\n" in body) is framing.crlf
    assert body.count(b": keep-alive") == (len(payloads(plain)) - 1) // 2 * bool(framing.comment_every)
    if framing.write_bytes:
        assert min(map(len, reads)) <= framing.write_bytes
        assert len(reads) > 20


def test_where_usage_is_reported(threads: SimThread) -> None:
    styles = {f"a/{style.value}": ModelKnobs(usage_style=style) for style in UsageStyle}
    port = threads.serve(SimKnobs(speed=0, models=styles))
    seen = {}
    for name in styles:
        raw, _, _ = exchange(port, post({"model": name, "stream": True}), until=LAST_CHUNK)
        seen[name] = payloads(unchunked(raw)[0])
    assert all("usage" in event for event in seen["a/every_chunk"])
    assert not any("usage" in event for event in seen["a/none"])
    *others, last = seen["a/trailing"]
    assert not any("usage" in event for event in others)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(others) - 2


def test_roles_chunk_sizes_and_broken_tool_deltas(threads: SimThread) -> None:
    knobs = ModelKnobs(role_repeat=False, tokens_per_chunk=3, tool_delta=ToolDelta.glm_broken)
    port = threads.serve(SimKnobs(speed=0, models={"*": knobs}))
    events = payloads(unchunked(exchange(port, post({"stream": True}), until=LAST_CHUNK)[0])[0])
    assert [("role" in e["choices"][0]["delta"]) for e in events] == [True] + [False] * (len(events) - 1)
    counts = [e["usage"]["completion_tokens"] for e in events]
    steps = {b - a for a, b in pairwise(counts[:-1])}
    assert {1, 2, 3} == steps
    raw, _, _ = exchange(port, post({"stream": True, "tools": [TOOL]}), until=LAST_CHUNK)
    deltas = [e["choices"][0]["delta"]["tool_calls"][0] for e in payloads(unchunked(raw)[0])[1:-1]]
    assert deltas[0]["function"] == {"name": "look_up", "arguments": ""}
    assert deltas[1] == {"index": 0, "id": None, "type": None, "function": {"name": "", "arguments": "look_up\n"}}


def test_answers_can_land_in_the_reasoning_and_reasoning_eat_max_tokens(threads: SimThread) -> None:
    knobs = ModelKnobs(answer_in_reasoning=1.0, max_tokens_counts_reasoning=True)
    port = threads.serve(SimKnobs(speed=0, models={"*": knobs}))
    asked = {"model": "Qwen/Qwen3-8B", "stream": False}
    raw, _, _ = exchange(port, post({**asked, "enable_thinking": False}, "Connection: close\r\n"))
    message = json.loads(raw.partition(b"\r\n\r\n")[2])["choices"][0]["message"]
    assert message["content"] == ""
    assert message["reasoning_content"]
    raw, _, _ = exchange(port, post({**asked, "max_tokens": 5}, "Connection: close\r\n"))
    reply = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert reply["choices"][0]["message"]["content"] == ""
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 5


# HTTP


def test_http_as_clients_may_write_it(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0))
    two = post({"temperature": 0}) + post({"temperature": 0}, "Connection: close\r\n")
    raw, _, _ = exchange(port, two)
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    head, _, content = post({}).partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Connection: close\r\nTransfer-Encoding: chunked", head)
    parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (content[:9], content[9:])) + b"0\r\n\r\n"
    assert b"HTTP/1.1 200 OK" in exchange(port, head + b"\r\n\r\n" + parts)[0]
    for bad in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        assert exchange(port, bad)[0].startswith(b"HTTP/1.1 400 ")
    assert exchange(port, b"GET / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n")[0].startswith(b"HTTP/1.1 413 ")
    assert exchange(port, b"x" * 70_000)[0].startswith(b"HTTP/1.1 431 ")


def test_a_body_in_pieces_after_expect_continue(threads: SimThread) -> None:
    head, _, content = post({}, "Expect: 100-continue\r\nConnection: close\r\n").partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", threads.serve(SimKnobs(speed=0))), timeout=20) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(content)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


# faults


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("http_429", 429, b'"code":50603'),
        ("http_500", 500, b'"code":50507'),
        ("http_503", 503, b'"code":50505'),
        ("http_504", 504, b'"Gateway Timeout"'),
        ("http_400", 400, b"The parameter is invalid. Please check again."),
        ("plain_text", 502, b"upstream connect error"),
    ],
)
def test_faults_before_the_reply(threads: SimThread, tmp_path: Path, fault: str, status: int, body: bytes) -> None:
    port, log = faulty(threads, tmp_path, **{fault: 1.0})
    raw, _, _ = exchange(port, post({"stream": True}, "Connection: close\r\n"))
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert body in raw
    row = truth(log)
    assert (row["status"], row["fault"], row["choices"]) == (status, fault, [])


def test_a_dropped_connection(threads: SimThread, tmp_path: Path) -> None:
    port, log = faulty(threads, tmp_path, drop=1.0)
    raw, _, was_reset = exchange(port, post({}))
    assert (raw, was_reset) == (b"", True)
    assert truth(log)["fault"] == "drop"


def test_a_reply_cut_off_or_reset_in_the_middle(threads: SimThread, tmp_path: Path) -> None:
    for fault in ("cut", "reset"):
        port, log = faulty(threads, tmp_path, **{fault: 1.0})
        raw, _, was_reset = exchange(port, post({"stream": True}))
        assert was_reset is (fault == "reset")
        if fault == "cut":
            body, ended = unchunked(raw)
            assert not ended
            assert b"[DONE]" not in body
            assert text_of(payloads(body)) == truth(log)["choices"][0]["text"] != ""
        assert truth(log)["choices"][0]["finish_reason"] is None
        raw, _, was_reset = exchange(port, post({"stream": False}))
        assert was_reset is (fault == "reset")
        if fault == "cut":
            claimed = int(re.search(rb"content-length: (\d+)", raw).group(1))  # type: ignore[union-attr]  # always there
            assert 0 < len(raw.partition(b"\r\n\r\n")[2]) < claimed


def test_a_stalled_stream_goes_quiet_but_for_comments(threads: SimThread) -> None:
    faults, framing = Faults(stall=1.0, stall_s=0.3), Framing(keep_alive_s=0.05)
    raw, _, _ = exchange(threads.serve(SimKnobs(speed=0, faults=faults, framing=framing)), post({"stream": True}))
    body, ended = unchunked(raw)
    assert not ended
    assert body.endswith(b": keep-alive\n\n" * 2)
    assert b"[DONE]" not in body


def test_endings_that_lack_something(threads: SimThread, tmp_path: Path) -> None:
    bodies = {}
    for fault in ("no_done", "no_finish", "error_in_stream", "malformed", "empty"):
        port, log = faulty(threads, tmp_path, **{fault: 1.0})
        body, ended = unchunked(exchange(port, post({"stream": True}), until=LAST_CHUNK)[0])
        assert ended
        assert truth(log)["fault"] == fault
        bodies[fault] = body
    assert b"[DONE]" not in bodies["no_done"]
    assert payloads(bodies["no_done"])[-1]["choices"][0]["finish_reason"] == "stop"
    assert b"[DONE]" in bodies["no_finish"]
    assert all(e["choices"][0]["finish_reason"] is None for e in payloads(bodies["no_finish"]))
    error = payloads(bodies["error_in_stream"])[-1]
    assert error.get("error", error)["code"] == 50507
    with pytest.raises(json.JSONDecodeError):
        payloads(bodies["malformed"])
    assert bodies["malformed"].endswith(b"data: [DONE]\n\n")
    assert bodies["empty"] == b""


def test_both_shapes_of_an_error_within_a_stream_occur(threads: SimThread, tmp_path: Path) -> None:
    port, _ = faulty(threads, tmp_path, error_in_stream=1.0)
    bodies = [exchange(port, post({"stream": True}), until=LAST_CHUNK)[0] for _ in range(12)]
    shapes = {"error" in payloads(unchunked(raw)[0])[-1] for raw in bodies}
    assert shapes == {True, False}


def test_faults_of_a_reply_that_is_not_streamed(threads: SimThread, tmp_path: Path) -> None:
    bodies = {}
    for fault in ("no_finish", "error_in_stream", "malformed", "empty"):
        port, _ = faulty(threads, tmp_path, **{fault: 1.0})
        raw, _, _ = exchange(port, post({}, "Connection: close\r\n"))
        assert raw.startswith(b"HTTP/1.1 200 OK")
        bodies[fault] = raw.partition(b"\r\n\r\n")[2]
    assert json.loads(bodies["no_finish"])["choices"][0]["finish_reason"] is None
    assert json.loads(bodies["error_in_stream"])["error"]["code"] == 50507
    assert bodies["malformed"].startswith(b'{"id"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(bodies["malformed"])
    assert bodies["empty"] == b""


def test_slow_headers_hold_back_the_head(threads: SimThread, tmp_path: Path) -> None:
    port, _ = faulty(threads, tmp_path, slow_headers=1.0, slow_headers_s=0.2)
    for stream in (True, False):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            sent = time.monotonic()
            client.sendall(post({"stream": stream}))
            client.recv(1)
            assert time.monotonic() - sent >= 0.199


def test_each_attempt_draws_its_fault_anew_at_its_rate(threads: SimThread, tmp_path: Path) -> None:
    port, log = faulty(threads, tmp_path, http_500=0.2, http_429=0.2, no_done=0.25)
    for _ in range(200):
        exchange(port, post({"max_tokens": 2}, "Connection: close\r\n"))
    found = [json.loads(line)["fault"] for line in log.read_text().splitlines()]
    assert abs(found.count("http_500") - 40) < 4 * 5.7
    assert abs(found.count("http_429") - 40) < 4 * 5.7
    assert abs(found.count("no_done") - 50) < 4 * 6.1


# determinism and truth


def masked(raw: bytes) -> bytes:
    """A response without what tells when it was made."""
    body = unchunked(raw)[0] if b"transfer-encoding" in raw else raw.partition(b"\r\n\r\n")[2]
    return re.sub(rb'"id":"[0-9a-f]{32}"|"created":\d+', b"", body)


def test_same_seed_and_same_bodies_give_the_same_bytes(threads: SimThread) -> None:
    asks = [
        post({"stream": True, "n": 2, "temperature": 1.0}),
        post({"stream": True, "n": 2, "temperature": 1.0}),
        post({"model": "Qwen/Qwen3-8B", "stream": True}),
        post({"stream": True, "tools": [TOOL]}),
    ]
    runs = []
    for seed in (1, 1, 2):
        port = threads.serve(SimKnobs(speed=0, seed=seed, models={"*": ModelKnobs(tokens_per_chunk=2)}))
        runs.append([masked(exchange(port, ask, until=LAST_CHUNK)[0]) for ask in asks])
    assert runs[0] == runs[1]
    assert all(a != b for a, b in zip(runs[0], runs[2], strict=True))
    assert runs[0][0] != runs[0][1]


def test_the_truth_log_holds_what_was_sent_and_when(threads: SimThread, tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    port = threads.serve(SimKnobs(speed=200, truth_log=str(log)))
    before = time.monotonic_ns()
    raw, _, _ = exchange(port, post({"model": "Qwen/Qwen3-8B", "stream": True, "n": 2}), until=LAST_CHUNK)
    after = time.monotonic_ns()
    row, events = truth(log), payloads(unchunked(raw)[0])
    assert row["id"] == events[0]["id"]
    assert before < row["accept_ns"] < after
    for choice in row["choices"]:
        mine = [c for e in events for c in e["choices"] if c["index"] == choice["index"]]
        assert choice["text"] == "".join(c["delta"].get("content") or "" for c in mine)
        assert choice["reasoning"] == "".join(c["delta"].get("reasoning_content") or "" for c in mine)
        assert choice["finish_reason"] == mine[-1]["finish_reason"]
        assert len(choice["event_ns"]) == len(choice["event_kind"]) == len(mine) - 2
        assert choice["event_ns"] == sorted(choice["event_ns"])
        assert row["accept_ns"] < choice["event_ns"][0]
        assert choice["event_ns"][-1] < after
        assert set(choice["event_kind"]) == {"reasoning", "answer"}
    usage = events[-1]["usage"]
    assert row["usage"]["completion_tokens"] == usage["completion_tokens"]


def test_a_client_that_leaves_frees_its_slot(threads: SimThread, tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    port = threads.serve(SimKnobs(speed=1, truth_log=str(log)))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(post({"stream": True}))
        client.recv(1)
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert truth(log)["client_left"] is True


def test_a_request_that_cannot_be_read_is_answered_once() -> None:
    """Kept, its bytes would be parsed and refused again and again, connection or not."""
    handled: list[Any] = []

    async def turns() -> int:
        connection = Connection(lambda request, _: handled.append(request))
        parsed = 0
        parse = connection._parse

        def counting() -> Any:
            nonlocal parsed
            parsed += 1
            return parse()

        connection._parse = counting  # type: ignore[method-assign]  # counted, else as it is
        connection.data_received(b"nonsense\r\n\r\nand more")
        for _ in range(20):
            await asyncio.sleep(0)
        return parsed

    assert asyncio.run(turns()) == 1
    assert handled == []
