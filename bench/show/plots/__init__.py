"""Plots: one file each. A module of this folder that holds a ``PLOT`` is drawn; nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        name: file name without ending.
        caption: what it shows, for the report.
        draw: the figure, or one sentence that says why there is nothing to draw.
    """

    name: str
    caption: str
    draw: Callable[[RunRows, SummaryTable], Figure | str]


@dataclass(frozen=True)
class Drawn:
    """A plot that was drawn (``files``: SVG, PNG) or the reason why it was not (``reason``)."""

    plot: Plot
    files: tuple[Path, ...] = ()
    reason: str = ""


def plots() -> list[Plot]:
    """Every plot of this folder, by name."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(__path__, prefix=f"{__name__}.")]
    return sorted((module.PLOT for module in modules if hasattr(module, "PLOT")), key=lambda plot: plot.name)


def write_plots(run: RunRows, table: SummaryTable, folder: Path) -> list[Drawn]:
    """Draw every plot of a run into ``folder``; a plot that no longer applies is removed there.

    Raises:
        OSError: the folder cannot be written.
    """
    from bench.show.style import save, styled

    folder.mkdir(exist_ok=True)
    drawn = []
    for plot in plots():
        with styled():
            figure = plot.draw(run, table)
            if not isinstance(figure, str):
                drawn.append(Drawn(plot, tuple(save(figure, folder / plot.name))))
                continue
        for kind in ("svg", "png"):
            (folder / f"{plot.name}.{kind}").unlink(missing_ok=True)
        drawn.append(Drawn(plot, reason=figure))
    return drawn
