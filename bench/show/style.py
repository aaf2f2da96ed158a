"""How every plot looks and is saved: readable in print and on dark pages, the same bytes from the same rows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colour-blind-safe set, without its yellow, which vanishes on white paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F4F24")
#: a second sign beside colour, for print in grey
LINES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
GREY = "#9A9A9A"
INK = "#222222"
PNG_DPI = 150

_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": PNG_DPI,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "savefig.facecolor": "white",
    "svg.hashsalt": "chatbench",
    "text.color": INK,
    # a dollar sign in a model's name is no formula
    "text.parse_math": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Our settings for the plots drawn and saved inside, whatever the user's matplotlibrc says."""
    from matplotlib import rc_context, rcdefaults

    with rc_context(), warnings.catch_warnings():
        # a character that the font lacks becomes a box: not worth a line per glyph to the person at the terminal
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        rcdefaults()
        with rc_context(_SETTINGS):  # type: ignore[arg-type]  # the stubs list every key as a literal
            yield


def plain_log_ticks(axes: Axes, which: Literal["x", "y"] = "x") -> None:
    """Ticks at 1, 2 and 5 of each decade of a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.svg`` and ``stem.png``, each whole or not at all, without dates or versions inside.

    Raises:
        OSError: the folder cannot be written.
    """
    written = []
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        path = stem.with_name(f"{stem.name}.{kind}")
        part = path.with_name(f".tmp-{path.name}")
        figure.savefig(part, format=kind, metadata=metadata)
        os.replace(part, path)
        written.append(path)
    return written
