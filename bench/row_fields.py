"""What a row becomes before it is rendered: renamed and derived fields, an id, tags, options in a seeded order."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from bench.datasets import Dataset
from bench.datasets.cells import fields_of, kind_of, needed
from bench.domain import ConfigError, JsonObject
from bench.files import Problems
from bench.templates import Template, expression

Row = tuple[str, JsonObject]
ABSENT = object()


def renamed(rows: list[Row], names: Mapping[str, str], problems: Problems) -> list[Row]:
    """Rows with ``fields`` applied; only a name that no row has is an error, since a row may lack an optional field."""
    for new, old in names.items():
        if rows and all(at(row, old) is ABSENT for _, row in rows):
            problems.add(f"dataset.fields.{new}={old}: no row has this field; {fields_of(rows[0][1])}")
    if not names:
        return rows
    olds = set(names.values())
    return [
        (
            place,
            {k: v for k, v in row.items() if k not in olds and k not in names}
            | {new: value for new, old in names.items() if (value := at(row, old)) is not ABSENT},
        )
        for place, row in rows
    ]


def at(row: JsonObject, path: str) -> Any:
    """The value of a field, or at a dotted path through objects and lists; ``ABSENT`` where there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return ABSENT
    return value


def kept(rows: list[Row], where: str | None, problems: Problems) -> list[Row]:
    """The rows for which an expression is true; none is a problem.

    Raises:
        ConfigError: the expression fails on a row.
    """
    test = expression(where, "dataset.where", problems) if where is not None else None
    if test is None:
        return rows
    found = [(place, row) for place, row in rows if test(row, place)]
    if rows and not found:
        problems.add(f"dataset.where={where}: true for none of {len(rows)} rows")
    return found


def row_ids(rows: Sequence[Row], problems: Problems) -> list[str]:
    """An id for each row: its ``id``, or a hash of its content; a number follows where a content comes again.

    Ids that are given twice are a problem.
    """
    ids: list[str] = []
    first: dict[str, str] = {}
    again: dict[str, int] = {}
    for place, row in rows:
        given = row.get("id")
        if given is None or given == "":
            content = hashlib.sha256(canonical(row).encode()).hexdigest()[:16]
            again[content] = again.get(content, 0) + 1
            sample_id = content if again[content] == 1 else f"{content}-{again[content]}"
        elif isinstance(given, str | int) and not isinstance(given, bool):
            sample_id = str(given)
        else:
            problems.add(f"{place}: `id` must be a text or a whole number, it is {kind_of(given)}")
            sample_id = place
        if sample_id in first:
            problems.add(f"{place}: has the id {sample_id!r} of {first[sample_id]}; ids must be unique")
        first.setdefault(sample_id, place)
        ids.append(sample_id)
    return ids


def picked(rows: Sequence[Row], dataset: Dataset) -> list[int]:
    """Positions of the rows to take, in order.

    Raises:
        ConfigError: a row lacks the field to stratify by.
    """
    order = list(range(len(rows)))
    if dataset.shuffle:
        order = permuted(len(rows), random.Random(dataset.sample_seed))
    if dataset.stratify is not None:
        seen: dict[str, int] = {}
        rank: dict[int, int] = {}
        for position in order:
            place, row = rows[position]
            group = canonical(needed(row, dataset.stratify, place))
            rank[position] = seen[group] = seen.get(group, 0) + 1
        order.sort(key=rank.__getitem__)  # stable: the first of each group, then the second of each, ...
    return order[: dataset.limit]


def permuted(count: int, seeded: random.Random) -> list[int]:
    """The numbers below ``count`` in a random order.

    Fisher-Yates over ``Random.random()``, the one sequence that Python promises to keep between versions
    (``Random.shuffle`` is not promised).
    """
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(seeded.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def compiled(derive: Mapping[str, str], problems: Problems) -> dict[str, Template]:
    """The expressions of ``derive``; a syntax error is noted."""
    made = {key: expression(source, f"dataset.derive.{key}", problems) for key, source in derive.items()}
    return {key: found for key, found in made.items() if found is not None}


def derived(row: JsonObject, place: str, expressions: Mapping[str, Template]) -> JsonObject:
    """The row with its derived fields; each sees those before it.

    Raises:
        ConfigError: an expression that fails on this row.
    """
    row = dict(row)
    for key, one in expressions.items():
        row[key] = one(row, place)
    return row


def tagged(row: JsonObject, names: Sequence[str], place: str) -> list[str]:
    """Tags from fields: ``field=value``.

    Raises:
        ConfigError: the row lacks the field.
    """
    return [f"{name}={value}" for name in names for value in _values(needed(row, name, place))]


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def with_options_shuffled(row: JsonObject, seed: str, place: str) -> JsonObject:
    """The row with its ``options`` in a seeded order and its ``target`` as a letter.

    Raises:
        ConfigError: no list of options, or a target that is none of them.
    """
    options = needed(row, "options", place)
    if not isinstance(options, list) or not 2 <= len(options) <= len(ascii_uppercase):
        raise ConfigError(
            f"{place}: dataset.shuffle_options needs a list of 2 to 26 `options`, it is {kind_of(options)}"
        )
    right = _option(needed(row, "target", place), options)
    if right is None:
        raise ConfigError(f"{place}: the target {row['target']!r} is no letter, number or text of the options")
    order = permuted(len(options), random.Random(seed))
    return {**row, "options": [options[i] for i in order], "target": ascii_uppercase[order.index(right)]}


def _option(target: Any, options: list[Any]) -> int | None:
    """The index of the option that a target names by number from 0, letter or text."""
    if isinstance(target, int) and not isinstance(target, bool):
        return target if 0 <= target < len(options) else None
    if target in options:
        return options.index(target)
    letter = ascii_uppercase[: len(options)].find(str(target).strip()) if len(str(target).strip()) == 1 else -1
    return letter if letter >= 0 else None


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
