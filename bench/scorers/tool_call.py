"""The tool calls of a reply are the expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.json_values import called, canonical
from bench.scorers.verdicts import reply_text, right_or_wrong, share, unparsed, unscored


@plugin("scorer", "tool_call")
@dataclass(frozen=True)
class ToolCall(Scorer):
    """Compares calls by name and arguments (as JSON values), in any order.

    The target is a list of ``{"name", "arguments"}`` or one such object; the empty list expects a reply without any
    call. The value is the number of calls that match over the larger of the two counts.
    """

    kind: str = "tool_call"
    version: str = "1"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``partial`` or ``wrong``; ``unparsed`` for an empty reply, or arguments that are not JSON."""
        if sample.target is None:
            return unscored("no target")
        try:
            wanted = [_key(call["name"], call.get("arguments") or {}) for call in _listed(sample.target)]
        except (AttributeError, KeyError, TypeError, ValueError):
            return unscored("the target is no list of calls with `name` and `arguments`")
        if not choice.tool_calls:
            if not reply_text(choice):
                return unparsed("neither a call nor a text")
            return right_or_wrong(not wanted, "no call", "" if not wanted else "a call was expected")
        if not wanted:
            return right_or_wrong(False, _words(choice), "no call was expected")
        return _compared(wanted, choice)


def _compared(wanted: list[Any], choice: Choice) -> Score:
    left, met, unreadable = list(wanted), 0, 0
    for call in choice.tool_calls:
        try:
            key = _made(call)
        except ValueError:
            unreadable += 1
            continue
        if key in left:
            left.remove(key)
            met += 1
    if not met and unreadable:
        return unparsed(f"{unreadable} of the calls have arguments that are no JSON object")
    missing = f"{len(left)} of {len(wanted)} expected calls are missing" if left else "more calls than expected"
    of = max(len(wanted), len(choice.tool_calls))
    return share(met, of, _words(choice), "" if met == of else missing)


def _made(call: Any) -> Any:
    """The comparison key of a call as the model made it.

    Raises:
        ValueError: its arguments are no JSON object.
    """
    return _key(*called(call))


def _key(name: Any, arguments: Any) -> Any:
    return (str(name), canonical(arguments))


def _listed(target: Any) -> list[Any]:
    return target if isinstance(target, list) else [target]


def _words(choice: Choice) -> str:
    parts = []
    for call in choice.tool_calls[:8]:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(f"{function.get('name')}({function.get('arguments')})")
    return "; ".join(parts)
