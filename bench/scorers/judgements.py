"""What a judge model said: ratings, winners and grades, read by the published rules."""

from __future__ import annotations

import re

TIE_DELTA = 0.1

_NUMBER = r"(\d+\.?\d*)"
_RATING = (re.compile(rf"\[\[{_NUMBER}\]\]"), re.compile(rf"\[{_NUMBER}\]"))
_RATINGS = (re.compile(rf"\[\[{_NUMBER},\s?{_NUMBER}\]\]"), re.compile(rf"\[{_NUMBER},\s?{_NUMBER}\]"))
_ARENA = re.compile(r"\[\[([AB<>=]+)\]\]")
_ARENA_VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_GRADE = re.compile("[ABC]")
GRADES = {"A": "correct", "B": "incorrect", "C": "not attempted"}


def rating(judgement: str) -> float | None:
    """The first ``[[N]]``, else the first ``[N]``; ``None`` where there is neither.

    MT-Bench, lm-sys/FastChat, ``fastchat/llm_judge/common.py``, ``run_judge_single`` (which gives -1 for none, and
    leaves that out of its means).
    """
    match = _RATING[0].search(judgement) or _RATING[1].search(judgement)
    return float(match.group(1)) if match else None


def two_ratings(judgement: str) -> tuple[float, float] | None:
    """Both numbers of the first ``[[N, M]]``, else ``[N, M]``. Same source, ``run_judge_pair``."""
    match = _RATINGS[0].search(judgement) or _RATINGS[1].search(judgement)
    return (float(match.group(1)), float(match.group(2))) if match else None


def winner(judgement: str) -> str | None:
    """``A``, ``B`` or ``tie`` from ``[[A]]``, ``[[B]]``, ``[[C]]``, looked for in this order; ``None`` for none.

    Same source, ``run_judge_pair`` with output format ``[[A]]``.
    """
    for mark, verdict in (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie")):
        if mark in judgement:
            return verdict
    return None


def winner_of_ratings(one: float, other: float) -> str:
    """``A``, ``B``, or ``tie`` where two ratings differ by at most 0.1. Same source."""
    if abs(one - other) <= TIE_DELTA:
        return "tie"
    return "A" if one > other else "B"


def arena_verdict(judgement: str) -> str | None:
    """``A>>B``, ``A>B``, ``A=B``, ``B>A`` or ``B>>A``; ``None`` for no verdict, or for several that differ.

    Arena-Hard, lm-sys/arena-hard-auto (v0.1), ``gen_judgment.py``, ``get_score``.
    """
    found = set(_ARENA.findall(judgement))
    verdict = found.pop() if len(found) == 1 else None
    return verdict if verdict in _ARENA_VERDICTS else None


def arena_weight(verdict: str) -> tuple[str, int]:
    """The winner (``A``, ``B``, ``tie``) of an arena verdict, and how many battles it counts for (3 if strong).

    Same source, ``show_result.py``.
    """
    if verdict == "A=B":
        return "tie", 1
    return verdict[0], 3 if ">>" in verdict else 1


def simpleqa_grade(judgement: str) -> str:
    """``correct``, ``incorrect`` or ``not attempted`` from the first capital A, B or C; the last where there is none.

    SimpleQA, openai/simple-evals, ``simpleqa_eval.py``, ``grade_sample``.
    """
    match = _GRADE.search(judgement)
    return GRADES[match.group() if match else "C"]


def simpleqa_f1(correct: int, incorrect: int, not_attempted: int) -> float:
    """Harmonic mean of the share correct and the share correct of those attempted; 0 where nothing is correct.

    Same source, the aggregate "F1" of the paper (Wei et al. 2024, section 2).
    """
    total, attempted = correct + incorrect + not_attempted, correct + incorrect
    return 2 * correct / (total + attempted) if total + attempted else 0.0
