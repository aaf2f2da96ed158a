"""JSON files: one value that holds all rows, at its top or deeper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.datasets.cells import kind_of
from bench.datasets.published import Published
from bench.domain import JsonObject
from bench.files import Problems, parse_json
from bench.registry import plugin
from bench.sources import Part

MAX_BYTES = 1 << 30


@plugin("dataset", "json")
@dataclass(frozen=True)
class Json(Published):
    """``.json`` files, gzipped or not; a place is ``file:N`` with N the row's number from 1.

    Attributes:
        rows_at: where the list of rows is: keys with dots between, ``*`` for every element of a list or object
            (``examples``, ``*.qa_pairs``). A row inherits the plain values of the objects around it.
    """

    kind: str = "json"
    rows_at: str | None = None

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """Every good row of one file."""
        content = part.stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            problems.add(f"{part.name}: over {MAX_BYTES} bytes; turn it into JSON Lines")
            return
        try:
            value = parse_json(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            problems.add(f"{part.name}: invalid UTF-8 at byte {error.start + 1}; save the file as UTF-8")
            return
        except ValueError as error:
            problems.add(f"{part.name}: invalid JSON: {error}")
            return
        steps = self.rows_at.split(".") if self.rows_at else []
        number = 0
        for around, rows in _lists(value, steps, {}):
            if not isinstance(rows, list):
                problems.add(f"{part.name}: at dataset.rows_at={self.rows_at} is {kind_of(rows)}, not a list of rows")
                continue
            for row in rows:
                number += 1
                if isinstance(row, dict):
                    yield f"{part.name}:{number}", {**around, **row}
                else:
                    problems.add(f"{part.name}:{number}: a row must be an object, it is {kind_of(row)}")


def _lists(value: Any, steps: list[str], around: JsonObject) -> Iterator[tuple[JsonObject, Any]]:
    """What stands at the end of the steps, each with the plain values met on the way."""
    if not steps:
        yield around, value
        return
    if isinstance(value, dict):
        around = {**around, **{k: v for k, v in value.items() if not isinstance(v, dict | list)}}
        inner = list(value.values()) if steps[0] == "*" else [value.get(steps[0])]
    else:
        inner = value if isinstance(value, list) and steps[0] == "*" else [None]
    for one in inner:
        yield from _lists(one, steps[1:], around)
