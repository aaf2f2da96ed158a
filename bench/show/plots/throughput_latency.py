"""What latency costs: throughput over load, and each latency over throughput, one line per series of a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.sweep import CONCURRENCY, Point, Series, find_series
from bench.show.plots import Plot
from bench.show.style import COLOURS, GREY, INK, LINES, plain_log_ticks
from bench.show.table import short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

MAX_COLOURED = 8
LOG_FROM = 8.0  # from this ratio of the largest to the smallest value on, a latency axis is logarithmic
MAX_DETAILED = 4  # of more series goodput and the fitted law are left to the report's table
MAX_NAMED = 12
APART_PX = 16.0
PANELS = {"ttft": "Time to first token", "e2e": "End to end", "tpot": "Time per output token"}
RATES = {"req_per_s": "requests served per second", "tok_per_s": "output tokens per second"}


@dataclass(frozen=True)
class Line:
    """A series and how it looks; those beyond eight are grey and share a label."""

    series: Series
    label: str
    colour: str


def draw(run: RunRows, table: SummaryTable) -> Figure | str:
    """Throughput over load above, latencies over requests/s and tokens/s below; failures count as infinitely slow."""
    from matplotlib.figure import Figure

    found = find_series(run, table.frame)
    if not found:
        return "No plot of latency against throughput: the cells do not differ in load.concurrency or load.rate."
    lines = _lines(found)
    points = [point for one in found for point in one.points]
    across = [rate for rate in RATES if any(getattr(point, rate) for point in points)]
    down = [stem for stem in PANELS if any(_finite(point, f"{stem}_p50") for point in points)]
    if not across or not down:
        return "No plot of latency against throughput: too few requests were served."
    keys = _keys(found, points)
    rows = math.ceil((len({line.label for line in lines}) + len(keys)) / 4)
    figure = Figure(
        figsize=(10.4 if len(across) > 1 else 7.5, 3.0 * (1 + len(down)) + 0.6 + 0.22 * rows), layout="constrained"
    )
    grid = figure.subplots(1 + len(down), len(across), squeeze=False)
    for column, rate in enumerate(across):
        _draw_capacity(grid[0][column], lines, rate)
        for row, stem in enumerate(down, 1):
            _draw_latency(grid[row][column], lines, rate, stem)
            grid[row][column].set_title(PANELS[stem] if column == 0 else "")
    figure.suptitle(_title(table, found))
    handles = [*_handles(lines), *keys]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=8)
    return figure


def _lines(found: Sequence[Series]) -> list[Line]:
    """Looks by series; beyond eight the ones of the highest throughput are coloured."""
    labels = short_labels([printable(one.name or "all cells", 200) for one in found], 40)
    ranked = sorted(found, key=lambda one: -(_most(one) or 0.0))[:MAX_COLOURED]
    lines = []
    place = 0
    for one, label in zip(found, labels, strict=True):
        if one in ranked:
            lines.append(Line(one, label, COLOURS[place % len(COLOURS)]))
            place += 1
        else:
            rest = len(found) - MAX_COLOURED
            lines.append(Line(one, f"{rest} more (coloured: the {MAX_COLOURED} of the highest throughput)", GREY))
    return lines


def _most(series: Series) -> float | None:
    best = series.best("req_per_s")
    return None if best is None else best.req_per_s


def _finite(point: Point, name: str) -> bool:
    value = point.latencies[name].value
    return value is not None and math.isfinite(value)


def _title(table: SummaryTable, found: Sequence[Series]) -> str:
    cells = sum(len(one.points) for one in found)
    loads = [point.load for one in found for point in one.points]
    what = " and ".join(
        dict.fromkeys("requests in flight" if one.key == CONCURRENCY else "requests per second" for one in found)
    )
    return f"Throughput and latency: {cells} cells, {min(loads):g} to {max(loads):g} {what}, 95% intervals"


def _draw_capacity(axes: Axes, lines: Sequence[Line], rate: str) -> None:
    highest = 0.0
    for line in lines:
        drawn = [point for point in line.series.points if getattr(point, rate) is not None]
        xs, ys = [point.load for point in drawn], [float(getattr(point, rate)) for point in drawn]
        highest = max([highest, *ys])
        axes.plot(xs, ys, "o-", color=line.colour, markersize=4.5, linewidth=1.6, zorder=3)
        _mark(axes, line, [(point, x, y) for point, x, y in zip(drawn, xs, ys, strict=True)])
        if rate == "req_per_s" and len(lines) <= MAX_DETAILED:
            _draw_goodput(axes, line)
            _draw_law(axes, line)
    open_loads = {line.series.is_open for line in lines}
    axes.set_xlabel(
        "requests per second due" if open_loads == {True} else "requests in flight" if open_loads == {False} else "load"
    )
    axes.set_ylabel(RATES[rate])
    axes.set_xlim(left=0)
    axes.set_ylim(0, highest * 1.12 or 1.0)
    axes.set_title("Throughput over load")


def _draw_goodput(axes: Axes, line: Line) -> None:
    good = [point for point in line.series.points if point.goodput_req_per_s is not None]
    axes.plot(
        [point.load for point in good],
        [float(point.goodput_req_per_s or 0.0) for point in good],
        color=line.colour,
        linestyle=LINES[2],
        linewidth=1.4,
        zorder=2,
    )


def _draw_law(axes: Axes, line: Line) -> None:
    """What the fitted law gives for the concurrency held; of an open load, what would be served if all were."""
    points, law = line.series.points, line.series.usl
    if line.series.is_open:
        most = max(point.load for point in points)
        axes.plot([0, most], [0, most], color=GREY, linewidth=0.8, zorder=1)
    elif law is not None:
        fitted = [(point.load, law.at(point.held)) for point in points if point.held]
        axes.plot(*zip(*fitted, strict=True), color=line.colour, linewidth=6, alpha=0.18, zorder=1)


def _draw_latency(axes: Axes, lines: Sequence[Line], rate: str, stem: str) -> None:
    heights: list[float] = []
    named: list[tuple[Point, float, float]] = []
    lost: list[tuple[float, Line]] = []
    for line in lines:
        for name, dashes, filled in ((f"{stem}_p50", LINES[0], True), (f"{stem}_p95", LINES[1], False)):
            served = [point for point in line.series.points if getattr(point, rate)]
            drawn = [point for point in served if _finite(point, name)]
            lost += [(float(getattr(point, rate)), line) for point in served if point.latencies[name].value == math.inf]
            xs = [float(getattr(point, rate)) for point in drawn]
            ys = [float(point.latencies[name].value or 0.0) for point in drawn]
            heights += [*ys, *(end for point in drawn for end in _ends(point, name) if end > 0)]
            faint = not filled and len(lines) > MAX_DETAILED
            looks: dict[str, Any] = {"color": line.colour, "linestyle": dashes, "alpha": 0.5 if faint else 1.0}
            looks |= {"linewidth": 0.9 if faint else 1.4, "markersize": 2.5 if faint else 4.5}
            axes.plot(xs, ys, "o", markerfacecolor=line.colour if filled else "white", zorder=3, **looks)
            bars = [[y - _ends(p, name)[0] for p, y in zip(drawn, ys, strict=True)]]
            bars += [[_ends(p, name)[1] - y for p, y in zip(drawn, ys, strict=True)]]
            axes.errorbar(
                xs, ys, yerr=bars, fmt="none", ecolor=line.colour, elinewidth=0.9, capsize=2, alpha=0.7, zorder=2
            )
            if filled:
                _mark(axes, line, list(zip(drawn, xs, ys, strict=True)))
                named = list(zip(drawn, xs, ys, strict=True)) if len(lines) == 1 else []
    _scale(axes, heights)
    for x, line in lost:
        axes.plot([x], [0.97], "^", color=line.colour, transform=axes.get_xaxis_transform(), markersize=6, zorder=4)
    axes.set_xlabel(RATES[rate])
    axes.set_xlim(left=0)
    _name_loads(axes, named)
    since = ", from due" if all(line.series.is_open for line in lines) and stem != "tpot" else ""
    axes.set_ylabel(f"ms{since}")


def _ends(point: Point, name: str) -> tuple[float, float]:
    """The ends of an interval that can be drawn: an infinite one is cut at the value."""
    found = point.latencies[name]
    value = float(found.value or 0.0)
    low = value if found.low is None or math.isinf(found.low) else min(found.low, value)
    high = value if found.high is None or math.isinf(found.high) else max(found.high, value)
    return low, high


def _scale(axes: Axes, heights: Sequence[float]) -> None:
    if heights and max(heights) / min(heights) >= LOG_FROM and min(heights) > 0:
        axes.set_yscale("log")
        plain_log_ticks(axes, "y")
        axes.set_ylim(min(heights) / 1.2, max(heights) * 1.35)
    else:
        axes.set_ylim(0, max(heights, default=1.0) * 1.12)


def _mark(axes: Axes, line: Line, drawn: Sequence[tuple[Point, float, float]]) -> None:
    for point, x, y in drawn:
        if point.load == line.series.knee:
            axes.plot([x], [y], **_KNEE, markeredgecolor=line.colour)
        if point.saturated:
            axes.plot([x], [y], **_SATURATED)


def _name_loads(axes: Axes, drawn: Sequence[tuple[Point, float, float]]) -> None:
    """The load beside each point that stands apart, so that the panel can be read on its own."""
    placed: list[tuple[float, float]] = []
    for point, x, y in drawn[:: math.ceil(len(drawn) / MAX_NAMED) or 1]:
        place = tuple(axes.transData.transform((x, y)))
        if all(math.dist(place, other) > APART_PX for other in placed):
            axes.annotate(f"{point.load:g}", (x, y), (4, -9), textcoords="offset points", fontsize=7, color=INK)
            placed.append(place)


_KNEE: dict[str, Any] = {"marker": "D", "markersize": 10, "markerfacecolor": "none", "linestyle": "", "zorder": 5}
_SATURATED: dict[str, Any] = {"marker": "x", "markersize": 8, "color": INK, "linestyle": "", "zorder": 6}


def _handles(lines: Sequence[Line]) -> Iterator[Any]:
    from matplotlib.lines import Line2D

    if len(lines) > 1:
        told = {line.label: line.colour for line in sorted(lines, key=lambda line: line.colour == GREY)}
        for label, colour in told.items():
            yield Line2D([], [], color=colour, linewidth=2, label=label)


def _keys(found: Sequence[Series], points: Sequence[Point]) -> list[Any]:
    """What the signs mean, of those that are drawn."""
    from matplotlib.lines import Line2D

    dots: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 4.5}
    keys = [
        Line2D([], [], linestyle="-", label="p50", **dots),
        Line2D([], [], linestyle=(0, (6, 2)), markerfacecolor="white", label="p95", **dots),
    ]
    detailed = len(found) <= MAX_DETAILED
    if detailed and any(point.goodput_req_per_s is not None for point in points):
        keys.append(Line2D([], [], color=INK, linestyle=(0, (2, 1.5)), label="goodput"))
    if detailed and any(one.usl is not None for one in found):
        keys.append(Line2D([], [], color=INK, linewidth=6, alpha=0.18, label="fitted scalability law"))
    if detailed and any(one.is_open for one in found):
        keys.append(Line2D([], [], color=GREY, linewidth=0.8, label="all that came due"))
    if any(one.knee is not None for one in found):
        keys.append(Line2D([], [], **_KNEE, markeredgecolor=INK, label="knee"))
    if any(point.saturated for point in points):
        keys.append(Line2D([], [], **_SATURATED, label="saturated: under 95% served"))
    if any(found.value == math.inf for point in points for found in point.latencies.values()):
        keys.append(Line2D([], [], color=INK, marker="^", linestyle="", label="lost to failures: never arrives"))
    return keys


PLOT = Plot(
    name="throughput_latency",
    caption="Throughput over load, and median and p95 latency over throughput, with 95% intervals, one line per "
    "series of the sweep. Failures count as infinitely slow.",
    draw=draw,
)
