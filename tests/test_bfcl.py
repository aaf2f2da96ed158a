"""Function calls against the leaderboard's possible answers: all of them accepted, and what is near them refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.domain import Choice, Label, Sample, Score
from bench.scorers.bfcl import Bfcl

SHARED = Path(__file__).resolve().parents[2] / "shared"
C, W, U, N = Label.CORRECT, Label.WRONG, Label.UNPARSED, Label.UNSCORED

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "price": {"type": "float"},
    "exact": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "box": {"type": "tuple", "items": {"type": "float"}},
    "filter": {"type": "dict"},
    "rules": {"type": "array", "items": {"type": "dict"}},
}
FUNCTIONS = [
    {"name": "shop.find", "parameters": {"type": "dict", "properties": PROPERTIES, "required": ["city"]}},
    {"name": "stop", "parameters": {"type": "dict", "properties": {}, "required": []}},
]


def made(*calls: tuple[str, Any]) -> Choice:
    listed = [{"type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for n, a in calls]
    return Choice(0, tool_calls=tuple(listed))


def scored(target: Any, choice: Choice, functions: Any = FUNCTIONS) -> Score:
    return Bfcl().score(Sample("s", (), target=target, fields={"function": functions}), choice)


@pytest.mark.parametrize(
    ("accepted", "given", "label"),
    [
        ({"city": ["New York"]}, {"city": "new-york"}, C),
        ({"city": ["New York", "NYC"]}, {"city": "N.Y.C"}, C),
        ({"city": ["New York"]}, {"city": "York"}, W),
        ({"city": ["it's"]}, {"city": 'IT"S'}, C),
        ({"city": ["a"]}, {}, W),
        ({"city": ["a"]}, {"city": "a", "colour": "red"}, W),
        ({"city": ["a"]}, {"city": "a", "days": 1}, W),
        ({"city": ["a"], "days": [3]}, {"city": "a"}, W),
        ({"city": ["a"], "days": [3, ""]}, {"city": "a"}, C),
        ({"city": ["a"], "days": [3, ""]}, {"city": "a", "days": 4}, W),
        ({"city": ["a"], "days": [3]}, {"city": "a", "days": 3.0}, W),
        ({"city": ["a"], "days": [3]}, {"city": "a", "days": "3"}, W),
        ({"city": ["a"], "days": [1]}, {"city": "a", "days": True}, W),
        ({"city": ["a"], "price": [2.0]}, {"city": "a", "price": 2}, C),
        ({"city": ["a"], "price": [2.5]}, {"city": "a", "price": "2.5"}, W),
        ({"city": ["a"], "exact": [True]}, {"city": "a", "exact": True}, C),
        ({"city": ["a"], "exact": [True]}, {"city": "a", "exact": 1}, W),
        ({"city": ["a"], "tags": [["Red", "Blue"]]}, {"city": "a", "tags": ["red", "blue"]}, C),
        ({"city": ["a"], "tags": [["Red", "Blue"]]}, {"city": "a", "tags": ["blue", "red"]}, W),
        ({"city": ["a"], "tags": [["Red"]]}, {"city": "a", "tags": "Red"}, W),
        ({"city": ["a"], "tags": [["Red"]]}, {"city": "a", "tags": [1]}, W),
        ({"city": ["a"], "tags": ["palette"]}, {"city": "a", "tags": "palette"}, C),
        ({"city": ["a"], "box": [[1.0, 2.0]]}, {"city": "a", "box": [1.0, 2.0]}, C),
        ({"city": ["a"], "box": [[1.0, 2.0]]}, {"city": "a", "box": [1, 2]}, W),
        ({"city": ["a"], "box": [[1, 2]]}, {"city": "a", "box": [1, 2]}, C),
        ({"city": ["a"], "box": [[1.0, "x"], ""]}, {"city": "a", "box": [1.0, 2]}, W),
        ({"city": ["a"], "filter": [{"size": ["L", "XL"], "x": [1, ""]}]}, {"city": "a", "filter": {"size": "xl"}}, C),
        ({"city": ["a"], "filter": [{"size": ["L"]}]}, {"city": "a", "filter": {"size": "L", "x": 1}}, W),
        ({"city": ["a"], "filter": [{"size": ["L"], "new": [True]}]}, {"city": "a", "filter": {"size": "L"}}, W),
        ({"city": ["a"], "rules": [[{"k": ["v"]}, {"k": ["w"]}]]}, {"city": "a", "rules": [{"k": "v"}, {"k": "w"}]}, C),
        ({"city": ["a"], "rules": [[{"k": ["v"]}]]}, {"city": "a", "rules": [{"k": "w"}]}, W),
        ({"city": ["a"], "rules": [[{"k": ["v"]}]]}, {"city": "a", "rules": []}, W),
    ],
)  # fmt: skip
def test_values(accepted: dict[str, Any], given: dict[str, Any], label: Label) -> None:
    assert scored([{"shop.find": accepted}], made(("shop_find", given))).label is label


def test_a_dot_in_a_name_may_be_an_underscore_and_nothing_else() -> None:
    wanted = [{"shop.find": {"city": ["a"]}}]
    assert scored(wanted, made(("shop.find", {"city": "a"}))).label is C
    assert scored(wanted, made(("shopfind", {"city": "a"}))).label is W


def test_parallel_calls_come_in_any_order_and_each_once() -> None:
    wanted = [{"shop.find": {"city": ["a"]}}, {"shop.find": {"city": ["b"]}}, {"stop": {}}]
    a, b, stop = ("shop.find", {"city": "a"}), ("shop.find", {"city": "b"}), ("stop", {})
    assert scored(wanted, made(stop, b, a)).label is C
    for wrong in [(a, b), (a, a, stop), (a, b, stop, stop), ()]:
        assert scored(wanted, made(*wrong)).label is (W if wrong else U)


def test_rows_where_no_call_is_right() -> None:
    for target in ([], None):
        assert scored(target, Choice(0, "No function fits.")).label is C
        assert scored(target, made(("stop", {}))).label is W
    assert scored("relevance", made(("stop", {}))).label is C
    assert scored("relevance", Choice(0, "hm")).label is W


def test_calls_written_as_text() -> None:
    wanted = [{"shop.find": {"city": ["a"], "days": [2]}}, {"stop": {}}]
    for text in ("[shop.find(city='A', days=2), stop()]", "```python\n[stop(), shop.find(days=2, city='a')]\n```"):
        assert scored(wanted, Choice(0, text)).label is C
    for text in ("I would call stop().", "[shop.find('a', 2), stop()]", "[" * 5000, "stop()"):
        assert scored(wanted, Choice(0, text)).label is W


def test_what_cannot_be_read_or_compared() -> None:
    wanted = [{"stop": {}}]
    broken = Choice(0, tool_calls=({"type": "function", "function": {"name": "stop", "arguments": "{"}},))
    assert scored(wanted, broken).label is U
    assert scored(wanted, made(("stop", {})), functions=[]).label is N
    assert scored([{"stop": 3}], made(("stop", {}))).label is N


def rows(name: str) -> list[dict[str, Any]]:
    path = SHARED / "data" / "bfcl" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(value: Any) -> Any:
    """One concrete value of an accepted one, whose dictionaries list alternatives by key."""
    if isinstance(value, dict):
        return {k: next(x for x in v if x != "") for k, v in value.items() if any(x != "" for x in v)}
    return (
        [plain(item) for item in value] if isinstance(value, list) and value and isinstance(value[0], dict) else value
    )


@pytest.mark.parametrize("category", ["simple_python", "multiple"])
def test_published_answers_are_accepted_and_others_refused(category: str) -> None:
    answers = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/BFCL_v4_{category}.json")}
    for row in rows(f"BFCL_v4_{category}.json"):
        target = answers[row["id"]]
        ((name, parameters),) = target[0].items()
        schema = next(one for one in row["function"] if one["name"] == name)["parameters"]
        first = {k: plain(next(x for x in v if x != "")) for k, v in parameters.items() if any(x != "" for x in v)}

        def label(arguments: Any, name: str = name, times: int = 1, row: Any = row, target: Any = target) -> Label:
            call = (name.replace(".", "_"), arguments)
            return scored(target, made(*[call] * times), row["function"]).label

        for key, accepted in parameters.items():
            for value in accepted:
                if value != "":
                    assert label(first | {key: plain(value)}) is C, (row["id"], key, value)
                elif key not in schema["required"]:  # in two rows a required parameter is said to be optional
                    assert label({k: v for k, v in first.items() if k != key}) is C, (row["id"], key)
        for key, value in first.items():
            other = value + "qq" if isinstance(value, str) else [value] if not isinstance(value, list) else "qq"
            assert label(first | {key: other}) is W, (row["id"], key)
        for key in schema["required"]:
            assert label({k: v for k, v in first.items() if k != key}) is W, (row["id"], key)
        assert label(first | {"no_such": 1}) is W
        assert label(first, name=f"{name}_x") is W
        assert label(first, times=2) is W


def test_published_rows_without_a_right_call() -> None:
    for row in rows("BFCL_v4_irrelevance.json"):
        assert scored([], Choice(0, "None of them helps."), row["function"]).label is C
        assert scored([], made((row["function"][0]["name"], {})), row["function"]).label is W
