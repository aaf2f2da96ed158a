"""Server-sent events: the WHATWG cases one by one, and any split of the same bytes gives the same frames."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.sse import FIELD_ERROR, Frame, Parsed, SseParser, parse

BOM = b"\xef\xbb\xbf"

#: name, bytes, the (event, data) pairs they dispatch
CASES = [
    ("one optional space", b"data: a\n\ndata:a\n\n", [("message", "a"), ("message", "a")]),
    ("only one space removed", b"data:  a\n\n", [("message", " a")]),
    ("CRLF", b"data: a\r\n\r\n", [("message", "a")]),
    ("lone CR", b"data: a\r\rdata: b\r\r", [("message", "a"), ("message", "b")]),
    ("mixed line ends", b"data: a\r\ndata: b\rdata: c\n\r\n", [("message", "a\nb\nc")]),
    ("CRLF stream with one LF blank line", b"data: a\r\n\ndata: b\r\n\r\n", [("message", "a"), ("message", "b")]),
    ("BOM dropped once", BOM + b"data: a\n\n" + BOM + b"data: b\n\n", [("message", "a")]),
    ("BOM inside data is content", b"data: " + BOM + b"a\n\n", [("message", "\ufeffa")]),
    ("second BOM at the start is content", BOM + BOM + b"data: a\n\n", []),
    ("comment before data", b": c\ndata: a\n\n", [("message", "a")]),
    ("comment alone", b":\n\n", []),
    ("comment between data lines", b"data: a\n: ping\ndata: b\n\n", [("message", "a\nb")]),
    ("two data lines", b"data: a\ndata: b\n\n", [("message", "a\nb")]),
    ("empty data", b"data\n\ndata:\n\n", [("message", ""), ("message", "")]),
    ("two empty data lines", b"data\ndata\n\n", [("message", "\n")]),
    ("event without data", b"event: x\n\ndata: a\n\n", [("message", "a")]),
    ("event type lasts one event", b"event: error\ndata: {}\n\ndata: a\n\n", [("error", "{}"), ("message", "a")]),
    ("error field", b'error: {"code":500}\n\ndata: [DONE]\n\n', [(FIELD_ERROR, '{"code":500}'), ("message", "[DONE]")]),
    ("unknown field", b"weird: x\ndata: a\n\n", [("message", "a")]),
    ("unterminated line", b"data: a\n\ndata: b", [("message", "a")]),
    ("unterminated event", b"data: a\n\ndata: b\n", [("message", "a")]),
    ("leading space names another field", b" data: a\n\ndata : b\n\n", []),
    ("two blank lines dispatch once", b"data: a\n\n\n\ndata: b\n\n\n", [("message", "a"), ("message", "b")]),
    ("blank lines first", b"\n\n\ndata: a\n\n", [("message", "a")]),
    ("invalid UTF-8", b"data: a\xff\xf0\x9f\x98b\n\n", [("message", "a\ufffd\ufffdb")]),
    ("four-byte character", "data: 😀é\n\n".encode(), [("message", "😀é")]),
    ("colon in the value", b'data: {"a":"b: c"}\n\n', [("message", '{"a":"b: c"}')]),
    ("NUL in data", b"data: a\0b\n\n", [("message", "a\0b")]),
    ("nothing", b"", []),
    ("half a BOM", b"\xef\xbb", []),
]


def pairs(frames: list[Frame]) -> list[tuple[str, str]]:
    return [(frame.event, frame.data) for frame in frames]


@pytest.mark.parametrize(("wire", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_standard_cases(wire: bytes, expected: list[tuple[str, str]]) -> None:
    assert pairs(parse([(1, wire)]).frames) == expected
    assert pairs(SseParser().feed(wire)) == expected
    byte_by_byte = SseParser()
    assert pairs([f for i in range(len(wire)) for f in byte_by_byte.feed(wire[i : i + 1])]) == expected


def test_crlf_split_across_reads_is_one_line_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r\n") == []
    assert pairs(parser.feed(b"\r")) == [("message", "a\nb")]
    assert parser.feed(b"\n") == []
    assert pairs(parser.feed(b"data: c\n\n")) == [("message", "c")]


def test_id_persists_and_bad_ids_and_retries_are_ignored() -> None:
    parser = SseParser()
    parser.feed(b"id: 7\nretry: 1500\ndata: a\n\ndata: b\n\n")
    assert (parser.last_event_id, parser.retry_ms) == ("7", 1500)
    parser.feed(b"id: 8\x00\nretry: 12x\nretry: \xd9\xa1\nretry:\n")
    assert (parser.last_event_id, parser.retry_ms) == ("7", 1500)
    parser.feed(b"id\n")
    assert parser.last_event_id == ""


@pytest.mark.parametrize(
    ("wire", "comments", "unterminated"),
    [
        (b": ping\n\n: ping\n\ndata: a\n\n", 2, False),
        (b"data: a\n\ndata: b", 0, True),
        (b"data: a\n\ndata: b\n", 0, True),
        (b"data: a\r\n\r\ndata: b\r\n", 0, True),
        (b"data: a\r\rdata: b\n", 0, True),
        (b"data: a\n\nda", 0, True),
        (b"data: a\n\n: pin", 0, False),
        (b"data: a\n\n: ping\n", 1, False),
        (b"data: a\n\nevent: x\n", 0, False),
        (b"data: a\n\n", 0, False),
    ],
)
def test_comments_and_cut_off_events_are_told(wire: bytes, comments: int, unterminated: bool) -> None:
    assert parse([(1, wire)])[1:] == (comments, unterminated)


def test_a_frame_has_the_stamp_of_the_read_that_completed_it() -> None:
    reads = [(10, b"data: a"), (20, b"\n"), (30, b"\ndata: b\n\ndata: c\n"), (40, b""), (50, b"\n"), (60, b": x\n")]
    assert [(f.ns, f.data) for f in parse(reads).frames] == [(30, "a"), (30, "b"), (50, "c")]
    crlf = [(10, b"data: a\r\n"), (20, b"\r"), (30, b"\ndata: b\r\n\r\n")]
    assert [(f.ns, f.data) for f in parse(crlf).frames] == [(20, "a"), (30, "b")]
    marked = [(10, BOM[:1]), (20, BOM[1:] + b"data: a\n"), (30, b"\n")]
    assert [(f.ns, f.data) for f in parse(marked).frames] == [(30, "a")]


def incrementally(reads: list[tuple[int, bytes]]) -> Parsed:
    parser = SseParser()
    frames = [frame for ns, data in reads for frame in parser.feed(data, ns)]
    return Parsed(frames, parser.comments, parser.close())


LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"data: \xf0\x9f\x98\x80", b"data: \xff", b"event: e", b": c", b"", b"id: 1", BOM]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n", b"\r"]]))
    lines = draw(st.lists(st.tuples(LINES, st.sampled_from(ends)), max_size=12))
    return draw(st.sampled_from([b"", BOM])) + b"".join(line + end for line, end in lines) + draw(LINES)


@given(streams(), st.data())
def test_any_split_gives_the_same_frames(wire: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    bounds = [0, *cuts, len(wire)]
    reads = [(i, wire[a:b]) for i, (a, b) in enumerate(pairwise(bounds))]
    expected = incrementally([(0, wire)])
    split = parse(reads)
    assert (pairs(split.frames), *split[1:]) == (pairs(expected.frames), *expected[1:])
    # the two parsers agree on the stamps as well
    assert split == incrementally(reads)


@given(st.binary(max_size=60), st.integers(1, 7))
def test_arbitrary_bytes_never_raise_and_splits_agree(wire: bytes, size: int) -> None:
    reads = [(i, wire[i : i + size]) for i in range(0, len(wire), size)]
    assert parse(reads) == incrementally(reads)
    assert pairs(parse(reads).frames) == pairs(parse([(0, wire)]).frames)
