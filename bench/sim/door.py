"""Who may ask what: keys, balance, models, the rules of the page, and the limits per minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bench.config import Model, Thinking
from bench.providers.sim import ModelKnobs, SimKnobs, ThinkingStyle
from bench.rules import Severity, violations
from bench.sim import refusals
from bench.sim.refusals import Refusal
from bench.sim.service import knobs_of
from bench.sim.tokens import count_prompt
from bench.sim.windows import Windows
from bench.sim.wire import HttpRequest

_THINKING = {
    ThinkingStyle.toggle: Thinking.toggle,
    ThinkingStyle.always: Thinking.always,
    ThinkingStyle.never: Thinking.none,
    ThinkingStyle.param_rejected: Thinking.none,
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A chat request that broke no rule."""

    body: dict[str, Any]
    account: str
    model: Model
    knobs: ModelKnobs
    prompt_tokens: int


class Door:
    """Lets a request in, or says why not."""

    def __init__(self, knobs: SimKnobs, models: Mapping[str, Model]) -> None:
        self._knobs = knobs
        named = {name: Model(name=name) for name in knobs.models if not set(name) & set("*?[")}
        self.models = {name: _as_told(model, knobs) for name, model in {**named, **models}.items()}
        self._windows = Windows(knobs.rpm, knobs.tpm, knobs.window_s)
        self._asked: Counter[str] = Counter()
        self._first_s: dict[str, float] = {}

    def spend(self, asked: Accepted, tokens: int, now_s: float) -> None:
        """Count the tokens of a reply."""
        self._windows.spend((asked.account, asked.model.name), tokens, now_s)

    def account(self, request: HttpRequest) -> str | None:
        """Whose request it is; ``None`` for nobody's."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        if self._knobs.api_keys:
            return "listed" if key in self._knobs.api_keys else None
        return key if key or not self._knobs.require_key else None

    def admit(self, request: HttpRequest, account: str | None, now_s: float) -> Accepted | Refusal:
        """The request if it may be answered; the checks stand in the order in which the service makes them."""
        knobs = self._knobs
        if account is None:
            return refusals.unauthorized(knobs.era)
        if knobs.empty_balance:
            return refusals.insufficient_balance(knobs.era)
        try:
            body = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, RecursionError):
            return refusals.bad_parameter("the body is no JSON")
        if not isinstance(body, dict):
            return refusals.bad_parameter("the body is no JSON object")
        name = body.get("model")
        model = self.models.get(name) if isinstance(name, str) else None
        if model is None and name is not None:
            return refusals.model_missing() if isinstance(name, str) else refusals.bad_parameter("model: no text")
        if model is not None and name in knobs.offline:
            return refusals.model_missing()
        if model is not None and name in knobs.disabled:
            return refusals.model_disabled()
        if model is not None:
            self._first_s.setdefault(model.name, now_s)
            if self.is_gone(model.name, now_s):
                return refusals.model_gone(knobs_of(model.name, knobs).gone)
            self._asked[model.name] += 1
        asked = self._check(body, model, account)
        if isinstance(asked, Refusal):
            return asked
        metric = self._windows.admit((account, asked.model.name), asked.prompt_tokens, now_s)
        return asked if metric is None else refusals.rate_limited(knobs.era, metric)

    def is_gone(self, name: str, now_s: float) -> bool:
        """Whether a model has been taken off the service by now."""
        knobs = knobs_of(name, self._knobs)
        after_s, after = knobs.offline_after_s, knobs.offline_after_requests
        late = after_s is not None and name in self._first_s and now_s - self._first_s[name] >= after_s
        return late or (after is not None and self._asked[name] >= after)

    def _check(self, body: dict[str, Any], model: Model | None, account: str) -> Accepted | Refusal:
        """The rules of the page, then what the service is known to refuse beyond them."""
        knobs = ModelKnobs() if model is None else knobs_of(model.name, self._knobs)
        window = None if model is None else model.context_tokens
        found = [v for v in violations(body, model) if v.severity is Severity.ERROR and not _ignored(v.name, knobs)]
        if found or model is None:
            return refusals.broken_rule(found[0], body, 0, window)
        if knobs.thinking is ThinkingStyle.param_rejected and body.get("enable_thinking") is not None:
            return refusals.bad_parameter("enable_thinking", refusals.NOT_TAKEN.format("enable_thinking"))
        if model.vision and (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
            return refusals.coded(400, 20024, "Json mode is not supported for this model.")
        if self._knobs.era < 2026 and body.get("tool_choice") == "required":
            told = "Value error, The `required` option for tool_choice is not yet supported."
            return refusals.bad_parameter("tool_choice", told)
        tools = body.get("tools")
        if body.get("tool_choice") not in (None, "none", "auto") and not tools:
            return refusals.bad_parameter("tool_choice: there are no tools")
        tokens = count_prompt(body, msgspec.json.encode(tools).decode() if tools else "")
        late = [v for v in violations(body, model, prompt_tokens=tokens) if v.severity is Severity.ERROR]
        late = [v for v in late if v.name == "messages_window"]
        if late:
            return refusals.broken_rule(late[0], body, tokens, window)
        return Accepted(body, account, model, knobs, tokens)


def _as_told(model: Model, knobs: SimKnobs) -> Model:
    """The model as the service treats it: its preset, unless a knob says how it thinks."""
    thinking = _THINKING.get(knobs_of(model.name, knobs).thinking)
    return model if thinking is None else replace(model, thinking=thinking)


def _ignored(rule: str, knobs: ModelKnobs) -> bool:
    """Models that never think take the thinking parameters in silence."""
    return knobs.thinking is ThinkingStyle.never and rule in ("enable_thinking_models", "thinking_budget_models")
