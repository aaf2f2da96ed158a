"""The few shapes of verdicts, and how a reply's text is read by every scorer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.domain import Choice, Label, Sample, Score

MAX_TEXT_CHARS = 200_000
MAX_SHOWN_CHARS = 200

_THOUGHT_END = re.compile(r"</think(?:ing)?>")


def unstripped_text(choice: Choice) -> str:
    """The answer text of a choice: without a leaked ``<think>`` block, at most the last 200,000 characters of it."""
    text = choice.text[-MAX_TEXT_CHARS:]
    ends = list(_THOUGHT_END.finditer(text))
    return text[ends[-1].end() :] if ends else text


def reply_text(choice: Choice) -> str:
    """The answer text of a choice as :func:`unstripped_text` gives it, without whitespace at its ends."""
    return unstripped_text(choice).strip()


def plain(text: str, case: bool = False) -> str:
    """Text for comparison: NFKC, whitespace runs as one space, letter case folded unless ``case``."""
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    return text if case else text.casefold()


def shown(value: Any) -> str:
    """A value as bounded text that any file can hold (lone surrogates replaced)."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


def targets_of(sample: Sample) -> list[Any]:
    """The accepted targets of a row: the items of a list, else the target itself; none where there is no target."""
    if sample.target is None:
        return []
    return list(sample.target) if isinstance(sample.target, list | tuple) else [sample.target]


def graded(value: float, extracted: Any, detail: str = "") -> Score:
    """A verdict of degree: ``correct`` at value 1, ``wrong`` at 0, else ``partial``. The detail must be bounded."""
    value = 1.0 if value >= 1 - 1e-9 else max(value, 0.0)
    label = Label.CORRECT if value == 1 else Label.PARTIAL if value > 0 else Label.WRONG
    return Score(value, label, shown(extracted), detail)


def right_or_wrong(right: bool, extracted: Any, detail: str = "") -> Score:
    """``correct`` with value 1 or ``wrong`` with value 0."""
    return Score(float(right), Label.CORRECT if right else Label.WRONG, shown(extracted), shown(detail))


def share(met: int, of: int, extracted: Any, detail: str = "") -> Score:
    """``correct`` when all are met, ``wrong`` when none, else ``partial``; the value is the share met."""
    label = Label.CORRECT if met == of else Label.PARTIAL if met else Label.WRONG
    return Score(met / of if of else 1.0, label, shown(extracted), shown(detail))


def unparsed(why: str) -> Score:
    """No answer could be read from the reply: value 0."""
    return Score(0.0, Label.UNPARSED, None, shown(why))


def unscored(why: str) -> Score:
    """Nothing to compare with: no value."""
    return Score(None, Label.UNSCORED, None, shown(why))


def named_means(details: Sequence[str]) -> str:
    """Means of the figures that details of the form ``em=1 f1=0.50`` tell, over all of them."""
    sums: defaultdict[str, float] = defaultdict(float)
    for detail in details:
        for name, value in re.findall(r"(\w+)=(\d+(?:\.\d+)?)", detail):
            sums[name] += float(value)
    return ", ".join(f"{name} {total / len(details):.2%}" for name, total in sums.items())
