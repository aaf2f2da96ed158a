"""Signs that a model was changed without a word: what the server says of itself, how it counts and what it answers."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.judge.night import PROMPTS, PROVIDER, SAMPLING, SCORER, CellNight
from bench.judge.statistics.repeats import determinism

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

#: a notice of chance needs a p below this
LIMIT = 0.001
#: earlier nights that tonight is held against
LOOK_BACK = 7
#: prompts that a mean over prompts needs to be tested
_PROMPTS = 20


class Sign(StrEnum):
    """What changed."""

    MODEL_NAME = "model name"
    FINGERPRINT = "system fingerprint"
    PROMPT_TOKENS = "prompt tokens"
    DETERMINISM = "determinism"
    ANSWERS = "answers"


@dataclass(frozen=True)
class Notice:
    """One sign on one night.

    Attributes:
        night, before: the nights that differ; ``p``: of a test, ``None`` for what is certain.
        text: what differs, in words.
    """

    sign: Sign
    night: CellNight
    before: CellNight
    text: str
    p: float | None = None


def find_drift(nights: Iterable[CellNight], runs: Container[str] | None = None) -> list[Notice]:
    """Every sign between nights that follow each other, in order of time; of some ``runs`` alone where they are given.

    Nights compare when the same model was asked the same prompts in the same way by one provider; answers when the same
    scorer read them.
    """
    places: dict[tuple[object, ...], list[CellNight]] = {}
    for night in nights:
        asked = tuple(night.hashes.get(name) for name in (PROMPTS, SAMPLING, PROVIDER))
        places.setdefault((night.name, night.model, night.dataset, night.variant, *asked), []).append(night)
    found = []
    for place in places.values():
        for at in range(1, len(place)):
            if runs is None or place[at].run in runs:
                found += signs_of(place[at], place[max(0, at - LOOK_BACK) : at])
    return sorted(found, key=lambda one: (one.night.started_at, one.night.run, one.night.cell_id))


def signs_of(night: CellNight, earlier: Sequence[CellNight]) -> list[Notice]:
    """What differs on a night from those just before it, which compare with it, oldest first."""
    last = earlier[-1]
    found = [
        *_named(Sign.MODEL_NAME, night, last, night.models, last.models),
        *_named(Sign.FINGERPRINT, night, last, night.fingerprints, last.fingerprints),
        *_counted(night, last),
    ]
    scored = [one for one in earlier if one.hashes.get(SCORER) == night.hashes.get(SCORER)]
    return [*found, *_repeated(night, scored), *_answered(night, scored)]


def _named(sign: Sign, night: CellNight, last: CellNight, new: Sequence[str], old: Sequence[str]) -> list[Notice]:
    """Nothing where one night says nothing of itself: no reply, or a server that keeps it to itself."""
    if not new or not old or set(new) == set(old):
        return []
    return [Notice(sign, night, last, f"{_list(new)}, before {_list(old)}")]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _counted(night: CellNight, last: CellNight) -> list[Notice]:
    """Prompts whose number of tokens is not what it was: another tokenizer, or another template around them."""
    import numpy as np

    counts = []
    for side in (last, night):
        known = side.asked.prompt_tokens >= 0
        names, first = np.unique(side.asked.question[known], return_index=True)
        counts.append((names, side.asked.prompt_tokens[known][first]))
    both, left, right = np.intersect1d(counts[0][0], counts[1][0], assume_unique=True, return_indices=True)
    old, new = counts[0][1][left], counts[1][1][right]
    differ = np.flatnonzero(old != new)
    if not differ.size:
        return []
    one = f"one {new[differ[0]]}, before {old[differ[0]]}"
    text = f"{differ.size} of {both.size} prompts count another number of tokens, {one}"
    return [Notice(Sign.PROMPT_TOKENS, night, last, text)]


def agreements(night: CellNight, raw: bool) -> tuple[int, int]:
    """Prompts whose repeats are all identical, and prompts that were repeated.

    Args:
        raw: of the raw texts (TARr), else of what the scorer read (TARa).
    """
    said = night.answered.text if raw else night.answered.answer
    if raw and not said.any():
        return 0, 0
    groups = _groups(night.answered.question, said)
    found = determinism([list(map(int, group)) for group in groups])
    return (0, 0) if found.tar is None else (round(found.tar * found.prompts), found.prompts)


def _repeated(night: CellNight, earlier: Sequence[CellNight]) -> list[Notice]:
    """A drop of the share of prompts that answer themselves alike, at temperature 0 alone."""
    if not earlier or not night.answered.text.any():
        return []
    notices = []
    for raw, name in ((True, "raw replies (TARr)"), (False, "answers (TARa)")):
        alike, prompts = agreements(night, raw)
        before = [agreements(one, raw) for one in earlier]
        usual, of = sum(one[0] for one in before), sum(one[1] for one in before)
        if not prompts or not of:
            continue
        p = more_often(prompts - alike, prompts, of - usual, of)
        if p < LIMIT:
            text = f"{name} of {alike} of {prompts} prompts are all identical, {alike / prompts:.0%}, before "
            notices.append(Notice(Sign.DETERMINISM, night, earlier[-1], f"{text}{usual / of:.0%}", p))
    return notices


def _answered(night: CellNight, earlier: Sequence[CellNight]) -> list[Notice]:
    """Answers that differ between the nights more often than within one, or than between nights before."""
    import numpy as np

    if not earlier:
        return []
    last = earlier[-1]
    between, within = disagreements(last, night)
    # prompts of which a reply failed have nothing to hold themselves against
    repeated = np.isfinite(within)
    if repeated.sum() >= _PROMPTS:
        between, within = between[repeated], within[repeated]
    n = int(between.size)
    if n < _PROMPTS:
        return []
    rate = float(between.mean())
    if repeated.sum() >= _PROMPTS:
        p, usual = _above_zero(between - within), float(within.mean())
    else:
        pairs = [disagreements(*pair)[0] for pair in pairwise(earlier)]
        flips, of = sum(float(one.sum()) for one in pairs), sum(one.size for one in pairs)
        if not of:
            return []
        p, usual = more_often(round(rate * n), n, round(flips), of), flips / of
    if p >= LIMIT:
        return []
    text = f"{rate:.1%} of the answers to {n} prompts differ from the night before, {usual:.1%} by chance"
    return [Notice(Sign.ANSWERS, night, last, text, p)]


def disagreements(a: CellNight, b: CellNight) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each prompt answered on both nights, how often a reply of one differs from a reply of the other; and how often
    two replies of one night differ, mean of both nights, NaN where a prompt was not repeated on each.

    With the same distribution of answers on both nights the two have the same mean (their difference is the squared
    distance between the distributions otherwise), however uncertain the model is of each prompt.
    """
    import numpy as np

    sides = []
    for night in (a, b):
        names = np.unique(night.answered.question)
        sides.append(dict(zip(names.tolist(), _groups(night.answered.question, night.answered.answer), strict=True)))
    between, within = [], []
    for name in sides[0].keys() & sides[1].keys():
        left, right = sides[0][name], sides[1][name]
        between.append(float((left[:, None] != right[None, :]).mean()))
        within.append((_unlike(left) + _unlike(right)) / 2)
    return np.array(between, np.float64), np.array(within, np.float64)


def _unlike(answers: Ids) -> float:
    """Share of pairs of different replies that differ."""
    n = int(answers.size)
    return float((answers[:, None] != answers[None, :]).sum() / (n * (n - 1))) if n > 1 else math.nan


def _groups(question: Ids, said: Ids) -> list[Ids]:
    """What was said to each question, in order of the questions' hashes."""
    import numpy as np

    order = np.argsort(question, kind="stable")
    _, first = np.unique(question[order], return_index=True)
    return list(np.split(said[order], first[1:])) if question.size else []


def _above_zero(differences: NDArray[np.float64]) -> float:
    """One-sided p of Student's t test that the mean is 0; 1 where nothing varies."""
    from scipy.special import stdtr

    n, spread = int(differences.size), float(differences.std(ddof=1))
    if spread == 0:
        return 1.0 if differences.mean() <= 0 else 0.0
    return float(stdtr(n - 1, -float(differences.mean()) / (spread / math.sqrt(n))))


def more_often(hits: int, of: int, earlier_hits: int, earlier_of: int) -> float:
    """One-sided p of Fisher's exact test: hits are as frequent as they were.

    ``P(X >= hits)`` for hypergeometric X. The prompts being the same each time makes it conservative.
    """
    from scipy.special import betaln

    total, marked = of + earlier_of, hits + earlier_hits

    def log_choose(n: int, k: int) -> float:
        return -math.log1p(n) - float(betaln(n - k + 1, k + 1))

    whole = log_choose(total, of)
    return min(
        1.0,
        math.fsum(
            math.exp(log_choose(marked, k) + log_choose(total - marked, of - k) - whole)
            for k in range(max(hits, of - (total - marked)), min(of, marked) + 1)
        ),
    )
