"""Server-sent events (WHATWG HTML, section 9.2.6) without I/O: bytes in, frames out.

Two entrances give the same frames: :class:`SseParser` takes bytes as they come; :func:`parse` takes the stamped reads
of a whole stream and knows which read completed each frame, which is what latency is measured by.

Beyond the standard, three things a harness must see and a browser may not: the unknown field ``error`` (llama.cpp up to
September 2025 reported failures so), comments (keep-alive), and a last event that the end of the stream cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"

#: the event type under which the content of an ``error: ...`` line is handed out
FIELD_ERROR = "field:error"


class Frame(NamedTuple):
    """One dispatched event. ``ns`` is the stamp of the read that completed it (0 where the caller gave none)."""

    ns: int
    event: str
    data: str


class Parsed(NamedTuple):
    """A whole stream: its frames, how many comment lines it held, and whether its last event was cut off."""

    frames: list[Frame]
    comments: int
    unterminated: bool


class SseParser:
    """Incremental parser. Any split of the same bytes gives the same frames.

    Attributes:
        comments: comment lines seen so far.
        last_event_id: the ``id`` in force, as the standard keeps it across events.
        retry_ms: the last valid ``retry`` value, ``None`` before one came.
    """

    def __init__(self) -> None:
        self.comments = 0
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._partial: list[bytes] = []
        self._at_start = True
        self._skip_lf = False
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes, ns: int = 0) -> list[Frame]:
        """The frames that ``data`` completes, stamped with ``ns``."""
        if self._at_start:
            data = self._without_bom(data)
        if self._skip_lf and data:
            # a CR ended the last line: an LF right after it is the other half of the same line end
            data = data[1:] if data[0] == 0x0A else data
            self._skip_lf = False
        if not data or self._at_start:
            return []
        self._skip_lf = data.endswith(b"\r")
        self._partial.append(data)
        if b"\n" not in data and b"\r" not in data:
            return []
        lines = b"".join(self._partial).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._partial = [lines.pop()]
        frames: list[Frame] = []
        for line in lines:
            self.take_line(line, ns, frames)
        return frames

    def close(self) -> bool:
        """Whether the end of the stream cuts off an event; the standard discards what was left."""
        partial = b"".join(self._partial)
        cut_off = bool(self._data) or bool(partial and not partial.startswith(b":"))
        self._partial, self._event, self._data, self._skip_lf = [], "", [], False
        return cut_off

    def _without_bom(self, data: bytes) -> bytes:
        """Holds bytes back until it is known whether the stream starts with a byte order mark."""
        start = b"".join([*self._partial, data])
        if len(start) < len(BOM) and BOM.startswith(start):
            self._partial = [start]
            return b""
        self._partial, self._at_start = [], False
        return start.removeprefix(BOM)

    def take_line(self, line: bytes, ns: int, frames: list[Frame]) -> None:
        """One line without its end; a frame that it completes is appended to ``frames``."""
        if not line:
            if self._data:
                frames.append(Frame(ns, self._event or "message", "\n".join(self._data)))
                self._data = []
            self._event = ""
            return
        name, _, raw = line.partition(b":")
        value = (raw[1:] if raw[:1] == b" " else raw).decode("utf-8", "replace")
        if name == b"data":
            self._data.append(value)
        elif not name:
            self.comments += 1
        elif name == b"event":
            self._event = value
        elif name == b"error":
            frames.append(Frame(ns, FIELD_ERROR, value))
        elif name == b"id" and "\0" not in value:
            self.last_event_id = value
        elif name == b"retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value[:18])


def parse(reads: Sequence[tuple[int, bytes]]) -> Parsed:
    """The frames of a whole stream from its stamped reads, each with the stamp of the read that completed it.

    Streams that end every line the same way, nearly all there are, are cut at blank lines in one go. A mix of line ends
    and ``error`` fields, which are complete with their line, go through :class:`SseParser`; the result is the same.
    """
    raw = b"".join([data for _, data in reads])
    if b"\nerror" not in raw and not raw.removeprefix(BOM).startswith(b"error"):
        carriage_returns = raw.count(b"\r")
        if not carriage_returns:
            return _cut(raw, reads, b"\n")
        if carriage_returns == raw.count(b"\n") == raw.count(b"\r\n"):
            return _cut(raw, reads, b"\r\n")
    parser = SseParser()
    frames = [frame for ns, data in reads for frame in parser.feed(data, ns)]
    return Parsed(frames, parser.comments, parser.close())


def _cut(raw: bytes, reads: Iterable[tuple[int, bytes]], line_end: bytes) -> Parsed:
    """:func:`parse` where ``line_end`` is the only line end of the stream."""
    parser = SseParser()
    frames: list[Frame] = []
    blocks = raw.removeprefix(BOM).split(line_end + line_end)
    rest = blocks.pop()
    # an event is complete with the first byte of the line end that closes its blank line
    completes_at, step = len(raw) - len(raw.removeprefix(BOM)), 2 * len(line_end)
    first_byte_of_end = len(line_end) + 1
    stamps = iter(reads)
    ns, read_until = 0, 0
    for block in blocks:
        completes_at += len(block)
        while read_until < completes_at + first_byte_of_end:
            ns, data = next(stamps)
            read_until += len(data)
        completes_at += step
        if block.startswith(b"data: ") and line_end not in block:
            frames.append(Frame(ns, "message", block[6:].decode("utf-8", "replace")))
        elif block:
            for line in block.split(line_end):
                parser.take_line(line, ns, frames)
            parser.take_line(b"", ns, frames)
    # what follows the last blank line is no event, but perhaps a comment or half an event
    *lines, partial = rest.split(line_end)
    for line in lines:
        parser.take_line(line, ns, frames)
    parser._partial = [partial]
    return Parsed(frames, parser.comments, parser.close())
