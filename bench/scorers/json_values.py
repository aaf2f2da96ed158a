"""JSON in replies: found in text, and compared as values."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

_FENCED = re.compile(r"```[a-zA-Z0-9]{0,12}[ \t]*\n(.*?)```", re.DOTALL)
_MAX_STARTS = 50


class NoJsonError(ValueError):
    """A reply holds no JSON value."""


def json_in(text: str) -> Any:
    """The JSON value of a reply: all of it, else the last fenced block that parses, else the first object within.

    Raises:
        NoJsonError: there is none.
    """
    for candidate in (text, *reversed(_FENCED.findall(text))):
        try:
            return parsed(candidate)
        except ValueError:
            continue
    decoder = json.JSONDecoder(parse_constant=_refused)
    for start in _object_starts(text):
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise NoJsonError("the reply holds no JSON value")


def parsed(text: str) -> Any:
    """A text that is JSON as a whole.

    Raises:
        ValueError: it is not, or is nested too deep to read.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def called(call: Any) -> tuple[Any, dict[str, Any]]:
    """The name and the arguments of a tool call as the model made it; no arguments are an empty object.

    Raises:
        ValueError: it names no function, or its arguments are no JSON object.
    """
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise ValueError("not a function call")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed(arguments or "{}")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments are no object")
    return function.get("name"), arguments


def canonical(value: Any) -> Any:
    """A value that equals another one exactly if both mean the same JSON: 1 is 1.0 but not true; texts in NFC, trimmed.

    Raises:
        ValueError: nested too deep to compare.
    """
    try:
        return _canonical(value)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def leaves(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of every scalar, empty object and empty list inside a value, and the length of every list."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list) and value:
        yield f"{path}.length", len(value)
        for position, item in enumerate(value):
            yield from leaves(item, f"{path}[{position}]")
    else:
        yield path, value


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("text", unicodedata.normalize("NFC", value).strip())
    if isinstance(value, dict):
        return ("object", tuple(sorted((str(key), _canonical(item)) for key, item in value.items())))
    return ("list", tuple(_canonical(item) for item in value))


def _object_starts(text: str) -> Iterator[int]:
    position = -1
    for _ in range(_MAX_STARTS):
        position = text.find("{", position + 1)
        if position < 0:
            return
        yield position


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
