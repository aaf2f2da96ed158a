"""How far scorers agree with people, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Callable

from bench.judge.labelled import Labelled
from bench.judge.statistics.agreement import ENOUGH_LABELS
from bench.show.markdown import escaped, table
from bench.show.terminal import printable

HEADERS = ["scorer", "replies", "agree", "kappa", "95%", "no verdict"]
MAX_PAIRS = 8


def labelled_text(found: Labelled) -> str:
    """For the terminal."""
    from tabulate import tabulate

    drawn = tabulate(
        _rows(found, lambda text: printable(text, 60)),
        headers=HEADERS,
        colalign=("left", *["right"] * (len(HEADERS) - 1)),
        disable_numparse=True,
    )
    sentences = [printable(one, 1000) for one in _sentences(found)]
    return "\n".join([f"Agreement with {found.labels:,} labels of {printable(found.file, 100)}", drawn, *sentences])


def labelled_section(found: Labelled) -> str:
    """For the report."""
    return "\n\n".join(
        [
            f"## Agreement with {found.labels:,} labels of {escaped(found.file)}",
            table(HEADERS, _rows(found, escaped)),
            "\n".join(f"- {escaped(one, 1000)}" for one in _sentences(found)),
        ]
    )


def _rows(found: Labelled, shown: Callable[[str], str]) -> list[list[str]]:
    rows = []
    for one in found.by_scorer:
        kappa = one.kappa
        span = "-" if kappa.low is None or kappa.high is None else f"[{kappa.low:z.2f}, {kappa.high:z.2f}]"
        agree = "-" if kappa.observed is None else f"{kappa.observed:.1%}"
        value = "-" if kappa.kappa is None else f"{kappa.kappa:z.2f}"
        rows.append([shown(one.scorer), f"{kappa.n:,}", agree, value, span, f"{one.missing:,}"])
    return rows


def _sentences(found: Labelled) -> list[str]:
    lines = []
    for one in found.by_scorer:
        pairs = [
            f"{count:,} {person} by people and {scorer} by it"
            for (person, scorer), count in one.confusion
            if person != scorer
        ]
        if pairs:
            more = len(pairs) - MAX_PAIRS
            listed = "; ".join(pairs[:MAX_PAIRS]) + (f"; {more} rarer ones" if more > 0 else "")
            lines.append(f"Where {one.scorer} and people differ: {listed}.")
    if found.fleiss is not None and found.fleiss.kappa is not None:
        lines.append(f"People and all {len(found.by_scorer)} scorers together: Fleiss' kappa {found.fleiss.kappa:.2f}.")
    if not found.is_enough:
        lines.append(f"{found.labels:,} labels are too few to trust a judge by; {ENOUGH_LABELS} are the least.")
    return lines
