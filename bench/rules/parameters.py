"""The rules on parameters: the same for every sample of a cell, unless the sample brings its own tools.

Where the page gives no bound, these are decisions: ``temperature`` and ``top_p`` start at 0; ``top_k`` is 1..100 (the
later page caps it at 100, and 1 is the least that means anything); ``presence_penalty`` takes the range of its twin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.rules.rule import (
    Breach,
    Case,
    Check,
    ModelFacts,
    Rule,
    Severity,
    boolean,
    is_empty,
    is_int,
    items,
    number,
    whole,
)

RESPONSE_FORMATS = ("text", "json_object", "json_schema")
TOOL_CHOICES = ("none", "auto", "required")
MAX_STOPS = 4
MAX_TOOLS = 128
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
RESERVE_TOKENS = 10_000
TOOLS_NEED_THINKING_OFF = ("deepseek-ai/DeepSeek-V3.1", "Pro/deepseek-ai/DeepSeek-V3.1")


def _text(_: Case, value: Any) -> Iterator[Breach]:
    if not isinstance(value, str) or not value:
        yield Breach("is required, and must be a text", value)


def _stop(_: Case, value: Any) -> Iterator[Breach]:
    if isinstance(value, str):
        return
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        yield Breach("must be a text or a list of texts", value)
    elif not 1 <= len(value) <= MAX_STOPS:
        yield Breach(f"must hold 1 to {MAX_STOPS} sequences", value)


def _only_if(takes: Callable[[ModelFacts], bool], why: str) -> Check:
    def check(case: Case, value: Any) -> Iterator[Breach]:
        if case.model is not None and not takes(case.model) and not is_empty(value):
            yield Breach(f"the model does not take it ({why})", value, unsupported=True)

    return check


def _response_format(case: Case, value: Any) -> Iterator[Breach]:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in RESPONSE_FORMATS:
        yield Breach(f"must be an object whose type is one of {', '.join(RESPONSE_FORMATS)}", value)
    elif kind == "json_schema" and not isinstance(value.get("json_schema"), Mapping):
        yield Breach("must hold the object json_schema when its type is json_schema", value)
    elif kind != "text" and case.model is not None and case.model.vision:
        yield Breach("JSON output is documented for text models only", value, severity=Severity.WARNING)


def _tools(_: Case, value: Any) -> Iterator[Breach]:
    if not isinstance(value, list | tuple):
        yield Breach("must be a list of functions", value)
        return
    if len(value) > MAX_TOOLS:
        yield Breach(f"must hold at most {MAX_TOOLS} functions", value)
    for index, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
        if not isinstance(function, Mapping):
            yield Breach('must be {"type": "function", "function": {...}}', tool, f"[{index}]")
            continue
        name = function.get("name")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            rule = "must be 1 to 64 letters, digits, underscores and hyphens"
            yield Breach(rule, name, f"[{index}].function.name")
        if not isinstance(function.get("parameters") or {}, Mapping):
            yield Breach("must be an object", function["parameters"], f"[{index}].function.parameters")


def _tool_names(tools: Any) -> set[str]:
    functions = [tool.get("function") for tool in items(tools) if isinstance(tool, Mapping)]
    names = [function.get("name") for function in functions if isinstance(function, Mapping)]
    return {name for name in names if isinstance(name, str)}


def _tool_choice(case: Case, value: Any) -> Iterator[Breach]:
    if isinstance(value, str) and value in TOOL_CHOICES:
        return
    function = value.get("function") if isinstance(value, Mapping) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        rule = f'must be one of {", ".join(TOOL_CHOICES)}, or {{"type": "function", "function": {{"name": ...}}}}'
        yield Breach(rule, value)
    elif name not in _tool_names(case.body.get("tools")):
        yield Breach("must name a function that is in tools", name, ".function.name")


def _tools_need_thinking_off(case: Case, value: Any) -> Iterator[Breach]:
    named = case.model is not None and case.model.name in TOOLS_NEED_THINKING_OFF
    if named and case.body.get("tools") and value is not False:
        yield Breach("must be false to use tools with this model", value)


def _window(case: Case, value: Any) -> Iterator[Breach]:
    window = case.model.context_tokens if case.model is not None else None
    if window is None or not is_int(value):
        return
    reserve = min(RESERVE_TOKENS, window // 2)  # a window under 20,000 tokens cannot spare 10,000
    if value >= window:
        yield Breach(f"must be less than the model's context window of {window} tokens", value)
    elif value > window - reserve:
        rule = f"leaves {window - value} of {window} tokens for the input; keep about {reserve} free"
        yield Breach(rule, value, severity=Severity.WARNING)


def _thinks(model: ModelFacts) -> bool:
    return bool(model.thinking.value != "none")


#: Judged once per cell.
PARAMETER_RULES: tuple[Rule, ...] = (
    Rule("model", "model", _text, even_absent=True, everywhere=True),
    Rule("stream", "stream", boolean, everywhere=True),
    Rule("max_tokens", "max_tokens", whole(1), everywhere=True),
    Rule("max_tokens_window", "max_tokens", _window),
    Rule("enable_thinking", "enable_thinking", boolean),
    Rule(
        "enable_thinking_models",
        "enable_thinking",
        _only_if(lambda m: m.thinking.value == "toggle", "only models whose thinking can be switched do"),
    ),
    Rule("thinking_off_for_tools", "enable_thinking", _tools_need_thinking_off, even_absent=True),
    Rule("thinking_budget", "thinking_budget", whole(128, 32768)),
    Rule("thinking_budget_models", "thinking_budget", _only_if(_thinks, "only reasoning models do")),
    Rule("min_p", "min_p", number(0, 1)),
    Rule("min_p_models", "min_p", _only_if(lambda m: m.min_p, "only Qwen3 models do")),
    Rule("stop", "stop", _stop),
    Rule("temperature", "temperature", number(0, 2)),
    Rule("top_p", "top_p", number(0, 1)),
    Rule("top_k", "top_k", number(1, 100)),
    Rule("frequency_penalty", "frequency_penalty", number(-2, 2)),
    Rule("presence_penalty", "presence_penalty", number(-2, 2)),
    Rule("n", "n", whole(1), everywhere=True),
    Rule("response_format", "response_format", _response_format),
    Rule("tools", "tools", _tools),
    Rule("tools_models", "tools", _only_if(lambda m: m.tools, "it has no function calling")),
    Rule("tool_choice", "tool_choice", _tool_choice),
    Rule("tool_choice_models", "tool_choice", _only_if(lambda m: m.tools, "it has no function calling")),
)
