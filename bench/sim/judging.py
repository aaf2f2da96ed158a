"""A model as judge: verdicts on replies that a prompt shows between marks, in the form that the prompt asks for.

The truth is known for the shipped prompt sets alone: a reply that holds the reference of its row is good, any other is
not. Elsewhere a reply's quality is made up from its text, always the same for the same text. A judge sees the truth
with a set probability, and prefers what it is shown first with another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from bench.providers.sim import SimKnobs
from bench.sim.answers import Answers, uniform

_SHOWN = re.compile(r"<(reply|first|second) ([0-9a-f]{12})>\n(.*?)\n</\1 \2>", re.DOTALL)
#: two qualities closer than this are a tie, and further apart than the second a clear win
_TIE, _CLEAR = 0.1, 0.6


@dataclass(frozen=True, slots=True)
class Shown:
    """What a prompt shows to be judged: one reply, or two in order; and the prompt without them."""

    replies: tuple[str, ...]
    prompt: str


def shown_in(message: str) -> Shown | None:
    """The replies that a message shows to a judge, or ``None`` when it is no such message."""
    found = [match.group(3) for match in _SHOWN.finditer(message)]
    if len(found) not in (1, 2) or _form(prompt := _SHOWN.sub("", message), len(found)) is None:
        return None
    return Shown(tuple(found), prompt)


def verdict_on(shown: Shown, answers: Answers, knobs: SimKnobs, random: Random) -> str:
    """The judge's words: a sentence and the verdict in the form asked for."""
    form = _form(shown.prompt, len(shown.replies))
    qualities = [_quality(reply, shown.prompt, answers, knobs, random) for reply in shown.replies]
    if form == "rating":
        return f"The reply was held against the question.\n\nRating: [[{1 + round(9 * qualities[0])}]]"
    if form == "json":
        return f'Held against the reference.\n\n{{"grade": "{"correct" if qualities[0] >= 0.5 else "wrong"}"}}'
    if form == "grade":
        return "A" if qualities[0] >= 0.5 else "B"
    lead = qualities[0] - qualities[1]
    if random.random() < knobs.judge_position_bias:
        lead = 1.0
    side = "=" if abs(lead) < _TIE else ">" if lead > 0 else "<"
    if form == "pair":
        return f"Both were held against the question.\n\nVerdict: [[{ {'>': 'A', '<': 'B', '=': 'C'}[side] }]]"
    marks = {"=": "A=B", ">": "A>>B" if lead > _CLEAR else "A>B", "<": "B>>A" if lead < -_CLEAR else "B>A"}
    return f"Both were held against the question.\n\nMy final verdict is: [[{marks[side]}]]"


def _form(prompt: str, replies: int) -> str | None:
    if replies == 2:
        return "five" if "[[A>>B]]" in prompt else "pair" if "[[A]]" in prompt else None
    if re.search(r"\[\[(\d+|rating)\]\]", prompt):
        return "rating"
    return "json" if '{"grade":' in prompt else "grade" if "one letter" in prompt else None


def _quality(reply: str, prompt: str, answers: Answers, knobs: SimKnobs, random: Random) -> float:
    """From 0 to 1. A judge that errs takes a good reply for a bad one, and a bad one for a good one."""
    row = answers.find(prompt)
    if row is None or not isinstance(row.reference, str):
        return uniform(knobs.seed, "quality", reply)
    good = row.reference.strip() in reply
    if random.random() >= knobs.judge_skill:
        good = not good
    return 0.9 if good else 0.1
