"""The reference cases, and what the command that runs them says of wrong, unknown and unreadable ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests import known_answers

GIVEN = Path(__file__).resolve().parents[2] / "shared" / "stats" / "give.json"


def given_cases() -> list[dict[str, Any]]:
    if not GIVEN.exists():
        pytest.skip("the reference cases are not beside this checkout")
    cases: list[dict[str, Any]] = json.loads(GIVEN.read_text(encoding="utf-8"))["cases"]
    return cases


def written(folder: Path, cases: list[dict[str, Any]]) -> str:
    path = folder / "cases.json"
    path.write_text(json.dumps({"cases": cases}), encoding="utf-8")
    return str(path)


def test_every_reference_case_passes(capsys: pytest.CaptureFixture[str]) -> None:
    cases = given_cases()
    assert known_answers.main([str(GIVEN)]) == 0
    assert capsys.readouterr().out == f"{len(cases)} passed, 0 failed\n"


def spoilt(value: Any) -> Any:
    """The first plain value of an answer, changed; ``None`` when it holds none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            worse = spoilt(inner)
            if worse is not None:
                return value | {key: worse}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            worse = spoilt(inner)
            if worse is not None:
                return [*value[:index], worse, *value[index + 1 :]]
    elif isinstance(value, int | float):
        return value + 1 + abs(value)
    elif isinstance(value, str):
        return value + "!"
    return None


def test_no_reference_case_passes_with_another_answer() -> None:
    for case in given_cases():
        wrong = spoilt(case["expected"])
        if wrong is not None:
            assert known_answers.check(case | {"expected": wrong}), case["name"]


def test_a_variant_belongs_to_the_longest_name_and_needs_all_its_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {
        "name": "wilson_ci_k0_n10",
        "inputs": {"k": 0, "n": 10, "confidence": 0.95},
        "expected": {"lo": 0.0, "hi": 0.3},
        "tolerance": {"abs": 0.03, "rel": 0},
    }
    unknown = copy.deepcopy(case) | {"name": "wilson"}
    more = copy.deepcopy(case)
    more["expected"] = {"lo": 0.0, "median": 0.1}
    wrong = copy.deepcopy(case)
    wrong["expected"] = {"lo": None, "hi": "0.3"}
    broken = copy.deepcopy(case)
    broken["inputs"] = {"k": 3}
    assert known_answers.main([written(tmp_path, [case, unknown, more, wrong, broken])]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop(2).startswith("wilson_ci_k0_n10: lo: got 0.0, expected None; hi: got 0.27")
    assert lines == [
        "wilson: no function is known for this name",
        "wilson_ci_k0_n10: median: nobody computes it",
        "wilson_ci_k0_n10: KeyError: 'n'",
        "1 passed, 4 failed",
    ]


def test_tolerances_and_kinds() -> None:
    exact: dict[str, float] = {"abs": 0, "rel": 0}
    assert known_answers.same(101.0, 100, {"abs": 0.5, "rel": 0.005})
    assert not known_answers.same(101.01, 100, {"abs": 0.5, "rel": 0.005})
    assert known_answers.same(float("nan"), None, exact)
    assert known_answers.same(None, None, exact)
    assert not known_answers.same(0.0, None, exact)
    assert not known_answers.same(None, 0.0, {"abs": 1, "rel": 1})
    assert not known_answers.same(float("nan"), 1.0, {"abs": 1, "rel": 1})
    assert not known_answers.same(True, 1, exact)
    assert known_answers.differ([1, 2], [1, 2, 3], exact)


def test_no_cases_are_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert known_answers.main([written(tmp_path, [])]) == 1
    assert known_answers.main([]) == 2
    assert known_answers.main([str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
