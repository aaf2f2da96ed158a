"""An instance of a JSON schema: what a model constrained to a schema writes when it has nothing better to say."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper")
FORMATS = {
    "date": "2025-03-14",
    "date-time": "2025-03-14T09:26:53Z",
    "time": "09:26:53Z",
    "email": "ada@example.org",
    "uri": "https://example.org/a",
    "uuid": "3f0c0a52-7d3e-4c0a-9b39-0d5f0a7b1c11",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.org",
}
MAX_DEPTH = 12


def instance(schema: Any, random: Random, root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A value that follows a schema as far as types, enum, const, bounds, lengths, required, ``$ref``, ``anyOf`` go.

    ``pattern`` and the like are not solved. Recursion ends at a fixed depth, with ``None``.
    """
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None if isinstance(schema, Mapping) else random.choice(WORDS)
    root = schema if root is None else root
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return random.choice(schema["enum"])
    if isinstance(schema.get("$ref"), str):
        return instance(_resolve(schema["$ref"], root), random, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return instance(schema[key][0], random, root, depth + 1)
    if isinstance(schema.get("allOf"), list) and schema["allOf"]:
        return instance(_merged(schema, root), random, root, depth + 1)
    return _of_type(schema, random, root, depth)


def _of_type(schema: Mapping[str, Any], random: Random, root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, random, root, depth)
    if kind == "array" or (kind is None and "items" in schema):
        length = max(_whole(schema.get("minItems"), 0), min(2, _whole(schema.get("maxItems"), 2)))
        return [instance(schema.get("items", {}), random, root, depth + 1) for _ in range(length)]
    if kind in ("integer", "number"):
        return _number(schema, random, whole=kind == "integer")
    if kind == "boolean":
        return random.random() < 0.5
    if kind == "null":
        return None
    return _text(schema, random)


def _object(schema: Mapping[str, Any], random: Random, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    shallow = depth < MAX_DEPTH // 2  # further down only what must be there, so that recursive schemas end
    names = dict.fromkeys([*(properties if shallow else ()), *required])
    return {name: instance(properties.get(name, {}), random, root, depth + 1) for name in names}


def _number(schema: Mapping[str, Any], random: Random, whole: bool) -> float | int:
    low, high = schema.get("minimum"), schema.get("maximum")
    step = 1 if whole else 0.5
    if low is None and schema.get("exclusiveMinimum") is not None:
        low = schema["exclusiveMinimum"] + step
    if high is None and schema.get("exclusiveMaximum") is not None:
        high = schema["exclusiveMaximum"] - step
    low = (0 if high is None else min(0, high - 10)) if low is None else low
    high = low + 40 if high is None else high
    multiple = schema.get("multipleOf")
    if multiple:
        first, last = -(-low // multiple), high // multiple
        return multiple * random.randint(int(first), max(int(first), int(last)))  # type: ignore[no-any-return]  # JSON
    if whole:
        return random.randint(int(-(-low // 1)), max(int(-(-low // 1)), int(high // 1)))
    return round(low + (high - low) * random.random(), 2) if high - low > 1 else low


def _text(schema: Mapping[str, Any], random: Random) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    text = random.choice(WORDS)
    least = _whole(schema.get("minLength"), 0)
    while len(text) < least:
        text += " " + random.choice(WORDS)
    return text[: _whole(schema.get("maxLength"), max(least, 80))]


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _resolve(ref: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in ref.removeprefix("#").strip("/").split("/") if ref.strip("#/") else ():
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _merged(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    for given in schema["allOf"]:
        part = _resolve(given["$ref"], root) if isinstance(given, Mapping) and "$ref" in given else given
        if not isinstance(part, Mapping):
            continue
        whole["properties"] = {**(whole.get("properties") or {}), **(part.get("properties") or {})}
        whole["required"] = [*(whole.get("required") or []), *(part.get("required") or [])]
        whole |= {k: v for k, v in part.items() if k not in ("properties", "required")}
    if not whole["properties"]:
        del whole["properties"], whole["required"]
    return whole
