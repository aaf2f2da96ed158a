"""The fields of one row, read by type: what is missing or of the wrong type is a sentence with the row's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.domain import ConfigError, JsonObject
from bench.files import parse_json


def needed(row: JsonObject, key: str, place: str) -> Any:
    """The value of a field that must be there.

    Raises:
        ConfigError: it is missing or null; names the fields that exist.
    """
    if row.get(key) is None:
        raise ConfigError(f"{place}: the row lacks the field `{key}`; {fields_of(row)}")
    return row[key]


def objects(row: JsonObject, key: str, place: str) -> list[JsonObject] | None:
    """A list of objects, or ``None`` where the row has none.

    Raises:
        ConfigError: another type.
    """
    value = _parsed(row.get(key), key, place)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(f"{place}: `{key}` must be a list of objects, it is {kind_of(value)}")
    return value


def json_object(row: JsonObject, key: str, place: str) -> JsonObject | None:
    """An object, or ``None`` where the row has none.

    Raises:
        ConfigError: another type.
    """
    value = _parsed(row.get(key), key, place)
    if value is None or isinstance(value, dict):
        return value
    raise ConfigError(f"{place}: `{key}` must be an object, it is {kind_of(value)}")


def _parsed(value: Any, key: str, place: str) -> Any:
    """Structured fields as they are; as JSON text where the file format knows only text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return parse_json(value)
    except ValueError as error:
        raise ConfigError(f"{place}: `{key}` is a text that is not JSON: {error}") from error


def tags(row: JsonObject, place: str) -> tuple[str, ...]:
    """The row's tags: a list of texts, or one text with commas between.

    Raises:
        ConfigError: another type.
    """
    value = row.get("tags")
    if value is None:
        return ()
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"{place}: `tags` must be a list of texts, it is {kind_of(value)}")
    return tuple(item.strip() for item in items if item.strip())


def fields_of(row: Mapping[str, Any]) -> str:
    """Words that list the fields which a row has."""
    return f"fields of the row: {', '.join(map(str, row)) or 'none'}"


def kind_of(value: Any) -> str:
    """The JSON type of a value, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "an empty text" if value == "" else names.get(type(value), "null")
