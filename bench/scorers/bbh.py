"""BIG-Bench-Hard: what follows "answer is"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import reply_text, right_or_wrong, targets_of, unparsed, unscored

_OPTION = re.compile(r"\(([A-Z])\)")
_HARNESS = re.compile(r"(?:[Tt]he answer is |The answer: |The final answer: )(.+)")
_HARNESS_IGNORES = str.maketrans("", "", ',\\\n"')


class Extract(Enum):
    """How the answer is read."""

    published = "published"
    harness = "harness"


@plugin("scorer", "bbh")
@dataclass(frozen=True)
class Bbh(Scorer):
    """Exact match of the answer that the chain of thought ends on.

    ``published`` is the rule of the prompts of suzgunmirac/BIG-Bench-Hard ("So the answer is ..."), as
    FranxYao/chain-of-thought-hub evaluates it (``BBH/run_bbh_gpt_3.5_turbo.py``): what follows the last
    "answer is ", without one trailing point. Where the target is an option such as ``(B)``, the alphabetically first
    option named there counts. A reply without the words is compared as a whole, as answers without reasoning are.
    ``harness`` is the filter of EleutherAI/lm-evaluation-harness, ``lm_eval/tasks/bbh/cot_zeroshot``: the first line
    after "the answer is", without its last character, letter case and commas aside.

    Attributes:
        extract: which rule reads the reply.
    """

    kind: str = "bbh"
    version: str = "1"
    extract: Extract = Extract.published

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` for longer replies that do not say what the answer is."""
        targets = [str(target).strip() for target in targets_of(sample)]
        if not targets:
            return unscored("no target")
        text = reply_text(choice)
        if self.extract is Extract.harness:
            return _by_harness(text, targets)
        answer, stated = _published(text, any(_OPTION.fullmatch(target) for target in targets))
        if answer in targets:
            return right_or_wrong(True, answer)
        if not stated and (not text or len(text) > 20 + 3 * max(map(len, targets)) or "\n" in text):
            return unparsed("the reply does not say what the answer is")
        return right_or_wrong(False, answer)


def _published(text: str, is_option: bool) -> tuple[str, bool]:
    _, marker, after = text.rpartition("answer is ")
    answer = (after if marker else text).strip()
    options = _OPTION.findall(answer) if is_option else []
    if is_option and re.fullmatch("[A-Z]", answer):
        options = [answer]
    if options:
        return f"({min(options)})", bool(marker)
    return answer.removesuffix("."), bool(marker)


def _by_harness(text: str, targets: list[str]) -> Score:
    match = _HARNESS.search(text)
    if match is None or len(match.group(1)) < 2:
        return unparsed("the reply does not say what the answer is")
    answer = match.group(1)[:-1].strip()
    return right_or_wrong(_harness_form(answer) in {_harness_form(target) for target in targets}, answer)


def _harness_form(text: str) -> str:
    return text.strip().removesuffix(".").translate(_HARNESS_IGNORES).lower()
