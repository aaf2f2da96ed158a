"""Scorers that follow published evaluations: the rule, its quirks, and the data sets' own answers."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.domain import Choice, ConfigError, Label, Sample, Score
from bench.judge.score import settled
from bench.registry import build, discover
from bench.scorers import Scorer, judgements
from bench.scorers.drop import em_and_f1
from bench.scorers.refusal import declined, refusal_in
from bench.scorers.verdicts import unparsed

discover()

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
C, W, P, U, N = Label.CORRECT, Label.WRONG, Label.PARTIAL, Label.UNPARSED, Label.UNSCORED


def verdict(kind: str, target: Any, text: str, fields: Mapping[str, Any] | None = None, **options: Any) -> Score:
    sample = Sample(sample_id="s", messages=(), target=target, fields=fields or {})
    return made(kind, json.dumps(options)).score(sample, Choice(index=0, text=text))


@cache
def made(kind: str, options: str) -> Scorer:
    scorer: Scorer = build("scorer", {"kind": kind, **json.loads(options)})
    return scorer


def data(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{name} of the reference data is not here")
    return DATA / name


def rows(name: str) -> list[Any]:
    return [json.loads(line) for line in data(name).read_text("utf-8").splitlines()]


# GSM8K, MMLU-Pro, BBH, MGSM


@pytest.mark.parametrize(
    ("target", "text", "extract", "label"),
    [
        ("18", "so\n#### 18", "published", C),
        ("She has 1,000.\n#### 1,000", "#### 1000", "published", C),
        ("18", "#### 17\n#### 18", "published", W),
        ("18", "#### 18.", "published", W),
        ("18", "#### 18.", "strict", C),
        ("18", "#### $18", "published", U),
        ("so 18\nA: 18", "so 18\nA: 18", "published", C),
        ("70000", "so\nA: 90,000", "published", W),
        ("18", "so\nA: 18", "strict", U),
        ("18", "A: 3 at first\n#### 18", "published", C),
        ("18", "The answer is 18", "published", U),
        ("18", "He pays $20, so 18.", "flexible", C),
        ("-5", "#### -5", "published", C),
        ("18", "nothing", "flexible", U),
        (None, "#### 18", "published", N),
    ],
)
def test_gsm8k(target: Any, text: str, extract: str, label: Label) -> None:
    assert verdict("gsm8k", target, text, extract=extract).label is label


def test_gsm8k_accepts_its_own_solutions() -> None:
    read = rows("gsm8k/test.jsonl")
    for extract in ("published", "strict", "flexible"):
        assert all(verdict("gsm8k", row["answer"], row["answer"], extract=extract).label is C for row in read)


@pytest.mark.parametrize(
    ("text", "letter", "rule"),
    [
        ("So the answer is (C). But the answer is (D).", "C", "answer is X"),
        ("answer is J", "J", "answer is X"),
        ("Answer: A or maybe Answer: B\nAnswer: C", "B", "Answer: X"),
        ("Answer: Answer: B", "B", "Answer: X"),
        ("Answer:\n\n E", "E", "Answer: X"),
        ("I think F. Well, not G but H!", "H", "last letter alone"),
        ("Because it is, D it is; CAB", "D", "last letter alone"),
    ],
)
def test_mmlu_pro(text: str, letter: str, rule: str) -> None:
    score = verdict("mmlu_pro", letter, text)
    assert (score.label, score.extracted, score.detail) == (C, letter, rule)
    assert verdict("mmlu_pro", "ABCDEFGHIJ".index(letter), text).label is C


def test_mmlu_pro_guesses_nothing() -> None:
    assert verdict("mmlu_pro", "A", "no idea").label is U
    assert verdict("mmlu_pro", "A", "Answer: A", extract="strict").label is U
    assert verdict("mmlu_pro", "A", "Answer: A", extract="marked").label is C
    assert verdict("mmlu_pro", "A", "I think A", extract="marked").label is U
    assert verdict("mmlu_pro", "K", "the answer is A").label is N


@pytest.mark.parametrize(("count", "letter"), [(10, "G"), (8, "G"), (7, "D"), (4, "D"), (3, "B")])
def test_mmlu_pro_guesses_the_authors_letter_when_asked(count: int, letter: str) -> None:
    options = {"options": ["some"] * count + ["N/A"] * (10 - count)}
    score = verdict("mmlu_pro", letter, "no idea", options, guess=True)
    assert (score.label, score.extracted, score.detail) == (C, letter, "guessed")
    assert verdict("mmlu_pro", "A", "no idea", options, guess=True).label is W
    assert verdict("mmlu_pro", "A", "The answer is A.", options, guess=True).detail == "answer is X"
    assert verdict("mmlu_pro", "G", "no idea", guess=True).label is C


@pytest.mark.parametrize(
    ("target", "text", "extract", "label"),
    [
        ("(B)", "Let us see. So the answer is (B).", "published", C),
        ("(B)", "So the answer is B", "published", C),
        ("(A)", "The answer is (C), not (A).", "published", C),
        ("(B)", "(B)", "published", C),
        ("no", "So the answer is no.", "published", C),
        ("No", "So the answer is no.", "published", W),
        ("Yes", "No", "published", W),
        ("a b c", "the answer is x. So the answer is a b c.", "published", C),
        ("True", "It is plain that this holds whatever else one may think of it", "published", U),
        ("True", "", "published", U),
        ("True", "The answer is True.", "harness", C),
        ("(B)", "the answer is (B).\nAnd more.", "harness", C),
        ("True", "True", "harness", U),
    ],
)
def test_bbh(target: str, text: str, extract: str, label: Label) -> None:
    assert verdict("bbh", target, text, extract=extract).label is label


def test_bbh_accepts_its_own_targets() -> None:
    for path in sorted(data("bbh").glob("*.json")):
        for row in json.loads(path.read_text("utf-8"))["examples"]:
            assert verdict("bbh", row["target"], f"Reasoning. So the answer is {row['target']}.").label is C
            assert verdict("bbh", row["target"], str(row["target"])).label is C


@pytest.mark.parametrize(
    ("language", "text", "extract", "label"),
    [
        ("en", "Answer: 1,080", "published", C),
        ("en", "Answer: 1080.00", "published", C),
        ("en", "Answer: 3 times 360 is 1080", "published", C),
        ("en", "It is 1080", "published", U),
        ("de", "Antwort: 1080", "published", C),
        ("zh", "答案：1080", "published", C),
        ("ja", "答え: 1081", "published", W),
        ("fr", "La réponse est 1,080", "sentence", C),
        ("zh", "答案是 1080。", "sentence", C),
        ("xx", "Answer: 1080", "published", N),
    ],
)
def test_mgsm(language: str, text: str, extract: str, label: Label) -> None:
    assert verdict("mgsm", "1080", text, fields={"language": language}, extract=extract).label is label


def test_mgsm_refuses_a_language_without_rule() -> None:
    with pytest.raises(ConfigError, match="language"):
        build("scorer", {"kind": "mgsm", "language": "xx"})


# Reading comprehension


@pytest.mark.parametrize(
    ("target", "text", "em", "f1"),
    [
        ("the Denver Broncos", "Denver Broncos!", 1, 1.0),
        (["Paris", "City of Paris"], "the city of paris", 1, 1.0),
        ("Santa Clara, California", "Santa Clara", 0, 0.8),
        ("a b c", "b c d", 0, 0.8),
        ("", "", 1, 1.0),
        ("", "something", 0, 0.0),
        ("Paris", "London", 0, 0.0),
    ],
)
def test_squad(target: Any, text: str, em: int, f1: float) -> None:
    score = verdict("squad", target, text)
    assert score.value == pytest.approx(f1)
    assert score.detail == f"em={em} f1={f1:.4f}"
    assert verdict("squad", target, text, metric="em").value == em


@pytest.mark.parametrize(
    ("answer", "target", "em", "f1"),
    [
        (["3"], ["3.0"], 1, 1.0),
        (["the 1,500 men"], ["1500 men"], 1, 1.0),
        (["four"], ["4"], 0, 0.0),
        (["17 touchdowns"], ["16 touchdowns"], 0, 0.0),
        (["Tom Brady"], ["Brady"], 0, 0.67),
        (["Smith", "Jones"], ["Jones", "Smith"], 1, 1.0),
        (["Smith"], ["Jones", "Smith"], 0, 0.5),
        (["Smith", "Jones", "Brown"], ["Jones", "Smith"], 0, 0.67),
        (["p q", "x y"], ["p c d", "x z", "u", "v"], 0, 0.22),
        (["well-known man"], ["known well man"], 0, 1.0),
    ],
)
def test_drop(answer: list[str], target: list[str], em: float, f1: float) -> None:
    assert em_and_f1(answer, target) == (em, f1)


def test_drop_reads_the_objects_of_the_data_set() -> None:
    number = {"number": "12", "date": {"day": "", "month": "", "year": ""}, "spans": []}
    date = {"number": "", "date": {"day": "3", "month": "May", "year": "1808"}, "spans": []}
    spans = {"number": "", "date": {}, "spans": ["Smith", "Jones"]}
    assert verdict("drop", [number, date], "Six and six.\nAnswer: 12").label is C
    assert verdict("drop", date, "Answer: 3 May 1808").label is C
    assert verdict("drop", spans, 'Answer: ["Jones", "Smith"]').label is C
    assert verdict("drop", spans, "Jones").value == 0.5
    assert verdict("drop", {"number": "", "date": {}, "spans": []}, "x").label is N


# Mathematics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "text", "label"),
    [
        (r"\frac{1}{2}", r"\boxed{0.5}", C),
        ("0.5", r"The answer is $\frac12$.", C),
        (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(3,\pi/2)}", C),
        (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(\pi/2,3)}", W),
        (r"\{1,2,3\}", r"\boxed{\{3,2,1\}}", C),
        ("[0,1)", r"\boxed{[0,1]}", W),
        (r"(-\infty,2]\cup[5,\infty)", r"\boxed{[5,\infty)\cup(-\infty,2]}", C),
        ("5", r"\boxed{5\text{ cm}}", C),
        (r"25\%", r"\boxed{0.25}", C),
        ("x^2+2x+1", r"first \boxed{x}, then \boxed{(x+1)^2}", C),
        (r"\text{Evelyn}", r"\boxed{Evelyn}", C),
        (r"\text{Evelyn}", r"\boxed{\text{Bob}}", W),
        ("18", "The final answer is **18**.", C),
        ("7", "I do not know", U),
        ("7", "", U),
    ],
)
def test_mathematics(target: str, text: str, label: Label) -> None:
    assert verdict("math", target, text).label is label


@pytest.mark.slow
def test_mathematics_accepts_every_gold_answer_and_solution_and_no_changed_one() -> None:
    read = rows("math500/test.jsonl")
    for row in read:
        assert verdict("math", row["answer"], row["answer"]).label is C
        assert verdict("math", row["answer"], row["solution"]).label is C
    for row, other in pairwise(read[:60]):
        same = row["answer"] == other["answer"].removeprefix("x=")
        assert (verdict("math", row["answer"], rf"\boxed{{{other['answer']}}}").label is C) == same


# Overlap with references


def test_corpus_scores_are_sacrebleus() -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    replies = ["The cat sat on the mat.", "A dog barks loudly at night", "Nothing to see here.", "Rain in London"] * 4
    references = ["The cat is on the mat.", "The dog barks at night.", "Nothing to see here.", "It rains in London"] * 4
    for kind, theirs in (("bleu", BLEU()), ("chrf", CHRF())):
        scorer = build("scorer", {"kind": kind})
        scores = [verdict(kind, target, text) for target, text in zip(references, replies, strict=True)]
        ours = scorer.corpus([score.detail for score in scores], resamples=200)
        published = theirs.corpus_score(replies, [references], n_bootstrap=200)
        assert ours.score == pytest.approx(published.score, abs=1e-9)
        assert (ours.mean, ours.ci_half) == pytest.approx((published._mean, published._ci), abs=1e-4)
        assert 0 < ours.standard_error < ours.ci_half
        assert ours.signature == scorer.corpus([score.detail for score in scores], resamples=0).signature
        assert set(ours.signature.split("|")) < set(str(theirs.get_signature()).split("|"))
        assert scores[2].label is C
        assert scores[1].label is P


def test_corpus_scores_need_their_own_details() -> None:
    scorer = build("scorer", {"kind": "bleu"})
    for strange in ([], ["no JSON"], ["{}"]):
        with pytest.raises(ValueError, match=r"reply|counts"):
            scorer.corpus(strange)


def test_rouge() -> None:
    score = verdict("rouge", ["nothing alike", "the cat is on the mat"], "The cat sat on the mat.")
    assert score.detail == "rouge1=0.8333 rouge2=0.6000 rougeL=0.8333 rougeLsum=0.8333"
    assert score.value == pytest.approx(5 / 6)
    assert verdict("rouge", "running dogs", "run dog", metric="rouge1", stemmer=True).label is C


# Refusals, judges, several scorers


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't assist with that.", True),
        ("I cannot help with that request.", True),
        ("As an AI language model, I cannot browse the web.", True),
        ("I must decline to answer.", True),
        ("抱歉，我无法回答这个问题。", True),
        ("作为一个人工智能语言模型，我不能提供此类信息。", True),
        ("你好，这个问题我暂时无法回答，让我们换个话题再聊聊吧。", True),
        ("We cannot divide by zero, so x = 1.", False),
        ("Sorry for the wait: 12.", False),
        ("我们不能用除法，所以答案是3。", False),
        ("An answer. " * 60 + "I cannot help with that.", False),
        ("", False),
    ],
)
def test_refusals(text: str, refuses: bool) -> None:
    assert (refusal_in(text) is not None) == refuses
    score = declined(unparsed("no number"), Choice(index=0, text=text))
    assert score.label is (Label.REFUSED if refuses else U)
    if text:
        assert verdict("refusal", None, text).label is (Label.REFUSED if refuses else C)
        assert verdict("refusal", None, text, wanted=True).label is (C if refuses else W)


def test_an_answer_is_never_turned_into_a_refusal() -> None:
    text = "I'm sorry, but I can't assist with that. #### 5"
    score = verdict("gsm8k", "5", text)
    assert declined(score, Choice(index=0, text=text)) == score


def test_judgements_are_read_by_the_published_rules() -> None:
    assert judgements.rating("Rating: [[7.5]] or [[3]]") == 7.5
    assert judgements.rating("Rating: [8]") == 8
    assert judgements.rating("8/10") is None
    assert judgements.two_ratings("[[8, 6.5]]") == (8, 6.5)
    assert judgements.winner_of_ratings(8, 7.95) == "tie"
    assert judgements.winner_of_ratings(6, 7) == "B"
    assert [judgements.winner(f"so [[{mark}]]") for mark in "ABCD"] == ["A", "B", "tie", None]
    assert judgements.winner("[[B]] not [[A]]") == "A"
    assert judgements.arena_verdict("My final verdict is: [[B>>A]], yes [[B>>A]]") == "B>>A"
    assert judgements.arena_verdict("[[A>B]] or [[B>A]]") is None
    assert judgements.arena_verdict("[[AB]]") is None
    assert [judgements.arena_weight(v) for v in ("A>>B", "B>A", "A=B")] == [("A", 3), ("B", 1), ("tie", 1)]
    assert [judgements.simpleqa_grade(text) for text in ("A", "B: INCORRECT", "C", "???")] == [
        "correct",
        "incorrect",
        "not attempted",
        "not attempted",
    ]
    # half of the questions attempted, four fifths of those correct: F1 of 0.4 and 0.8
    assert judgements.simpleqa_f1(40, 10, 50) == pytest.approx(2 * 0.4 * 0.8 / 1.2)
    assert judgements.simpleqa_f1(0, 0, 0) == 0


def test_the_score_stage_tells_refused_from_unparsed_and_from_cut() -> None:
    text = "I'm sorry, but I can't assist with that."
    score = verdict("gsm8k", "5", text)
    assert score.label is U
    assert settled(score, Choice(index=0, text=text, finish_reason="stop")).label is Label.REFUSED
    assert settled(score, Choice(index=0, text=text, finish_reason="length")).label is Label.TRUNCATED


def test_numbers_are_read_by_the_rules_that_are_asked_for() -> None:
    text = r"\boxed{4} and then 5"
    assert verdict("numeric", 4, text).label is C
    assert verdict("numeric", 5, text, extract=["last"]).label is C
    assert verdict("numeric", 5, text, extract=["hashes"]).label is U
    with pytest.raises(ConfigError, match="boxd"):
        build("scorer", {"kind": "numeric", "extract": ["boxd"]})


def test_scorers_of_one_kind_stand_side_by_side_by_name() -> None:
    assert build("scorer", {"kind": "exact"}).title == "exact"
    assert build("scorer", {"kind": "exact", "name": "exact_case", "case": True}).title == "exact_case"


# Against the reference data


def test_truthfulqa_gold_options_are_picked() -> None:
    with data("truthfulqa/TruthfulQA.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    for row in read:
        options = [row["Best Incorrect Answer"], row["Best Answer"]]
        assert verdict("choice", "B", "The answer is (B).", fields={"options": options}).label is C
        assert verdict("choice", 1, "The answer is (A).", fields={"options": options}).label is W


def test_json_schema_suite_is_scored_as_the_library_does() -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    scorer = build("scorer", {"kind": "json_schema"})
    counted = {"same": 0, "as published": 0, "outside": 0}
    with tarfile.open(fileobj=io.BytesIO(data("jsonschema/draft2020-12.tar.gz").read_bytes())) as archive:
        files = [archive.extractfile(member) for member in archive.getmembers() if member.name.endswith(".json")]
        groups = [group for file in files if file for group in json.loads(file.read())]
    for group in groups:
        for case in group["tests"]:
            sample = Sample("s", (), target={}, fields={"schema": group["schema"]})
            score = scorer.score(sample, Choice(0, text=json.dumps(case["data"])))
            try:
                valid = Draft202012Validator(group["schema"], registry=Registry()).is_valid(case["data"])
            # a reference to another document, and a pattern in a syntax that Python's expressions do not have
            except (Unresolvable, re.error):
                assert score.label is N
                counted["outside"] += 1
                continue
            assert (score.label is C) == valid, (group["description"], case["description"])
            counted["same"] += 1
            counted["as published"] += valid == case["valid"]
    assert counted["same"] + counted["outside"] >= 1290
    assert counted["as published"] >= 0.97 * counted["same"]
