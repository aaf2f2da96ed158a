"""Figures per cell, on rows whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from bench.judge.intervals import Estimate, wilson
from bench.judge.metrics import CELL_METRICS, REQUEST_METRICS
from bench.judge.ranking import verdict
from bench.judge.rows import derive, read_run
from tests.made_run import MadeCell, make_run

GIVEN = Path(__file__).resolve().parents[2] / "shared" / "stats" / "give.json"


def figures(folder: Path, cell: MadeCell) -> dict[str, Estimate]:
    """Every metric of a made run of one cell."""
    run = read_run(make_run(folder / "run", [cell]))
    return {metric.name: metric.of(run.rows_of(run.cells[0])) for metric in CELL_METRICS}


def test_every_metric_has_one_name_a_unit_and_a_definition() -> None:
    declared = [*REQUEST_METRICS, *CELL_METRICS]
    assert len({metric.name for metric in declared}) == len(declared)
    assert all(metric.unit and metric.definition.endswith(".") for metric in declared)


def test_request_metrics_agree_with_the_reference() -> None:
    if not GIVEN.exists():
        pytest.skip("the reference cases are not beside this checkout")
    cases = json.loads(GIVEN.read_text(encoding="utf-8"))["cases"]
    case = next(case for case in cases if case["name"] == "latency_metrics")
    given, expected = case["inputs"], case["expected"]
    chunks = given["chunks"]
    marks = {
        "due_ns": given["t_scheduled"],
        "permit_ns": given["t_send"],
        "sent_ns": given["t_send"],
        "first_reasoning_ns": next(time for time, kind, _ in chunks if kind == "reasoning"),
        "first_answer_ns": next(time for time, kind, _ in chunks if kind == "content"),
        "last_token_ns": chunks[-1][0],
        "end_ns": given["t_end"],
    }
    raw = {name: seconds * 1e9 for name, seconds in marks.items()}
    row = derive(pd.DataFrame([{**raw, "completion_tokens": given["output_tokens"], "n": 1, "cached": False}])).iloc[0]
    assert row["ttft_ms"] == pytest.approx(expected["ttft"] * 1000)
    assert row["ttfa_ms"] == pytest.approx(expected["ttfat"] * 1000)
    assert row["e2e_ms"] == pytest.approx(expected["e2e"] * 1000)
    assert row["due_e2e_ms"] == pytest.approx(expected["e2e_scheduled"] * 1000)
    assert row["tpot_ms"] == pytest.approx(expected["tpot"] * 1000)


def test_failures_are_counted_and_never_wrong_answers(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=20, skill=1.0, failures=["http_429", "reset"], truncated=1, not_sent=2)
    got = figures(tmp_path, cell)
    assert (got["planned"].value, got["ok"].value) == (20, 15)
    assert (got["truncated"].value, got["not_sent"].value) == (1, 2)
    assert got["failure_rate"].value == 0.25
    assert (got["accuracy"].value, got["accuracy"].n) == (1.0, 15)


def test_one_reply_per_question_takes_wilson_and_repeats_are_averaged_first(tmp_path: Path) -> None:
    single = figures(tmp_path / "single", MadeCell({}, questions=50, skill=0.8))["accuracy"]
    assert single.method == "Wilson"
    assert single == wilson(50 * (single.value or 0), 50)
    several = figures(tmp_path / "several", MadeCell({}, questions=50, skill=0.8, n=2, repeats=3))["accuracy"]
    assert (several.method, several.n) == ("t over questions", 50)


def test_percentiles_of_the_served_and_with_failures_as_infinitely_slow(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=100, failures=["reset"] * 10, ttft_ms=100, tokens=2, token_ms=1))
    assert (got["e2e_p50_ms"].value, got["e2e_p50_ms"].n) == (102, 90)
    assert (got["e2e_p50_all_ms"].value, got["e2e_p50_all_ms"].n) == (102, 100)
    assert math.isinf(got["e2e_p95_all_ms"].value or 0)
    assert (got["e2e_p99_ms"].value, got["e2e_p99_ms"].needs) == (None, 368)


def test_unsent_requests_are_not_slow(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=100, not_sent=20))
    assert got["e2e_p95_all_ms"] == got["e2e_p95_ms"]


def test_throughput_counts_over_the_window_of_the_cell(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=11, ttft_ms=100, tokens=10, token_ms=10, warmup=3))
    window_s = 1.0 + 0.191  # eleven sends 100 ms apart; the last one ends 100 + 90 + 1 ms later
    assert got["throughput_req_per_s"].value == pytest.approx(11 / window_s)
    assert got["throughput_tok_per_s"].value == pytest.approx(110 / window_s)
    assert got["cost"].value == pytest.approx(0.011)


def test_what_nobody_reported_is_none(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, usage=False, price=None, skill=None, stream=False))
    for name in (
        "cost",
        "throughput_tok_per_s",
        "output_tok_per_s_p50",
        "accuracy",
        "unparsed",
        "ttft_p50_ms",
        "gap_p50_ms",
    ):
        assert got[name].value is None, name
    assert got["e2e_p50_ms"].value is not None


def test_a_run_in_which_everything_failed_has_counts_and_no_latency(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=8, failures=["connect"] * 8))
    assert (got["ok"].value, got["failure_rate"].value) == (0, 1.0)
    assert all(got[name].value is None for name in ("e2e_p50_ms", "ttft_p50_ms", "accuracy", "cost"))


def test_the_best_cell_is_named_only_when_the_questions_tell(tmp_path: Path) -> None:
    far = [
        MadeCell({"model.name": "strong"}, questions=60, skill=0.95),
        MadeCell({"model.name": "weak"}, skill=0.3, questions=60),
    ]
    assert verdict(read_run(make_run(tmp_path / "far", far)))[0].startswith("Best accuracy: strong, ")
    near = [
        MadeCell({"model.name": "a"}, questions=60, skill=0.82),
        MadeCell({"model.name": "b"}, skill=0.8, questions=60),
    ]
    assert "cannot be told apart at 60 questions" in verdict(read_run(make_run(tmp_path / "near", near)))[0]
    few = [MadeCell({"model.name": "a"}, questions=3, skill=1.0), MadeCell({"model.name": "b"}, skill=0.0, questions=3)]
    assert "cannot be told apart at 3 questions" in verdict(read_run(make_run(tmp_path / "few", few)))[0]


def test_the_fastest_cell_is_named_only_when_the_medians_are_apart(tmp_path: Path) -> None:
    apart = [MadeCell({"model.name": "quick"}, jitter=0.1), MadeCell({"model.name": "slow"}, jitter=0.1, ttft_ms=900)]
    assert verdict(read_run(make_run(tmp_path / "apart", apart)))[-1].startswith("Fastest: quick, ")
    alike = [MadeCell({"model.name": "a"}, jitter=0.3), MadeCell({"model.name": "b"}, jitter=0.3)]
    assert "cannot be told apart by median" in verdict(read_run(make_run(tmp_path / "alike", alike)))[-1]


def test_a_fast_cell_that_fails_most_requests_is_not_the_fastest(tmp_path: Path) -> None:
    cells = [
        MadeCell({"model.name": "broken"}, questions=30, ttft_ms=10, failures=["http_5xx"] * 25),
        MadeCell({"model.name": "sound"}, questions=30, ttft_ms=500),
    ]
    assert verdict(read_run(make_run(tmp_path / "run", cells)))[-1].startswith("Fastest: sound, ")


def test_one_cell_is_compared_with_nothing(tmp_path: Path) -> None:
    assert verdict(read_run(make_run(tmp_path / "run", [MadeCell({})]))) == []
