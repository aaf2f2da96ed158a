"""Where an HTTP head ends, and undoing chunked coding and compression of a body, keeping a stamp on every piece."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import accumulate, repeat

Reads = list[tuple[int, bytes]]

#: longest chunk-size line (with extensions) and longest trailer section that are taken for real
MAX_LINE_BYTES = 4096

_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


def end_of_head(data: bytes) -> int | None:
    """The offset after the blank line that ends a head, ``None`` where it has not come."""
    ends = [at + len(mark) for mark in (b"\n\r\n", b"\n\n") if (at := data.find(mark)) >= 0]
    return min(ends, default=None)


class CodingError(Exception):
    """The body is not what its headers say.

    Attributes:
        pieces: what could be decompressed before the damage.
    """

    pieces: Reads = []  # noqa: RUF012  # never changed, only replaced in an instance


class TooLargeError(Exception):
    """The decompressed body passes the limit."""


class Dechunker:
    """Chunked transfer coding, incrementally: raw reads in, stamped pieces of the body appended to ``pieces``."""

    def __init__(self, pieces: Reads) -> None:
        self.pieces = pieces
        self.rest = b""
        self._left = 0
        self._after_chunk = False
        self._in_trailer = False
        self._trailer_left = MAX_LINE_BYTES
        self._held = b""

    def feed(self, ns: int, data: bytes) -> bool:
        """Takes one read; ``True`` when it ended the body (``rest`` then holds what came after).

        Raises:
            CodingError: this is not chunked coding.
        """
        if self._held:
            data, self._held = self._held + data, b""
        at, size = 0, len(data)
        while True:
            if self._left:
                end = at + self._left
                if end > size:
                    if at < size:
                        self.pieces.append((ns, data[at:]))
                    self._left = end - size
                    return False
                self.pieces.append((ns, data[at:end]))
                at, self._left, self._after_chunk = end, 0, True
            line = self._line(data, at)
            if line is None:
                return False
            if self._in_trailer and line == at + 2:
                self.rest = data[line:]
                return True
            at = line

    @property
    def between_chunks(self) -> bool:
        """Whether the next byte is the first of a size line."""
        return not (self._left or self._after_chunk or self._in_trailer or self._held)

    @property
    def within_framing(self) -> bool:
        """Whether a line that frames chunks has begun and not ended."""
        return self._after_chunk or self._in_trailer or bool(self._held)

    def _line(self, data: bytes, at: int) -> int | None:
        """Takes the framing line at ``at``: the offset after it, or ``None`` (and holds it) if it is not all here."""
        if self._after_chunk:
            if len(data) - at < 2:
                self._hold(data[at:], b"\r\n")
                return None
            if data[at : at + 2] != b"\r\n":
                raise CodingError("a chunk is longer than its size says")
            self._after_chunk = False
            return at + 2
        if self._in_trailer:
            end = data.find(b"\r\n", at)
            if end < 0:
                self._hold(data[at:])
                return None
            self._trailer_left -= end + 2 - at
            if self._trailer_left < 0:
                raise CodingError("the trailer of the chunked body does not end")
            return end + 2
        match = _SIZE_LINE.match(data, at)
        if match is None:
            if b"\n" in data[at : at + MAX_LINE_BYTES]:
                raise CodingError("a chunk size is not a hexadecimal number")
            self._hold(data[at:])
            return None
        self._left = int(match[1], 16)
        self._in_trailer = self._left == 0
        return match.end()

    def _hold(self, line: bytes, expected: bytes = b"") -> None:
        if len(line) > MAX_LINE_BYTES or (expected and not expected.startswith(line)):
            raise CodingError("a framing line of the chunked body is malformed")
        self._held = line


def dechunk_whole(reads: Sequence[tuple[int, bytes]]) -> tuple[Reads, bool] | None:
    """Whole chunks at once, several times as fast as a :class:`Dechunker`: stamped pieces, and whether the body ended.

    ``None`` where the reads do not start and end with whole chunks, or hold more than bare chunks without ``CR LF`` in
    them: that is for a :class:`Dechunker`. Pieces are cut where reads were, so that every byte keeps its stamp.
    """
    raw = b"".join([data for _, data in reads])
    lines = raw.split(b"\r\n")
    sizes, chunks = lines[0:-1:2], lines[1::2]
    # an even count: the size of the last chunk has come, and the line that ends it has not
    if lines[-1] or len(lines) % 2 == 0 or b"".join(sizes).translate(None, _HEX_DIGITS):
        return None
    lengths = list(map(len, chunks))
    try:
        if list(map(int, sizes, repeat(16))) != lengths:
            return None
    except ValueError:  # an empty line where a size belongs
        return None
    ended = bool(lengths) and lengths[-1] == 0
    if 0 in (lengths[:-1] if ended else lengths):
        return None
    heads = list(map(len, sizes))
    return _cut_as_read(reads, b"".join(chunks), lengths, heads), ended


def _cut_as_read(reads: Sequence[tuple[int, bytes]], body: bytes, lengths: list[int], heads: list[int]) -> Reads:
    """``body`` cut where its reads were: chunks of ``lengths``, each after a size line of ``heads`` characters."""
    if len(reads) == 1:
        return [(reads[0][0], body)] if body else []
    frames = [head + length + 4 for head, length in zip(heads, lengths, strict=True)]
    ends, before = list(accumulate(frames)), [0, *accumulate(lengths)]
    pieces: Reads = []
    count, number, read_until, cut_at = len(ends), 0, 0, 0
    for ns, data in reads:
        read_until += len(data)
        while number < count and ends[number] <= read_until:
            number += 1
        upto = before[number]
        if number < count:
            into = read_until - (ends[number] - frames[number]) - heads[number] - 2
            upto += min(max(into, 0), lengths[number])
        if upto > cut_at:
            pieces.append((ns, body[cut_at:upto]))
            cut_at = upto
    return pieces


def decompress(reads: Sequence[tuple[int, bytes]], encoding: str, limit_bytes: int) -> Reads:
    """The reads of a compressed body, decompressed, each piece with the stamp of the read that brought it.

    Args:
        reads: the body as it came.
        encoding: the ``Content-Encoding`` header; ``gzip`` and ``deflate`` are known (we ask for neither).
        limit_bytes: how large the result may become.

    Raises:
        CodingError: the coding is unknown or the data damaged; it holds what came before the damage.
        TooLargeError: the result passes the limit.
    """
    name = encoding.strip().lower()
    if name not in ("gzip", "x-gzip", "deflate"):
        raise CodingError(f"the server compressed with {encoding[:40]!r} although uncompressed was asked for")
    first = next((data for _, data in reads if data), b"")
    # deflate is meant to come in a zlib wrapper, and often comes bare
    wrapped = len(first) > 0 and first[0] & 0x0F == 8
    wbits = 15 if name == "deflate" and wrapped else -15 if name == "deflate" else 31
    inflate = zlib.decompressobj(wbits)
    pieces: Reads = []
    left = limit_bytes
    for ns, data in reads:
        try:
            piece = inflate.decompress(data, left + 1)
        except zlib.error as error:
            damaged = CodingError(f"the {name} body is damaged: {error}")
            damaged.pieces = pieces
            raise damaged from error
        left -= len(piece)
        if left < 0:
            raise TooLargeError
        if piece:
            pieces.append((ns, piece))
    return pieces
