"""A picture of each metric that did not pass a gate: the change of each pair of runs, or the figure night by night."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench.judge.gate import Verdict
from bench.show.style import COLOURS, GREY, save, styled
from bench.show.terminal import printable
from bench.show.verdict import Finding, Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: pictures at most, the regressions first
MOST = 40


def draw_findings(shown: Shown, folder: Path) -> list[Path]:
    """Draw every finding that did not pass and has values, as SVG and PNG.

    Raises:
        OSError: the folder cannot be written.
    """
    bad = [one for verdict in (Verdict.REGRESSION, Verdict.INCONCLUSIVE) for one in shown.with_verdict(verdict)]
    drawn = [one for one in bad if len(one.values) > 1][:MOST]
    if drawn:
        folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for place, one in enumerate(drawn):
        with styled():
            written += save(draw(one), folder / f"{place:02d}-{_safe(one.model)}-{_safe(one.metric)}")
    return written


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:60]


def draw(one: Finding) -> Figure:
    """One series with its margin, or with the place from which it got worse."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    panel = figure.subplots()
    by_pair = one.margin_line is not None
    places = [place + (1 if by_pair else 0) for place in range(len(one.values))]
    scale = 100.0 if by_pair else 1.0
    colour = COLOURS[1] if one.verdict is Verdict.REGRESSION else COLOURS[0]
    panel.plot(places, [scale * value for value in one.values], marker="o", markersize=4, linewidth=1, color=colour)
    if one.margin_line is not None:
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.axhline(
            scale * one.margin_line, color=COLOURS[1], linestyle="--", linewidth=1, label=f"margin {one.margin}"
        )
    if one.since is not None:
        panel.axvline(places[one.since] - 0.5, color=COLOURS[1], linestyle="--", linewidth=1, label="worse since")
    if panel.get_legend_handles_labels()[0]:
        panel.margins(y=0.25)  # room for the legend, clear of the points
        panel.legend(loc="upper left", frameon=False)
    panel.set_xlabel("pair of runs" if by_pair else "night")
    panel.set_ylabel(one.value_title or one.metric)
    panel.set_title(printable(f"{one.model}  {one.metric}  {one.verdict}  {one.change}", 110))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
