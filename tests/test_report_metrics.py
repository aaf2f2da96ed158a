"""Goodput, percentiles with failures, the SLO's section, and other tools' definitions through the whole verb."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.judge.intervals import Estimate, clopper_pearson
from bench.judge.metrics import CELL_METRICS
from bench.judge.rows import read_run
from bench.show.summary import summary_of
from tests.made_run import MadeCell, make_run


def figures(folder: Path, cell: MadeCell) -> dict[str, Estimate]:
    """Every figure of a cell, made and read again."""
    run = read_run(make_run(folder / "run", [cell]))
    rows = run.rows_of(run.cells[0])
    return {metric.name: metric.of(rows) for metric in CELL_METRICS}


def test_goodput_counts_what_was_served_in_time_over_the_window_of_the_throughput(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=100, failures=["reset"] * 10, not_sent=5, slo="ttft_ms <= 500 and tpot_ms <= 50")
    got = figures(tmp_path, cell)
    assert got["goodput_req_per_s"].value == got["throughput_req_per_s"].value
    assert got["goodput_req_per_s"].n == 85
    assert got["attainment"] == clopper_pearson(85, 95), "what was never sent is neither good nor bad"


@pytest.mark.parametrize(("slo", "good"), [(None, None), ("ttft_ms <= 199", 0.0), ("e2e_ms_p50 <= 5000", 1.0)])
def test_attainment_is_null_without_an_slo(tmp_path: Path, slo: str | None, good: float | None) -> None:
    got = figures(tmp_path, MadeCell({}, slo=slo))
    assert got["attainment"].value == good
    assert (got["goodput_req_per_s"].value is None) == (good is None)


def test_the_summary_says_how_each_cell_stands(tmp_path: Path) -> None:
    cells = [MadeCell({"ms": ms}, questions=200, ttft_ms=ms, slo="ttft_ms_p95<=500") for ms in (100, 900)]
    frame = summary_of(read_run(make_run(tmp_path / "run", cells))).frame
    assert list(frame["slo_standing"]) == ["met", "missed"]
    assert set(frame["slo"]) == {"ttft_ms_p95 <= 500"}


def test_failures_count_as_infinitely_slow_in_every_latency(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=100, failures=["reset"] * 60))
    for name in ("ttft", "ttfa", "e2e", "due_ttft", "due_e2e", "tpot"):
        assert got[f"{name}_p50_all_ms"].value == math.inf
        assert (got[f"{name}_p50_ms"].value or 0) > 0
    assert got["output_tok_per_s_p50_all"].value == 0, "a failure writes no tokens"


def test_a_cell_that_served_nothing_is_infinitely_slow_not_unknown(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, failures=["reset"] * 20))
    assert got["e2e_p50_ms"].value is None
    assert got["e2e_p50_all_ms"].value == math.inf
