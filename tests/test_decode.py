"""Decoding replies: what servers disagree about, one case each, and nothing that a server sends raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ErrorKind, EventKind, Failure, Outcome, Reply, Usage
from bench.measure.assemble import whole
from bench.measure.decode import Decoded, decode
from bench.measure.errors import DETAIL_CHARS, classify, plain, retry_after_s

R, A, T = EventKind.REASONING, EventKind.ANSWER, EventKind.TOOL


def sse(*payloads: Any) -> list[tuple[int, bytes]]:
    """A stream, one read per payload, stamped 1, 2, 3 ...; texts are frames as they are."""
    texts = [p if isinstance(p, str) else f"data: {json.dumps(p)}\n\n" for p in payloads]
    return [(ns, text.encode()) for ns, text in enumerate(texts, 1)]


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "i", "model": "m", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


DONE = "data: [DONE]\n\n"


def ok(decoded: Decoded) -> Reply:
    assert decoded.outcome is Outcome.OK, decoded
    assert decoded.failure is None
    assert decoded.reply is not None
    return decoded.reply


def failed(decoded: Decoded) -> Failure:
    """The failure, which leaves a reply truncated where a part of it had come."""
    choices = decoded.reply.choices if decoded.reply else ()
    came = any(choice.text or choice.reasoning or choice.tool_calls for choice in choices)
    assert decoded.outcome is (Outcome.TRUNCATED if came else Outcome.FAILED), decoded
    assert decoded.failure is not None
    return decoded.failure


def partial_text(decoded: Decoded) -> str:
    assert decoded.reply is not None
    return decoded.reply.choices[0].text


def test_a_plain_stream() -> None:
    reply = ok(
        decode(
            sse(
                {**delta(role="assistant", content=""), "system_fingerprint": "f"},
                delta(content="He"),
                delta(content="llo"),
                delta(finish="stop"),
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
                DONE,
            )
        )
    )
    (choice,) = reply.choices
    assert (choice.text, choice.reasoning, choice.finish_reason) == ("Hello", "", "stop")
    assert (choice.event_ns, choice.event_kind) == ((2, 3), (A, A))
    assert (reply.events, reply.done, reply.usage) == (2, True, Usage(3, 2))
    assert (reply.response_id, reply.response_model, reply.system_fingerprint) == ("i", "m", "f")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_under_either_name(field: str) -> None:
    start = [{"choices": [{"index": 0, "delta": {"content": None, field: text}}]} for text in ("", "We")]
    reads = sse(*start, delta(content="Hi"), DONE)
    (choice,) = ok(decode(reads)).choices
    assert (choice.reasoning, choice.text, choice.event_ns, choice.event_kind) == ("We", "Hi", (2, 3), (R, A))
    assert (choice.first_reasoning_ns, choice.first_answer_ns, choice.last_token_ns) == (2, 3, 3)


def test_reasoning_content_wins_over_reasoning_and_is_not_doubled() -> None:
    (choice,) = ok(decode(sse(delta(reasoning="x", reasoning_content="x"), DONE))).choices
    assert choice.reasoning == "x"


def test_one_chunk_with_both_is_one_answer_event() -> None:
    (choice,) = ok(decode(sse(delta(reasoning="because", content="42"), DONE))).choices
    assert (choice.event_ns, choice.event_kind) == ((1,), (A,))


def test_content_arrays_are_split_by_part_type() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    parts = [*thinking, {"type": "text", "text": "42"}, "!", {"type": "image", "url": "x"}]
    (streamed,) = ok(decode(sse(delta(content=thinking), delta(content=parts), DONE))).choices
    assert (streamed.reasoning, streamed.text, streamed.event_kind) == ("hmhm", "42!", (R, A))
    body = json.dumps({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}).encode()
    (document,) = ok(decode([(1, body)])).choices
    assert (document.reasoning, document.text, document.event_ns) == ("hm", "42!", ())


def test_refusal_is_what_the_model_said() -> None:
    (choice,) = ok(decode(sse(delta(content=None, refusal="No."), DONE))).choices
    assert (choice.text, choice.event_kind) == ("No.", (A,))


def test_choices_are_kept_apart_by_index_and_sorted() -> None:
    reads = sse(delta(1, content="b"), delta(0, content="a"), delta(1, content="B", finish="stop"), delta(0), DONE)
    first, second = ok(decode(reads)).choices
    assert (first.index, first.text, first.finish_reason, first.event_ns) == (0, "a", None, (2,))
    assert (second.index, second.text, second.finish_reason, second.event_ns) == (1, "bB", "stop", (1, 3))


def test_odd_chunks_are_tolerated() -> None:
    reads = sse(
        {"choices": [], "id": "", "prompt_filter_results": []},
        {"choices": None},
        {"object": "ping"},
        delta(content="a", finish="stop"),
        {"choices": [{"index": 0, "content_filter_offsets": {}}]},
        {"choices": [{"index": 7}]},
        {"choices": [{"delta": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": 5, "reasoning": {"x": 1}, "tool_calls": "no"}}]},
        {"choices": ["x"], "usage": 5, "id": 9},
        "data:\n\n",
        ": keep-alive\n\n",
        DONE,
    )
    (choice,) = ok(decode(reads)).choices
    assert (choice.text, choice.finish_reason, choice.event_ns) == ("ab", "stop", (4, 7))


def test_text_after_the_finish_still_counts() -> None:
    reads = sse(delta(content="a"), delta(finish="length"), delta(content="."), DONE)
    (choice,) = ok(decode(reads)).choices
    assert (choice.text, choice.finish_reason) == ("a.", "length")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([{"choices": [], "usage": {"completion_tokens": 5}}], Usage(completion_tokens=5)),
        # cumulative on every chunk: the last, not the sum
        ([{**delta(content="x"), "usage": {"completion_tokens": n}} for n in (1, 3)], Usage(completion_tokens=3)),
        (
            [{"choices": [], "usage": {"completion_tokens": 5}}, {"choices": [], "usage": None}],
            Usage(completion_tokens=5),
        ),
        (
            [{"choices": [], "usage": {"completion_tokens": 5}}, {"choices": [], "usage": {}}],
            Usage(completion_tokens=5),
        ),
        # llama.cpp, n = 2: one usage per choice
        ([{"choices": [], "usage": {"completion_tokens": 24}}] * 2, Usage(completion_tokens=24)),
        ([{"choices": [{"index": 0, "delta": {}, "usage": {"completion_tokens": 7}}]}], Usage(completion_tokens=7)),
        ([{"choices": [], "x_groq": {"usage": {"completion_tokens": 8}}}], Usage(completion_tokens=8)),
        ([{"choices": [], "usage": {"completion_tokens": 9.0, "prompt_tokens": -1}}], Usage(completion_tokens=9)),
        ([{"choices": [], "usage": {"completion_tokens": True, "prompt_tokens": "5"}}], None),
        (
            [
                {
                    "choices": [],
                    "usage": {
                        "prompt_tokens": 1,
                        "completion_tokens": 2,
                        "completion_tokens_details": {"reasoning_tokens": 3},
                        "prompt_tokens_details": {"cached_tokens": 4},
                        "prompt_cache_hit_tokens": 5,
                    },
                }
            ],
            Usage(1, 2, 3, 4),
        ),
        (
            [{"choices": [], "usage": {"prompt_cache_hit_tokens": 5, "prompt_tokens_details": None}}],
            Usage(cached_tokens=5),
        ),
    ],
)
def test_usage_last_that_says_anything_never_summed(chunks: list[Any], expected: Usage | None) -> None:
    assert ok(decode(sse(delta(content="x"), *chunks, DONE))).usage == expected


def call(index: int | None = 0, id_: str | None = None, name: str | None = None, arguments: str | None = None) -> Any:
    return {"index": index, "id": id_, "type": None, "function": {"name": name, "arguments": arguments}}


def tool_calls(*deltas: list[Any]) -> list[tuple[str, str, str]]:
    (choice,) = ok(decode(sse(*[delta(tool_calls=d) for d in deltas], DONE))).choices
    return [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in choice.tool_calls]


def test_tool_deltas_merge_by_index_and_nothing_empty_overwrites() -> None:
    assert tool_calls(
        [call(0, "c1", "f", "")], [call(0, None, "", '{"a":')], [call(1, "c2", "g", "{}")], [call(0, "", None, "1}")]
    ) == [("c1", "f", '{"a":1}'), ("c2", "g", "{}")]


def test_whole_calls_under_one_index_stay_apart() -> None:
    assert tool_calls([call(0, "c1", "f", "{}")], [call(0, "c2", "g", "{}")]) == [("c1", "f", "{}"), ("c2", "g", "{}")]


def test_calls_without_index_take_their_place() -> None:
    assert tool_calls([call(None, "c1", "f", "{}"), call(None, "c2", "g", "{}")]) == [
        ("c1", "f", "{}"),
        ("c2", "g", "{}"),
    ]


def test_tool_events_are_deltas_that_say_something() -> None:
    reads = sse(
        delta(tool_calls=[]),
        delta(tool_calls=[call(0, "c", "f", "")]),
        delta(tool_calls=[call(0, None, "", "")]),
        delta(tool_calls=[call(0, None, None, "{}")]),
        delta(finish="tool_calls"),
    )
    (choice,) = ok(decode(reads)).choices
    assert (choice.event_ns, choice.event_kind) == ((2, 4), (T, T))
    assert choice.first_answer_ns == 2


def test_tool_calls_of_a_document_with_arguments_as_object() -> None:
    message = {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": "é"}}}]}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    (choice,) = ok(decode([(1, body)])).choices
    assert choice.tool_calls == ({"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}},)


def test_a_document_with_everything() -> None:
    body = {
        "id": "i",
        "model": "m",
        "system_fingerprint": "",
        "choices": [
            {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
            {"index": 0, "message": {"content": "a", "reasoning_content": "r"}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "timings": {"prompt_ms": 1.5},
        "perf_metrics": {"ttft": 1},
    }
    # blank lines in front are a keep-alive
    reply = ok(decode([(1, b"\n\n"), (2, b"\n" + json.dumps(body).encode())]))
    assert [(c.index, c.text, c.reasoning, c.finish_reason) for c in reply.choices] == [
        (0, "a", "r", "stop"),
        (1, "b", "", "length"),
    ]
    assert (reply.events, reply.usage, reply.done) == (0, Usage(1, 2), False)
    assert reply.extra == {"timings": {"prompt_ms": 1.5}, "perf_metrics": {"ttft": 1}}


def test_server_truths_of_a_stream_are_kept() -> None:
    reply = ok(decode(sse(delta(content="a"), {"choices": [], "timings": {"predicted_ms": 2.0}}, DONE)))
    assert reply.extra == {"timings": {"predicted_ms": 2.0}}


# what ends a stream


def test_finish_without_done_and_done_without_finish_are_ok() -> None:
    assert ok(decode(sse(delta(content="a", finish="eos")))).done is False
    assert ok(decode(sse(delta(content="a"), DONE))).choices[0].finish_reason is None


@pytest.mark.parametrize("tail", ["", "data: [DONE]", "data: [DONE]\n", 'data: {"choices":[{"del'])
def test_neither_finish_nor_done_is_truncated_with_the_part_kept(tail: str) -> None:
    decoded = decode(sse(delta(content="a"), delta(content="b"), tail))
    assert decoded.outcome is Outcome.TRUNCATED
    assert decoded.failure is not None
    assert decoded.failure.kind is ErrorKind.STREAM_TRUNCATED
    assert ("middle of an event" in decoded.failure.detail) == bool(tail)
    assert partial_text(decoded) == "ab"


def test_one_of_two_choices_unfinished_is_truncated() -> None:
    assert decode(sse(delta(0, "stop", content="a"), delta(1, content="b"))).outcome is Outcome.TRUNCATED


@pytest.mark.parametrize(
    "reads", [[], sse(""), sse(DONE), sse(": ping\n\n"), sse({"choices": [], "usage": {"prompt_tokens": 1}}, DONE)]
)
def test_a_stream_without_any_choice_is_a_bad_payload(reads: list[tuple[int, bytes]]) -> None:
    assert failed(decode(reads)).kind is ErrorKind.BAD_PAYLOAD


def test_an_unreadable_chunk_is_a_bad_payload_with_the_rest_kept() -> None:
    decoded = decode(sse(delta(content="a"), "data: {broken\n\n", delta(content="b", finish="stop"), DONE))
    assert failed(decoded).kind is ErrorKind.BAD_PAYLOAD
    assert "{broken" in failed(decoded).detail
    assert partial_text(decoded) == "ab"
    assert failed(decode(sse(delta(content="a"), "data: hello\n\n", DONE))).kind is ErrorKind.BAD_PAYLOAD


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ErrorKind.BAD_PAYLOAD),
        (b"  \n", ErrorKind.BAD_PAYLOAD),
        (b"<html>", ErrorKind.BAD_PAYLOAD),
        (b"[1]", ErrorKind.BAD_PAYLOAD),
        (b"{", ErrorKind.BAD_PAYLOAD),
        (b"{}", ErrorKind.BAD_PAYLOAD),
        (b'{"choices":[]}', ErrorKind.BAD_PAYLOAD),
        (b'{"choices":[{"index":0}]}', ErrorKind.BAD_PAYLOAD),
        (b"[" * 100_000, ErrorKind.BAD_PAYLOAD),
        (b'"Invalid token"', ErrorKind.STREAM_ERROR),
    ],
)
def test_bodies_that_are_no_reply(body: bytes, kind: ErrorKind) -> None:
    assert failed(decode([(1, body)])).kind is kind


def test_a_broken_connection_spoils_only_what_was_not_complete() -> None:
    broken = Failure(ErrorKind.RESET, "gone")
    assert ok(decode(sse(delta(content="a", finish="stop")), broken)).choices[0].text == "a"
    decoded = decode(sse(delta(content="a")), broken)
    assert (failed(decoded), partial_text(decoded)) == (broken, "a")
    cut = Failure(ErrorKind.STREAM_TRUNCATED, "cut")
    assert decode(sse(delta(content="a")), cut).outcome is Outcome.TRUNCATED
    assert decode([], cut).outcome is Outcome.FAILED
    assert failed(decode([(1, b'{"choices":[')], broken)) == broken


@pytest.mark.parametrize(
    ("part", "outcome"),
    [
        (delta(content="a"), Outcome.TRUNCATED),
        (delta(reasoning_content="a"), Outcome.TRUNCATED),
        (delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]), Outcome.TRUNCATED),
        (delta(role="assistant", content=""), Outcome.FAILED),
        (": waiting\n\n", Outcome.FAILED),
    ],
)
@pytest.mark.parametrize("kind", [ErrorKind.RESET, ErrorKind.TIMEOUT_BETWEEN_TOKENS, ErrorKind.TIMEOUT_TOTAL])
def test_a_break_leaves_a_truncated_reply_where_a_part_had_come(part: Any, outcome: Outcome, kind: ErrorKind) -> None:
    broken = Failure(kind, "gone")
    decoded = decode(sse(part), broken)
    assert (decoded.outcome, decoded.failure) == (outcome, broken)
    if outcome is Outcome.TRUNCATED:
        assert decoded.reply is not None
        assert len(decoded.reply.choices[0].event_ns) == decoded.reply.events == 1


def test_a_document_that_the_server_ended_with_an_error_keeps_what_was_said() -> None:
    said = {"choices": [{"message": {"content": "half an ans"}, "finish_reason": "error"}]}
    decoded = decode([(1, json.dumps(said).encode())])
    assert (failed(decoded).kind, partial_text(decoded)) == (ErrorKind.STREAM_ERROR, "half an ans")


# errors at status 200

IN_BAND = [
    ({"error": {"message": "boom", "type": "server_error", "code": None}}, ErrorKind.STREAM_ERROR, "server_error"),
    ({"error": "boom"}, ErrorKind.STREAM_ERROR, None),
    ({"error": "boom", "error_type": "overloaded"}, ErrorKind.STREAM_ERROR, "overloaded"),
    ({"error": {"message": "boom", "http_status_code": 422}}, ErrorKind.HTTP_OTHER, None),
    ({"error": {"message": "boom", "code": 502}}, ErrorKind.HTTP_5XX, "502"),
    ({"error": {"message": "boom", "code": 429, "type": "slow"}}, ErrorKind.HTTP_429, "slow"),
    ({"code": 50507, "message": "boom", "data": None}, ErrorKind.STREAM_ERROR, "50507"),
    (
        {"object": "error", "message": "boom", "type": "BadRequestError", "code": 400},
        ErrorKind.HTTP_400,
        "BadRequestError",
    ),
]


@pytest.mark.parametrize(("payload", "kind", "code"), IN_BAND)
def test_errors_at_status_200(payload: Any, kind: ErrorKind, code: str | None) -> None:
    expected = Failure(kind, "boom", code)
    assert failed(decode([(1, json.dumps(payload).encode())])) == expected
    assert failed(decode(sse(payload, DONE))) == expected
    decoded = decode(sse(delta(content="a"), payload, DONE))
    assert (failed(decoded), partial_text(decoded)) == (expected, "a")


def test_an_error_beside_choices_counts_and_a_null_one_does_not() -> None:
    erring = {
        "error": {"code": 502, "message": "boom"},
        "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
    }
    assert failed(decode(sse(delta(content="a"), erring, DONE))).kind is ErrorKind.HTTP_5XX
    assert ok(decode(sse({**delta(content="a", finish="stop"), "error": None}, DONE))).choices[0].text == "a"
    assert failed(decode(sse(delta(content="a", finish="error"), DONE))).kind is ErrorKind.STREAM_ERROR


@pytest.mark.parametrize(
    "frame",
    [
        'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
        'event: error\ndata: {"error":{"message":"boom","type":"server_error","code":500}}\n\n',
        'event: error\ndata: {"message":"boom","type":"server_error","code":500}\n\n',
    ],
)
def test_error_fields_and_error_events(frame: str) -> None:
    decoded = decode(sse(delta(content="a"), frame, DONE))
    assert failed(decoded) == Failure(ErrorKind.HTTP_5XX, "boom", "server_error")
    assert partial_text(decoded) == "a"


def test_error_event_in_plain_words() -> None:
    assert failed(decode(sse("event: error\ndata: out of memory\n\n"))) == Failure(
        ErrorKind.STREAM_ERROR, "out of memory"
    )


# hostile text


def test_text_is_always_valid_unicode() -> None:
    assert whole("\ud83d" + "\ude00") == "😀"
    assert whole("a\ud83d") == "a\ufffd"
    reads = [(1, rb'data: {"choices":[{"delta":{"content":"\ud83d"}}]}' + b"\n\n")]
    reads += [(2, rb'data: {"choices":[{"delta":{"content":"\ude00"},"finish_reason":"stop"}]}' + b"\n\n")]
    assert ok(decode(reads)).choices[0].text == "😀"


def test_server_truths_that_cannot_be_recorded_are_dropped() -> None:
    assert ok(decode(sse({**delta(content="a"), "timings": "\ud83d"}, DONE))).extra == {}
    assert ok(decode(sse({**delta(content="a"), "timings": ["x" * 20_000]}, DONE))).extra == {}


def test_invalid_utf8_inside_json_becomes_replacement_characters() -> None:
    reads = [(1, b'data: {"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}\n\n')]
    assert ok(decode(reads)).choices[0].text == "a\ufffdb"


KEYS = (
    *("choices", "index", "delta", "message", "content", "reasoning", "reasoning_content", "tool_calls", "function"),
    *("name", "arguments", "id", "finish_reason", "usage", "completion_tokens", "error", "code", "type", "x_groq"),
    *("timings", "text"),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=4))
def test_no_payload_raises(payloads: list[Any]) -> None:
    for decoded in (decode(sse(*payloads)), decode([(1, json.dumps(payloads[:1]).encode())])):
        assert (decoded.failure is None) == (decoded.outcome is Outcome.OK)
    if payloads:
        choices = decode(sse({"choices": payloads, "usage": payloads[0]}, DONE)).reply
        assert choices is None or all(c.text.encode() is not None for c in choices.choices)


@given(st.binary(max_size=80))
def test_no_bytes_raise(body: bytes) -> None:
    decode([(1, body)])
    decode([(1, b"data: " + body + b"\n\n")])


# error responses


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "words"),
    [
        (400, '{"code":20015,"message":"max_tokens too big","data":null}', ErrorKind.HTTP_400, "20015", "max_tokens"),
        (401, '"Invalid token"', ErrorKind.HTTP_401, None, "Invalid token"),
        (401, '{"code":30014,"data":null,"message":"Token is invalid."}', ErrorKind.HTTP_401, "30014", "Token is"),
        (402, '{"code":30001,"message":"balance","data":null}', ErrorKind.HTTP_402, "30001", "balance"),
        (403, '{"code":30003,"message":"Model disabled.","data":null}', ErrorKind.HTTP_403, "30003", "Model disabled."),
        (403, '"Forbidden"', ErrorKind.HTTP_403, None, "Forbidden"),
        (404, "404 page not found", ErrorKind.HTTP_404, None, "404 page not found"),
        (410, '{"code":20092,"message":"deprecated"}', ErrorKind.HTTP_410, "20092", "deprecated"),
        (429, '{"message":"Details:TPM limit reached.","data":""}', ErrorKind.HTTP_429, None, "TPM limit"),
        (429, '{"code":50603,"message":"Details: TPM limit reached."}', ErrorKind.HTTP_429, "50603", "TPM limit"),
        (500, '{"code":50507,"message":"Request failed: Unknown error."}', ErrorKind.HTTP_5XX, "50507", "Unknown"),
        (503, '{"code":50505,"message":"Model service overloaded."}', ErrorKind.HTTP_5XX, "50505", "overloaded"),
        (503, '{"code":50603,"message":"System is really busy."}', ErrorKind.HTTP_5XX, "50603", "busy"),
        (504, '"Gateway Timeout"', ErrorKind.HTTP_5XX, None, "Gateway Timeout"),
        (
            429,
            '{"error":{"message":"Rate limit","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
            ErrorKind.HTTP_429,
            "rate_limit_exceeded",
            "Rate limit",
        ),
        (
            400,
            '{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":2048}}',
            ErrorKind.HTTP_400,
            "exceed_context_size_error",
            "too long",
        ),
        (
            422,
            '{"error":"Input validation error","error_type":"validation"}',
            ErrorKind.HTTP_OTHER,
            "validation",
            "Input",
        ),
        (404, '{"error":"model not found, try pulling it first"}', ErrorKind.HTTP_404, None, "pulling"),
        (422, '{"detail":[{"loc":["body"],"msg":"field required"}]}', ErrorKind.HTTP_OTHER, None, "field required"),
        (502, "<html>\r\n<title>502 Bad Gateway</title>", ErrorKind.HTTP_5XX, None, "<html> <title>502"),
        (418, "", ErrorKind.HTTP_OTHER, None, "empty body"),
        (500, "[" * 100_000, ErrorKind.HTTP_5XX, None, "[[["),
    ],
)
def test_error_responses(status: int, body: str, kind: ErrorKind, code: str | None, words: str) -> None:
    failure = classify(status, {}, body.encode())
    assert (failure.kind, failure.code) == (kind, code)
    assert words in failure.detail
    assert len(failure.detail) <= DETAIL_CHARS


def test_redirects_name_their_target() -> None:
    failure = classify(307, {"location": "https://elsewhere.example/v1"}, b"")
    assert failure.kind is ErrorKind.HTTP_OTHER
    assert "elsewhere.example" in failure.detail


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, lambda: 10.0) == expected
    assert classify(429, headers, b"", wall_clock_s=lambda: 10.0).retry_after_s == expected


def test_details_are_one_bounded_printable_line() -> None:
    assert plain("a\x1b[31m\r\nb\u202ec\ud800d\x00") == "a [31m b c d"
    assert plain("x" * 10_000) == "x" * (DETAIL_CHARS - 1) + "…"


@given(st.text())
def test_plain_text_is_always_printable(text: str) -> None:
    line = plain(text)
    assert line.isprintable()
    assert len(line) <= DETAIL_CHARS
