"""Accuracy against median latency, one point per cell with both intervals, and the front of best trade-offs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.show.plots import Plot
from bench.show.style import COLOURS, GREY, INK
from bench.show.table import short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

MAX_LABELLED = 12
FRONT = COLOURS[0]
_LABEL_PT = 8.0


@dataclass(frozen=True)
class Point:
    """One cell: latency and accuracy (percent) with the ends of their intervals."""

    label: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    on_front: bool = False


def draw(run: RunRows, table: SummaryTable) -> Figure | str:
    """A scatter with intervals; labels beside the points, and beyond twelve cells on the front alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if table.frame.empty or table.frame["accuracy"].isna().all():
        return "No plot of quality against latency: no reply was scored."
    points, unit = _points(table)
    if not points:
        return "No plot of quality against latency: too few requests were served for a median."
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    _mark(axes, points)
    since = "due" if table.latency_from == "due" else "send"
    failed = int((table.frame["planned"] - table.frame["ok"]).sum())
    slow = "; a failure counts as infinitely slow" if failed else ""
    axes.set_xlabel(f"median end to end, {unit} (from {since}{slow}) - less is better")
    axes.set_ylabel("accuracy, % - more is better")
    axes.set_title(_title(table, points))
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    figure.set_layout_engine("none")  # so that nothing moves under the labels that are placed now
    named = points if len(points) <= MAX_LABELLED else [point for point in points if point.on_front][:MAX_LABELLED]
    _label(axes, points, named)
    return figure


def _points(table: SummaryTable) -> tuple[list[Point], str]:
    frame = table.frame
    stem = "due_e2e_p50_all_ms" if table.latency_from == "due" else "e2e_p50_all_ms"
    labels = short_labels([printable(label, 200) for label in frame["label"]], 36)
    kept = frame[stem].notna() & frame["accuracy"].notna() & (frame[stem] < math.inf)
    scale, unit = (0.001, "s") if frame.loc[kept, stem].max() >= 10_000 else (1.0, "ms")
    points = []
    for label, keep, row in zip(labels, kept, frame.to_dict("records"), strict=True):
        if keep:
            x, x_low, x_high = (row[f"{stem}{end}"] * scale for end in ("", "_low", "_high"))
            y, y_low, y_high = (row[f"accuracy{end}"] * 100 for end in ("", "_low", "_high"))
            points.append(Point(label, x, x_low, x_high, y, y_low, y_high))
    return front(points), unit


def front(points: list[Point]) -> list[Point]:
    """The points by latency, marked where no other is as good in both figures and better in one."""
    from dataclasses import replace

    def beaten(point: Point) -> bool:
        return any(
            other.x <= point.x and other.y >= point.y and (other.x < point.x or other.y > point.y) for other in points
        )

    return [replace(point, on_front=not beaten(point)) for point in sorted(points, key=lambda p: (p.x, -p.y, p.label))]


def _title(table: SummaryTable, points: list[Point]) -> str:
    frame = table.frame
    scored = frame.loc[frame["questions"] > 0, "questions"]
    low, high = scored.min(), scored.max()
    asked = f"{high:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    title = (
        f"Quality against latency: {len(points)} cell{'s' * (len(points) > 1)}, {asked} questions each, 95% intervals"
    )
    missing = len(frame) - len(points)
    lines = [title]
    if len(points) > 1:
        lines.append(
            "blue band: cells that no other one beats in both"
            + (" (only these are named)" if len(points) > MAX_LABELLED else "")
        )
    if missing:
        lines.append(f"{missing} cell{'s' * (missing > 1)} without a score or a median left out")
    return "\n".join(lines)


def _mark(axes: Axes, points: list[Point]) -> None:
    right = max(point.x_high if point.x_high < math.inf else point.x for point in points)
    left = min(point.x_low for point in points)
    margin = 0.08 * (right - left) or 0.1 * right or 1.0
    many = len(points) > MAX_LABELLED
    for point in points:
        colour = FRONT if point.on_front else GREY
        x_high = min(point.x_high, right + margin)
        ends: dict[str, Any] = {"xerr": [[point.x - point.x_low], [x_high - point.x]]}
        ends["yerr"] = [[max(point.y - point.y_low, 0.0)], [max(point.y_high - point.y, 0.0)]]
        faint = many and not point.on_front
        axes.errorbar(
            point.x, point.y, **ends, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.35 if faint else 0.8, zorder=2
        )
        filled = colour if point.on_front else "white"
        axes.plot(
            point.x, point.y, "o", markersize=4.5 if faint else 6.5, color=colour, markerfacecolor=filled, zorder=4
        )
    best = [point for point in points if point.on_front]
    axes.plot(
        [p.x for p in best], [p.y for p in best], color=FRONT, linewidth=6, alpha=0.18, zorder=1, drawstyle="steps-post"
    )
    axes.set_xlim(max(0.0, left - margin), right + margin)
    low, high = min(point.y_low for point in points), max(point.y_high for point in points)
    axes.set_ylim(max(-2.0, low - 4), min(103.0, high + 4))


def _label(axes: Axes, points: list[Point], named: list[Point]) -> None:
    """Write each name where it covers least: no other name, no point, and inside the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    frame = axes.get_window_extent(renderer)
    taken = [(1.0, box) for point in points for box in _boxes(axes, [point.x] * 2, [point.y] * 2, 5.0)]
    bars = [box for p in points for box in _boxes(axes, [p.x_low, p.x_high], [p.y] * 2, 1.0)]
    bars += [box for p in points for box in _boxes(axes, [p.x] * 2, [p.y_low, p.y_high], 1.0)]
    taken += [(0.2, box) for box in bars]
    for point in named:
        found: tuple[float, Any, Bbox] | None = None
        for distance, offset, sides in _places():
            text = axes.annotate(
                point.label,
                (point.x, point.y),
                xytext=offset,
                textcoords="offset points",
                fontsize=_LABEL_PT,
                color=INK,
                zorder=5,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6} if distance > 10 else None,
                **sides,
            )
            text.update_positions(renderer)
            # of the text alone: an annotation's own extent spans its line too
            box = Text.get_window_extent(text, renderer)
            cost = sum(weight * _overlap(box, other) for weight, other in taken)
            cost += 2 * (box.width * box.height - _overlap(box, frame)) + 0.3 * distance
            if found is None or cost < found[0] - 1e-6:
                if found is not None:
                    found[1].remove()
                found = (cost, text, box)
            else:
                text.remove()
            if found[0] < 0.3 * distance + 1e-6:
                break
        assert found is not None
        taken.append((1.0, found[2]))


def _places() -> Iterator[tuple[float, tuple[float, float], dict[str, Any]]]:
    """Offsets in points around a marker, the nearest first, with the text's alignment."""
    sides = {-1: "right", 0: "center", 1: "left"}
    levels = {-1: "top", 0: "center", 1: "bottom"}
    for across, up in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
        yield 6.0, (across * 6.0, up * 6.0), {"ha": sides[across], "va": levels[up]}
    for step in range(1, 13):
        for across, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            yield 6.0 + 9.0 * step, (across * 16.0, up * 9.0 * step), {"ha": sides[across], "va": levels[up]}


def _boxes(axes: Axes, xs: list[float], ys: list[float], half: float) -> list[Bbox]:
    """The box on paper around a segment, ``half`` pixels wider on every side; none where it does not end."""
    from matplotlib.transforms import Bbox

    if not all(map(math.isfinite, [*xs, *ys])):
        return []
    (x0, y0), (x1, y1) = axes.transData.transform(list(zip(xs, ys, strict=True)))
    return [Bbox.from_extents(x0 - half, y0 - half, x1 + half, y1 + half)]


def _overlap(one: Bbox, other: Bbox) -> float:
    width = float(min(one.x1, other.x1) - max(one.x0, other.x0))
    height = float(min(one.y1, other.y1) - max(one.y0, other.y0))
    return max(width, 0.0) * max(height, 0.0)


PLOT = Plot(
    name="quality_latency",
    caption="Accuracy against median end-to-end latency, with 95% intervals, one point per cell. Filled points on the "
    "blue band are beaten by no other cell in both.",
    draw=draw,
)
