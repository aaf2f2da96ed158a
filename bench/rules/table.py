"""The whole table of rules, and the one function that judges a body by it."""

from __future__ import annotations

from collections.abc import Iterable

from bench.rules.messages import MESSAGE_RULES
from bench.rules.parameters import PARAMETER_RULES
from bench.rules.rule import Body, Case, ModelFacts, Rule, Violation

#: The whole table.
RULES = PARAMETER_RULES + MESSAGE_RULES

#: What must hold with any server: for providers that do not follow the page.
EVERYWHERE_RULES = tuple(rule for rule in RULES if rule.everywhere)


def violations(
    body: Body,
    model: ModelFacts | None,
    *,
    prompt_tokens: int | None = None,
    estimated: bool = False,
    rules: Iterable[Rule] = RULES,
) -> list[Violation]:
    """Every breach of the rules by a request body, in table order.

    Args:
        body: the JSON object as sent.
        model: the model's facts; ``None`` skips the rules that need them.
        prompt_tokens: tokens of the input, to check it against the context window; ``None`` skips that.
        estimated: ``prompt_tokens`` is an estimate: an excess that may be its error is a warning.
        rules: a part of the table, such as :data:`PARAMETER_RULES` (once per cell).
    """
    case = Case(body, model, prompt_tokens, estimated)
    return [violation for rule in rules for violation in rule.violations(case)]
