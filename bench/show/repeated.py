"""The section of the report on questions that were answered several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.judge.repeated import Repeated
from bench.judge.statistics.repeats import Determinism
from bench.show.comparison import share
from bench.show.markdown import escaped, table
from bench.show.table import short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    from bench.judge.intervals import Estimate

MEANING = (
    "The question is the unit: its replies, repeats times `n` pooled, are averaged first. W is the variance of the "
    "replies of one question, V that of the questions themselves; K replies leave a variance of V + W/K per question, "
    "and beyond the advised K more questions say more than more replies. pass@k: the chance that one of k replies is "
    "right, unbiased; pass^k: that all are; maj@k: that the answer most of them give is. 95% intervals over questions."
)
AGREEMENT = (
    "TARr: questions whose replies are all the same text; TARa: whose extracted answers are all the same (one that was "
    "not read agrees with nothing); pairwise: pairs of replies that agree."
)
WORTH = (
    "Worth: how many independent replies those to one question count for, if equal texts are one reply given again (by "
    "a cache, or a seed that is not sent on). Short answers may well be equal and independent."
)


def repeated_section(cells: Sequence[Repeated]) -> str:
    """Tables of the cells with several replies to a question; nothing where there are none."""
    if not cells:
        return ""
    labels = short_labels([printable(one.cell.label, 200) for one in cells], 60)
    rows = [[label, *_spread(one)] for label, one in zip(labels, cells, strict=True)]
    parts = [
        "## Several replies to a question",
        MEANING,
        table(["cell", "questions", "replies each", "mean", "SE", "W", "V", "advised K", "worth"], rows),
        WORTH,
        "\n".join(_notes(labels, cells)),
    ]
    for label, one in zip(labels, cells, strict=True):
        parts.append(f"**{escaped(label)}**")
        parts.append(table(["k", "pass@k", "pass^k", "maj@k"], _rows_at_k(one)))
    greedy = [(label, one) for label, one in zip(labels, cells, strict=True) if one.raw is not None]
    if greedy:
        parts += [
            "**Determinism at temperature 0**",
            AGREEMENT,
            table(
                ["cell", "questions", "TARr", "pairwise", "TARa", "pairwise"],
                [[label, *_agreement(one.raw, True), *_agreement(one.parsed)] for label, one in greedy],
            ),
        ]
    return "\n\n".join(part for part in parts if part)


def _spread(one: Repeated) -> list[str]:
    found = one.components
    each = f"{one.fewest}" if one.fewest == one.most else f"{one.fewest} to {one.most}"
    mean = "-" if found.mean is None else f"{found.mean:.1%}"
    figures = [_digits(value) for value in (found.se, found.within, found.between)]
    return [f"{one.questions:,}", each, mean, *figures, f"{one.advised}", f"{one.effective:.3g}"]


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _rows_at_k(one: Repeated) -> list[list[str]]:
    return [[str(at.k), share(at.pass_at), share(at.pass_hat), _maybe(at.majority)] for at in one.at_k]


def _maybe(estimate: Estimate | None) -> str:
    return "-" if estimate is None else share(estimate)


def _agreement(found: Determinism | None, prompts: bool = False) -> list[str]:
    """The shares as texts, the number of questions that they stand on first where wanted."""
    if found is None or found.tar is None or found.pairwise is None:
        return ["-", "-"] + ["-"] * prompts
    return [f"{found.prompts:,}"] * prompts + [f"{found.tar:.1%}", f"{found.pairwise:.1%}"]


def _notes(labels: Sequence[str], cells: Sequence[Repeated]) -> list[str]:
    return [
        f"- {escaped(f'{label}: {said}', 500)}" for label, one in zip(labels, cells, strict=True) for said in told(one)
    ]


def told(one: Repeated) -> list[str]:
    """Sentences on what is short or repeated in a cell."""
    found = []
    if one.short:
        found.append(
            f"{one.short:,} of {one.questions:,} questions have fewer than the {one.asked} replies asked for, so "
            f"pass@k goes to k = {one.fewest}."
        )
    if one.duplicated and one.raw is None:
        found.append(
            f"{one.duplicated:,} of {one.questions:,} questions got the same text more than once; taken as copies, "
            f"their replies are worth {one.effective:.3g} independent ones on average."
        )
    return found
