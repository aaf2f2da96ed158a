"""MMLU-Pro: the letter of up to ten options, by the chain of rules of its authors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

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
    strict = "strict"


@plugin("scorer", "mmlu_pro")
@dataclass(frozen=True)
class MmluPro(Scorer):
    """Reads the letter as TIGER-AI-Lab/MMLU-Pro does (``evaluate_from_api.py``, ``compute_accuracy.py``).

    ``chain`` tries three rules: the first "answer is (X)"; on the first line with one, the last "Answer: X"; the last
    capital letter A to J that stands alone. Where none finds a letter, the authors draw one at random; here the reply
    is ``unparsed``. ``strict`` tries the first rule only, which is also the filter of
    EleutherAI/lm-evaluation-harness, ``lm_eval/tasks/mmlu_pro``.

    The target is a letter, or an option's number from 0.

    Attributes:
        extract: ``chain`` or ``strict``.
    """

    kind: str = "mmlu_pro"
    version: str = "1"
    extract: Extract = Extract.chain

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where no rule finds a letter."""
        targets = {letter for letter in (_letter(target) for target in targets_of(sample)) if letter}
        if not targets:
            return unscored("the target is no letter of A to J")
        letter, rule = extracted(reply_text(choice), chain=self.extract is Extract.chain)
        if letter is None:
            return unparsed("no letter by the published rules")
        return right_or_wrong(letter in targets, letter, rule)


def extracted(text: str, chain: bool = True) -> tuple[str | None, str]:
    """The letter that a reply gives and the rule that found it; only the first rule without ``chain``."""
    match = _SAID.search(text)
    if match:
        return match.group(1), "answer is X"
    if not chain:
        return None, ""
    marked = list(_MARKED.finditer(text))
    if marked:
        line_end = text.find("\n", marked[0].start())
        same_line = [mark for mark in marked if line_end < 0 or mark.start() < line_end]
        return same_line[-1].group(1), "Answer: X"
    alone = _ALONE.findall(text)
    return (alone[-1], "last letter alone") if alone else (None, "")


def _letter(target: object) -> str | None:
    if isinstance(target, int) and not isinstance(target, bool):
        return "ABCDEFGHIJ"[target] if 0 <= target < 10 else None
    text = str(target).strip().strip("()")
    return text if len(text) == 1 and text in "ABCDEFGHIJ" else None
