"""Function calls are among the accepted ones, by the rules of the Berkeley Function Calling Leaderboard."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.json_values import called
from bench.scorers.verdicts import reply_text, right_or_wrong, unparsed, unscored

Call = tuple[str, dict[str, Any]]

_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "number": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "object": dict,
    "any": str,
}
_LISTS = ("array", "tuple")
_MARKS = re.compile(r"[ ,./\-_*^]")
_MAX_CALL_CHARS = 20_000


class _RefusedError(Exception):
    """A call breaks a rule, which the message names."""


@plugin("scorer", "bfcl")
@dataclass(frozen=True)
class Bfcl(Scorer):
    """The leaderboard's check of calls against possible answers (Patil et al. 2025; ``ast_checker`` of its evaluator).

    The target is the row's ``ground_truth``: a list of ``{function: {parameter: [accepted values]}}``, of which all
    must be called and nothing else, in any order; ``""`` among the accepted values lets a parameter be left out. The
    empty list, or no target, is an irrelevance row, which must be answered without a call; the target ``relevance``
    asks for any call. Types are those of the row's ``function`` (or ``tools``): an integer does for a float, but not
    inside a list, and never the other way round. Texts are compared without case, spaces and the marks ``,./-_*^``,
    and single quotes are double ones; the same holds inside lists and one level into dictionaries. A dot in a
    function's name may come back as ``_``, for APIs take no dots.

    A reply without tool calls whose text is a list of Python calls, ``[f(a=1), g(b='x')]``, is read as those calls.
    """

    needs_target: ClassVar[bool] = False

    kind: str = "bfcl"
    version: str = "2"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` or ``wrong``; ``unparsed`` where a call is expected and the reply is empty, or cannot be read."""
        try:
            made = calls_of(choice)
        except ValueError as error:
            return unparsed(str(error)) if sample.target else right_or_wrong(True, "no call that can be read")
        if sample.target and not made and not reply_text(choice):
            return unparsed("neither a call nor a text")
        words = "; ".join(f"{name}({arguments})" for name, arguments in made[:8]) or "no call"
        if not sample.target:
            return right_or_wrong(not made, words, "no call was expected" if made else "")
        if sample.target == "relevance":
            return right_or_wrong(bool(made), words, "" if made else "a call was expected")
        try:
            wanted = [_answer(one) for one in sample.target]
            schemas = {name: _schema(sample, name) for name, _ in wanted}
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            return unscored(f"the row has no possible answers and functions of the leaderboard's form: {error}")
        try:
            _check_all(made, wanted, schemas)
        except _RefusedError as refused:
            return right_or_wrong(False, words, str(refused))
        return right_or_wrong(True, words)


def calls_of(choice: Choice) -> list[Call]:
    """The calls of a reply: its tool calls, else those that its text is made of; a text of another form makes none.

    Raises:
        ValueError: a tool call that cannot be read.
    """
    if not choice.tool_calls:
        try:
            return _written(reply_text(choice))
        except ValueError:
            return []
    return [(str(name), arguments) for name, arguments in map(called, choice.tool_calls)]


def _written(text: str) -> list[Call]:
    text = re.sub(r"\A\s*```[a-z]*\n|```\s*\Z", "", text).strip("` \n")
    if len(text) > _MAX_CALL_CHARS:
        raise ValueError("the text is too long for a list of calls")
    try:
        tree = ast.parse(text if text.startswith("[") else f"[{text}]", mode="eval").body
        assert isinstance(tree, ast.List)
        return [_one_written(node) for node in tree.elts]
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError) as error:
        raise ValueError("the text is no list of calls") from error


def _one_written(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call by names")
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("not a call by names")
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:  # a variable or an expression stands for its text
            arguments[keyword.arg] = ast.unparse(keyword.value)
    return ast.unparse(node.func), arguments


def _answer(one: Any) -> Call:
    ((name, parameters),) = one.items()
    return str(name), {str(key): list(accepted) for key, accepted in parameters.items()}


def _schema(sample: Sample, name: str) -> Mapping[str, Any]:
    functions = sample.fields.get("function") or [tool["function"] for tool in sample.tools or ()]
    listed = functions if isinstance(functions, list) else [functions]
    found = next((one for one in listed if one["name"] == name), None)
    found = found or next(one for one in listed if one["name"] == name.replace(".", "_"))
    parameters: Mapping[str, Any] = found["parameters"]
    return {"properties": parameters["properties"], "required": parameters.get("required") or []}


def _check_all(made: Sequence[Call], wanted: Sequence[Call], schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Every possible answer takes the first call left that fits it, as the leaderboard does."""
    if len(made) != len(wanted):
        raise _RefusedError(f"{len(made)} calls where {len(wanted)} are expected")
    left = list(made)
    for name, accepted in wanted:
        why = ""
        for call in left:
            try:
                _check_call(call, name, accepted, schemas[name])
            except _RefusedError as refused:
                why = why or str(refused)
                continue
            left.remove(call)
            break
        else:
            raise _RefusedError(why)


def _check_call(call: Call, name: str, accepted: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    if call[0] not in (name, name.replace(".", "_")):
        raise _RefusedError(f"{call[0]} is not {name}")
    for required in schema["required"]:
        if required not in call[1]:
            raise _RefusedError(f"the required parameter {required} is missing")
    for parameter, value in call[1].items():
        if parameter not in schema["properties"] or parameter not in accepted:
            raise _RefusedError(f"there is no parameter {parameter} to be given")
        _check_value(parameter, value, accepted[parameter], schema["properties"][parameter])
    for parameter, values in accepted.items():
        if parameter not in call[1] and "" not in values:
            raise _RefusedError(f"the parameter {parameter} is missing")


def _check_value(parameter: str, value: Any, accepted: Sequence[Any], schema: Mapping[str, Any]) -> None:
    said = str(schema.get("type"))
    wanted = _TYPES.get(said, str)
    inner = _TYPES.get(str((schema.get("items") or {}).get("type")), None) if said in _LISTS else None
    if said in _LISTS and isinstance(value, tuple):
        value = list(value)
    if wanted is float and type(value) is int:
        value = float(value)
    first = next((answer for answer in accepted if answer != ""), None)
    # an answer of another type than the schema's is the name of a variable
    is_variable = first is not None and type(first) is not wanted
    if type(value) is wanted:
        if inner is not None and not _items_fit(value, accepted, inner):
            raise _RefusedError(f"{parameter} holds items of another type: {value!r}")
    else:
        if first is None or type(value) is not type(first):
            raise _RefusedError(f"{parameter} is no {said}: {value!r}")
        is_variable = True
    if not _accepted(value, accepted, wanted, inner, is_variable):
        raise _RefusedError(f"{parameter}={value!r} is none of the accepted values")


def _items_fit(value: Any, accepted: Sequence[Any], inner: type) -> bool:
    """Whether the items have the schema's type, or that of some accepted list's items."""

    def fits(items: Any) -> bool:
        if not isinstance(items, list):
            return True
        first = next((item for item in items if item != ""), None)
        return all(type(item) is inner or (first is not None and type(item) is type(first)) for item in value)

    return any(fits(items) for items in accepted)


def _accepted(value: Any, accepted: Sequence[Any], wanted: type, inner: type | None, is_variable: bool) -> bool:
    if is_variable:
        return value in accepted
    if wanted is dict:
        return any(_dict_fits(value, one) for one in accepted if one != "")
    if inner is dict:
        return any(
            len(value) == len(one) and all(_dict_fits(item, its) for item, its in zip(value, one, strict=True))
            for one in accepted
            if isinstance(one, list)
        )
    if wanted is str:
        return _bare(value) in [_bare(one) for one in accepted if isinstance(one, str)]
    if wanted is list:
        return [_bare(item) for item in value] in [[_bare(item) for item in one] for one in accepted]
    return value in accepted


def _dict_fits(value: Any, accepted: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(accepted, dict):
        return False
    return all(
        key in accepted and _bare(item) in [_bare(one) for one in accepted[key]] for key, item in value.items()
    ) and all(key in value or "" in options for key, options in accepted.items())


def _bare(value: Any) -> Any:
    return _MARKS.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
