"""Where several scorers of the same replies do not agree, which is where an extractor reads a reply wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from bench.judge.rows import CellInfo, RunRows


@dataclass(frozen=True)
class Disagreement:
    """Two scorers on the replies of one cell that both labelled.

    Attributes:
        replies: how many replies both judged.
        differing: on how many of them one says ``correct`` and the other does not.
        only_first: how many of those are correct by the first scorer alone.
        examples: request ids and choices of some of them.
    """

    cell_id: str
    first: str
    second: str
    replies: int
    differing: int
    only_first: int
    examples: tuple[tuple[str, int], ...]


def disagreements(run: RunRows, cell: CellInfo, examples: int = 5) -> list[Disagreement]:
    """Every pair of scorers of a cell, its own first; none where one scorer judged alone."""
    mine = run.scores[run.scores["cell_id"] == cell.cell_id]
    names = run.scorers_of(cell)
    if len(names) < 2:
        return []
    right = mine.assign(right=mine["label"] == "correct").pivot_table(
        index=["request_id", "choice"], columns="scorer", values="right", aggfunc="first", observed=True
    )
    found = []
    for first, second in combinations(names, 2):
        both = right[[first, second]].dropna().astype(bool)
        differing = both[both[first] != both[second]]
        shown = tuple((str(request), int(choice)) for request, choice in differing.index[:examples])
        found.append(
            Disagreement(
                cell.cell_id, first, second, len(both), len(differing), int(differing[first].sum()), examples=shown
            )
        )
    return found


def disagreement_lines(run: RunRows, limit: int = 10) -> list[str]:
    """One sentence for every pair of scorers that do not agree, cell by cell, and the rest as a number."""
    if not any(cell.config.get("also") for cell in run.cells):
        return []
    lines = []
    for cell in run.cells:
        for one in disagreements(run, cell):
            if one.differing:
                request, choice = one.examples[0]
                lines.append(
                    f"{cell.label}: {one.first} and {one.second} disagree on {one.differing:,} of {one.replies:,} "
                    f"replies ({one.only_first:,} correct by {one.first} alone), such as {request} choice {choice}"
                )
    more = len(lines) - limit
    return lines if more <= 0 else [*lines[:limit], f"... and {more:,} more pairs of scorers that disagree"]
