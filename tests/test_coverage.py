"""What a run that stopped early says of itself: how much it covers, of what that is a sample, and what held it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measured import run_measured
from setups import experiment, rows_file

from bench.judge.rows import read_run
from bench.show.coverage import coverage_note, held_note
from tests.made_run import MadeCell, made_vitals, make_run


def note(path: Path) -> str:
    found = coverage_note(read_run(path))
    assert found is not None
    return found


def test_a_whole_run_needs_no_words(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, failures=["http_429"], truncated=2)])
    assert coverage_note(read_run(path)) is None


def test_what_a_rule_saved_is_not_said_to_stand_among_the_failed(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", [MadeCell({}, not_sent=5)]))
    kept_back = "Those that the budget kept back stand under `failed`"
    assert kept_back in str(coverage_note(run))
    run.requests.loc[run.requests["outcome"] == "not_sent", "error_detail"] = "stop.half_width found enough"
    said = str(coverage_note(run))
    assert said.startswith("Stopped by stop.half_width: 15 of 20")
    assert "failed" not in said


def test_a_share_of_each_cell_is_a_random_sample(tmp_path: Path) -> None:
    cells = [MadeCell({"t": 0}, not_sent=12), MadeCell({"t": 1}, not_sent=13, warmup=3)]
    said = note(make_run(tmp_path / "run", cells))
    assert ": 15 of 40 planned requests were sent (37.5%; 7 to 8 per cell), a random sample of the prompts." in said


def test_cells_that_run_in_turn_are_no_sample_of_the_sweep(tmp_path: Path) -> None:
    cells = [MadeCell({"r": 1}, load="poisson", rate=5.0), MadeCell({"r": 2}, load="poisson", rate=6.0, not_sent=20)]
    said = note(make_run(tmp_path / "run", cells))
    assert "0 to 20 per cell" in said
    assert "run one after another, and the later ones are missing" in said
    one = make_run(tmp_path / "one", [MadeCell({}, load="poisson", not_sent=5)])
    assert "the first part of each schedule" in note(one)


def test_a_run_that_was_killed_counts_what_is_not_recorded_as_well(tmp_path: Path) -> None:
    header: dict[str, Any] = {"state": "running", "planned": 103}
    said = note(make_run(tmp_path / "run", [MadeCell({}, warmup=3)], header=header))
    assert said.startswith("The run has not ended: 20 of 100 planned requests were sent (20.0%)")


def test_what_held_the_run_back_is_said_with_its_share_of_the_time(tmp_path: Path) -> None:
    header = {"held_s": {"sim-1 Qwen/Qwen3-8B": {"rpm": 7.5, "tpm": 0.1, "adaptive": 1.0}}}
    run = read_run(make_run(tmp_path / "run", [MadeCell({})], header=header, vitals=[made_vitals(10.0)]))
    assert held_note(run) == (
        "Requests were held back by limits.rpm for 75% of the time (Qwen/Qwen3-8B), fewer at a time after 429 and 503 "
        "for 10% of the time (Qwen/Qwen3-8B); no latency includes that wait."
    )
    assert held_note(read_run(make_run(tmp_path / "free", [MadeCell({})]))) is None


@pytest.mark.slow
def test_a_budget_leaves_a_balanced_sample_of_a_real_sweep(tmp_path: Path) -> None:
    """Three cells of one model, eight requests at a time, stopped by the number of requests."""
    data = rows_file(tmp_path, 30)
    sim = {"kind": "sim", "name": "sim", "knobs": {"speed": 0}}
    cells = [
        experiment(data, provider=sim, budget={"requests": 41}, sampling={"temperature": t, "max_tokens": 8})
        for t in (0.0, 0.5, 1.0)
    ]
    said = note(run_measured(cells, tmp_path / "results").path)
    assert said.startswith(
        "Stopped by budget.requests: 41 of 90 planned requests were sent (45.6%; 13 to 14 per cell), a random sample"
    )
