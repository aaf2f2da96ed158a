"""Sweeps of concurrency and rate: curves with known bends, what is said of them, and what is drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from bench.judge.rows import read_run
from bench.judge.sweep import Series, find_series, knee_latency
from bench.places import shipped
from bench.show.plots import throughput_latency
from bench.show.report import markdown
from bench.show.summary import summary_of
from bench.show.sweeps import findings
from tests.made_run import MadeCell, make_run
from tests.test_plots import boxes, drawn

LOADS = (1, 2, 4, 8, 16, 32, 64)


def throughput(n: float, alpha: float = 0.04, beta: float = 0.0008) -> float:
    """Requests per second that the scalability law gives for a server of 4 per second and user."""
    return 4 * n / (1 + alpha * (n - 1) + beta * n * (n - 1))


def users(loads: tuple[int, ...] = LOADS, model: str = "m", scale: float = 1.0, **more: Any) -> list[MadeCell]:
    """A closed sweep that follows the law: latency is concurrency over throughput."""
    cells = []
    for n in loads:
        rate = scale * throughput(n)
        latency_ms = 1000 * n / rate
        pace = {"questions": 800, "spacing_ms": 1000 / rate, "ttft_ms": latency_ms * 0.5, "token_ms": latency_ms * 0.05}
        cells.append(MadeCell({"model.name": model, "load.concurrency": n}, **(pace | more)))
    return cells


def arrivals(capacity: float, rates: tuple[float, ...], **more: Any) -> list[MadeCell]:
    """An open sweep: beyond the capacity the queue, and so the latency, grows from request to request."""
    cells = []
    for rate in rates:
        ttft_ms = 400.0 if rate >= capacity else 40 / (1 - rate / capacity)
        options: dict[str, Any] = {"load": "constant", "rate": rate, "ttft_ms": ttft_ms, "questions": 200}
        cells.append(MadeCell({"load.rate": rate}, **(options | more)))
    return cells


def series_of(folder: Path, cells: list[MadeCell]) -> tuple[Series, ...]:
    run = read_run(make_run(folder / "run", cells))
    return find_series(run, summary_of(run).frame)


def report_of(folder: Path, cells: list[MadeCell]) -> str:
    run = read_run(make_run(folder / "run", cells))
    return markdown(run, summary_of(run))


def test_a_sweep_of_concurrency_recovers_the_law_it_was_made_from(tmp_path: Path) -> None:
    (found,) = series_of(tmp_path, users())
    assert (found.key, found.name, found.saturation) == ("load.concurrency", "", None)
    assert [point.load for point in found.points] == list(LOADS)
    for point in found.points:
        assert point.held == pytest.approx(point.load, rel=0.1)
        assert point.req_per_s == pytest.approx(throughput(point.load), rel=0.1)
    assert found.usl is not None
    assert found.usl.alpha == pytest.approx(0.04, abs=0.01)
    assert found.usl.n_peak == pytest.approx(math.sqrt(0.96 / 0.0008), rel=0.15)
    assert found.usl.r_squared > 0.99
    assert not found.usl.beyond
    assert found.knee in (8, 16)


def test_a_peak_beyond_the_loads_tried_is_called_an_extrapolation(tmp_path: Path) -> None:
    (found,) = series_of(tmp_path, users((1, 2, 4, 8, 12)))
    text = " ".join(findings(found))
    assert "an extrapolation: at most" in text
    assert "Do not plan by it" in text
    (whole,) = series_of(tmp_path / "whole", users())
    assert "extrapolation" not in " ".join(findings(whole))


def test_a_law_that_does_not_fit_names_no_peak(tmp_path: Path) -> None:
    jagged = [cell for n, scale in ((1, 9.0), (4, 1.0), (8, 0.3), (16, 2.0)) for cell in users((n,), scale=scale)]
    (found,) = series_of(tmp_path, jagged)
    (law,) = [sentence for sentence in findings(found) if sentence.startswith("Scalability law")]
    assert "does not describe these points" in law
    assert "N*" not in law


def test_a_rate_is_saturated_when_fewer_are_served_than_come_due(tmp_path: Path) -> None:
    cells = arrivals(50, (10, 20, 40))
    slow = MadeCell({"load.rate": 60}, load="constant", rate=60, questions=200, failures=["http_5xx"] * 40)
    (found,) = series_of(tmp_path, [*cells, slow])
    assert [point.saturated for point in found.points] == [False, False, False, True]
    assert found.points[-1].served_share == pytest.approx(0.8, abs=0.03)
    assert found.saturation is not None
    assert (found.saturation.sustained, found.saturation.saturated) == (40, 60)
    assert found.usl is None
    text = " ".join(findings(found))
    assert "Saturated from 60 per second on: 80% was served; 40 per second was still served." in text


def test_a_rate_is_saturated_when_the_server_falls_behind(tmp_path: Path) -> None:
    """Every request is served, at 20 a second, though 25 a second come due."""
    run = read_run(make_run(tmp_path / "run", arrivals(1e9, (10, 25))))
    late = run.every_request["cell_id"] == "cell1"
    run.every_request.loc[late, "end_ns"] = run.every_request.loc[late, "due_ns"] * 1.25 + 1e9
    (found,) = find_series(run, summary_of(run).frame)
    assert [point.served_share for point in found.points] == [pytest.approx(1.0, abs=0.01), pytest.approx(0.8)]
    assert found.points[1].saturated


def test_a_slow_reply_or_a_slow_start_is_no_saturation(tmp_path: Path) -> None:
    """All replies take five seconds of a run of ten; as many are served per second as come due."""
    (found,) = series_of(tmp_path, arrivals(1e9, (20, 40), ttft_ms=5000.0))
    assert [point.served_share for point in found.points] == [pytest.approx(1.0, abs=1e-6)] * 2
    assert "Not saturated: every rate up to 40 per second" in " ".join(findings(found))


def test_of_open_loads_latency_counts_from_the_due_time_and_bends_where_it_rises(tmp_path: Path) -> None:
    (found,) = series_of(tmp_path, arrivals(50, (5, 10, 15, 20, 25, 30, 35, 40, 45, 48)))
    assert knee_latency(found.points)[0] == "e2e_p95"
    assert found.points[0].latencies["ttft_p50"].value == pytest.approx(40 / 0.9 + 3, abs=0.01), "3 ms after it was due"
    assert found.knee in (40, 45)


def test_too_few_requests_say_nothing_of_saturation(tmp_path: Path) -> None:
    (found,) = series_of(tmp_path, arrivals(50, (10, 20), questions=19))
    assert [point.served_share for point in found.points] == [None, None]
    assert not any("aturated" in sentence for sentence in findings(found))


def test_cells_that_differ_in_more_make_a_curve_each(tmp_path: Path) -> None:
    mixed = users((1, 4), "a") + users((1, 4), "b") + users((2,), "only one load")
    found = series_of(tmp_path, mixed)
    assert [(one.name, len(one.points)) for one in found] == [("a", 2), ("b", 2)]
    assert [one.knee for one in found] == [None, None]
    assert [one.usl for one in found] == [None, None]


@pytest.mark.parametrize(
    "cells",
    [
        [MadeCell({"model.name": "a"}), MadeCell({"model.name": "b"})],
        [MadeCell({"load.concurrency": 4})],
        [MadeCell({"model.name": "a", "load.concurrency": 1}), MadeCell({"model.name": "b", "load.concurrency": 2})],
    ],
    ids=["no loads", "one cell", "each model at its own load"],
)
def test_other_runs_have_no_such_section(tmp_path: Path, cells: list[MadeCell]) -> None:
    run = read_run(make_run(tmp_path / "run", cells))
    assert find_series(run, summary_of(run).frame) == ()
    assert "Throughput and latency" not in markdown(run, summary_of(run))
    assert "do not differ in load" in throughput_latency.draw(run, summary_of(run))  # type: ignore[operator]


def test_the_section_of_the_report_shows_each_point_once(tmp_path: Path) -> None:
    failing = MadeCell({"model.name": "m", "load.concurrency": 128}, questions=100, failures=["http_429"] * 60)
    text = report_of(tmp_path, [*users(slo="e2e_ms <= 700"), failing])
    section = text.split("## Throughput and latency")[1].split("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == [*map(str, LOADS), "128"]
    assert "inf / inf" in rows[-1][3]
    assert "60 failed" in rows[-1][-1]
    assert sum("knee" in row[-1] for row in rows) == 1
    assert "Most goodput" in section


def test_a_sweep_names_no_fastest_load(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", users((1, 64), skill=None)))
    assert summary_of(run).verdict == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "panels"),
    [
        (users((4, 8)), 8),
        (users(failures=["reset"] * 100, slo="e2e_ms <= 700"), 8),
        ([cell for i in range(11) for cell in users((1, 8, 64), f"org/model-{i}", 1 + i / 9, questions=30)], 8),
        (arrivals(50, (10, 20, 40)), 8),
        (users(stream=False, usage=False), 2),
    ],
    ids=["two points", "failures", "many series", "open", "not streamed"],
)
def test_the_plot_shows_every_panel_and_cuts_nothing_off(tmp_path: Path, cells: list[MadeCell], panels: int) -> None:
    figure = drawn(throughput_latency.PLOT, tmp_path, cells)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == panels
    texts = [*figure.legends[0].get_texts(), *([figure._suptitle] if figure._suptitle else [])]
    for box in boxes(figure, texts):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_failures_are_marked_at_the_top_and_the_curve_has_no_point_there(tmp_path: Path) -> None:
    cells = users((1, 4), questions=100) + users((16,), questions=100, failures=["reset"] * 60)
    figure = drawn(throughput_latency.PLOT, tmp_path, cells)
    e2e = next(panel for panel in figure.axes if panel.get_title() == "End to end")
    medians = e2e.get_lines()[0]
    assert len(medians.get_xdata()) == 2
    assert sum(line.get_marker() == "^" for line in e2e.get_lines()) == 2, "p50 and p95 are both lost"
    assert "lost to failures" in " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_the_shipped_sweep_is_one_of_concurrency() -> None:
    text = (shipped("conf") / "experiment" / "load_sweep.yaml").read_text(encoding="utf-8")
    assert "load.concurrency: 1,2,4,8,16,32,64" in text
