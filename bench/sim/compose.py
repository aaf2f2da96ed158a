"""What a model says: reasoning, answer or tool calls, and why it stops, choice by choice. Pure and seeded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from bench.config import Model, Thinking
from bench.providers.sim import ModelKnobs, SimKnobs
from bench.sim.answers import Answers, Row, ToolCalls, is_right
from bench.sim.judging import shown_in, verdict_on
from bench.sim.prose import answer_prose, reasoning_prose
from bench.sim.service import reasoning_length, skill_of
from bench.sim.shapes import instance
from bench.sim.tokens import text_of, tokenize

DEFAULT_TEMPERATURE = 0.7
DEFAULT_BUDGET = 4_096
_FENCE = re.compile(r"^\s*```[a-z]*\n(.*?)\n?```\s*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; ``arguments`` is JSON text in tokens."""

    call_id: str
    name: str
    arguments: list[str]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One choice in full, in tokens."""

    index: int
    reasoning: list[str]
    answer: list[str]
    calls: list[Call]
    finish_reason: str

    @property
    def tokens(self) -> int:
        """Completion tokens; a call's name counts as one."""
        return len(self.reasoning) + len(self.answer) + sum(1 + len(call.arguments) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A valid request with what is known of its model. ``seed`` covers everything that may change its content."""

    body: Mapping[str, Any]
    model: Model
    knobs: SimKnobs
    model_knobs: ModelKnobs
    seed: int

    @property
    def temperature(self) -> float:
        """As requested, or the service's own."""
        value = self.body.get("temperature")
        return DEFAULT_TEMPERATURE if value is None else float(value)

    @property
    def thinks(self) -> bool:
        """Whether the reply starts with reasoning."""
        if self.model.thinking is Thinking.toggle:
            return self.body.get("enable_thinking") is not False
        return self.model.thinking is Thinking.always


def compose(prompt: Prompt, answers: Answers) -> list[Spoken]:
    """Every choice of the reply. At temperature 0 they are all the same."""
    question = _last_user_text(prompt.body)
    row = answers.find(question)
    warm = prompt.temperature > 0
    return [
        _speak(prompt, index, question, row, Random(prompt.seed + (index if warm else 0)), answers)
        for index in range(prompt.body.get("n") or 1)
    ]


def _last_user_text(body: Mapping[str, Any]) -> str:
    users = (message for message in reversed(body["messages"]) if message["role"] == "user")
    return text_of(next(users, body["messages"][-1]).get("content"))


def _speak(prompt: Prompt, index: int, question: str, row: Row | None, random: Random, answers: Answers) -> Spoken:
    said = _say(prompt, question, row, random, answers)
    answer = tokenize(_stopped(said, prompt.body.get("stop"))) if isinstance(said, str) else []
    calls = [] if isinstance(said, str) else [_call(call, random) for call in said]
    reasoning = _think(prompt, question, random) if prompt.thinks else []
    off = prompt.model.thinking is Thinking.toggle and not prompt.thinks
    if off and answer and random.random() < prompt.model_knobs.answer_in_reasoning:
        reasoning, answer = answer, []
    return _limited(prompt, Spoken(index, reasoning, answer, calls, "tool_calls" if calls else "stop"))


def _think(prompt: Prompt, question: str, random: Random) -> list[str]:
    length = reasoning_length(prompt.model_knobs, random)
    if prompt.model_knobs.budget_enforced:
        length = min(length, prompt.body.get("thinking_budget") or DEFAULT_BUDGET)
    return tokenize(reasoning_prose(question, random, length))[:length]


def _say(prompt: Prompt, question: str, row: Row | None, random: Random, answers: Answers) -> str | ToolCalls:
    body = prompt.body
    found: str | ToolCalls | None = None
    if (shown := shown_in(question)) is not None:
        return verdict_on(shown, answers, prompt.knobs, random)
    if row is not None:
        right = is_right(
            seed=prompt.knobs.seed,
            model=prompt.model.name,
            row=row,
            skill=skill_of(prompt.model.name, prompt.model_knobs),
            temperature=prompt.temperature,
            correlation=prompt.knobs.answer_correlation,
            random=random,
        )
        found = row.reference if right else row.flawed
    choice = body.get("tool_choice") or "auto"
    callable_now = bool(body.get("tools")) and choice != "none" and body["messages"][-1]["role"] != "tool"
    if callable_now and (isinstance(found, list) or found is None or choice != "auto"):
        return _fitting_calls(found, body["tools"], choice, random)
    shape = body.get("response_format") or {}
    if shape.get("type") in ("json_object", "json_schema"):
        return _as_json(found, shape, random)
    return found if isinstance(found, str) else answer_prose(question, random)


def _fitting_calls(found: str | ToolCalls | None, tools: Any, choice: Any, random: Random) -> str | ToolCalls:
    """The row's own calls if the request offers those functions, else one valid call of an offered function."""
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    wanted = choice["function"]["name"] if isinstance(choice, Mapping) else None
    if isinstance(found, list) and wanted is None and all(call.get("name") in functions for call in found):
        return found if found or choice == "auto" else _made_up(random.choice(list(functions.values())), random)
    return _made_up(functions[wanted or random.choice(list(functions))], random)


def _made_up(function: Mapping[str, Any], random: Random) -> ToolCalls:
    parameters = function.get("parameters")
    arguments = instance({"type": "object", **parameters}, random) if parameters else {}
    return [{"name": function["name"], "arguments": arguments}]


def _call(call: Mapping[str, Any], random: Random) -> Call:
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return Call(f"call_{random.getrandbits(96):024x}", str(call.get("name")), tokenize(text))


def _as_json(found: str | ToolCalls | None, shape: Mapping[str, Any], random: Random) -> str:
    """A JSON text: the row's reply if it is one (without code fence), else an instance of the schema."""
    if isinstance(found, str):
        fenced = _FENCE.match(found)
        text = fenced.group(1) if fenced else found
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            if shape["type"] == "json_object":
                return msgspec.json.encode({"answer": found}).decode()
        else:
            return text
    schema = (shape.get("json_schema") or {}).get("schema") if shape["type"] == "json_schema" else None
    value = instance(schema or {"type": "object", "properties": {"answer": {"type": "string"}}}, random)
    return msgspec.json.encode(value).decode()


def _stopped(text: str, stop: Any) -> str:
    sequences = [stop] if isinstance(stop, str) else stop or []
    ends = [end for sequence in sequences if sequence and (end := text.find(sequence)) >= 0]
    return text[: min(ends)] if ends else text


def _limited(prompt: Prompt, spoken: Spoken) -> Spoken:
    """The choice cut to ``max_tokens``, which limits the answer alone unless the model counts reasoning too."""
    limit = prompt.body.get("max_tokens")
    if limit is None:
        return spoken
    reasoning = spoken.reasoning
    if prompt.model_knobs.max_tokens_counts_reasoning:
        reasoning = reasoning[:limit]
        limit -= len(reasoning)
    answer, rest, calls = spoken.answer[:limit], limit, []
    for call in spoken.calls:
        if rest > 0:
            calls.append(Call(call.call_id, call.name, call.arguments[: rest - 1]))
            rest -= 1 + len(calls[-1].arguments)
    cut = Spoken(spoken.index, reasoning, answer, calls, spoken.finish_reason)
    return cut if cut.tokens == spoken.tokens else Spoken(spoken.index, reasoning, answer, calls, "length")
