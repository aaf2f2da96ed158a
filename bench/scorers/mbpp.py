"""MBPP: the code of a reply passes the task's assertions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.domain import Choice, Sample
from bench.registry import plugin
from bench.scorers.code import CodeScorer, NoCodeError, RowError, blocks, raw_text

_BEGUN = re.compile(r"\[BEGIN\](.*?)(?:\[DONE\]|\Z)", re.DOTALL)


@plugin("scorer", "mbpp")
@dataclass(frozen=True)
class Mbpp(CodeScorer):
    """The published check: the code, then ``test_setup_code``, then every line of ``test_list`` (Austin et al. 2021).

    The code stands between ``[BEGIN]`` and ``[DONE]``, the marks of the published few-shot prompt (a reply that goes on
    behind ``[BEGIN]`` ends at ``[DONE]``), or in the first fenced block, or is the whole reply. The reference solution
    of task 123 takes more than 10 s of CPU, so that it fails at any limit below that; all others pass within 3 s.
    """

    kind: str = "mbpp"
    version: str = "1"

    def program(self, sample: Sample, choice: Choice) -> str:
        """The code and its assertions."""
        tests = sample.fields.get("test_list")
        if not isinstance(tests, list) or not tests:
            raise RowError("the row has no list in its field `test_list`")
        setup = sample.fields.get("test_setup_code") or ""
        return "\n".join([code_in(raw_text(choice)), str(setup), *map(str, tests)])


def code_in(text: str) -> str:
    """The code of a reply.

    Raises:
        NoCodeError: there is none.
    """
    begun = _BEGUN.search(text)
    part = begun.group(1) if begun else text.partition("[DONE]")[0]
    found = blocks(part)
    code = found[0] if found else part
    if not code.strip():
        raise NoCodeError("the reply holds no code")
    return code
