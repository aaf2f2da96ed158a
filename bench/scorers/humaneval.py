"""HumanEval: the function that a reply completes passes its tests."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from bench.domain import Choice, Sample
from bench.registry import plugin
from bench.scorers.code import CodeScorer, NoCodeError, blocks, raw_text, text_field


@plugin("scorer", "humaneval")
@dataclass(frozen=True)
class HumanEval(CodeScorer):
    """The published check: prompt, completion, tests and ``check(entry_point)`` as one program (Chen et al. 2021).

    A row brings ``prompt``, ``test`` and ``entry_point``. A reply without a fence continues the prompt as it stands, as
    completions do. Of a reply with fenced blocks the first that defines the function is the answer, behind whatever the
    prompt has before the function; where none defines it the first block continues the prompt. A reply without a fence
    that defines the function itself, and does not start indented as a continuation does, is the answer too.
    """

    kind: str = "humaneval"
    version: str = "1"

    def program(self, sample: Sample, choice: Choice) -> str:
        """What the published harness runs."""
        prompt, test, name = (text_field(sample, field) for field in ("prompt", "test", "entry_point"))
        return "\n".join([solution(prompt, name, raw_text(choice)), test, f"check({name})"])


def solution(prompt: str, name: str, text: str) -> str:
    """The program up to the function ``name``, from the prompt and a reply.

    Raises:
        NoCodeError: the reply's first block is empty.
    """
    starts = re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", re.MULTILINE)
    before = prompt[: [*starts.finditer(prompt)][-1].start()] if starts.search(prompt) else ""
    found = blocks(text)
    whole = next((code for code in found or _unindented(text) if starts.search(code)), None)
    if whole is not None:
        return before + whole
    if not found:
        return prompt + text
    if not found[0].strip():
        raise NoCodeError("the code block is empty")
    body = found[0]
    first = next(line for line in body.splitlines() if line.strip())
    return prompt + (body if first[0].isspace() else textwrap.indent(body, "    "))


def _unindented(text: str) -> list[str]:
    """The text, unless its first line is indented: then it goes on with a function, whatever it defines later."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [] if first[:1].isspace() else [text]
