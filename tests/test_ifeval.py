"""IFEval's 25 instructions, one by one, and the strict and loose figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.domain import Choice, Label, Sample, Score
from bench.scorers.ifeval import IfEval, loose_forms, rates
from bench.scorers.ifeval_checks import CHECKS, sentences, words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ifeval" / "input_data.jsonl"


def verdict(text: str, instructions: Mapping[str, Any], loose: bool = False) -> Score:
    fields = {"instruction_id_list": list(instructions), "kwargs": list(instructions.values())}
    return IfEval(loose=loose).score(Sample("s", (), target=list(instructions), fields=fields), Choice(0, text=text))


# The instruction, its parameters, a text that follows it, and one that does not.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}, "Cats and DOGS", "Cats"),
    ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "at least"}, "A banana", "once: a"),
    ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "less than"}, "once: a", "A banana"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "cats", "a Cat."),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "at least"}, "Eve", "odd"),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "at least"}, "So! Ho!", "So!"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a\n***\n \n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "it's so", "two words"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "two words", "it's so"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Hello"},
        'one\n\n"hello, you',
        "one\n\nHelloo you",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b", "[a\n] [b"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "bye\np. s. and", "bye PS and"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S and", "P.S. and"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n\n  - b", "** a\n* b"),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "My answer is Yes."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* **two**", "*one* * * ** **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1 a Part2", "Part 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', '{"a": 1'),
    ("detectable_format:title", {}, "so\n<<joy>>", "<< >> <<\n>>"),
    ("combination:two_responses", {}, "a ****** b", "a ****** a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, " say HI. hi", "Hi. Say hi."),
    ("startend:end_checker", {"end_phrase": "The end."}, '"so the END."', "The end. Really"),
    ("startend:quotation", {}, ' "so" ', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A B", "A b"),
    ("change_case:english_lowercase", {}, "this is a plain sentence in english", "This is a plain sentence"),
    ("change_case:english_capital", {}, "THIS IS A PLAIN SENTENCE IN ENGLISH", "this is a plain sentence"),
    ("punctuation:no_comma", {}, "none", "one, two"),
    ("language:response_language", {"language": "de"}, "Das ist ein deutscher Satz.", "This is an English sentence."),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "Dr. Smith left. He was late.",
        "Dr. Smith of the U.S. left at 5 p.m. yesterday",
    ),
]


@pytest.mark.parametrize(("instruction", "options", "follows", "breaks"), CASES)
def test_an_instruction_is_followed_or_not(
    instruction: str, options: dict[str, Any], follows: str, breaks: str
) -> None:
    if (instruction, follows) == ("detectable_content:number_placeholders", "[a] and [b"):
        follows += "]"
    assert verdict(follows, {instruction: options}).label is Label.CORRECT
    assert verdict(breaks, {instruction: options}).label is Label.WRONG


def test_all_instructions_are_there() -> None:
    assert len(CHECKS) == 25
    assert {case[0] for case in CASES} == set(CHECKS)


def test_every_row_of_the_data_set_can_be_checked() -> None:
    if not DATA.exists():
        pytest.skip("IFEval's prompts are not here")
    for line in DATA.read_text("utf-8").splitlines():
        row = json.loads(line)
        assert set(row["instruction_id_list"]) <= set(CHECKS)
        # what takes long to check is checked above
        kept = [
            (name, options)
            for name, options in zip(row["instruction_id_list"], row["kwargs"], strict=True)
            if not name.startswith(("language", "change_case", "length_constraints:number_sentences"))
        ]
        score = verdict(row["prompt"], dict(kept)) if kept else None
        assert score is None or score.label is not Label.UNSCORED


def test_loose_forgives_a_first_or_last_line_and_asterisks() -> None:
    instructions: dict[str, Any] = {"startend:quotation": {}, "punctuation:no_comma": {}}
    strict, loose = verdict('Sure, here:\n"*so*"', instructions), verdict('Sure, here:\n"*so*"', instructions, True)
    assert (strict.value, strict.label) == (0.0, Label.WRONG)
    assert (loose.value, loose.label) == (1.0, Label.CORRECT)
    assert json.loads(strict.detail) == json.loads(loose.detail) == {"strict": "00", "loose": "11"}
    assert loose_forms("a\n*b*\nc") == ["a\n*b*\nc", "a\nb\nc", "*b*\nc", "a\n*b*", "*b*", "b\nc", "a\nb", "b"]


def test_value_is_the_share_followed() -> None:
    score = verdict("no title", {"punctuation:no_comma": {}, "detectable_format:title": {}})
    assert (score.value, score.label, score.extracted) == (0.5, Label.PARTIAL, "1 of 2")


def test_an_empty_reply_follows_nothing() -> None:
    score = verdict(" \n", {"punctuation:no_comma": {}})
    assert (score.value, score.label, score.detail) == (0.0, Label.UNPARSED, '{"strict":"0","loose":"0"}')


@pytest.mark.parametrize(
    "instructions",
    [
        {"punctuation:no_such": {}},
        {"length_constraints:number_words": {"num_words": 3}},
        {"length_constraints:number_words": {"num_words": None, "relation": "at least"}},
        {"length_constraints:number_words": {"num_words": 3, "relation": "at most"}},
        {},
    ],
)
def test_a_row_without_what_an_instruction_needs_is_unscored(instructions: dict[str, Any]) -> None:
    assert verdict("text", instructions).label is Label.UNSCORED


def test_parameters_may_be_null_where_they_do_not_belong() -> None:
    nulls = dict.fromkeys(("num_words", "relation", "language"))
    assert verdict("none", {"punctuation:no_comma": nulls}).label is Label.CORRECT


def test_the_four_published_figures() -> None:
    details = ['{"strict":"11","loose":"11"}', '{"strict":"0","loose":"1"}', '{"strict":"010","loose":"011"}']
    assert rates(details) == {
        "prompt_strict": pytest.approx(1 / 3),
        "instruction_strict": pytest.approx(3 / 6),
        "prompt_loose": pytest.approx(2 / 3),
        "instruction_loose": pytest.approx(5 / 6),
    }
    with pytest.raises(ValueError, match="at least one"):
        rates([])


def test_sentences_and_words_are_cut_as_nltk_cuts_them() -> None:
    text = 'Mr. Smith paid $3.50 in the U.S. on Jan. 5. "Was it much?" he asked. I don\'t know... Ask Dr. No!'
    assert sentences(text) == [
        "Mr. Smith paid $3.50 in the U.S. on Jan. 5.",
        '"Was it much?"',
        "he asked.",
        "I don't know...",
        "Ask Dr. No!",
    ]
    assert words("I CAN'T go. NOT now.") == ["I", "CA", "N'T", "go", ".", "NOT", "now", "."]


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["[", "*", "** ", "<<a", "\n", " \n- ", "p. p. ", "A. ", '"', "\ud800\x00 "])
def test_hostile_replies_are_checked_in_bounded_time(piece: str) -> None:
    # A quadratic rule would take minutes here; the suite's own time limit is the bound.
    instructions = {name: options for name, options, _, _ in CASES}
    assert verdict((piece * 20_000)[:20_000], instructions).value is not None
