"""CRUXEval: the value that a function returns, or an input that makes it return a value, predicted by a reply."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import Enum

from bench.domain import Choice, Sample
from bench.registry import plugin
from bench.scorers.code import CodeScorer, NoCodeError, blocks, raw_text, text_field

_ANSWER = re.compile(r"\[ANSWER\](.*?)(?:\[/ANSWER\]|\Z)", re.DOTALL)


class Predicts(Enum):
    """Which half of ``f(input) == output`` a reply states."""

    output = "output"
    input = "input"


@plugin("scorer", "cruxeval")
@dataclass(frozen=True)
class CruxEval(CodeScorer):
    """The published check: the row's ``code``, then ``assert OUTPUT == ANSWER`` (Gu et al. 2024).

    As published, an answer about the output must not call ``f`` on the input, and one about the input must call ``f``.
    The answer stands between ``[ANSWER]`` and ``[/ANSWER]``, or in the last fenced block, or on the last line; of an
    assertion ``f(...) == value`` the half that is asked for counts.

    Attributes:
        predicts: ``output`` or ``input``.
    """

    kind: str = "cruxeval"
    version: str = "1"
    predicts: Predicts = Predicts.output

    def program(self, sample: Sample, choice: Choice) -> str:
        """The function and the assertion."""
        code, given, output = (text_field(sample, field) for field in ("code", "input", "output"))
        answer = self.half(stated(raw_text(choice)))
        if self.predicts is Predicts.input and "f(" not in answer:
            return refusal("the answer does not call f")
        if self.predicts is Predicts.output and f"f({given})" in answer:
            return refusal("the answer calls f on the input instead of saying what it returns")
        return f"{code}\nassert {output} == {answer}"

    def half(self, answer: str) -> str:
        """The side of ``assert f(...) == value`` that is asked for; an answer that is no such thing stays whole."""
        bare = re.sub(r"^assert\b", "", answer).strip()
        try:
            tree = ast.parse(bare, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return bare
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or not isinstance(tree.ops[0], ast.Eq):
            return bare
        wanted = tree.comparators[0] if self.predicts is Predicts.output else tree.left
        return ast.get_source_segment(bare, wanted) or bare


def stated(text: str) -> str:
    """The answer of a reply.

    Raises:
        NoCodeError: there is none.
    """
    marked = _ANSWER.findall(text)
    part = marked[-1] if marked else text.partition("[/ANSWER]")[0]
    found = blocks(part)
    lines = (found[-1] if found else part).strip()
    answer = lines if marked or found else lines.rpartition("\n")[2]
    answer = answer.strip().strip("`").strip()
    if not answer:
        raise NoCodeError("the reply states no answer")
    return answer


def refusal(why: str) -> str:
    """A program that fails with a reason."""
    return f"raise AssertionError({why!r})"
