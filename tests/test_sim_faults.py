"""Faults of the simulator that strike a response's head, models that go away, and how faults are drawn."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sim_thread import SimThread
from test_sim_wire import LAST_CHUNK, PLAIN, exchange, payloads, post, text_of, unchunked

from bench.providers.sim import EXCLUSIVE, Faults, Gone, ModelKnobs, SimKnobs

CLOSE = "Connection: close\r\n"
OTHER = "Qwen/Qwen3-8B"


@pytest.fixture(scope="module")
def threads() -> Iterator[SimThread]:
    with SimThread() as threads:
        yield threads


def sound(threads: SimThread, stream: bool) -> str:
    """What a server without faults says."""
    request = post({"stream": stream, "temperature": 0}, CLOSE)
    raw, _, _ = exchange(threads.serve(SimKnobs(speed=0)), request)
    if stream:
        said: str = text_of(payloads(unchunked(raw)[0]))
        return said
    return str(json.loads(raw.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"])


def ask(threads: SimThread, stream: bool, **faults: float) -> bytes:
    port = threads.serve(SimKnobs(speed=0, faults=Faults(**faults)))
    raw: bytes
    raw, _, was_reset = exchange(port, post({"stream": stream, "temperature": 0}, CLOSE))
    assert not was_reset
    return raw


@pytest.mark.parametrize("stream", [True, False])
def test_early_hints_come_before_a_sound_reply(threads: SimThread, stream: bool) -> None:
    raw = ask(threads, stream, early_hints=1.0)
    hint, _, rest = raw.partition(b"\r\n\r\n")
    assert hint.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
    body = rest.partition(b"\r\n\r\n")[2]
    said = text_of(payloads(unchunked(rest)[0])) if stream else json.loads(body)["choices"][0]["message"]["content"]
    assert said == sound(threads, stream)


@pytest.mark.parametrize("stream", [True, False])
def test_http_1_0_ends_its_body_with_the_connection(threads: SimThread, stream: bool) -> None:
    port = threads.serve(SimKnobs(speed=0, faults=Faults(http_1_0=1.0)))
    raw, _, was_reset = exchange(port, post({"stream": stream, "temperature": 0}))  # read to the end: it closes
    head, _, body = raw.partition(b"\r\n\r\n")
    assert not was_reset
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"transfer-encoding" not in head
    said = text_of(payloads(body)) if stream else json.loads(body)["choices"][0]["message"]["content"]
    assert said == sound(threads, stream)


def test_a_flood_of_headers_is_followed_by_a_reply(threads: SimThread) -> None:
    head, _, rest = ask(threads, True, header_flood=1.0).partition(b"\r\n\r\n")
    assert len(head) > 256 * 1024
    assert head.count(b"\r\nx-flood-") == 2_000
    assert text_of(payloads(unchunked(b"\r\n\r\n" + rest)[0])) == sound(threads, True)


def test_a_strange_head_is_gone_with_the_next_reply_on_the_connection(threads: SimThread) -> None:
    """A body is drawn anew each time it is asked, so one connection sees sound replies after odd ones."""
    port = threads.serve(SimKnobs(speed=0, faults=Faults(early_hints=0.5)))
    raw, _, _ = exchange(port, post({"max_tokens": 1}) * 39 + post({"max_tokens": 1}, CLOSE))
    assert raw.count(b"HTTP/1.1 200 OK") == 40
    assert 8 <= raw.count(b"HTTP/1.1 103 ") <= 32


def test_retry_after_is_told_where_it_is_set(threads: SimThread) -> None:
    for fault, told in (("http_429", True), ("http_503", True), ("http_500", False)):
        assert (b"\r\nretry-after: 1.5\r\n" in ask(threads, True, **{fault: 1.0, "retry_after_s": 1.5})) is told
        assert b"retry-after" not in ask(threads, True, **{fault: 1.0})


ANSWERS = {
    Gone.missing: (400, b'"code":20012'),
    Gone.disabled: (403, b'"code":30003'),
    Gone.not_found: (404, b"404 page not found"),
    Gone.gone: (410, b'"code":20092'),
}


@pytest.mark.parametrize("how", list(Gone))
def test_a_model_goes_away_after_so_many_requests(threads: SimThread, how: Gone) -> None:
    models = {PLAIN: ModelKnobs(offline_after_requests=3, gone=how)}
    port = threads.serve(SimKnobs(speed=0, models=models))
    listing = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert f'"{PLAIN}"'.encode() in exchange(port, listing)[0]
    raws = [exchange(port, post({"max_tokens": 1}, CLOSE))[0] for _ in range(5)]
    status, body = ANSWERS[how]
    assert [int(raw[9:12]) for raw in raws] == [200, 200, 200, status, status]
    assert body in raws[-1]
    assert f'"{PLAIN}"'.encode() not in exchange(port, listing)[0]
    assert exchange(port, post({"model": OTHER, "max_tokens": 1}, CLOSE))[0].startswith(b"HTTP/1.1 200 ")


def test_a_model_goes_away_after_so_many_seconds(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0, models={PLAIN: ModelKnobs(offline_after_s=0.0)}))
    assert b'"code":20012' in exchange(port, post({}, CLOSE))[0]
    port = threads.serve(SimKnobs(speed=0, models={PLAIN: ModelKnobs(offline_after_s=3600.0)}))
    assert exchange(port, post({"max_tokens": 1}, CLOSE))[0].startswith(b"HTTP/1.1 200 ")


def faults_of(threads: SimThread, log: Path, seed: int) -> list[tuple[str, str | None]]:
    """Each body three times: its digest and the fault it met, in order of arrival."""
    rates = dict.fromkeys(EXCLUSIVE, 0.05)
    port = threads.serve(SimKnobs(speed=0, seed=seed, faults=Faults(**rates, stall_s=0.0), truth_log=str(log)))
    for number in range(3 * 150):
        exchange(port, post({"max_tokens": 1 + number // 3, "stream": True}, CLOSE))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [(row["digest"], row["fault"]) for row in rows]


def test_all_faults_at_once_exclude_each_other_and_are_drawn_by_seed_body_and_attempt(
    threads: SimThread, tmp_path: Path
) -> None:
    first, same, other = (faults_of(threads, tmp_path / f"{i}.log", seed) for i, seed in enumerate((1, 1, 2)))
    assert first == same != other
    assert len({digest for digest, _ in first}) == 150
    counts = Counter(fault for _, fault in first)
    assert set(counts) == {None, *EXCLUSIVE}
    assert len(EXCLUSIVE) == 18
    assert all(5 <= counts[name] <= 45 for name in EXCLUSIVE)  # 22.5 expected of each, standard deviation 4.6
    assert len({fault for _, fault in first[:3]} | {fault for _, fault in first[3:6]}) > 1


def test_the_last_chunk_is_what_ends_a_stream(threads: SimThread) -> None:
    """The reply after early hints keeps its framing: a client that counts chunks finds the end."""
    port = threads.serve(SimKnobs(speed=0, faults=Faults(early_hints=1.0)))
    raw, _, _ = exchange(port, post({"stream": True}), until=LAST_CHUNK)
    assert re.search(rb"\r\n0\r\n\r\n$", raw)
