"""The quick ways through a usual stream give what the thorough ways give, and leave the unusual to them."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Sequence
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
from bench.measure.plainly import Mould, plain_reply

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


ONE = b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'


@pytest.mark.parametrize(
    "wire",
    [
        b"data: " + ONE + b"\n\n",  # not ended
        b"data: " + ONE + b"\r\n\r\ndata: [DONE]\r\n\r\n",
        b'data: {"choices":\ndata: []}\n\n' + DONE,
        b"event: x\ndata: " + ONE + b"\n\n" + DONE,
        b"data: " + ONE + b"\n\n: alive\n\n" + DONE,
        b"data: " + ONE + b"\n\ndata:  " + ONE + b"\n\n" + DONE,
        b"data: " + ONE + b"\n\ndata: [DONE]\n\n" + DONE,
        b"data: " + ONE + b"\n\nretry: 5\ndata: " + ONE + b"\n\n" + DONE,
        b"",
    ],
)
def test_an_unusual_stream_is_left_to_the_thorough_way(wire: bytes) -> None:
    assert plain_reply([(1, wire)] if wire else []) is None


def thoroughly(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "plain_reply", lambda _: None)
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


def event(text: str, name: str = "content", **more: Any) -> bytes:
    chunk = {"id": "i", "choices": [{"index": 0, "delta": {name: text, **more}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


words = st.text(max_size=4) | st.sampled_from(
    ["", "a", "i", "\n", '"', "\\", "\x7f", "content", "data: {", "~trial~", "é", "字"]
)
runs = st.lists(st.tuples(st.sampled_from(["content", "reasoning", "reasoning_content"]), st.lists(words)), max_size=4)


@given(runs, places, st.binary(max_size=3))
@example([("content", ["a", "b", "", "c"])], [30, 200], b"")
@example([("reasoning", ["a", "b"]), ("content", ["c", '"', "d"])], [], b"")
@example([("content", ["a", "b", "c"])], [], b"\xc3")
def test_words_out_of_a_mould_are_those_that_were_said(
    said: list[tuple[str, list[str]]], at: list[int], damage: bytes
) -> None:
    wire = b"".join(event(text, name) for name, texts in said for text in texts)
    wire = wire.replace(b'"b"', b'"b' + damage + b'"') + DONE
    reads = cut(wire, at)
    with pytest.MonkeyPatch.context() as patch:
        assert decode(reads) == thoroughly(reads, patch)


def test_a_word_that_stands_twice_in_its_event_makes_no_mould() -> None:
    wire = event("i", x="i") + event("j", x="j") + event("k", x="k") + DONE
    reply = decode([(1, wire)]).reply
    assert reply is not None
    assert reply.choices[0].text == "ijk"


@pytest.mark.parametrize(
    "said",
    [
        [("content", "a")],
        [("content", "a")] * 6 + [("content", "\n")],
        [("content", "a"), ("reasoning", "b")],
        [("content", "a"), ("content", "b"), ("reasoning", "c")],
    ],
)
def test_looking_ahead_costs_in_proportion_to_the_stream(
    said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at, words = [], Mould.words

    def counted(mould: Mould, events: Sequence[bytes]) -> list[bytes]:
        looked_at.append(len(events))
        return words(mould, events)

    monkeypatch.setattr(Mould, "words", counted)
    wire = b"".join(event(text, name) for name, text in said * (2000 // len(said))) + DONE
    decode([(1, wire)])
    assert sum(looked_at) <= 2000 * 20


def test_collections_are_rare_only_for_a_while() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()

    async def inside() -> tuple[int, int]:
        with rare_collections():
            return gc.get_threshold()[0], gc.get_freeze_count()

    youngest, frozen = asyncio.run(inside())
    assert youngest > before[0][0]
    assert frozen > before[1]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before[0], 0)
