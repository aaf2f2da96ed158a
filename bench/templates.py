"""Templates and expressions over the fields of a row: Jinja2 in its sandbox, strict about what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from bench.datasets.cells import fields_of
from bench.domain import ConfigError, JsonObject
from bench.files import Problems

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_TOOL_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True)
class Template:
    """A compiled template or expression; ``key`` is the configuration key it stands in.

    Attributes:
        names: the variables it reads.
    """

    key: str
    names: frozenset[str]
    _call: Any

    def __call__(self, row: Mapping[str, Any], place: str, **more: Any) -> Any:
        """Its text, or the value of an expression, over the fields of a row, which is seen as ``row`` too.

        Raises:
            ConfigError: a field it lacks, a type that does not fit; names the place.
        """
        with _faults_told(self.key, place, row):
            return _plain(self._call({"row": row, **row, **more}))


def template(source: str, key: str, problems: Problems) -> Template | None:
    """A compiled template; ``None`` where it has a syntax error, which is noted."""
    return _compiled(source, key, problems, expression=False)


def expression(source: str, key: str, problems: Problems) -> Template | None:
    """A compiled expression, whose value is of any JSON type; ``None`` where it has a syntax error."""
    return _compiled(source, key, problems, expression=True)


def _compiled(source: str, key: str, problems: Problems, expression: bool) -> Template | None:
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    try:
        parsed = environment.parse("{{ (" + source + ") }}" if expression else source)
        names = frozenset(meta.find_undeclared_variables(parsed))
        if expression:
            return Template(key, names, environment.compile_expression(source, undefined_to_none=False))
        return Template(key, names, environment.from_string(source).render)
    except TemplateSyntaxError as error:
        problems.add(f"{key}: template syntax error in line {error.lineno}: {error.message}")
        return None


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    # Jinja's own `tojson` escapes for HTML, which would put \\u0027 into prompts.
    environment.filters |= {"tojson": _to_json, "lettered": lettered, "unlettered": unlettered, "tools": tools}
    return environment


@contextmanager
def _faults_told(key: str, place: str, row: Mapping[str, Any]) -> Iterator[None]:
    from jinja2 import TemplateError

    short = key.removeprefix("dataset.")
    try:
        yield
    except TemplateError as error:
        raise ConfigError(f"{place}: the `{short}` template fails: {error.message}; {fields_of(row)}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{place}: the `{short}` template fails: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """A value of JSON's types; what a strict template would refuse to print is refused here too."""
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        str(value)  # raises with the words of a template that prints it
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    raise TypeError(f"gives a {type(value).__name__}, which no row can hold")


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def lettered(options: Iterable[Any], form: str = "{}. {}") -> str:
    """Filter: options as lines ``A. text``; ``form`` takes the letter and the text."""
    return "\n".join(form.format(letter, option) for letter, option in zip(ascii_uppercase, options, strict=False))


def unlettered(options: Iterable[str]) -> list[str]:
    """Filter: options without the letters that they bring: ``(A) text``, ``A. text``, ``A) text``."""
    return [re.sub(r"^\s*(?:\([A-Z]\)|[A-Z][.)、．])\s*", "", option) for option in options]


def tools(functions: Iterable[JsonObject]) -> list[JsonObject]:
    """Filter: function descriptions in Python's type names, as function-calling sets publish them, as OpenAI tools.

    Types become JSON Schema's; a character that no tool name may hold (a dot, mostly) becomes an underscore.
    """
    return [{"type": "function", "function": {**_schema(one), "name": _tool_name(one["name"])}} for one in functions]


def _tool_name(name: str) -> str:
    return "".join(char if char in _TOOL_NAME_CHARS else "_" for char in name)


def _schema(value: Any) -> Any:
    if isinstance(value, Mapping):
        made = {key: _schema(item) for key, item in value.items()}
        if isinstance(value.get("type"), str):
            made["type"] = _JSON_TYPES.get(value["type"], value["type"])
        return made
    return [_schema(item) for item in value] if isinstance(value, list) else value
