"""Plots: right heights, nothing covered or cut off, the same bytes twice, and a plain reason where nothing is drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.judge.rows import read_run
from bench.show.plots import latency_ecdf, plots, quality_latency, write_plots
from bench.show.plots.quality_latency import Point, front
from bench.show.style import styled
from bench.show.summary import summary_of
from tests.made_run import MadeCell, make_run

MODELS = (
    "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "deepseek-ai/DeepSeek-V3.1",
    "THUDM/glm-4-9b-chat",
    "Pro/deepseek-ai/DeepSeek-V3.1",
    "Qwen/Qwen3-8B",
    "moonshotai/Kimi-K2-Instruct-0905",
)


def sweep(count: int, **options: Any) -> list[MadeCell]:
    """Cells of varied skill, speed and failures, the same each time."""
    random = Random(count)
    cells = []
    for i in range(count):
        model = MODELS[i % 6] if i < 12 else f"org/model-{i}"
        varied = {"skill": random.uniform(0.3, 0.97), "ttft_ms": random.lognormvariate(6, 0.6)}
        varied |= {"failures": ["http_429"] * random.choice([0, 0, 5]), "jitter": 0.3, "questions": 30}
        cells.append(MadeCell({"model.name": model, "t": [0.0, 0.7][i // 6 % 2]}, **(varied | options)))
    return cells


def drawn(plot: Any, folder: Path, cells: list[MadeCell]) -> Any:
    """What a plot gives for a made run, laid out as it is saved."""
    run = read_run(make_run(folder / "run", cells))
    with styled():
        figure = plot.draw(run, summary_of(run))
        if isinstance(figure, Figure):
            FigureCanvasAgg(figure).draw()
    return figure


def boxes(figure: Figure, texts: list[Text]) -> list[Any]:
    """Where texts stand on paper, in pixels."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    return [Text.get_window_extent(text, renderer) for text in texts]


def test_plots_are_found_by_folder() -> None:
    assert [plot.name for plot in plots()] == ["latency_ecdf", "quality_latency", "throughput_latency"]
    assert all(plot.caption.endswith(".") for plot in plots())


def test_failures_make_a_curve_end_below_one(tmp_path: Path) -> None:
    figure = drawn(latency_ecdf.PLOT, tmp_path, [MadeCell({"m": "a"}, questions=40, failures=["reset"] * 10)])
    assert [panel.get_title() for panel in figure.axes] == ["Time to first token", "End to end"]
    for panel in figure.axes:
        (line,) = panel.get_lines()
        assert line.get_ydata()[0] == 0
        assert line.get_ydata()[-1] == pytest.approx(0.75)
    assert "30 served requests in 1 cell; 10 failed" in figure.get_suptitle()


def test_curves_step_at_the_measured_latencies(tmp_path: Path) -> None:
    figure = drawn(latency_ecdf.PLOT, tmp_path, [MadeCell({"m": "a"}, questions=4, ttft_ms=150, tokens=3, token_ms=10)])
    ttft, e2e = (panel.get_lines()[0].get_xdata()[1] for panel in figure.axes)
    assert (ttft, e2e) == (150, 171)


def test_a_run_that_was_not_streamed_has_one_panel(tmp_path: Path) -> None:
    figure = drawn(latency_ecdf.PLOT, tmp_path, sweep(2, stream=False))
    assert [panel.get_title() for panel in figure.axes] == ["End to end"]


def test_open_loads_are_drawn_from_the_due_time(tmp_path: Path) -> None:
    cells = sweep(2, load="poisson")
    assert "from due" in drawn(latency_ecdf.PLOT, tmp_path / "a", cells).axes[0].get_xlabel()
    assert "from due" in drawn(quality_latency.PLOT, tmp_path / "b", cells).axes[0].get_xlabel()


@pytest.mark.slow
@pytest.mark.parametrize("count", [9, 57])
def test_of_many_cells_the_fastest_and_slowest_are_coloured_and_the_rule_is_stated(tmp_path: Path, count: int) -> None:
    figure = drawn(latency_ecdf.PLOT, tmp_path, sweep(count))
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(named) == 9
    rule = f"{count - 8} more cell{'s' * (count > 9)} (coloured: the 4 fastest and 4 slowest by median)"
    assert rule in named
    assert len(figure.axes[0].get_lines()) == count


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 12, 57])
def test_no_name_covers_another_or_leaves_the_plot(tmp_path: Path, count: int) -> None:
    figure = drawn(quality_latency.PLOT, tmp_path, sweep(count))
    (axes,) = figure.axes
    named = list(axes.texts)
    assert len(named) == count if count <= 12 else len(named) >= 1
    placed = boxes(figure, named)
    frame = axes.get_window_extent()
    for one, other in combinations(placed, 2):
        assert min(one.x1, other.x1) <= max(one.x0, other.x0) or min(one.y1, other.y1) <= max(one.y0, other.y0)
    for box in [*placed, *boxes(figure, [axes.title, axes.xaxis.label, axes.yaxis.label])]:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in placed)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 12])
def test_titles_and_legends_are_not_cut_off(tmp_path: Path, count: int) -> None:
    figure = drawn(latency_ecdf.PLOT, tmp_path, sweep(count))
    texts = [*figure.legends[0].get_texts(), figure._suptitle, *(panel.xaxis.label for panel in figure.axes)]
    for box in boxes(figure, texts):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_the_front_is_what_no_other_cell_beats() -> None:
    def point(label: str, x: float, y: float) -> Point:
        return Point(label, x, x, x, y, y, y)

    found = front([point("slow best", 9, 90), point("beaten", 5, 60), point("fast", 1, 50), point("middle", 4, 70)])
    assert [p.label for p in found if p.on_front] == ["fast", "middle", "slow best"]
    assert [p.on_front for p in front([point("a", 1, 1), point("b", 1, 1)])] == [True, True]


@pytest.mark.parametrize(
    ("cells", "curve", "quality"),
    [
        ([MadeCell({"m": "a"}, failures=["connect"] * 20)], "no request was served", "no reply was scored"),
        ([MadeCell({"m": "a"}, questions=1)], "", "too few requests"),
        ([MadeCell({"m": "a"}, skill=None)], "", "no reply was scored"),
    ],
    ids=["all failed", "a single request", "no scores"],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, cells: list[MadeCell], curve: str, quality: str) -> None:
    run = read_run(make_run(tmp_path / "run", cells))
    reasons = [plot.reason for plot in write_plots(run, summary_of(run), tmp_path / "run" / "plots")]
    for reason, expected in zip(reasons, (curve, quality, "do not differ in load"), strict=True):
        assert (expected in reason) if expected else (reason == "")


def test_a_plot_that_no_longer_applies_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "quality_latency.svg").write_text("of an earlier scoring")
    run = read_run(make_run(tmp_path / "run", [MadeCell({"m": "a"}, skill=None)]))
    write_plots(run, summary_of(run), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["latency_ecdf.png", "latency_ecdf.svg"]


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes_and_strange_names_are_no_formulas(tmp_path: Path) -> None:
    cells = [MadeCell({"m": name}, jitter=0.4, skill=0.7) for name in ("$\\frac{", "模型", "\x1b[2J<script>")]
    run = read_run(make_run(tmp_path / "run", cells))
    table = summary_of(run)
    first = [path.read_bytes() for plot in write_plots(run, table, tmp_path / "a") for path in plot.files]
    second = [path.read_bytes() for plot in write_plots(run, table, tmp_path / "b") for path in plot.files]
    assert len(first) == 4
    assert first == second
    assert all(b"<script>" not in content and b"\x1b[2J" not in content for content in first)
