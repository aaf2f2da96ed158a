"""Which row answers a message, how often rightly, and what stands in where no row does."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_thread import answers, models

from bench.providers.sim import ModelKnobs, SimKnobs
from bench.sim.answers import Answers, Row, is_right, load_answers, solve_needle
from bench.sim.api import Service
from bench.sim.compose import Prompt, Spoken, compose
from bench.sim.prose import reasoning_prose
from bench.sim.service import knobs_of
from bench.sim.shapes import instance
from bench.sim.tokens import count_tokens, tokenize
from bench.sim.truth import TruthLog

PLAIN = "Qwen/Qwen2.5-7B-Instruct"
ROWS = 4_000


def rows(count: int) -> list[Row]:
    return [Row(f"question {i}?", "right", "wrong") for i in range(count)]


def say(text: str, found: Answers, skill: float = 1.0, **body: Any) -> list[Spoken]:
    knobs = SimKnobs(models={"*": ModelKnobs(skill=skill)})
    asked = {"model": PLAIN, "messages": [{"role": "user", "content": text}], **body}
    return compose(Prompt(asked, models()[PLAIN], knobs, knobs_of(PLAIN, knobs), seed=1), found)


def share_right(skill: float, temperature: float, repeats: int = 1) -> list[float]:
    """Per repeat, the share of rows answered rightly."""
    random = Random(5)
    options: dict[str, Any] = {"seed": 0, "skill": skill, "temperature": temperature, "correlation": 0.7}
    every = [[is_right(model="m", row=row, random=random, **options) for row in rows(ROWS)] for _ in range(repeats)]
    return [sum(one) / ROWS for one in every]


@pytest.mark.parametrize("skill", [0.1, 0.685, 0.97])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_accuracy_is_the_skill_within_binomial_error(skill: float, temperature: float) -> None:
    error = math.sqrt(skill * (1 - skill) / ROWS)
    for share in share_right(skill, temperature, repeats=3):
        assert abs(share - skill) < 4 * error


def test_skill_at_its_ends_and_temperature_zero_are_certain() -> None:
    assert share_right(1.0, 0.7) == [1.0]
    assert share_right(0.0, 0.7) == [0.0]
    assert len(set(share_right(0.5, 0.0, repeats=3))) == 1


def test_warm_repeats_correlate_as_set() -> None:
    random, skill, same = Random(3), 0.5, 0
    options: dict[str, Any] = {"seed": 0, "model": "m", "skill": skill, "temperature": 0.7, "correlation": 0.7}
    for row in rows(ROWS):
        same += len({is_right(row=row, random=random, **options) for _ in range(2)}) == 1
    expected = 0.49 + 0.51 * 0.5  # both fixed: alike; else alike by chance
    assert abs(same / ROWS - expected) < 4 * math.sqrt(0.25 / ROWS)


def test_models_err_on_different_rows() -> None:
    options: dict[str, Any] = {"seed": 0, "skill": 0.5, "temperature": 0, "correlation": 0.7, "random": Random(0)}
    alike = sum(is_right(model="a", row=r, **options) == is_right(model="b", row=r, **options) for r in rows(ROWS))
    assert abs(alike / ROWS - 0.5) < 4 * math.sqrt(0.25 / ROWS)


def test_the_longest_prompt_in_a_message_answers() -> None:
    found = Answers([Row("What is 2?", "a", "b"), Row("So: What is 2? And why?", "c", "d")])
    assert found.find("Hm. So: What is 2? And why? Please.") == Row("So: What is 2? And why?", "c", "d")
    assert found.find("What is 2?") == Row("What is 2?", "a", "b")
    assert found.find("What is 3?") is None


def test_only_the_last_user_message_is_looked_at() -> None:
    found = Answers([Row("first?", "one", "no"), Row("second?", "two", "no")])
    talk = [
        {"role": "system", "content": "first?"},
        {"role": "user", "content": "first?"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "second?"}]},
    ]
    assert "".join(say("", found, messages=talk)[0].answer) == "two"


def test_needles_are_found_in_long_contexts() -> None:
    hay = "The grass is green. " * 3_000
    text = f"{hay}The magic number of Oslo is 7301. {hay}The magic number of Bergen is 1118. {hay}"
    row = solve_needle(text + "\n\nWhat is the magic number of Oslo?")
    assert row is not None
    assert row.reference == "7301"
    assert row.flawed != "7301"
    assert solve_needle(text + "What is the magic number of Paris?") is None
    assert "".join(say(text + "What is the magic number of Bergen?", Answers([]))[0].answer) == "1118"


def test_every_shipped_row_gives_its_replies_at_the_set_skill() -> None:
    if not answers().rows:
        pytest.skip("no prompt set is shipped yet")
    for row in answers().rows:
        tools = (
            [{"type": "function", "function": {"name": call["name"]}} for call in row.reference or row.flawed]
            if (isinstance(row.reference, list))
            else []
        )
        for skill, reply in ((1.0, row.reference), (0.0, row.flawed)):
            (said,) = say(row.prompt, answers(), skill, **({"tools": tools} if tools else {}))
            if isinstance(reply, str):
                assert "".join(said.answer) == reply
            elif skill == 1.0:
                calls = [{"name": c.name, "arguments": json.loads("".join(c.arguments))} for c in said.calls]
                assert calls == reply


def test_rows_without_both_replies_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"prompt": "p", "reference": "r", "flawed": "f"}\n\n{"prompt": "q", "reference": "r"}\n[1]\n'
    )
    assert load_answers(tmp_path).rows == [Row("p", "r", "f")]


def test_a_calls_row_falls_back_when_its_function_is_not_offered() -> None:
    found = Answers([Row("weather?", [{"name": "get_weather", "arguments": {"city": "Oslo"}}], [])])
    other = {"type": "function", "function": {"name": "other"}}
    (said,) = say("weather?", found, tools=[other])
    assert [call.name for call in said.calls] == ["other"]
    (said,) = say("weather?", found)
    assert said.calls == []
    assert said.answer


def test_json_mode_unwraps_fences_and_wraps_prose() -> None:
    found = Answers([Row("fenced?", '```json\n{"a": 1}\n```', "x"), Row("prose?", "It is so.", "x")])
    shape = {"response_format": {"type": "json_object"}}
    assert "".join(say("fenced?", found, **shape)[0].answer) == '{"a": 1}'
    assert json.loads("".join(say("prose?", found, **shape)[0].answer)) == {"answer": "It is so."}


def test_chinese_questions_get_chinese_prose() -> None:
    (said,) = say("天空为什么是蓝色的？", Answers([]))
    assert all(character >= "\u3000" for token in said.answer for character in token)
    assert "天空" in reasoning_prose("天空为什么是蓝色的？", Random(0), 200)


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokenize(text)) == text
    assert count_tokens(text) == len(tokenize(text))


@given(st.text(), st.integers(1, 400), st.integers(0, 2**32))
def test_reasoning_is_long_enough_for_any_question(question: str, tokens: int, seed: int) -> None:
    assert count_tokens(reasoning_prose(question, Random(seed), tokens)) >= tokens


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=2), st.integers(1, 40))
def test_stop_and_max_tokens_only_ever_shorten(reply: str, stop: str, limit: int) -> None:
    found = Answers([Row("the question", reply, reply)])
    (said,) = say("the question", found, stop=[stop], max_tokens=limit)
    text = "".join(said.answer)
    assert reply.startswith(text)
    assert stop not in text
    assert said.tokens <= limit
    cut = reply.partition(stop)[0]
    assert said.finish_reason == ("stop" if text == cut else "length")


SCHEMAS = st.recursive(
    st.one_of(
        st.builds(
            lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, *[st.integers(-50, 50)] * 2
        ),
        st.builds(lambda a: {"type": "number", "minimum": a, "maximum": a + 7.5}, st.integers(-9, 9)),
        st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, *[st.integers(0, 60)] * 2),
        st.builds(lambda v: {"enum": v}, st.lists(st.integers() | st.text(), min_size=1)),
        st.builds(lambda v: {"const": v}, st.none() | st.booleans() | st.text()),
        st.sampled_from(
            [{"type": "boolean"}, {"type": "null"}, {"type": ["null", "string"]}, {"type": "string", "format": "date"}]
        ),
        st.builds(
            lambda m: {"type": "integer", "multipleOf": m, "minimum": 3, "maximum": 3 + 2 * m}, st.integers(1, 9)
        ),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda p, needed: {
                "type": "object",
                "properties": p,
                "required": list(p) if needed else [],
                "additionalProperties": False,
            },
            st.dictionaries(st.text(max_size=5), inner, max_size=4),
            st.booleans(),
        ),
        st.builds(
            lambda i, n: {"type": "array", "items": i, "minItems": n, "maxItems": n + 1}, inner, st.integers(0, 4)
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=8,
)


@given(SCHEMAS, st.integers(0, 2**32))
def test_instances_follow_their_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(instance(schema, Random(seed)), schema)


def test_recursive_schemas_end() -> None:
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1}},
        "required": ["name"],
    }
    jsonschema.validate(instance(tree, Random(0)), tree)


def test_two_simulators_of_one_seed_never_give_the_same_id() -> None:
    def ids() -> set[str]:
        loop = asyncio.new_event_loop()
        try:
            service = Service(SimKnobs(seed=7), models(), answers(), TruthLog(None), loop)
            return {service._new_id()[0][12:] for _ in range(200)}
        finally:
            loop.close()

    assert len(ids() | ids()) == 400
