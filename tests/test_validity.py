"""The verdict on a measurement: a late client makes it invalid, a slow server does not, and it is told everywhere."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.calibration import Burst, Calibration, Level, ceilings, write
from bench.judge.client import LoopLag, loop_lag, read_vitals
from bench.judge.load_checks import check_load
from bench.judge.rows import CellInfo, derive, read_run
from bench.judge.validity import RunValidity, Standing, judge_validity
from bench.judge.watched import Finding, Together, Watched
from bench.measure.vitals import LAG_EDGES_MS, Vitals
from bench.measure.worker import Worker
from bench.pipeline import execute
from bench.record import read_header
from bench.show.report import main as report
from bench.show.summary import summarise
from bench.show.table import render_terminal
from tests.made_run import MadeCell, made_vitals, make_run
from tests.setups import experiment, rows_file


def judged(folder: Path, *cells: MadeCell, **options: Any) -> RunValidity:
    """The verdict on a made run."""
    return judge_validity(read_run(make_run(folder / "made" / "run", cells, **options)))


def found(validity: RunValidity, check: str) -> Finding:
    """What one check found."""
    (finding,) = [one for one in validity.findings if one.check == check]
    return finding


def checks(validity: RunValidity, standing: Standing) -> set[str]:
    """Which checks came to a standing."""
    return {one.check for one in validity.findings if one.standing is standing}


# --- the client


def test_a_punctual_client_and_a_steady_server_are_valid(tmp_path: Path) -> None:
    validity = judged(tmp_path, MadeCell({}, questions=400, jitter=0.3))
    assert (validity.standing, validity.reasons, validity.notes) == (Standing.VALID, (), ())
    figures = validity.cells["cell0"].figures
    assert figures["limit_ms"] == 10
    assert figures["send_lag_ms"] == 1
    assert figures["little_error"] < 0.05
    assert figures["cpu_share"] == pytest.approx(0.1)


def test_lag_of_the_event_loop_is_invalid_and_says_what_to_do(tmp_path: Path) -> None:
    stalls = [made_vitals(60.0, {45.0: 400}, cpu_s=55.0)]
    validity = judged(tmp_path, MadeCell({}, questions=400), vitals=stalls)
    assert validity.standing is Standing.INVALID
    assert "20 ms or more behind (limit 10 ms)" in found(validity, "loop_lag").text
    assert "raise engine.processes (was 1)" in (validity.why_invalid or "")
    assert found(validity, "cpu").standing is Standing.WARNED


def test_an_idle_client_that_lags_is_held_up_by_somebody_else(tmp_path: Path) -> None:
    validity = judged(tmp_path, MadeCell({}, questions=400), vitals=[made_vitals(60.0, {45.0: 400}, cpu_s=5.0)])
    assert "free the machine (the client used only 8% of a core" in (validity.why_invalid or "")


def test_the_limit_grows_with_the_latency_but_not_for_the_time_to_first_token(tmp_path: Path) -> None:
    stalls = [made_vitals(60.0, {45.0: 400})]
    slow = MadeCell({}, questions=400, ttft_ms=4000, token_ms=400)
    assert judged(tmp_path / "slow", slow, vitals=stalls).standing is Standing.VALID
    quick_first = MadeCell({}, questions=400, ttft_ms=150, token_ms=400)
    validity = judged(tmp_path / "first", quick_first, vitals=stalls)
    assert validity.standing is Standing.WARNED
    assert "over 10% of the median time to first token (150 ms)" in found(validity, "loop_lag").text


def test_one_long_stand_still_is_a_warning(tmp_path: Path) -> None:
    validity = judged(tmp_path, MadeCell({}, questions=400), vitals=[made_vitals(60.0, {300.0: 1})])
    assert validity.standing is Standing.WARNED
    assert "stood still once for 300 ms (limit 100 ms)" in found(validity, "loop_lag").text


@pytest.mark.parametrize(("questions", "standing"), [(5, Standing.WARNED), (40, Standing.INVALID)])
def test_a_handful_of_requests_makes_no_run_invalid(tmp_path: Path, questions: int, standing: Standing) -> None:
    stalls = [made_vitals(10.0, {45.0: 200})]
    assert judged(tmp_path, MadeCell({}, questions=questions), vitals=stalls).standing is standing


def test_few_requests_need_more_than_a_hiccup(tmp_path: Path) -> None:
    """1% of the time is nothing to build on where the slowest 1% of the requests are not told from chance."""
    hiccups = [made_vitals(10.0, {45.0: 5})]
    few = judged(tmp_path / "few", MadeCell({}, questions=40), vitals=hiccups)
    assert few.standing is Standing.VALID
    assert few.notes == ("40 requests: too few to tell how late the slowest 1% were sent (from 100 on)",)
    assert judged(tmp_path / "many", MadeCell({}, questions=400), vitals=hiccups).standing is Standing.INVALID


def test_one_late_reading_of_a_short_run_is_no_proof(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=400, spacing_ms=1)
    once = judged(tmp_path / "once", cell, vitals=[made_vitals(1.2, {15.0: 2})])
    assert once.standing is Standing.VALID
    often = judged(tmp_path / "often", cell, vitals=[made_vitals(1.2, {15.0: 10})])
    assert "for 4% of the time" in (often.why_invalid or "")


def test_late_sends_are_invalid_but_connecting_is_not_lateness(tmp_path: Path) -> None:
    late = judged(tmp_path / "late", MadeCell({}, questions=400, late_ms=25))
    assert checks(late, Standing.INVALID) == {"send_lag"}
    assert "25 ms or more late (limit 10 ms)" in (late.why_invalid or "")
    connecting = judged(tmp_path / "new", MadeCell({}, questions=400, late_ms=25, connect_ms=24))
    assert connecting.standing is Standing.VALID
    few = judged(tmp_path / "few", MadeCell({}, questions=40, late_ms=25))
    assert few.standing is Standing.WARNED
    assert "too few to tell that from chance" in found(few, "send_lag").text


def test_open_loads_count_from_the_due_time_unless_something_holds_requests_back(tmp_path: Path) -> None:
    def opened(name: str, **params: Any) -> RunValidity:
        return judged(tmp_path / name, MadeCell(params, questions=400, load="constant", late_ms=9))

    assert "11 ms or more late" in (opened("free").why_invalid or "")
    held = opened("held", **{"load.max_concurrency": 64})
    assert held.cells["cell0"].figures["send_lag_ms"] == 9
    assert held.standing is Standing.VALID


def test_a_full_core_is_a_warning_and_with_lag_the_reason(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=400)
    busy = judged(tmp_path / "busy", cell, vitals=[made_vitals(60.0, cpu_s=50.0)])
    assert checks(busy, Standing.WARNED) == {"cpu"}
    assert "used 83% of a core" in busy.reasons[0]
    full = judged(tmp_path / "full", cell, vitals=[made_vitals(60.0, {45.0: 400}, cpu_s=59.0)])
    assert checks(full, Standing.INVALID) == {"cpu", "loop_lag"}


def test_long_garbage_collections_are_a_warning(tmp_path: Path) -> None:
    validity = judged(tmp_path, MadeCell({}, questions=400), vitals=[made_vitals(60.0, gc_pause_max_ms=80.0)])
    assert checks(validity, Standing.WARNED) == {"gc"}


@pytest.mark.parametrize("vitals", [[], [{"of": "another time"}]])
def test_a_client_of_which_nothing_is_recorded_is_not_called_valid(tmp_path: Path, vitals: list[Any]) -> None:
    validity = judged(tmp_path, MadeCell({}, questions=400), vitals=vitals)
    assert checks(validity, Standing.WARNED) == {"loop_lag"}


# --- lag


def test_vitals_survive_the_record() -> None:
    row = made_vitals(2.0, {7.0: 3, 1500.0: 1})
    assert Vitals.of(json.loads(json.dumps(row))).row() == row
    (one,) = read_vitals({"vitals": [row]})
    assert (one.lag_edges_ms, sum(one.lag_counts), one.lag_max_ms) == (LAG_EDGES_MS, 104, 1500.0)


def test_a_stand_still_counts_for_as_long_as_it_lasts() -> None:
    """In 10 s a stand-still of 1 s is met by a tenth of all events, though it is one reading of 450."""
    lag = loop_lag(read_vitals({"vitals": [made_vitals(9.0, {1000.0: 1})]}))
    assert lag.readings == 450 + 51
    assert lag.quantile_ms(0.95) == pytest.approx(500, abs=20)
    assert lag.quantile_ms(0.89) == 0
    assert lag.max_ms == lag.quantile_ms(1.0) == 1000


def test_processes_are_pooled() -> None:
    one, other = made_vitals(10.0), made_vitals(10.0, {45.0: 100}, shard=1)
    lag = loop_lag(read_vitals({"vitals": [one, other]}))
    assert lag.quantile_ms(0.95) == pytest.approx(20)
    assert loop_lag([]) == LoopLag((), (), 0.0)


@given(st.dictionaries(st.floats(0, 5000), st.integers(1, 20), max_size=6), st.floats(0.01, 0.99))
def test_lag_is_never_made_worse_than_its_worst_reading(late: dict[float, int], q: float) -> None:
    lag = loop_lag(read_vitals({"vitals": [made_vitals(1.0, late)]}))
    assert 0 <= lag.quantile_ms(q) <= lag.quantile_ms(1.0) <= lag.max_ms
    assert lag.readings >= 50 + sum(late.values())


# --- the load


def load_findings(kind: str, due_s: Any, sent_s: Any, end_s: Any, **load: Any) -> dict[str, Finding]:
    """What the load checks say of requests with these times."""
    none = np.full(len(due_s), np.nan)
    times = {"due_ns": due_s, "permit_ns": sent_s, "sent_ns": sent_s, "first_answer_ns": end_s, "end_ns": end_s}
    rows = derive(
        pd.DataFrame(
            {
                **{name: np.asarray(values) * 1e9 for name, values in times.items()},
                **dict.fromkeys(("first_reasoning_ns", "last_token_ns", "connect_ns", "completion_tokens"), none),
                **{"n": 1.0, "attempts": 1.0, "warmup": False, "cached": False, "outcome": "ok", "error_kind": None},
            }
        )
    )
    cell = CellInfo("c", 0, "c", (), {"load": {"kind": kind, **load}})
    return {one.check: one for one in check_load(Watched(cell, rows, Together(rows, ()), alone=True))}


def queue(rate: float, n: int, slots: int, seed: int = 1) -> tuple[Any, Any]:
    """Poisson arrivals at a server of so many slots, each taking 1 s: due times and ends."""
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))
    free, end = [0.0] * slots, []
    for arrival in due:
        free.sort()
        free[0] = max(free[0], arrival) + 1.0
        end.append(free[0])
    return due, np.array(end)


def test_a_server_that_keeps_up_is_not_blamed() -> None:
    due, end = queue(12, 3000, slots=16)
    assert load_findings("poisson", due, due, end) == {}


@pytest.mark.parametrize("rate", [20, 32])
def test_a_saturated_server_is_a_warning(rate: float) -> None:
    due, end = queue(rate, 2000, slots=16)
    found = load_findings("poisson", due, due, end)
    assert {one.standing for one in found.values()} == {Standing.WARNED}
    assert {"rate", "steady"} <= set(found)
    assert "the server was saturated" in found["rate"].text
    assert f"({16 / rate:.0%}, limit 95%)" in found["rate"].text


def test_a_backlog_that_grows_is_a_warning() -> None:
    due, end = queue(17.5, 3000, slots=16)
    found = load_findings("poisson", due, due, end)
    assert {"rate", "backlog", "little"} <= set(found)
    assert "the server did not keep up" in found["backlog"].text


def test_a_run_shorter_than_its_latencies_tells_nothing_of_the_rate() -> None:
    due = np.arange(200) / 100
    found = load_findings("constant", due, due, due + 3 + np.arange(200) / 50)
    assert found["short"].standing is Standing.VALID
    assert "rate" not in found


def test_requests_that_max_concurrency_held_back_are_counted() -> None:
    due = np.arange(400) / 10
    sent = np.maximum(due, np.where(np.arange(400) % 10 == 0, due + 0.5, due))
    found = load_findings("constant", due, sent, sent + 0.2, max_concurrency=3)
    assert found["held_back"].standing is Standing.WARNED
    assert "40 of 400 requests" in found["held_back"].text
    assert "load.max_concurrency" in found["held_back"].text


def test_requests_that_were_never_sent_are_counted(tmp_path: Path) -> None:
    validity = judged(tmp_path, MadeCell({"budget.requests": 380}, questions=400, load="constant", not_sent=20))
    assert "20 of 400 requests that came due were never sent (budget 20)" in found(validity, "dropped").text
    assert validity.standing is Standing.WARNED
    path = make_run(tmp_path / "late", [MadeCell({}, questions=400, load="constant", not_sent=20)])
    rows = pd.read_parquet(path / "requests.parquet")
    rows["error_kind"] = rows["error_kind"].replace("budget", "timeout_total")
    rows.to_parquet(path / "requests.parquet")
    assert checks(judge_validity(read_run(path)), Standing.INVALID) == {"dropped"}, "only the client can have been late"


def test_a_cold_start_is_a_warning_with_the_warm_up_to_set() -> None:
    took = np.r_[np.full(30, 3.0), np.full(370, 0.4)] * np.random.default_rng(3).lognormal(0, 0.1, 400)
    end = np.cumsum(took)
    found = load_findings("closed", np.zeros(400), end - took, end, warmup=5)
    assert "load.warmup=35" in found["steady"].text
    one_straggler = 0.4 * np.random.default_rng(3).lognormal(0, 0.1, 400)
    one_straggler[100] = 60.0
    end = np.cumsum(one_straggler)
    assert "steady" not in load_findings("closed", np.zeros(400), end - one_straggler, end)


def test_a_server_that_gets_ever_slower_has_no_steady_state() -> None:
    took = np.linspace(0.2, 1.0, 400)
    end = np.cumsum(took)
    found = load_findings("closed", np.zeros(400), end - took, end)
    assert "no steady state" in found["steady"].text


def test_loads_that_change_by_themselves_are_not_asked_to_be_steady() -> None:
    due = np.sqrt(np.arange(1000))
    took = 0.1 + np.linspace(0, 0.3, 1000)
    assert "steady" in load_findings("constant", due, due, due + took)
    assert load_findings("ramp", due, due, due + took) == {}


def test_cells_that_ran_interleaved_are_not_asked_to_be_steady(tmp_path: Path) -> None:
    cells = [MadeCell({"m": name}, questions=200, load="closed") for name in "ab"]
    validity = judged(tmp_path, *cells)
    assert validity.standing is Standing.VALID
    assert "little_error" not in validity.cells["cell0"].figures


@pytest.mark.parametrize("kind", ["closed", "poisson", "constant", "ramp"])
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 40, 150]), st.floats(0, 2))
def test_a_server_alone_never_makes_a_measurement_invalid(kind: str, seed: int, n: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    due = np.cumsum(random.exponential(0.1, n))
    end = due + random.lognormal(0, spread, n) * (1 + random.random() * np.arange(n))
    found = load_findings(kind, due, due, end)
    assert all(one.standing is not Standing.INVALID for one in found.values())


# --- calibration


def calibrated(results_dir: Path, held: int, error_ms_p99: float, *, higher: bool = True) -> None:
    """A calibration in which so many streams were timed within 10 ms, and ten times as many were not."""
    good = Level(held, held, held, 0, 10.0, 1000.0, 1.5, error_ms_p99, 1.0, 2.0, 0.0, 0.0, 0.1, 1.0, 2.0, 0.1, 0.0)
    bad = replace(good, streams=10 * held, held=10 * held, ttft_error_ms_p50=90.0, ttft_error_ms_p99=300.0)
    levels = (good, bad) if higher else (good,)
    burst = Burst(64, 100, 500.0, 50_000.0, 1.0, 0.5)
    made = Calibration("now", {"node": "here"}, {}, 1, 20.0, levels, burst, ceilings(levels))
    write(results_dir, made)


HERE = {"host": {"node": "here"}}


def test_the_expected_error_of_this_machine_is_quoted(tmp_path: Path) -> None:
    calibrated(tmp_path, 50, 4.0)
    validity = judged(tmp_path, MadeCell({}, questions=400), header=HERE)
    assert validity.standing is Standing.VALID
    (note,) = validity.notes
    assert "at 5 streams at 109 events/s a time to first token comes out at most 1.5 ms (p99 4 ms) too long" in note


def test_an_error_that_is_large_beside_the_time_to_first_token_is_a_warning(tmp_path: Path) -> None:
    calibrated(tmp_path, 50, 9.0)
    validity = judged(tmp_path, MadeCell({}, questions=400, ttft_ms=50), header=HERE)
    assert checks(validity, Standing.WARNED) == {"calibration"}
    assert "over 10% of the median of 50 ms" in validity.reasons[0]


def test_a_load_beyond_the_ceiling_is_a_warning_unless_the_ceiling_was_not_reached(tmp_path: Path) -> None:
    calibrated(tmp_path / "low", 4, 4.0)
    validity = judged(tmp_path / "low", MadeCell({}, questions=400), header=HERE)
    assert checks(validity, Standing.WARNED) == {"calibration"}
    assert "5 streams at 109 events/s are beyond the 4 streams at 1,000 events/s" in validity.reasons[0]
    calibrated(tmp_path / "unknown", 4, 4.0, higher=False)
    validity = judged(tmp_path / "unknown", MadeCell({}, questions=400), header=HERE)
    assert validity.standing is Standing.VALID
    assert "calibrate further up" in validity.notes[0]


def test_a_calibration_that_cannot_be_used_is_named_and_does_no_harm(tmp_path: Path) -> None:
    calibrated(tmp_path, 50, 4.0)
    other = judged(tmp_path, MadeCell({}, questions=400), header={"host": {"node": "there"}})
    assert (other.standing, len(other.notes)) == (Standing.VALID, 1)
    assert "was taken on another machine" in other.notes[0]
    (tmp_path / "calibration.json").write_text("{}")
    damaged = judged(tmp_path, MadeCell({}, questions=400), header=HERE)
    assert damaged.standing is Standing.VALID
    assert "is no calibration of this version" in damaged.notes[0]


# --- where it is told


def test_the_worst_cell_speaks_for_the_run(tmp_path: Path) -> None:
    cells = [
        MadeCell({"m": name}, questions=200, load="constant", late_ms=late) for name, late in (("a", 1), ("b", 90))
    ]
    validity = judged(tmp_path, *cells)
    assert validity.cells["cell0"].standing is Standing.VALID
    assert validity.cells["cell1"].standing is validity.standing is Standing.INVALID
    assert (validity.why_invalid or "").startswith("cell b: the client sent 1% of the requests 92 ms")


def test_a_server_is_not_blamed_by_a_late_client(tmp_path: Path) -> None:
    due, end = queue(32, 500, slots=16)
    path = make_run(tmp_path / "run", [MadeCell({}, questions=500, load="poisson")], vitals=[made_vitals(60.0)])
    rows = pd.read_parquet(path / "requests.parquet")
    times = {
        "due_ns": due,
        "permit_ns": due,
        "sent_ns": due,
        "first_answer_ns": end,
        "last_token_ns": end,
        "end_ns": end,
    }
    rows.assign(**{name: (1e9 * values).astype(int) for name, values in times.items()}).to_parquet(
        path / "requests.parquet"
    )
    assert "rate" in checks(judge_validity(read_run(path)), Standing.WARNED)
    late = json.loads((path / "run.json").read_text()) | {"vitals": [made_vitals(60.0, {900.0: 60})]}
    (path / "run.json").write_text(json.dumps(late))
    assert {one.check for one in judge_validity(read_run(path)).findings} == {"loop_lag"}


def test_an_invalid_measurement_names_no_fastest_cell(tmp_path: Path) -> None:
    cells = [MadeCell({"m": name}, questions=200, ttft_ms=ttft) for name, ttft in (("a", 100), ("b", 900))]
    told = summarise(make_run(tmp_path / "good", cells)).verdict
    assert any(sentence.startswith("Fastest: a") for sentence in told)
    stalls = [made_vitals(60.0, {45.0: 400})]
    table = summarise(make_run(tmp_path / "bad", cells, vitals=stalls))
    assert any(sentence.startswith("Speed: withheld, because the measurement is invalid") for sentence in table.verdict)
    assert not any("Fastest" in sentence for sentence in table.verdict)
    assert any("Accuracy" in sentence for sentence in table.verdict), "a late client scores as well as any"
    assert "validity: invalid: all 2 cells, worst in a: for 1% of the time" in render_terminal(table, 400)


def test_the_report_recomputes_the_verdict_and_shows_it_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(tmp_path / "results" / "made" / "run", [MadeCell({}, questions=200, late_ms=30)])
    assert "validity" not in read_header(path)
    assert report([str(path)]) == 0
    kept = read_header(path)["validity"]
    assert kept["standing"] == "invalid"
    assert kept["cells"]["cell0"]["figures"]["send_lag_ms"] == 30
    assert (path / "report.md").read_text().split("\n\n")[1].startswith("validity: invalid: the client sent")
    assert "validity: invalid" in capsys.readouterr().out


def test_an_unfinished_run_is_judged_but_its_header_is_left_to_its_record(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, questions=200)], header={"state": "interrupted"})
    assert report([str(path)]) == 0
    assert "validity" not in read_header(path)
    assert "validity: valid" in (path / "report.md").read_text()


def test_runs_side_by_side_each_have_their_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        make_run(tmp_path / name, [MadeCell({}, questions=200, late_ms=late)], header={"run_id": name})
        for name, late in (("good", 1), ("bad", 30))
    ]
    report([str(path) for path in paths])
    printed = capsys.readouterr().out
    assert "good: validity: valid\n" in printed
    assert "bad: validity: invalid: the client sent" in printed


# --- whole runs


def measured(folder: Path, rows: int, **changes: Any) -> tuple[int, dict[str, Any]]:
    """``bench run`` against the simulator: the exit code and the stored verdict."""
    config = experiment(
        rows_file(folder, rows),
        results_dir=str(folder / "results"),
        report={"markdown": False, "plots": False},
        **changes,
    )
    result = execute([config], ("bench", "run"))
    assert result.path is not None
    return result.exit_code, read_header(result.path)["validity"]


async def stall(busy_s: float, every_s: float) -> None:
    """Burn processor time inside the event loop, over and over."""
    while True:
        end = time.process_time() + busy_s
        while time.process_time() < end:
            pass
        await asyncio.sleep(every_s - busy_s)


@pytest.mark.slow
@pytest.mark.parametrize("load", [{"kind": "closed", "concurrency": 8}, {"kind": "constant", "rate": 40.0}])
def test_a_stalled_client_is_invalid_and_fails_the_run_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], load: dict[str, Any]
) -> None:
    run_stage = Worker.run_stage

    async def stalled(self: Worker, stage: Any, start_ns: int) -> Vitals:
        stalling = asyncio.ensure_future(stall(0.06, 0.1))
        try:
            return await run_stage(self, stage, start_ns)
        finally:
            stalling.cancel()

    monkeypatch.setattr(Worker, "run_stage", stalled)
    code, validity = measured(
        tmp_path,
        60,
        load=load,
        provider__knobs={"speed": 10.0},
        sampling={"max_tokens": 16},
        engine={"processes": 1},
        tolerance={"invalid": "fail"},
    )
    assert (code, validity["standing"]) == (3, "invalid")
    assert any("event loop" in reason for reason in validity["reasons"])
    assert any("raise engine.processes (was 1)" in reason for reason in validity["reasons"])
    printed = capsys.readouterr()
    assert "validity: invalid: " in printed.out
    assert "the measurement is invalid (tolerance.invalid=fail)" in printed.err


@pytest.mark.slow
def test_a_slow_server_is_not_invalid(tmp_path: Path) -> None:
    """The machine that runs this test may be busy, which the verdict rightly says; so it has three tries."""

    def standing(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        slow = {"models": {"*": {"ttft_ms": 1500.0, "output_tok_per_s": 400.0}}, "slots_per_model": 64}
        code, validity = measured(
            folder,
            16,
            load={"kind": "closed", "concurrency": 16},
            provider__knobs=slow,
            sampling={"max_tokens": 8},
            tolerance={"invalid": "fail"},
        )
        (cell,) = validity["cells"].values()
        assert code == (3 if validity["standing"] == "invalid" else 0)
        assert cell["figures"]["limit_ms"] > 10, "it was slow"
        return str(validity["standing"])

    assert any(standing(number) != "invalid" for number in range(3))
