"""The simulator as the official OpenAI client sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import openai
import pytest
from openai import OpenAI
from sim_thread import answers

from bench.providers.sim import SimKnobs
from bench.sim.answers import Row
from bench.sim.serve import running

PLAIN = "Qwen/Qwen2.5-7B-Instruct"
THINKER = "Qwen/Qwen3-8B"
ASK: Any = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["city", "days"],
        },
    },
}


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with running(SimKnobs(speed=0)) as url, OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


def create(client: OpenAI, **body: Any) -> Any:
    known = {"model": PLAIN, "messages": ASK}
    extra = {k: body.pop(k) for k in ("enable_thinking", "thinking_budget", "top_k", "min_p") if k in body}
    return client.chat.completions.create(**{**known, **body}, extra_body=extra)


def streamed(client: OpenAI, **body: Any) -> tuple[dict[int, str], dict[int, str], dict[int, str], Any]:
    """Text, reasoning and finish reason by choice, and the last usage."""
    text: dict[int, str] = {}
    reasoning: dict[int, str] = {}
    finish: dict[int, str] = {}
    usage = None
    for chunk in create(client, stream=True, **body):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text[choice.index] = text.get(choice.index, "") + (choice.delta.content or "")
            more = getattr(choice.delta, "reasoning_content", None) or ""
            reasoning[choice.index] = reasoning.get(choice.index, "") + more
            if choice.finish_reason:
                finish[choice.index] = choice.finish_reason
    return text, reasoning, finish, usage


def test_a_stream_and_a_whole_reply_to_one_question_say_the_same(client: OpenAI) -> None:
    whole = create(client, model=THINKER, temperature=0)
    text, reasoning, finish, usage = streamed(client, model=THINKER, temperature=0)
    assert whole.choices[0].message.content == text[0]
    assert whole.choices[0].message.reasoning_content == reasoning[0] != ""
    assert whole.choices[0].finish_reason == finish[0] == "stop"
    assert whole.usage.model_dump() == usage.model_dump()
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens


def test_n_choices_are_distinct_and_interleaved(client: OpenAI) -> None:
    stream = create(client, n=3, temperature=1, stream=True)
    order = [choice.index for chunk in stream for choice in chunk.choices if choice.delta.content]
    assert set(order) == {0, 1, 2}
    assert order[:6] == [0, 1, 2, 0, 1, 2]
    whole = create(client, n=3, temperature=1)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in whole.choices}) == 3


def test_temperature_zero_repeats_and_a_warm_one_varies(client: OpenAI) -> None:
    cold = {create(client, temperature=0, messages=ASK).choices[0].message.content for _ in range(3)}
    warm = {create(client, temperature=0.9, messages=ASK).choices[0].message.content for _ in range(3)}
    assert len(cold) == 1
    assert len(warm) == 3


def test_thinking_can_be_switched_and_obeys_its_budget(client: OpenAI) -> None:
    off = create(client, model=THINKER, enable_thinking=False)
    assert not hasattr(off.choices[0].message, "reasoning_content")
    assert off.usage.completion_tokens_details is None
    for question in range(8):
        asked: Any = [{"role": "user", "content": f"Question {question}?"}]
        usage = create(client, model=THINKER, thinking_budget=128, messages=asked).usage
        assert usage.completion_tokens_details.reasoning_tokens <= 128


def test_max_tokens_limits_the_answer_and_not_the_reasoning(client: OpenAI) -> None:
    reply = create(client, model=THINKER, max_tokens=4)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens - reply.usage.completion_tokens_details.reasoning_tokens == 4


def test_stop_sequences_end_the_text_and_are_not_in_it(client: OpenAI) -> None:
    full = create(client, temperature=0).choices[0].message.content
    for stop in (" ", ["zzz", "."]):
        reply = create(client, temperature=0, stop=stop).choices[0]
        assert reply.finish_reason == "stop"
        assert full.startswith(reply.message.content)
        assert not any(s in reply.message.content for s in stop)


def test_tool_calls_fit_the_schema_streamed_or_not(client: OpenAI) -> None:
    whole = create(client, tools=[WEATHER], temperature=0).choices[0]
    assert whole.finish_reason == "tool_calls"
    call = whole.message.tool_calls[0]
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    name, arguments, ids = "", "", []
    for chunk in create(client, tools=[WEATHER], temperature=0, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            name += delta.function.name or ""
            arguments += delta.function.arguments or ""
            ids += [delta.id] if delta.id else []
    assert (name, arguments) == ("get_weather", call.function.arguments)
    assert len(ids) == 1


def test_tool_choice_none_and_tool_results_are_answered_in_words(client: OpenAI) -> None:
    assert create(client, tools=[WEATHER], tool_choice="none").choices[0].message.content
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    talk = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    reply = create(client, tools=[WEATHER], messages=talk).choices[0]
    assert reply.message.tool_calls is None
    assert reply.message.content
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert create(client, tools=[WEATHER], tool_choice=named).choices[0].message.tool_calls


def test_json_formats_give_json(client: OpenAI) -> None:
    reply = create(client, response_format={"type": "json_object"}).choices[0].message.content
    assert isinstance(json.loads(reply), dict)
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3, "maxLength": 12},
            "kind": {"enum": ["a", "b"]},
            "sizes": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 1},
            "next": {"anyOf": [{"$ref": "#/$defs/part"}, {"type": "null"}]},
        },
        "required": ["name", "kind", "sizes", "next"],
        "additionalProperties": False,
        "$defs": {"part": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}},
    }
    shape = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    for stream in (False, True):
        told = create(client, response_format=shape, stream=stream)
        text = "".join(c.choices[0].delta.content or "" for c in told) if stream else told.choices[0].message.content
        jsonschema.validate(json.loads(text), schema)


def test_errors_arrive_as_the_clients_exceptions(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        create(client, temperature="0.7")
    assert json.loads(bad.value.response.text) == {
        "code": 20015,
        "message": "The parameter is invalid. Please check again.",
        "data": None,
    }
    with pytest.raises(openai.BadRequestError, match="Model does not exist"):
        create(client, model="no/such-model")
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="BAAI/bge-m3", input="x")
    assert missing.value.response.text == "404 page not found"


def test_models_are_listed_with_filters(client: OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {PLAIN, THINKER, "BAAI/bge-m3"} <= set(ids)
    chat = [model.id for model in client.models.list(extra_query={"type": "text", "sub_type": "chat"})]
    assert {PLAIN, THINKER} <= set(chat)
    assert "BAAI/bge-m3" not in chat
    assert [model.id for model in client.models.list(extra_query={"type": "video"})] == ["Wan-AI/Wan2.2-T2V-A14B"]


def test_shipped_questions_are_answered_with_their_replies(client: OpenAI) -> None:
    rows: list[Row] = [row for row in answers().rows if isinstance(row.reference, str)]
    if not rows:
        pytest.skip("no prompt set is shipped yet")
    right = 0
    for row in rows[:60]:
        asked: Any = [{"role": "user", "content": f"Please answer.\n\n{row.prompt}\n\nThink first."}]
        said = create(client, messages=asked, temperature=0).choices[0].message.content
        assert said in (row.reference, row.flawed)
        right += said == row.reference
    assert 0 < right < len(rows)
