"""What any bytes from a server must hold for: oracles of the readers of streams, documents, errors and codings."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bench.domain import Choice, ErrorKind, Failure, Outcome, Reply
from bench.measure import decode as decoding
from bench.measure.assemble import says_token
from bench.measure.codings import (
    CodingError,
    Dechunker,
    Reads,
    TooLargeError,
    dechunk_whole,
    decompress,
    end_of_head,
)
from bench.measure.decode import Decoded, decode, decode_stream
from bench.measure.errors import DETAIL_CHARS, classify, failure_in
from bench.measure.payloads import MAX_INDEX, read_chunk, read_exactly, read_json, read_usage
from bench.measure.sse import Parsed, SseParser, parse

#: longest result of undoing a compression here
LIMIT_BYTES = 100_000
#: bytes that are read one by one
BYTEWISE = 300

CHUNK: dict[str, Any] = {
    "id": "i",
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "a b", "reasoning_content": None}, "finish_reason": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 1}},
}
CALL = {"index": 1, "id": "t", "function": {"name": "f", "arguments": '{"x": 1}'}}
PAYLOADS: tuple[Any, ...] = (
    CHUNK,
    {"choices": [{"index": 0, "delta": {"reasoning": "hm"}}], "x_groq": {"usage": {"completion_tokens": 2}}},
    {"choices": [{"index": 1, "delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]},
    {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking", "thinking": [{"text": "z"}]}, "w"]}}]},
    {"choices": [{"index": 0, "message": {"content": "x", "refusal": "no"}, "finish_reason": "stop"}], "usage": {}},
    {"choices": [], "timings": {"predicted_ms": 1.5}, "perf_metrics": {"a": [1]}},
    {"choices": [{"text": "old", "index": 0, "finish_reason": "length"}], "system_fingerprint": "f"},
    {"error": {"message": "busy", "code": 429, "type": "rate_limit"}},
    {"code": 20015, "message": "The parameter is invalid.", "data": None},
    {"error": "loading", "error_type": "overloaded", "status": 503},
    "Not Found",
)


def wire_of(payloads: Sequence[Any], end: str = "\n") -> bytes:
    """A stream of these payloads that ends with ``[DONE]``."""
    lines = [f"data: {json.dumps(one, ensure_ascii=False)}{end}{end}" for one in payloads]
    return "".join([*lines, f"data: [DONE]{end}{end}"]).encode()


def split(data: bytes) -> tuple[bytes, Reads]:
    """A wire and its reads: the first byte says how often it is cut, two more for each cut say where."""
    count = min(data[0] % 8, (len(data) - 1) // 2) if data else 0
    wire = data[1 + 2 * count :]
    places = struct.unpack(f"<{count}H", data[1 : 1 + 2 * count])
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    return wire, [(ns, wire[a:b]) for ns, (a, b) in enumerate(pairwise(edges), start=1)]


def bytewise(wire: bytes) -> Reads:
    """The wire one byte at a time; a long one, which would take long, its first bytes so and the rest at once."""
    short = min(len(wire), BYTEWISE)
    return [*((ns, wire[ns : ns + 1]) for ns in range(short)), (short, wire[short:])]


def check_sse(data: bytes) -> None:
    """Any split gives the same events; both parsers agree; times never go back."""
    wire, reads = split(data)
    parsed, whole = parse(reads), parse([(1, wire)])
    parser = SseParser()
    frames = [frame for ns, read in reads for frame in parser.feed(read, ns)]
    assert parsed == Parsed(frames, parser.comments, parser.close())
    for other in (parsed, parse(bytewise(wire))):
        assert [one[1:] for one in other.frames] == [one[1:] for one in whole.frames]
        assert other[1:] == whole[1:]
        assert all(a.ns <= b.ns for a, b in pairwise(other.frames))
    assert sum(len(one.data) for one in whole.frames) <= len(wire)


def thoroughly(reads: Reads) -> Decoded:
    """A stream without the quick way."""
    quick = decoding.plain_reply
    decoding.plain_reply = lambda _: None
    try:
        return decode_stream(reads)
    finally:
        decoding.plain_reply = quick


def check_decode(data: bytes) -> None:
    """Quick and thorough ways agree, splits change times alone, every text can be stored, nothing grows."""
    wire, reads = split(data)
    decoded = decode(reads)
    assert decode_stream(reads) == thoroughly(reads)
    assert _timeless(decoded) == _timeless(decode([(1, wire)])) == _timeless(decode(bytewise(wire)))
    _sound(decoded, wire, reads)
    broken = decode(reads, Failure(ErrorKind.RESET, "reset"))
    _sound(broken, wire, reads)
    assert broken.outcome is not Outcome.OK or decoded.outcome is Outcome.OK
    for frame in parse(reads).frames:
        says_token(frame.data)


def _timeless(decoded: Decoded) -> Decoded:
    if decoded.reply is None:
        return decoded
    choices = tuple(replace(one, event_ns=(0,) * len(one.event_ns)) for one in decoded.reply.choices)
    return replace(decoded, reply=replace(decoded.reply, choices=choices))


def _sound(decoded: Decoded, wire: bytes, reads: Reads) -> None:
    reply, failure = decoded.reply, decoded.failure
    assert (decoded.outcome is Outcome.OK) == (failure is None)
    if failure is not None:
        _sound_failure(failure)
    if reply is None:
        assert decoded.outcome is Outcome.FAILED
        return
    _storable(reply)
    assert len({choice.index for choice in reply.choices}) == len(reply.choices)
    assert sum(map(_chars, reply.choices)) <= 2 * len(wire)
    assert reply.events == sum(len(choice.event_ns) for choice in reply.choices)
    for choice in reply.choices:
        assert 0 <= choice.index <= MAX_INDEX
        assert len(choice.event_ns) == len(choice.event_kind)
        assert all(a <= b for a, b in pairwise((0, *choice.event_ns, reads[-1][0])))
    for count in vars_of(reply.usage):
        assert count is None or 0 <= count < 2**53


def vars_of(value: Any) -> list[Any]:
    """The values of a small frozen object; none of ``None``."""
    return [] if value is None else [getattr(value, name) for name in value.__slots__]


def _chars(choice: Choice) -> int:
    calls = [call["function"]["arguments"] + call["function"]["name"] + call["id"] for call in choice.tool_calls]
    return len(choice.text) + len(choice.reasoning) + sum(map(len, calls))


def _storable(reply: Reply) -> None:
    texts = [reply.response_id, reply.response_model, reply.system_fingerprint]
    for choice in reply.choices:
        texts += [choice.text, choice.reasoning, choice.finish_reason, *map(str, choice.tool_calls)]
    for text in texts:
        (text or "").encode()


def _sound_failure(failure: Failure) -> None:
    for text in (failure.detail, failure.code or ""):
        assert len(text) <= DETAIL_CHARS
        assert text.isprintable()
        text.encode()
    wait = failure.retry_after_s
    assert wait is None or (wait >= 0 and math.isfinite(wait))


def check_errors(data: bytes) -> None:
    """An error response of any status, header and body is a sound failure; so is whatever a payload says."""
    status = 300 + int.from_bytes(data[:2], "little") % 300
    header, _, body = data[2:].partition(b"\n")
    text = header.decode("utf-8", "surrogateescape")
    for name in ("retry-after", "retry-after-ms", "location"):
        _sound_failure(classify(status, {name: text}, body, wall_clock_s=lambda: 1.8e9))
    found = failure_in(read_json(body))
    if found is not None:
        _sound_failure(found)


def check_payloads(data: bytes) -> None:
    """A chunk is read exactly when there is a JSON object, exactly or tolerantly alike."""
    text = data.decode("utf-8", "replace")
    chunk, exact, value = read_chunk(text), read_exactly(data), read_json(text)
    if exact is not None and text.encode() == data:
        assert chunk == exact
    if isinstance(value, dict):
        assert chunk is not None
    usage = read_usage(value)
    assert all(count is None or 0 <= count < 2**53 for count in vars_of(usage))


def check_codings(data: bytes) -> None:
    """Chunked coding and compression: any split gives the same bytes, at most the limit; a head ends where it ends."""
    wire, reads = split(data)
    assert _dechunked(reads) == _dechunked([(1, wire)]) == _dechunked(bytewise(wire))
    whole = dechunk_whole(reads)
    if whole is not None:
        pieces, ended, rest = _dechunked(reads) or (b"", False, b"")
        assert b"".join(piece for _, piece in whole[0]) == pieces
        assert whole[1] == ended
        assert not rest
    for encoding in ("gzip", "deflate", "br"):
        assert _inflated(reads, encoding) == _inflated([(1, wire)], encoding)
    end = end_of_head(wire)
    assert end is None or end_of_head(wire[:end]) == end


def _dechunked(reads: Reads) -> tuple[bytes, bool, bytes] | None:
    """Body, whether it ended, and what came after it; ``None`` where it is no chunked coding."""
    pieces: Reads = []
    dechunker = Dechunker(pieces)
    for place, (ns, read) in enumerate(reads):
        try:
            ended = dechunker.feed(ns, read)
        except CodingError:
            return None
        if ended:
            rest = dechunker.rest + b"".join(later for _, later in reads[place + 1 :])
            return b"".join(piece for _, piece in pieces), True, rest
    return b"".join(piece for _, piece in pieces), False, b""


def _inflated(reads: Reads, encoding: str) -> bytes | str:
    try:
        body = b"".join(piece for _, piece in decompress(reads, encoding, LIMIT_BYTES))
    except TooLargeError:
        return "too large or damaged behind the limit"
    except CodingError:
        return "damaged"
    assert len(body) <= LIMIT_BYTES
    return body
