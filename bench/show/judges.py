"""What judges said of a run: who they were, what they took, and the ranking by judges of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.judge.judged import judged_lines
from bench.judge.pairwise import PairwiseRanking
from bench.show.markdown import escaped, table
from bench.show.terminal import printable

if TYPE_CHECKING:
    from bench.judge.intervals import Estimate
    from bench.judge.rows import RunRows

HEADERS = ["model", "Elo", "95%", "win rate", "95%", "pairs"]


def judges_text(run: RunRows) -> str:
    """For the terminal: a table for each judge of pairs; nothing where there is none."""
    from tabulate import tabulate

    parts = []
    for ranking in run.rankings:
        drawn = tabulate(
            _rows(ranking, lambda label: printable(label, 60)),
            headers=HEADERS,
            colalign=("left", "right", "right", "right", "right", "right"),
            disable_numparse=True,
        )
        parts.append("\n".join([f"Ranking by {ranking.scorer}", drawn, *_sentences(ranking)]))
    return "\n\n".join(parts)


def judges_section(run: RunRows) -> str:
    """For the report: the same, and who judged at what price."""
    lines = judged_lines(run.header)
    if not lines:
        return ""
    parts = ["## Judges", "\n".join(f"- {escaped(line, 1000)}" for line in lines)]
    for ranking in run.rankings:
        parts += [
            f"**Ranking by {escaped(ranking.scorer)}**",
            table(HEADERS, _rows(ranking, escaped)),
            "\n".join(f"- {escaped(one, 1000)}" for one in _sentences(ranking)),
        ]
    return "\n\n".join(parts)


def _rows(ranking: PairwiseRanking, shown: Callable[[str], str]) -> list[list[str]]:
    return [
        [
            shown(row.label),
            "-" if row.elo.value is None else f"{row.elo.value:+z.0f}",
            _span(row.elo, 1, 0),
            "-" if row.win_rate.value is None else f"{row.win_rate.value:.1%}",
            _span(row.win_rate, 100, 1),
            f"{row.pairs:,}",
        ]
        for row in ranking.rows
    ]


def _span(estimate: Estimate, factor: float, digits: int) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"[{factor * estimate.low:.{digits}f}, {factor * estimate.high:.{digits}f}]"


def _sentences(ranking: PairwiseRanking) -> list[str]:
    basis = f"{ranking.pairs:,} pairs of {ranking.prompts:,} prompts, {ranking.anchor} at 0"
    found = [f"Bradley-Terry over {basis}; intervals resample prompts ({ranking.draws:,} draws, seed {ranking.seed})."]
    if ranking.flip_rate is not None:
        found.append(
            f"Flip rate {ranking.flip_rate:.1%}: {ranking.flipped:,} of {ranking.pairs:,} pairs were judged one way in "
            "one order and another in the other; they count as ties."
        )
    if ranking.missing:
        found.append(f"{ranking.missing:,} pairs have no verdict and are left out.")
    if ranking.pseudo_wins:
        found.append("A model never won or never lost: half a win each way was added to every pair of models.")
    return found
