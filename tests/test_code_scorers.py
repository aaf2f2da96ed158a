"""Scorers that run code: what counts as the code of a reply, the published checks, and the permission to run any."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.domain import Choice, ConfigError, Label, Sample, Score
from bench.sandbox.ready import ready_backend
from bench.scorers.code import CodeScorer
from bench.scorers.cruxeval import CruxEval, Predicts
from bench.scorers.humaneval import HumanEval, solution
from bench.scorers.mbpp import Mbpp, code_in

SHARED = Path(__file__).resolve().parents[2] / "shared"
C, W, U, N = Label.CORRECT, Label.WRONG, Label.UNPARSED, Label.UNSCORED

ADD = {
    "prompt": 'from typing import List\n\ndef add(a: int, b: int) -> int:\n    """The sum."""\n',
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n",
    "entry_point": "add",
}
DOUBLE = {"code": "def f(x):\n    return x * 2", "input": "[1, 2]", "output": "[1, 2, 1, 2]"}


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    try:
        ready_backend()
    except ConfigError as error:
        pytest.skip(str(error))


def scored(scorer: CodeScorer, fields: dict[str, Any], text: str) -> Score:
    return scorer.score(Sample("s", (), fields=fields), Choice(0, text))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("    return a + b\n", C),
        ("    return a - b\n", W),
        ("def add(a, b):\n    return a + b", C),
        ("Here:\n```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\nIt adds.", C),
        ("```\n    return a + b\n```", C),
        ("```python\nreturn a + b\n```", C),
        ("```python\nx = List\n```\nand then\n```python\ndef add(a, b):\n    return sum([a, b])\n```", C),
        ("```bash\npip install add\n```\n```python\ndef add(a, b):\n    return a + b\n```", C),
        ("```python\ndef add(a, b):\n    return a + b", C),
        ("<think>    return a - b</think>    return a + b\n", C),
        ("```python\ndef add(a, b):\n    import os\n    os._exit(0)\n```", W),
        ("", U),
        ("```python\n\n```", U),
        ("I cannot do that.", W),
    ],
)
def test_humaneval_finds_the_code(text: str, label: Label) -> None:
    assert scored(HumanEval(allow_code=True), ADD, text).label is label


def test_what_the_prompt_has_before_the_function_stays() -> None:
    prompt = "import math\n\ndef helper(x):\n    return x\n\ndef g(x):\n"
    assert solution(prompt, "g", "def g(x):\n    return helper(x)").startswith("import math\n\ndef helper")
    assert solution(prompt, "g", "    return 1") == prompt + "    return 1"


def test_a_continuation_stays_one_whatever_it_defines_after_the_function() -> None:
    prompt, again = "def g(x):\n", "    return 1\n\ndef g(x):\n    return 2\n"
    assert solution(prompt, "g", again) == prompt + again


def test_a_row_without_its_check_is_unscored() -> None:
    assert scored(HumanEval(allow_code=True), {"prompt": "def f():\n"}, "    return 1").label is N
    assert scored(Mbpp(allow_code=True), {"test_list": []}, "x = 1").label is N


def test_without_permission_nothing_runs() -> None:
    for scorer in (HumanEval(), Mbpp(), CruxEval()):
        with pytest.raises(ConfigError, match=r"scorer\.allow_code=true"):
            scorer.ready()
        assert scored(scorer, ADD | DOUBLE, "    return a + b").label is N


@pytest.mark.parametrize("change", [{"cpu_s": 0}, {"cpu_s": -1.0}, {"memory_mib": 1}])
def test_senseless_limits_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        HumanEval(**change)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[BEGIN]\nx = 1\n[DONE]\nmore", "\nx = 1\n"),
        ("x = 1\n[DONE]\nYou are an expert", "x = 1\n"),
        ("Sure.\n```python\nx = 1\n```\n", "x = 1\n"),
        ("x = 1", "x = 1"),
    ],
)
def test_mbpp_finds_the_code(text: str, code: str) -> None:
    assert code_in(text) == code


def test_mbpp_runs_setup_and_every_test() -> None:
    row = {"test_setup_code": "two = 2", "test_list": ["assert f(1) == 1", "assert f(two) == 4"]}
    assert scored(Mbpp(allow_code=True), row, "def f(x):\n    return x * x").label is C
    assert scored(Mbpp(allow_code=True), row, "def f(x):\n    return 1").label is W


@pytest.mark.parametrize(
    ("predicts", "text", "label"),
    [
        (Predicts.output, "[1, 2, 1, 2]", C),
        (Predicts.output, "It doubles.\n[ANSWER][1, 2,  1, 2][/ANSWER]", C),
        (Predicts.output, "[ANSWER]\nassert f([1, 2]) == [1, 2, 1, 2]\n[/ANSWER]", C),
        (Predicts.output, "```python\n[1, 2, 1, 2]\n```", C),
        (Predicts.output, "So `[1, 2]`", W),
        (Predicts.output, "f([1, 2])", W),
        (Predicts.input, "f([1, 2])", C),
        (Predicts.input, "[ANSWER]assert f([1, 2]) == [1, 2, 1, 2][/ANSWER]", C),
        (Predicts.input, "[ANSWER][1, 2, 1, 2][/ANSWER]", W),
        (Predicts.input, "f([2, 1])", W),
        (Predicts.output, "", U),
    ],
)
def test_cruxeval(predicts: Predicts, text: str, label: Label) -> None:
    assert scored(CruxEval(allow_code=True, predicts=predicts), DOUBLE, text).label is label


def lines(name: str) -> list[dict[str, Any]]:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.decode().splitlines()]


def together(scorer: CodeScorer, pairs: list[tuple[dict[str, Any], str]]) -> list[Label]:
    with ThreadPoolExecutor(4) as pool:
        return [score.label for score in pool.map(lambda pair: scored(scorer, *pair), pairs)]


@pytest.mark.slow
def test_every_eighth_canonical_solution_passes() -> None:
    """All 164 pass too (``python tests/code_gold.py``), which takes longer than a suite should."""
    rows = lines("humaneval/HumanEval.jsonl.gz")[::8]
    assert set(together(HumanEval(allow_code=True), [(row, row["canonical_solution"]) for row in rows])) == {C}


@pytest.mark.slow
def test_references_of_mbpp_and_cruxeval_pass() -> None:
    rows = lines("mbpp/mbpp.jsonl")[5::120]
    assert set(together(Mbpp(allow_code=True), [(row, row["code"]) for row in rows])) == {C}
    crux = lines("cruxeval/cruxeval.jsonl")[::100]
    assert set(together(CruxEval(allow_code=True), [(row, row["output"]) for row in crux])) == {C}
