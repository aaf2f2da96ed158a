"""Share of requests answered within a time, by cell: TTFT and end to end. Failures keep a curve below 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.metrics.requests import never_served
from bench.show.plots import Plot
from bench.show.style import COLOURS, GREY, LINES, plain_log_ticks
from bench.show.table import short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

MAX_COLOURED = 8
LOG_FROM = 20.0  # from this ratio of the largest to the smallest latency on, the axis is logarithmic


@dataclass(frozen=True)
class Curve:
    """One cell: ascending latencies per panel, and how many requests failed."""

    label: str
    values: dict[str, NDArray[np.float64]]
    served: int
    failed: int
    median_ms: float


def draw(run: RunRows, table: SummaryTable) -> Figure | str:
    """Two panels of step curves; beyond eight cells only the fastest and slowest four are coloured."""
    from matplotlib.figure import Figure

    prefix = "due_" if table.latency_from == "due" else ""
    columns = {f"{prefix}ttft_ms": "Time to first token", f"{prefix}e2e_ms": "End to end"}
    curves = sorted(_curves(run, list(columns), f"{prefix}e2e_ms"), key=lambda curve: curve.median_ms)
    shown = {column: title for column, title in columns.items() if any(curve.values[column].size for curve in curves)}
    if not shown:
        return "No latency curve: no request was served."
    styles = _styles(curves)
    labels = [style["label"] for style in styles.values() if style["label"] != "_"]
    across = 2 if max(map(len, labels)) > 32 else 3
    figure = Figure(figsize=(10, 4.2 + 0.19 * math.ceil(len(labels) / across)), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    since = "due" if prefix else "send"
    for panel, (column, title) in zip(axes, shown.items(), strict=True):
        _panel(panel, curves, styles, column)
        panel.set_title(title)
        panel.set_xlabel(f"{title.lower()}, {_scaled(curves, column)[1]} (from {since})")
    axes[0].set_ylabel("share of requests answered within")
    served, failed = sum(curve.served for curve in curves), sum(curve.failed for curve in curves)
    lost = f"; {failed:,} failed ones never arrive, so their curves end below 1" if failed else ""
    requests, cells = "request" + "s" * (served != 1), "cell" + "s" * (len(curves) != 1)
    figure.suptitle(f"Latency of {served:,} served {requests} in {len(curves)} {cells}{lost}")
    handles, names = axes[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=across, frameon=False, fontsize=8)
    return figure


def _curves(run: RunRows, columns: list[str], median_of: str) -> list[Curve]:
    import numpy as np

    labels = short_labels([printable(cell.label, 200) for cell in run.cells], 44)
    curves = []
    for cell, label in zip(run.cells, labels, strict=True):
        rows = run.requests[run.requests["cell_id"] == cell.cell_id]
        served = rows[(rows["outcome"] == "ok") & ~rows["cached"].astype(bool)]
        lost = int(never_served(rows).sum())
        values = {name: np.sort(served[name].dropna().to_numpy(dtype=np.float64)) for name in columns}
        # a cell that failed more than half of its requests has no median: it is slower than any that has one
        ranked = np.concatenate([values[median_of], np.full(lost, np.inf)])
        median = float(np.sort(ranked)[(ranked.size - 1) // 2]) if ranked.size else math.inf
        if len(served) or lost:
            curves.append(Curve(label, values, len(served), lost, median))
    return curves


def _styles(curves: list[Curve]) -> dict[str, dict[str, Any]]:
    """Line styles by label; ``curves`` run from the fastest to the slowest."""
    half = MAX_COLOURED // 2
    coloured = curves if len(curves) <= MAX_COLOURED else [*curves[:half], *curves[-half:]]
    styles: dict[str, dict[str, Any]] = {}
    for place, curve in enumerate(coloured):
        n = f"n={curve.served:,}" + (f", {curve.failed:,} failed" if curve.failed else "")
        styles[curve.label] = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": LINES[place % len(LINES)],
            "linewidth": 1.7,
            "label": f"{curve.label} ({n})",
            "zorder": 3,
        }
    others = [curve for curve in curves if curve.label not in styles]
    for place, curve in enumerate(others):
        more = f"{len(others)} more cell{'s' * (len(others) > 1)}"
        label = f"{more} (coloured: the {half} fastest and {half} slowest by median)"
        style = {"color": GREY, "linewidth": 0.7, "alpha": 0.7, "zorder": 2, "linestyle": "-"}
        styles[curve.label] = style | {"label": label if place == len(others) - 1 else "_"}
    return styles


def _scaled(curves: list[Curve], column: str) -> tuple[float, str]:
    largest = max(float(curve.values[column][-1]) for curve in curves if curve.values[column].size)
    return (0.001, "s") if largest >= 10_000 else (1.0, "ms")


def _panel(panel: Axes, curves: list[Curve], styles: dict[str, dict[str, Any]], column: str) -> None:
    import numpy as np

    scale, _ = _scaled(curves, column)
    everything = np.concatenate([curve.values[column] for curve in curves]) * scale
    smallest, largest = float(everything.min()), float(everything.max())
    logarithmic = smallest > 0 and largest / smallest > LOG_FROM
    if logarithmic:
        panel.set_xscale("log")
        plain_log_ticks(panel)
        left, right = smallest / 1.15, largest * 1.15
    else:
        margin = 0.05 * (largest - smallest) or 0.1 * largest or 1.0
        left, right = max(0.0, smallest - margin), largest + margin
    for curve in curves:
        style = styles[curve.label]
        values = curve.values[column] * scale
        # the flat end shows the share that never arrived; a cell without any value keeps its place in the legend
        x = np.concatenate([values[:1], values, [right]]) if values.size else np.array([left, right])
        reached = np.arange(1, values.size + 1) / (values.size + curve.failed) if values.size else np.zeros(1)
        y = np.concatenate([[0.0], reached, reached[-1:]]) if values.size else np.zeros(2)
        panel.plot(x, y, drawstyle="steps-post", **style)
    panel.set_xlim(left, right)
    panel.set_ylim(-0.02, 1.03)


PLOT = Plot(
    name="latency_ecdf",
    caption="Share of requests answered within a time, by cell. A curve that ends below 1 lost the rest to failures.",
    draw=draw,
)
