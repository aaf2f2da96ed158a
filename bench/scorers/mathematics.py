"""Mathematical equivalence of a reply's final answer and the target."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import plain, reply_text, right_or_wrong, targets_of, unparsed, unscored

MAX_ANSWER_CHARS = 2_000
MAX_SEARCHED_CHARS = 20_000
LAST_EXPRESSION = "last expression"

_SAYS = re.compile(
    r"(?:(?:answer|result)\s{0,3}(?:is|:|=)|答案\s{0,3}(?:是|为|:|：))\s{0,3}([^\n]{1,400})", re.IGNORECASE
)
_DRESSING = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox)\{([^{}]{0,200})\}|\\[,!;: ]|\\left|\\right|[$\s]")


@plugin("scorer", "math")
@dataclass(frozen=True)
class Mathematics(Scorer):
    r"""Reads the final answer and compares it with the target as mathematics, by the library ``math-verify``.

    The answer is the last ``\boxed{}``; without one what follows the last "answer is", "Answer:", "答案是"; without
    one the last expression that the library finds. Equal are the same texts apart from dressing (``\text``, spaces,
    ``\left``), and whatever the library proves equal: numbers, fractions, percentages, roots, tuples, sets, intervals,
    equations, matrices. A list of targets accepts any of them.

    Attributes:
        time_limit_s: for one verdict; algebra on a hostile answer may not end.
    """

    kind: str = "math"
    version: str = "1"
    time_limit_s: float | None = 10.0

    def warm(self) -> None:
        """Load the algebra and its parser."""
        _proved(_read_answer("\\frac{1}{2}"), _read_answer("0.5"))

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where no expression can be read."""
        targets = [str(target) for target in targets_of(sample)]
        if not targets:
            return unscored("no target")
        text = reply_text(choice)
        answer, rule = stated_answer(text)
        if any(_bare(answer) == _bare(target) for target in targets):
            return right_or_wrong(True, answer, rule)
        read = _read(text[-MAX_ANSWER_CHARS:]) if rule == LAST_EXPRESSION else _read_answer(answer)
        if any(_proved(_read_answer(target), read) for target in targets):
            return right_or_wrong(True, answer if rule != LAST_EXPRESSION else str(read[-1]), rule)
        if rule == LAST_EXPRESSION:
            return right_or_wrong(False, str(read[-1]), rule) if read else unparsed("no answer in the reply")
        # words that are not the target's words are an answer all the same
        return right_or_wrong(False, answer, rule) if answer else unparsed(f"an empty answer ({rule})")


def stated_answer(text: str) -> tuple[str, str]:
    """The text of the final answer and the rule that found it; the whole reply where nothing marks an answer."""
    last = None
    for last in boxes(text):  # noqa: B007  # the last one is wanted, after the loop
        pass
    if last is not None:
        return last[:MAX_ANSWER_CHARS], "boxed"
    said = list(_SAYS.finditer(text[-MAX_SEARCHED_CHARS:]))
    if said:
        return said[-1].group(1).strip().rstrip("。").strip("*").removesuffix(".").strip("* "), "said to be the answer"
    return text[-MAX_ANSWER_CHARS:], LAST_EXPRESSION


def boxes(text: str) -> Iterator[str]:
    r"""The content of every ``\boxed{}`` or ``\fbox{}`` whose braces close, in order."""
    position = 0
    while match := re.compile(r"\\(?:boxed|fbox)\s{0,3}(?:\{|(\S))").search(text, position):
        if match.group(1):
            yield match.group(1)
            position = match.end()
            continue
        depth = 1
        for brace in re.compile(r"(?<!\\)[{}]").finditer(text, match.end()):
            depth += 1 if brace.group() == "{" else -1
            if depth == 0:
                yield text[match.end() : brace.start()].strip()
                break
        else:
            return
        # Boxes within boxes are one answer: the outer.
        position = brace.end()


def _bare(text: str) -> str:
    previous, text = None, plain(text)
    while previous != text:
        previous, text = text, _DRESSING.sub(r"\1", text)
    return text.removesuffix(".").replace("dfrac", "frac").replace("tfrac", "frac").replace("^\\circ", "")


@lru_cache(maxsize=4096)
def _read_answer(answer: str) -> tuple[Any, ...]:
    """The expressions of a text that is an answer and nothing else."""
    answer = answer[:MAX_ANSWER_CHARS].strip().strip("$")
    bare = answer.replace("\\%", "").replace("%", "").strip()
    found = _read(f"${bare}$") or _read(bare)
    # a percentage means its number as well as its hundredth: 25% answers 25 and 0.25
    return found if bare == answer else (*found, *_read(f"{bare}%"))


def _read(text: str) -> tuple[Any, ...]:
    """The expressions that the library finds; none where it fails, however it fails."""
    # sympy takes a second to import
    from math_verify import parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    try:
        # The library's own time limit is a signal, which works in a main thread only.
        return tuple(parse(text, parsing_timeout=None))
    except Exception:  # noqa: BLE001  # parser and algebra raise whatever they like on what a model writes
        return ()


def _proved(target: tuple[Any, ...], answer: tuple[Any, ...]) -> bool:
    from math_verify import verify

    if not target:
        return False
    try:
        return bool(verify(list(target), list(answer), timeout_seconds=None))
    except Exception:  # noqa: BLE001  # as above
        return False
