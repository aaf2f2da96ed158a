"""GSM8K: the number after ``####``, as its authors read it, or the last number as a harness does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import reply_text, right_or_wrong, targets_of, unparsed, unscored

_HASHES = re.compile(r"#### (-?[0-9.,]+)")
_LINE = re.compile(r"^A: (-?[0-9.,]+)", re.MULTILINE)
_ANY_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


class Extract(Enum):
    """How the answer is read."""

    published = "published"
    strict = "strict"
    flexible = "flexible"


@plugin("scorer", "gsm8k")
@dataclass(frozen=True)
class Gsm8k(Scorer):
    """Compares the extracted number with the target's as text, commas aside.

    ``published`` is the rule of openai/grade-school-math, ``grade_school_math/dataset.py``: the first
    ``#### NUMBER`` of the reply (without one the first line ``A: NUMBER``, the mark of the solutions published beside
    it), with commas removed, is the same text as the target's. ``strict`` and ``flexible``
    are the two filters of EleutherAI/lm-evaluation-harness, ``lm_eval/tasks/gsm8k/gsm8k.yaml``: the same mark, or
    the last number of the reply; both also ignore dollar signs and one trailing point.

    The target is a number, or a solution that ends in ``#### NUMBER``.

    Attributes:
        extract: which rule reads the reply.
    """

    kind: str = "gsm8k"
    version: str = "1"
    extract: Extract = Extract.published

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where the rule finds no number."""
        targets = [self._normal(_marked(str(target)) or str(target)) for target in targets_of(sample)]
        if not targets:
            return unscored("no target")
        text = reply_text(choice)
        if self.extract is Extract.flexible:
            numbers = _ANY_NUMBER.findall(text)
            found = numbers[-1].strip() if numbers else None
        else:
            found = _marked(text, by_line=self.extract is Extract.published)
        if found is None:
            return unparsed("no number" if self.extract is Extract.flexible else "no `#### NUMBER`")
        return right_or_wrong(self._normal(found) in targets, found, self.extract.value)

    def _normal(self, text: str) -> str:
        text = text.strip().replace(",", "")
        return text if self.extract is Extract.published else text.replace("$", "").removesuffix(".").lower()


def _marked(text: str, by_line: bool = True) -> str | None:
    match = _HASHES.search(text) or (_LINE.search(text) if by_line else None)
    return match.group(1) if match else None
