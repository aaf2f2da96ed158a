"""MMLU-Pro: the letter of up to ten options, by the chain of rules of its authors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from random import Random

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import reply_text, right_or_wrong, targets_of, unparsed, unscored

_SAID = re.compile(r"answer is \(?([A-J])\)?")
# Looks ahead for the letter, so that marks may touch, and never rescans a line for each of its characters.
_MARKED = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_ALONE = re.compile(r"\b[A-J]\b")


class Extract(Enum):
    """How many rules of the chain are tried."""

    chain = "chain"
    marked = "marked"
    strict = "strict"


@plugin("scorer", "mmlu_pro")
@dataclass(frozen=True)
class MmluPro(Scorer):
    """Reads the letter as TIGER-AI-Lab/MMLU-Pro does (``evaluate_from_api.py``, ``compute_accuracy.py``).

    ``chain`` tries three rules: the first "answer is (X)"; on the first line with one, the last "Answer: X"; the last
    capital letter A to J that stands alone. ``marked`` tries the first two, as ``evaluate_from_local.py`` did when most
    of the outputs beside it were read. ``strict`` tries the first rule only, which is also the filter of
    EleutherAI/lm-evaluation-harness, ``lm_eval/tasks/mmlu_pro``.

    Where no rule finds a letter, the reply is ``unparsed``. The authors put a letter in its place, drawn by a generator
    that is seeded with 12345 for each such row, so always the same one of as many options; their published accuracies
    hold those hits. ``guess`` does likewise.

    The target is a letter, or an option's number from 0.

    Attributes:
        extract: ``chain``, ``marked`` or ``strict``.
        guess: whether a reply without a letter is given the authors' one; by the row's ``options``, else of ten.
    """

    kind: str = "mmlu_pro"
    version: str = "1"
    extract: Extract = Extract.chain
    guess: bool = False

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where no rule finds a letter."""
        targets = {letter for letter in (_letter(target) for target in targets_of(sample)) if letter}
        if not targets:
            return unscored("the target is no letter of A to J")
        letter, rule = extracted(reply_text(choice), self.extract)
        if letter is None and self.guess:
            letter, rule = guessed(sample.fields.get("options")), "guessed"
        if letter is None:
            return unparsed("no letter by the published rules")
        return right_or_wrong(letter in targets, letter, rule)


def extracted(text: str, extract: Extract = Extract.chain) -> tuple[str | None, str]:
    """The letter that a reply gives and the rule that found it."""
    match = _SAID.search(text)
    if match:
        return match.group(1), "answer is X"
    if extract is Extract.strict:
        return None, ""
    marked = list(_MARKED.finditer(text))
    if marked:
        line_end = text.find("\n", marked[0].start())
        same_line = [mark for mark in marked if line_end < 0 or mark.start() < line_end]
        return same_line[-1].group(1), "Answer: X"
    alone = _ALONE.findall(text) if extract is Extract.chain else []
    return (alone[-1], "last letter alone") if alone else (None, "")


def guessed(options: object) -> str:
    """The letter that the authors draw for a row: the options that are not filled up with ``N/A`` count."""
    given = [one for one in options if one != "N/A"] if isinstance(options, list | tuple) else []
    return "ABCDEFGHIJ"[Random(12345).randint(0, min(len(given) or 10, 10) - 1)]


def _letter(target: object) -> str | None:
    if isinstance(target, int) and not isinstance(target, bool):
        return "ABCDEFGHIJ"[target] if 0 <= target < 10 else None
    text = str(target).strip().strip("()")
    return text if len(text) == 1 and text in "ABCDEFGHIJ" else None
