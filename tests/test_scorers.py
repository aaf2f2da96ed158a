"""Verdicts with known answers, and on any text at all."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_verdict import verdict

from bench.domain import Choice, ConfigError, Label, Sample, Score
from bench.registry import build, discover, plugins
from bench.scorers import Scorer

discover()

REFERENCE = Path(__file__).resolve().parents[2] / "shared"
C, W, P, U, N = Label.CORRECT, Label.WRONG, Label.PARTIAL, Label.UNPARSED, Label.UNSCORED


OPTIONS = ["Paris", "a whale", "iron", "iron oxide"]


# exact, contains, regex


@pytest.mark.parametrize(
    ("target", "text", "options", "label"),
    [
        ("Paris", " paris.\n", {}, C),
        ("Paris", "Ｐａｒｉｓ", {}, C),
        ("Paris", "paris", {"case": True}, W),
        ("Paris", "Paris.", {"punctuation": True}, W),
        ("New York", "new\n  york", {}, C),
        ("3.5", "35", {}, W),
        ("-5", "5", {}, W),
        ("well-known", "well known", {}, C),
        (["a", "b"], "B", {}, C),
        (5, "5", {}, C),
        ("Paris", "I think so. Answer: **Paris**.", {"markers": ["answer:"]}, C),
        ("北京", "想一想。\n答案：北京。", {"markers": ["答案:"]}, C),
        ("Paris", "Paris", {"markers": ["answer:"]}, C),
        ("Paris", "It is Paris", {}, W),
        ("Paris", "...", {}, U),
        (None, "Paris", {}, N),
    ],
)
def test_exact(target: Any, text: str, options: dict[str, Any], label: Label) -> None:
    assert verdict("exact", target, text, **options).label is label


def test_contains() -> None:
    assert verdict("contains", "Paris", "It is PARIS.").label is C
    assert verdict("contains", "art", "a party").label is C
    assert verdict("contains", "art", "a party", words=True).label is W
    assert verdict("contains", ["x", "party"], "a party").label is C
    both = verdict("contains", ["x", "party"], "a party", mode="all")
    assert (both.label, both.value) == (P, 0.5)
    assert verdict("contains", ["a", "party"], "a party", mode="all").label is C
    assert verdict("contains", "a", "").label is U
    nothing: tuple[Any, ...] = (None, "", [])
    for senseless in nothing:
        assert verdict("contains", senseless, "text").label is N


def test_regex() -> None:
    assert verdict("regex", "x", "abc 12", pattern=r"\d+").label is C
    assert verdict("regex", "x", "abc", pattern=r"\d+").label is W
    assert verdict("regex", r"^b.c$", "a\nbxc").label is C
    assert verdict("regex", "12", "no 7, but 12", pattern=r"(\d+)", group=1).label is C
    assert verdict("regex", "7", "no 7, but 12", pattern=r"(\d+)", group=1).label is W
    assert verdict("regex", "7", "none", pattern=r"(\d+)", group=1).label is U
    assert verdict("regex", "(", "text").label is N
    assert verdict("regex", None, "text", pattern="t").label is N
    assert verdict("regex", "x", "1" + "a" * 100, pattern="1", max_chars=50).label is W


@pytest.mark.parametrize("options", [{"pattern": "("}, {"group": 1}, {"pattern": "a", "group": 1}, {"max_chars": 0}])
def test_regex_refuses_senseless_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="scorer"):
        build("scorer", {"kind": "regex", **options})


# json_schema

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string"}}},
    "required": ["a"],
}
TARGET = {"a": 1, "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "label", "value"),
    [
        ('{"a": 1, "b": ["x", "y"]}', C, 1.0),
        ('```json\n{"b": ["x ", "y"], "a": 1.0}\n```', C, 1.0),
        ('Here it is: {"a": 1, "b": ["x", "y"]}. Fine?', C, 1.0),
        ('{"a": 1, "b": ["x", "z"]}', P, 0.75),
        ('{"a": 1, "b": ["x", "y", "z"]}', P, 0.75),
        ('{"a": 1}', P, 0.25),
        ('{"a": 2, "b": []}', W, 0.0),
        ('{"a": "1", "b": ["x", "y"]}', W, 0.0),
        ('{"a": true, "b": ["x", "y"]}', W, 0.0),
        ('{"a": 1, "b": ["x", "y"]', U, 0.0),
        ('{"a": NaN}', U, 0.0),
        ("", U, 0.0),
        ("[" * 50_000, U, 0.0),
    ],
)
def test_json_replies(text: str, label: Label, value: float) -> None:
    score = verdict("json_schema", TARGET, text, {"schema": SCHEMA})
    assert (score.label, score.value) == (label, value), score


def test_json_without_target_or_with_a_broken_schema_is_unscored() -> None:
    reply = '{"a": 1}'
    assert verdict("json_schema", None, reply, {"schema": SCHEMA}).label is N
    assert verdict("json_schema", {"a": 1}, reply, {"schema": {"type": "objekt"}}).label is N
    assert verdict("json_schema", {"a": 1}, reply, {"schema": {"$ref": "https://example.org/s.json"}}).label is N
    assert verdict("json_schema", {"a": 1}, reply, {}).label is C
    assert verdict("json_schema", {}, reply, {"schema": SCHEMA}).label is C
    assert verdict("json_schema", {}, '{"a": "x"}', {}, schema=SCHEMA).label is W


# tool_call


def calls(*pairs: tuple[Any, Any]) -> Choice:
    made = tuple({"type": "function", "function": {"name": n, "arguments": a}} for n, a in pairs)
    return Choice(index=0, tool_calls=made)


ONE = [{"name": "f", "arguments": {"x": 1, "y": [True, "é"]}}]
TWO = [*ONE, {"name": "g", "arguments": {}}]


@pytest.mark.parametrize(
    ("target", "reply", "label", "value"),
    [
        (ONE, calls(("f", '{"y": [true, "e\\u0301"], "x": 1.0}')), C, 1.0),
        (ONE[0], calls(("f", '{"x": 1, "y": [true, "é"]}')), C, 1.0),
        (ONE, calls(("f", '{"x": 1, "y": [1, "é"]}')), W, 0.0),
        (ONE, calls(("g", '{"x": 1, "y": [true, "é"]}')), W, 0.0),
        (ONE, calls(("f", '{"x": 1')), U, 0.0),
        (ONE, calls(("f", "[1]")), U, 0.0),
        (ONE, Choice(index=0, text="I will call f."), W, 0.0),
        (TWO, calls(("g", ""), ("f", '{"x": 1, "y": [true, "é"]}')), C, 1.0),
        (TWO, calls(("g", "{}")), P, 0.5),
        (ONE, calls(("f", '{"x": 1, "y": [true, "é"]}'), ("g", "{}")), P, 0.5),
        ([], Choice(index=0, text="No call needed."), C, 1.0),
        ([], calls(("g", "{}")), W, 0.0),
        ([], Choice(index=0), U, 0.0),
        (None, calls(("g", "{}")), N, None),
        ("f", calls(("g", "{}")), N, None),
    ],
)
def test_tool_calls(target: Any, reply: Choice, label: Label, value: float | None) -> None:
    score = verdict("tool_call", target, reply)
    assert (score.label, score.value) == (label, value), score


# constraints


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ({"kind": "words", "min": 2, "max": 3}, "well-known don't", "one"),
        ({"kind": "sentences", "min": 2, "max": 2}, 'He said "no." She left', "One sentence only..."),
        ({"kind": "sentences", "min": 2, "max": 2}, "今天下雨。我不出门。", "今天下雨"),
        ({"kind": "paragraphs", "min": 2}, "a\n \nb", "a\nb"),
        ({"kind": "lines", "max": 2}, "a\n\nb", "a\nb\nc"),
        ({"kind": "bullets", "count": 2}, "x\n- a\n* b", "- a\n-b"),
        ({"kind": "numbered", "count": 2}, "1. a\n2) b", "1. a"),
        ({"kind": "include", "words": ["Cat", "dog"]}, "a CAT and a dog", "cats and dogs"),
        ({"kind": "avoid", "words": ["cat"]}, "category", "the cat"),
        ({"kind": "word_count", "word": "ha", "min": 2, "max": 2}, "ha, ha", "ha"),
        ({"kind": "no_chars", "chars": ",;"}, "a.b", "a;b"),
        ({"kind": "no_digits"}, "four", "４"),
        ({"kind": "lower_case"}, "abc é", "aBc"),
        ({"kind": "upper_case"}, "ABC 1", "ABc"),
        ({"kind": "starts_with", "text": "So"}, "So it is", "so it is"),
        ({"kind": "ends_with", "text": "end."}, "the end.\n", "the end"),
        ({"kind": "quoted"}, '"a"', '"a'),
        ({"kind": "title"}, "<<T>>\nx", "<T>"),
        ({"kind": "json"}, "[1]", "[1] yes"),
        ({"kind": "json", "keys": ["a"]}, '{"a": 1}', '{"a": 1, "b": 2}'),
    ],
)
def test_each_constraint(constraint: dict[str, Any], good: str, bad: str) -> None:
    assert verdict("constraints", "x", good, {"constraints": [constraint]}).label is C
    assert verdict("constraints", "x", bad, {"constraints": [constraint]}).label is W


def test_constraints_are_shared_out_and_must_be_checkable() -> None:
    listed = [{"kind": "lower_case"}, {"kind": "no_digits"}, {"kind": "ends_with", "text": "x"}, {"kind": "title"}]
    score = verdict("constraints", "x", "abc 1x", {"constraints": listed})
    assert (score.label, score.value, score.detail) == (P, 0.5, "broken: no_digits, title")
    for senseless in ([{"kind": "rhymes"}], [{"kind": "words"}], [{"kind": "bullets"}], ["words"], [], "words"):
        assert verdict("constraints", "x", "abc", {"constraints": senseless}).label is N
    assert verdict("constraints", "x", " ", {"constraints": listed}).label is U


# mixed, none


def test_mixed_follows_the_kind_of_the_target() -> None:
    assert verdict("mixed", "B", "the answer is B", {"options": OPTIONS}).label is C
    assert verdict("mixed", 12, "一共12个").label is C
    assert verdict("mixed", "北京", "答案：北京", markers=["答案:"]).label is C


def test_none_leaves_everything_unscored() -> None:
    assert verdict("none", "x", "x") == Score(None, N, None, "the scorer is none")


# Everything, on any text

SAMPLES = (
    Sample(sample_id="n", messages=(), target=7),
    Sample(sample_id="l", messages=(), target="B", fields={"options": OPTIONS}),
    Sample(sample_id="j", messages=(), target=TARGET, fields={"schema": SCHEMA}),
    Sample(sample_id="t", messages=(), target=ONE),
    Sample(
        sample_id="c",
        messages=(),
        target="x",
        fields={"constraints": [{"kind": k, "count": 1} for k in ("bullets", "json")]},
    ),
    Sample(
        sample_id="i",
        messages=(),
        target=["A b", "12 \ud800"],
        fields={
            "instruction_id_list": ["detectable_format:title", "detectable_format:json_format"],
            "kwargs": [{}, {}],
            "language": "zh",
        },
    ),
)
# fmt: off
PIECES = st.sampled_from([
    "####", "\\boxed{", "}", "answer is ", "答案：", "选", "B", "A", " or ", "12", ",", ".", "-", "/", "0", "%", "e9",
    "三", "**", "```json\n", "```", '{"a": ', "[", "]", '"', "\n", "</think>", "\ud800", "\x00", "½", "(", "frac{1}{0}",
])
HOSTILE = [
    "9" * 60_000, "1," * 30_000, "11," * 18_000, "\n" * 60_000, "." * 60_000 + "a", '{"a":' * 12_000, "1 " * 30_000,
    "answer is " * 6_000, "A or " * 12_000, "答" + " " * 60_000, "**" * 30_000, "```\n" * 15_000, "三" * 60_000,
    "\\boxed{" * 9_000, "- " * 30_000, "B. " * 20_000, "\\frac{1" * 8_000, "(B" * 20_000,
]
# fmt: on
TEXTS = st.one_of(st.text(st.characters()), st.lists(PIECES, max_size=30).map("".join))


@cache
def every_scorer() -> list[Scorer]:
    return [build("scorer", {"kind": kind}) for kind in sorted(plugins("scorer"))]


@given(text=TEXTS, arguments=TEXTS, with_call=st.booleans())
def test_no_text_breaks_any_scorer(text: str, arguments: str, with_call: bool) -> None:
    made = ({"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}},) if with_call else ()
    choice = Choice(index=0, text=text, tool_calls=made)
    for scorer in every_scorer():
        for sample in SAMPLES:
            score = scorer.score(sample, choice)
            assert score == scorer.score(sample, choice)
            assert (score.value is None) == (score.label is N)
            assert score.value is None or 0.0 <= score.value <= 1.0
            assert (score.label is C) == (score.value == 1.0)
            assert score.label is not Label.TRUNCATED
            (score.extracted or "").encode("utf-8")
            score.detail.encode("utf-8")
            assert len(score.extracted or "") <= 200
            assert len(score.detail) <= 200


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_long_hostile_replies_are_read_in_bounded_time(text: str) -> None:
    # A quadratic rule would take minutes here; the suite's own time limit is the bound.
    for scorer in every_scorer():
        for sample in SAMPLES:
            scorer.score(sample, Choice(index=0, text=text))


def test_every_scorer_names_its_kind_and_version() -> None:
    assert {
        "none",
        "exact",
        "numeric",
        "choice",
        "contains",
        "regex",
        "json_schema",
        "tool_call",
        "constraints",
    } <= set(plugins("scorer"))
    for kind, scorer in plugins("scorer").items():
        assert scorer.kind == kind
        assert scorer.version
        assert scorer.__doc__
