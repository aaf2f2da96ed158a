"""The quick ways through a usual stream give what the thorough ways give, and leave the unusual to them."""

from __future__ import annotations

import asyncio
import gc
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.domain import EventKind
from bench.measure import decode as decoding
from bench.measure.codings import CodingError, Dechunker, Reads, dechunk_whole
from bench.measure.decode import Decoded, decode, decode_stream
from bench.measure.garbage import rare_collections
from bench.measure.sse import parse, parse_plain

DONE = b"data: [DONE]\n\n"


def cut(data: bytes, places: list[int]) -> Reads:
    """``data`` as reads that end at ``places``, stamped 1, 2, 3 ..."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges) if b > a]
    return list(enumerate(pieces, start=1))


def byte_stamps(reads: Reads) -> list[tuple[int, int]]:
    """Every byte of a body with its stamp: what must not depend on how pieces are cut."""
    return [(ns, byte) for ns, data in reads for byte in data]


def chunked(bodies: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + end


places = st.lists(st.integers(0, 2000), max_size=8)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.sampled_from([b"0\r\n\r\n", b""]), places)
@example([b"a\r\nb"], b"0\r\n\r\n", [])
@example([b"\r\n"], b"", [4])
def test_whole_chunks_at_once_are_what_they_are_one_by_one(bodies: list[bytes], end: bytes, at: list[int]) -> None:
    reads = cut(chunked(bodies, end), at)
    pieces: Reads = []
    dechunker = Dechunker(pieces)
    ended = False
    for ns, data in reads:
        ended = dechunker.feed(ns, data)
    whole = dechunk_whole(reads)
    if whole is None:
        assert any(b"\r\n" in body for body in bodies) or any(body[-1:] == b"\r" for body in bodies)
    else:
        assert (byte_stamps(whole[0]), whole[1]) == (byte_stamps(pieces), ended)


@given(
    st.binary(max_size=60) | st.from_regex(rb"([0-9a-f+_x ]{1,3}\r\n[a-z]{0,4}\r\n){0,3}(0\r\n\r\n)?", fullmatch=True)
)
def test_what_is_no_whole_chunks_is_left_alone(wire: bytes) -> None:
    whole = dechunk_whole([(1, wire)])
    if whole is not None:
        pieces: Reads = []
        try:
            ended = Dechunker(pieces).feed(1, wire)
        except CodingError:
            ended = None
        assert (byte_stamps(whole[0]), whole[1]) == (byte_stamps(pieces), ended)


payloads = st.one_of(
    st.builds(lambda text: json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}), st.text(max_size=8)),
    st.sampled_from(["{}", '{"a":\t1}', "[1]", "[DONE]", '{"a"\n:1}', ": x", " {}"]),
)


@given(st.lists(payloads, max_size=6), st.sampled_from([DONE, b"", b"data: [DONE]\n", b": end\n\n" + DONE]), places)
def test_plain_events_are_those_of_the_parser(events: list[str], end: bytes, at: list[int]) -> None:
    reads = cut(b"".join(f"data: {event}\n\n".encode() for event in events) + end, at)
    plain = parse_plain(reads)
    if plain is not None:
        frames = parse(reads).frames
        assert [(frame.ns, frame.data.encode()) for frame in frames[:-1]] == list(zip(*plain, strict=True))
        assert frames[-1].data == "[DONE]"


def test_the_usual_stream_is_plain() -> None:
    wire = b'data: {"a":1}\n\ndata: {"b":2}\n\n' + DONE
    assert parse_plain([(5, wire[:20]), (6, wire[20:])]) == ([5, 6], [b'{"a":1}', b'{"b":2}'])


@pytest.mark.parametrize(
    "wire",
    [
        b'data: {"a":1}\n\n',  # not ended
        b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'data: {"a":\ndata: 1}\n\n' + DONE,
        b'event: x\ndata: {"a":1}\n\n' + DONE,
        b'data: {"a":1}\n\n: alive\n\n' + DONE,
        b'data: {"a":1}\n\ndata:  {"b":1}\n\n' + DONE,
        b'data: {"a":1}\n\ndata: [DONE]\n\n' + DONE,
        b"",
    ],
)
def test_an_unusual_stream_is_not_plain(wire: bytes) -> None:
    assert parse_plain([(1, wire)] if wire else []) is None


def thoroughly(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "parse_plain", lambda _: None)
        return decode_stream(reads)


CHUNKS: list[dict[str, Any]] = [
    {"id": "i", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}], "system_fingerprint": "f"},
    {"choices": [{"index": 0, "delta": {"reasoning": "ah"}}], "usage": {"completion_tokens": 1}},
    {"choices": [{"index": 0, "delta": {"content": "a", "reasoning_content": "b"}}]},
    {"choices": [{"delta": {"content": "\u00e9\U0001f600"}}], "usage": None},
    {"choices": [{"index": None, "delta": {"content": "c"}, "finish_reason": "stop"}], "usage": {}},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": ""}], "id": ""},
    # what is left to the thorough way
    {"choices": [{"index": 1, "delta": {"content": "second"}}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}}, {"index": 1, "delta": {"content": "y"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f"}}]}}]},
    {"choices": [{"index": 0, "delta": {"refusal": "no"}}]},
    {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking", "thinking": "z"}, "w"]}}]},
    {"choices": [{"index": 0, "delta": {}, "usage": {"completion_tokens": 9}}]},
    {"choices": [{"index": 0, "finish_reason": "stop"}]},
    {"choices": [{"index": 0, "text": "legacy"}]},
    {"choices": [{"index": 0, "message": {"content": "whole"}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
    {"choices": [{"index": 0, "delta": {"content": 5}}]},
    {"choices": None},
    {"error": {"message": "broken"}},
    {"choices": [], "timings": {"predicted_ms": 1.5}},
    {"choices": [], "perf_metrics": {"a": 1}},
    {"choices": [], "x_groq": {"usage": {"completion_tokens": 2}}},
]


@given(st.lists(st.sampled_from(CHUNKS), max_size=7), places)
def test_a_reply_is_the_same_either_way(chunks: list[dict[str, Any]], at: list[int]) -> None:
    wire = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + DONE
    reads = cut(wire, at)
    with pytest.MonkeyPatch.context() as patch:
        assert decode(reads) == thoroughly(reads, patch)


def test_a_usual_reply_takes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "parse", lambda _: pytest.fail("went the thorough way"))
    wire = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in CHUNKS[:9]) + DONE
    reply = decode([(7, wire)]).reply
    assert reply is not None
    (choice,) = reply.choices
    assert (choice.text, choice.reasoning) == ("a\u00e9\U0001f600c", "hmahb")
    assert choice.event_kind == (EventKind.REASONING,) * 2 + (EventKind.ANSWER,) * 3


def test_collections_are_rare_only_for_a_while() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()

    async def inside() -> tuple[int, int]:
        with rare_collections():
            return gc.get_threshold()[0], gc.get_freeze_count()

    youngest, frozen = asyncio.run(inside())
    assert youngest > before[0][0]
    assert frozen > before[1]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before[0], 0)
