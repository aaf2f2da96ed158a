"""The client's side of the rules: what to tell a person about a cell, and what to leave out of a request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.rules.rule import Body, ModelFacts, Rule, Severity, Violation
from bench.rules.table import RULES, violations

SHOWN_CHARACTERS = 60
FROM_ROWS = ("messages", "tools", "response_format")


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a request body, one sentence per broken rule."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check_cell(
    body: Body,
    model: ModelFacts,
    *,
    prompt_tokens: int | None = None,
    rules: Iterable[Rule] = RULES,
    place: str = "",
) -> Findings:
    """Judge a request body before it is sent.

    Args:
        body: the JSON object as it would be sent.
        model: the facts of the cell's model.
        prompt_tokens: :func:`estimate_tokens` of the messages; an excess that may be its error is a warning.
        rules: ``PARAMETER_RULES`` once per cell, ``MESSAGE_RULES`` once per sample, ``EVERYWHERE_RULES`` for servers
            that do not follow the page.
        place: ``file:line`` of the sample that the messages come from.
    """
    found = violations(body, model, prompt_tokens=prompt_tokens, estimated=True, rules=rules)
    errors = [describe(v, model.name, place) + _way_out(v) for v in found if v.severity is Severity.ERROR]
    warnings = [describe(v, model.name, place) for v in found if v.severity is Severity.WARNING]
    return Findings(tuple(errors), tuple(warnings))


def drop_unsupported(body: Body, model: ModelFacts) -> tuple[dict[str, Any], list[str]]:
    """The body without the parameters that the model does not take, and one sentence per parameter dropped.

    Nothing else is mended: a value out of range stays, and stays refused.
    """
    dropped = {v.field: v for v in violations(body, model) if v.parameter_unsupported}
    kept = {key: value for key, value in body.items() if key not in dropped}
    return kept, [f"{describe(v, model.name)}; it is left out of the requests" for v in dropped.values()]


def _way_out(violation: Violation) -> str:
    return "; leave it out, or set unsupported=drop" if violation.parameter_unsupported else ""


def describe(violation: Violation, model_name: str, place: str = "") -> str:
    """One sentence for a person: model, row if it matters, field, value, rule."""
    from_row = bool(place) and violation.field in FROM_ROWS
    if violation.field == "model":
        key = "model.name"
    else:
        key = violation.path if from_row or violation.field == "messages" else f"sampling.{violation.path}"
    where = f"model {model_name}, {place}" if from_row else f"model {model_name}"
    return f"{where}: {key}={shown(violation.value)}: {violation.rule}"


def shown(value: Any) -> str:
    """A JSON value on one short line, unprintable characters escaped; lists and objects by their size."""
    if isinstance(value, Mapping):
        return f"(an object with {len(value)} keys)"
    if isinstance(value, list | tuple):
        return f"(a list of {len(value)})"
    if isinstance(value, int) and abs(value) >= 10**40:  # Python refuses to print very long numbers
        return "(a number of more than 40 digits)"
    if isinstance(value, str):
        value = value[: SHOWN_CHARACTERS + 1]
    text = json.dumps(value, ensure_ascii=False, default=lambda other: type(other).__name__)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= SHOWN_CHARACTERS + 2 else text[:SHOWN_CHARACTERS] + '..."'
