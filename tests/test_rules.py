"""The rule table: every row has a request that keeps it and one that breaks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import Model, Thinking
from bench.rules import (
    EVERYWHERE_RULES,
    MESSAGE_RULES,
    PARAMETER_RULES,
    RULES,
    Severity,
    check_cell,
    drop_unsupported,
    estimate_tokens,
    violations,
)
from bench.rules.cell import shown

QWEN = Model(name="Qwen/Qwen3-8B", context_tokens=131072, thinking=Thinking.toggle, min_p=True)
PLAIN = Model(name="baidu/ERNIE-4.5-300B-A47B", context_tokens=131072, tools=False)
ALWAYS = Model(name="Qwen/QwQ-32B", context_tokens=131072, thinking=Thinking.always)
V31 = Model(name="deepseek-ai/DeepSeek-V3.1", context_tokens=163840, thinking=Thinking.toggle)
SEES = Model(name="zai-org/GLM-4.5V", thinking=Thinking.toggle, vision=True)
USER = {"role": "user", "content": "Hello"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}


def tool(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@dataclass(frozen=True)
class Row:
    """A rule with values of its field that keep it and that break it."""

    rule: str
    field: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    model: Model = QWEN
    more: tuple[tuple[str, Any], ...] = ()
    prompt_tokens: int | None = None


TOOLS = (("tools", [tool()]),)
ROWS = (
    Row("model", "model", ("Qwen/Qwen3-8B",), (None, "", 3)),
    Row("stream", "stream", (True, False, None), (1, "true", [])),
    Row("max_tokens", "max_tokens", (1, 4096), (0, -1, 1.5, "10", True)),
    Row("max_tokens_window", "max_tokens", (1, 121_072), (131_072, 10**9, 121_073)),
    Row("enable_thinking", "enable_thinking", (True, False, None), (0, "false", {})),
    Row("enable_thinking_models", "enable_thinking", (None,), (True, False), model=PLAIN),
    Row("enable_thinking_models", "enable_thinking", (None,), (True, False), model=ALWAYS),
    Row("thinking_off_for_tools", "enable_thinking", (False,), (None, True), model=V31, more=TOOLS),
    Row("thinking_budget", "thinking_budget", (128, 4096, 32768), (127, 32769, 128.5, "4096", False)),
    Row("thinking_budget_models", "thinking_budget", (None,), (4096,), model=PLAIN),
    Row("min_p", "min_p", (0, 0.05, 1), (-0.01, 1.01, math.nan, math.inf, "0.05", True)),
    Row("min_p_models", "min_p", (None,), (0.05, 0), model=ALWAYS),
    Row("stop", "stop", ("a", ["a"], ["a", "b", "c", "d"], None), ([], list("abcde"), 1, [1], {"a": 1})),
    Row("temperature", "temperature", (0, 0.7, 2), (-0.1, 2.1, "0.7", math.nan)),
    Row("top_p", "top_p", (0, 0.7, 1), (-0.1, 1.1, [0.7])),
    Row("top_k", "top_k", (1, 50, 100), (0, -1, 101, "50")),
    Row("frequency_penalty", "frequency_penalty", (-2, 0.5, 2), (-2.1, 2.1, "0.5")),
    Row("presence_penalty", "presence_penalty", (-2, 0.5, 2), (-2.1, 2.1, {})),
    Row("n", "n", (1, 3, 64), (0, -1, 1.5, True, "1")),
    Row(
        "response_format",
        "response_format",
        ({"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("json_object", {}, {"type": "xml"}, {"type": ["text"]}, {"type": "json_schema"}),
    ),
    Row("response_format", "response_format", ({"type": "text"},), ({"type": "json_object"},), model=SEES),
    Row(
        "tools",
        "tools",
        ([], [tool("a-B_9")], [tool("x" * 64, parameters={"type": "object"})], [tool(f"f{i}") for i in range(128)]),
        (
            {},
            "f",
            [tool(f"f{i}") for i in range(129)],
            [tool("")],
            [tool("x" * 65)],
            [tool("with space")],
            [tool("f\n")],
            [tool("函数")],
            [tool(None)],  # type: ignore[arg-type]  # the breach is the point
            [{"type": "function"}],
            [{"type": "retrieval", "function": {"name": "f"}}],
            [3],
            [tool(parameters=[1])],
        ),
    ),
    Row("tools_models", "tools", ([], None), ([tool()],), model=PLAIN),
    Row("tool_choice", "tool_choice", ("none", "auto", "required", named("f"), None), ("any", 1, {}, []), more=TOOLS),
    Row("tool_choice", "tool_choice", (named("f"),), (named("g"),), more=TOOLS),
    Row("tool_choice_models", "tool_choice", (None,), ("auto",), model=PLAIN),
    Row(
        "messages",
        "messages",
        (
            [USER],
            [USER] * 10,
            [{"role": "system", "content": ""}, USER],
            [USER, CALL, {"role": "tool", "content": "4", "tool_call_id": "c"}],
            [IMAGE],
        ),
        (
            None,
            [],
            [USER] * 11,
            "Hello",
            [3],
            [{"role": "developer", "content": "x"}],
            [{"content": "x"}],
            [{"role": ["user"], "content": "x"}],
            [{"role": "user"}],
            [{"role": "user", "content": 3}],
            [{"role": "user", "content": []}],
            [{"role": "user", "content": [{"text": "no type"}]}],
            [USER, {"role": "tool", "content": "4"}],
        ),
        model=SEES,
    ),
    Row("messages_images", "messages", ([USER],), ([IMAGE], [USER, IMAGE])),
    Row("messages_window", "messages", ([USER],), (), prompt_tokens=131_071),
    Row("messages_window", "messages", (), ([USER],), prompt_tokens=131_072),
    Row("messages_window", "messages", ([USER],), (), prompt_tokens=31_072, more=(("max_tokens", 100_000),)),
    Row("messages_window", "messages", (), ([USER],), prompt_tokens=31_073, more=(("max_tokens", 100_000),)),
)


def broken(row: Row, value: Any) -> list[str]:
    body = {"model": row.model.name, "messages": [USER], **dict(row.more), row.field: value}
    if value is None:
        del body[row.field]
    return [v.name for v in violations(body, row.model, prompt_tokens=row.prompt_tokens)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_each_rule_passes_what_keeps_it_and_reports_what_breaks_it(row: Row) -> None:
    for value in row.good:
        assert row.rule not in broken(row, value), value
    for value in row.bad:
        assert row.rule in broken(row, value), value


def test_every_rule_has_a_keeping_and_a_breaking_case() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert {row.rule for row in ROWS if row.good} == set(names)
    assert {row.rule for row in ROWS if row.bad} == set(names)


def test_a_good_value_breaks_no_other_rule_either() -> None:
    for row in ROWS:
        if row.model is QWEN and row.prompt_tokens is None:
            for value in (v for v in row.good if v is not None):
                assert broken(row, value) == [], (row.rule, value)


def test_null_counts_as_not_sent() -> None:
    body = {"model": PLAIN.name, "messages": [USER]}
    nulls = {rule.field: None for rule in RULES if rule.field not in body}
    assert violations({**nulls, **body}, PLAIN) == []


def test_without_a_model_only_what_holds_for_all_is_judged() -> None:
    body = {"model": "x/y", "messages": [IMAGE], "min_p": 0.1, "enable_thinking": True, "tools": [tool()]}
    assert violations(body, None, prompt_tokens=10**9) == []
    assert [v.field for v in violations({**body, "min_p": 2}, None)] == ["min_p"]


def test_parameter_rules_do_not_look_at_messages_and_the_parts_make_the_whole() -> None:
    body = {"model": QWEN.name, "min_p": 2}
    assert [v.name for v in violations(body, QWEN, rules=PARAMETER_RULES)] == ["min_p"]
    assert [v.name for v in violations(body, QWEN, rules=MESSAGE_RULES)] == ["messages"]
    assert [v.name for v in violations(body, QWEN)] == ["min_p", "messages"]


def test_other_servers_are_held_to_what_the_harness_counts_on_alone() -> None:
    body = {"model": "m", "messages": [USER] * 40, "temperature": 5, "top_k": -1, "stop": list("abcdef"), "n": 0}
    assert [v.name for v in violations(body, PLAIN, rules=EVERYWHERE_RULES)] == ["n"]


def test_max_tokens_near_the_window_warns_and_past_it_fails() -> None:
    def severities(max_tokens: int, window: int = 131072) -> list[Severity]:
        model = Model(name="m", context_tokens=window)
        body = {"model": "m", "messages": [USER], "max_tokens": max_tokens}
        return [v.severity for v in violations(body, model)]

    assert severities(121_072) == []
    assert severities(121_073) == [Severity.WARNING]
    assert severities(131_071) == [Severity.WARNING]
    assert severities(131_072) == [Severity.ERROR]
    assert severities(4096, window=8192) == [], "a small window cannot spare 10,000 tokens: half of it is kept"
    assert severities(4097, window=8192) == [Severity.WARNING]


def test_an_estimate_alone_refuses_nothing_that_may_fit() -> None:
    body = {"model": QWEN.name, "messages": [USER], "max_tokens": 31_072}
    exact = violations(body, QWEN, prompt_tokens=150_000)
    assert [v.severity for v in exact] == [Severity.ERROR]
    guessed = violations(body, QWEN, prompt_tokens=150_000, estimated=True)
    assert [v.severity for v in guessed] == [Severity.WARNING]
    hopeless = violations(body, QWEN, prompt_tokens=200_002, estimated=True)
    assert [v.severity for v in hopeless] == [Severity.ERROR]


def test_a_message_names_model_field_value_and_rule_once_per_broken_rule() -> None:
    body = {"model": QWEN.name, "messages": [USER], "min_p": 1.5, "stop": list("abcde"), "max_tokens": 125_000}
    found = check_cell(body, QWEN)
    assert found.errors == (
        "model Qwen/Qwen3-8B: sampling.min_p=1.5: must be between 0 and 1",
        "model Qwen/Qwen3-8B: sampling.stop=(a list of 5): must hold 1 to 4 sequences",
    )
    assert found.warnings == (
        (
            "model Qwen/Qwen3-8B: sampling.max_tokens=125000: leaves 6072 of 131072 tokens for the input; "
            "keep about 10000 free"
        ),
    )


def test_a_message_about_what_a_model_does_not_take_says_the_way_out() -> None:
    body = {"model": ALWAYS.name, "messages": [USER], "enable_thinking": False}
    (error,) = check_cell(body, ALWAYS).errors
    assert error.startswith("model Qwen/QwQ-32B: sampling.enable_thinking=false: the model does not take it (only ")
    assert error.endswith("; leave it out, or set unsupported=drop")


def test_a_message_about_a_row_names_its_place() -> None:
    body = {"model": QWEN.name, "messages": [{"role": "developer", "content": "x"}], "n": 0}
    assert check_cell(body, QWEN, place="rows.jsonl:7").errors == (
        "model Qwen/Qwen3-8B: sampling.n=0: must be at least 1",
        'model Qwen/Qwen3-8B, rows.jsonl:7: messages[0].role="developer": must be one of system, user, assistant, tool',
    )


def test_drop_takes_out_only_what_the_model_does_not_take_and_says_so() -> None:
    body = {
        "model": PLAIN.name,
        "messages": [USER],
        "min_p": 0.05,
        "enable_thinking": False,
        "tools": [tool()],
        "tool_choice": "auto",
        "temperature": 3,
    }
    kept, said = drop_unsupported(body, PLAIN)
    assert kept == {"model": PLAIN.name, "messages": [USER], "temperature": 3}
    assert len(said) == 4
    assert (
        "model baidu/ERNIE-4.5-300B-A47B: sampling.min_p=0.05: the model does not take it (only Qwen3 models do); "
        "it is left out of the requests" in said
    )
    assert [v.name for v in violations(kept, PLAIN)] == ["temperature"]


def test_tools_with_thinking_are_a_conflict_to_settle_and_not_dropped() -> None:
    body = {"model": V31.name, "messages": [USER], "tools": [tool()]}
    assert drop_unsupported(body, V31) == (body, [])
    assert check_cell(body, V31).errors == (
        "model deepseek-ai/DeepSeek-V3.1: sampling.enable_thinking=null: must be false to use tools with this model",
    )
    other = Model(name="Qwen/Qwen3-14B", thinking=Thinking.toggle)
    assert violations({**body, "model": other.name}, other) == []


def test_estimate_is_cautious_about_chinese_and_counts_every_part() -> None:
    def of(content: Any) -> int:
        return estimate_tokens([{"role": "user", "content": content}])

    assert of("") == 7, "4 for the message, 3 for the opening of the reply"
    assert of("a" * 400) == 107
    assert of("中" * 100) == 107
    assert of([{"type": "text", "text": "a" * 400}, {"type": "image_url", "image_url": {"url": "x" * 9999}}]) == 1107
    assert estimate_tokens([USER], [tool(description="b" * 400)]) >= estimate_tokens([USER]) + 100
    assert estimate_tokens([USER, USER]) > estimate_tokens([USER])


def test_shown_values_are_short_and_printable() -> None:
    assert shown("a\n\x1b[31m\u202e\x85") == '"a\\n\\u001b[31m\\u202e\\x85"'
    assert len(shown("x" * 10_000)) <= 64
    assert shown("\ud800").isascii()
    assert shown(10**5000) == "(a number of more than 40 digits)"
    assert shown([1, 2]) == "(a list of 2)"
    assert shown({"a": 1}) == "(an object with 1 keys)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["user", "tool"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({rule.field for rule in RULES})
MESSAGE = st.fixed_dictionaries({}, optional=dict.fromkeys(("role", "content", "tool_calls"), JSON))
FUNCTION = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "parameters"), JSON))
TOOL = st.fixed_dictionaries({}, optional={"type": st.just("function") | JSON, "function": FUNCTION | JSON})
SHAPED = {
    "messages": st.lists(MESSAGE | JSON, max_size=4),
    "tools": st.lists(TOOL | JSON, max_size=3),
    "tool_choice": TOOL,
    "response_format": st.fixed_dictionaries({"type": JSON}, optional={"json_schema": JSON}),
}
BODIES = st.fixed_dictionaries({}, optional={f: JSON | SHAPED[f] if f in SHAPED else JSON for f in FIELDS})
MODELS = st.sampled_from([QWEN, PLAIN, ALWAYS, V31, SEES])


@settings(max_examples=150, deadline=None)
@given(body=BODIES, model=MODELS | st.none(), tokens=st.none() | st.integers(0, 10**7), estimated=st.booleans())
def test_rules_never_raise_whatever_the_json(
    body: dict[str, Any], model: Model | None, tokens: int | None, estimated: bool
) -> None:
    for violation in violations(body, model, prompt_tokens=tokens, estimated=estimated):
        assert violation.path.startswith(violation.field)
        assert shown(violation.value).isprintable()
    assert estimate_tokens(body.get("messages"), body.get("tools")) > 0


@settings(max_examples=100, deadline=None)
@given(body=BODIES, model=MODELS)
def test_after_drop_nothing_unsupported_is_left_and_the_rest_is_untouched(body: dict[str, Any], model: Model) -> None:
    kept, said = drop_unsupported(body, model)
    assert not [v for v in violations(kept, model) if v.parameter_unsupported]
    assert len(said) == len(body) - len(kept)
    assert all(kept[key] is body[key] for key in kept)
    assert all(isinstance(sentence, str) and sentence.isprintable() for sentence in said)


def test_the_rules_take_any_object_with_a_models_facts() -> None:
    class Kind(Enum):
        none = "none"

    @dataclass(frozen=True)
    class Facts:
        name: str = "x"
        context_tokens: int | None = None
        thinking: Kind = Kind.none
        tools: bool = True
        vision: bool = False
        min_p: bool = False

    assert [v.name for v in violations({"model": "x", "messages": [USER], "min_p": 0.1}, Facts())] == ["min_p_models"]
