"""Chunked transfer coding and compression: any split gives the same body, damage and bombs are refused."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.codings import CodingError, Dechunker, Reads, TooLargeError, decompress


def dechunk(reads: Reads) -> tuple[Reads, bool, bytes]:
    pieces: Reads = []
    dechunker = Dechunker(pieces)
    for at, (ns, data) in enumerate(reads):
        if dechunker.feed(ns, data):
            assert at == len(reads) - 1 or not any(rest for _, rest in reads[at + 1 :])
            return pieces, True, dechunker.rest
    return pieces, False, dechunker.rest


def test_pieces_have_the_stamp_of_the_read_that_brought_them() -> None:
    reads = [
        (1, b"5\r\nab"),
        (2, b"cde\r"),
        (3, b"\n3;x=y\r\nfgh\r\n1"),
        (4, b"\r\ni\r\n0\r\nTrailer: x\r\n"),
        (5, b"\r\nrest"),
    ]
    assert dechunk(reads) == ([(1, b"ab"), (2, b"cde"), (3, b"fgh"), (4, b"i")], True, b"rest")


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.data())
def test_any_split_gives_the_same_body(chunks: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    reads = [(i, wire[a:b]) for i, (a, b) in enumerate(pairwise([0, *cuts, len(wire)]))]
    pieces, ended, rest = dechunk(reads)
    assert (b"".join(piece for _, piece in pieces), ended, rest) == (b"".join(chunks), True, b"")
    assert [ns for ns, _ in pieces] == sorted(ns for ns, _ in pieces)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(1, 6))
def test_a_cut_body_never_ends(chunks: list[bytes], missing: int) -> None:
    wire = b"".join(b"%X\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    pieces, ended, _ = dechunk([(1, wire[: -min(missing, 5)])])
    assert not ended
    assert b"".join(piece for _, piece in pieces) == b"".join(chunks)


@pytest.mark.parametrize(
    "wire",
    [b"xyz\r\n", b"-1\r\n", b"+5\r\n", b"0x5\r\n", b"\r\n", b"5\r\nabcdefg", b"5\nabcde", b"1" * 5000, b"1\r\na\rb"],
)
def test_what_is_not_chunked_is_refused(wire: bytes) -> None:
    with pytest.raises(CodingError):
        dechunk([(1, wire)])


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from(["gzip", "deflate", "X-GZIP "]))
def test_decompression_keeps_stamps_in_order(body: bytes, size: int, encoding: str) -> None:
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    reads = [(i, packed[i : i + size]) for i in range(0, len(packed), size)]
    pieces = decompress(reads, encoding, 1000)
    assert b"".join(piece for _, piece in pieces) == body
    assert [ns for ns, _ in pieces] == sorted(ns for ns, _ in pieces)


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    with pytest.raises(TooLargeError):
        decompress([(1, gzip.compress(b"0" * 10_000_000))], "gzip", 1000)
    assert decompress([(1, gzip.compress(b"0" * 1000))], "gzip", 1000) == [(1, b"0" * 1000)]


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", b"no"), ("deflate", b"\x78no"), ("br", b"x"), ("gzip, br", b"x")]
)
def test_what_cannot_be_decompressed_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(CodingError):
        decompress([(1, body)], encoding, 1000)
