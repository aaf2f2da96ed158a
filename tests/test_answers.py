"""The answer that a reply ends on: numbers and letters, with known answers and real gold solutions."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_verdict import verdict

from bench.domain import Choice, Label, Sample
from bench.registry import discover
from bench.scorers.numeric import Numeric

discover()

REFERENCE = Path(__file__).resolve().parents[2] / "shared"
C, W, P, U, N = Label.CORRECT, Label.WRONG, Label.PARTIAL, Label.UNPARSED, Label.UNSCORED


# numeric


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("He has 3 + 4 = 7 apples.\n#### 7", 7),
        ("#### Step 2: add 5\nThe sum is 12.", 12),
        ("#### $1,234.50", Fraction(2469, 2)),
        ("so \\boxed{\\frac{3}{4}} and not 5", Fraction(3, 4)),
        ("\\boxed{1{,}234}", 1234),
        ("$x = \\boxed{-7}$", -7),
        ("so it is $-\\frac{35}{9}$", Fraction(-35, 9)),
        ("$1\\frac{3}{4}$", Fraction(7, 4)),
        ("\\boxed{11,\\! 111,\\!100}", 11111100),
        ("The answer is 42. I checked it 3 times.", 42),
        ("Answer: 5 + 6 = 11", 11),
        ("**Answer:** 12 500 people", 12500),
        ("First the answer is 4. No: the answer is 5.", 5),
        ("The answer is not 3, it is more like 8", 8),
        ("She makes **$18** a day (from 9 eggs).", 18),
        ("**Step 3:** the rest is 6", 6),
        ("it costs -$5.20", Fraction(-26, 5)),
        ("it costs $-5.20", Fraction(-26, 5)),
        ("minus sign: −5", -5),
        ("1 3/4 cups", Fraction(7, 4)),
        ("2½", Fraction(5, 2)),
        ("an area of 12 m²", 12),
        ("1.5e3", 1500),
        ("3 × 10^5", 300000),
        ("1,00,000 rupees", 100000),
        ("1'000 francs", 1000),
        ("The year-end count: 7.", 7),
        ("1. Add them.\n2. You get 9.\n", 9),
        ("共有３５个苹果", 35),
        ("答：一共有12个。", 12),
        ("答案是三百零五", 305),
        ("一百二十", 120),
        ("负三点五", Fraction(-7, 2)),
        ("<think>maybe 5, or 6</think>It is 7", 7),
        ("7 </think> 8", 8),
    ],
)
def test_the_number_a_reply_ends_on(text: str, value: Fraction | int) -> None:
    wanted = str(value) if isinstance(value, Fraction) else value
    assert verdict("numeric", wanted, text).label is C, verdict("numeric", wanted, text)
    assert verdict("numeric", float(value) + 1, text).label is W


@pytest.mark.parametrize(
    ("target", "text", "label"),
    [
        ("25%", "It is 0.25", C),
        (25, "25%", C),
        (0.25, "25%", C),
        (3, "3 million", C),
        (3_000_000, "3 million", C),
        (35_000, "3.5万", C),
        ("the sum is 3\n#### 3", "3", C),
        ([3, 4], "4", C),
        ("1/3", "0.3333", W),
        ("1/3", "0.3333333", C),
        (10**19 + 1, str(10**19), W),
        (7, "", U),
        (7, "no idea", U),
        (7, "1/0", U),
        (None, "7", N),
        ("seven", "7", N),
        (True, "1", N),
        (math.inf, "1", N),
        ([], "1", N),
    ],
)
def test_numeric_verdicts(target: Any, text: str, label: Label) -> None:
    assert verdict("numeric", target, text).label is label


def test_numeric_tolerances() -> None:
    assert verdict("numeric", 100, "101", rel_tol=0.01).label is C
    assert verdict("numeric", 100, "101.1", rel_tol=0.01).label is W
    assert verdict("numeric", 0.3333, "1/3", abs_tol=0.001).label is C


@given(st.integers(-(10**15), 10**15))
def test_numeric_reads_back_what_is_written(number: int) -> None:
    for text in (f"{number}", f"{number:,}", f"\\boxed{{{number:,}}}", f"It is {number}.", f"答案：{number}"):
        assert verdict("numeric", number, text).label is C


def test_numeric_accepts_every_gold_solution_of_gsm8k() -> None:
    path = REFERENCE / "data" / "gsm8k" / "test.jsonl"
    if not path.is_file():
        pytest.skip("the GSM8K test file is not at hand")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 1000
    scorer = Numeric()
    for row in rows:
        gold = row["answer"].rpartition("####")[2].strip()
        number = float(gold.replace(",", ""))
        for target, label in ((gold, C), (number, C), (number + 1, W)):
            sample = Sample(sample_id="s", messages=(), target=target)
            assert scorer.score(sample, Choice(index=0, text=row["answer"])).label is label, row["answer"]


def test_numeric_reads_the_boxed_numbers_of_math500() -> None:
    path = REFERENCE / "data" / "math500" / "test.jsonl"
    if not path.is_file():
        pytest.skip("the MATH-500 test file is not at hand")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    plain = re.compile(r"-?\d+(,\d{3})*(\.\d+)?|-?\\frac\{\d+\}\{\d+\}|\d+\\%")
    rows = [row for row in rows if plain.fullmatch(row["answer"])]
    assert len(rows) > 300
    for row in rows:
        sample = Sample(sample_id="s", messages=(), target=row["answer"])
        score = Numeric().score(sample, Choice(index=0, text=row["solution"]))
        assert score.label is C, (row["answer"], score)


# choice

OPTIONS = ["Paris", "a whale", "iron", "iron oxide"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b)", "B"),
        ("**B**", "B"),
        ("(B) a whale", "B"),
        ("B. a whale\n\nIt gives milk.", "B"),
        ("The answer is (C) iron.", "C"),
        ("The correct option is **C**, because A is wrong.", "C"),
        ("Answer:\nD", "D"),
        ("**Answer:** D", "D"),
        ("The answer is A because B and C are animals.", "A"),
        ("The answer is not A. The answer is B.", "B"),
        ("First I thought the answer is A. No, the answer is C.", "C"),
        ("I would choose C", "C"),
        ("#### B", "B"),
        ("so \\boxed{\\text{D}}", "D"),
        ("答案是B", "B"),
        ("故选：Ｃ。", "C"),
        ("选项B正确", "B"),
        ("A. Paris\nB. a whale\n\nB", "B"),
        ("I'd say B, since it swims.", "B"),
        ("the answer is a whale", "B"),
        ("A whale is the largest.", "B"),
        ("I think iron oxide.", "D"),
        ("It is iron, I believe.", "C"),
        ("<think>A? B?</think>C", "C"),
    ],
)
def test_the_letter_a_reply_picks(text: str, letter: str) -> None:
    found = verdict("choice", letter, text, {"options": OPTIONS})
    assert (found.label, found.extracted) == (C, letter), found
    other = "A" if letter != "A" else "B"
    assert verdict("choice", other, text, {"options": OPTIONS}).label is W


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A or B.",
        "It is A or B",
        "A. Paris\nB. a whale",
        "Perhaps (A), perhaps (C).",
        "Paris or iron",
        "None of these.",
        "I cannot tell.",
        "",
        "Z",
    ],
)
def test_an_ambiguous_or_missing_letter_is_not_guessed(text: str) -> None:
    assert verdict("choice", "B", text, {"options": OPTIONS}).label is U


def test_choice_targets() -> None:
    assert verdict("choice", 1, "B", {"options": OPTIONS}).label is C
    assert verdict("choice", "A whale", "B", {"options": OPTIONS}).label is C
    assert verdict("choice", "E", "E", letters="ABCDE").label is C
    for senseless in (None, 9, "E", "Rome", True):
        assert verdict("choice", senseless, "B", {"options": OPTIONS}).label is N
