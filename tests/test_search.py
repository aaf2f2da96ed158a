"""``load=search``: what is tried next, what a try shows, what may be claimed, and whole searches in virtual time."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import open_record
from setups import experiment, rows_file

from bench.config import Experiment
from bench.domain import (
    Attempt,
    Choice,
    ConfigError,
    ErrorKind,
    EventKind,
    Exchange,
    Failure,
    Outcome,
    Reply,
    Request,
    Timeline,
    Usage,
)
from bench.judge.rows import derive
from bench.judge.search import (
    Aim,
    Evidence,
    Over,
    Step,
    Tried,
    bracket,
    claim,
    demands,
    needed_to_prove,
    next_step,
    weigh,
)
from bench.measure.loads.search import Search
from bench.measure.plan import Plan, Stage, make_plan
from bench.pipeline import execute
from bench.record import pack, read_header, read_table
from bench.search import SearchCourse, check_searches
from bench.show.search import trace
from bench.slo import parse_slo

AIM = Aim(
    slo="ttft_ms_p99 <= 1000",
    target=0.99,
    min_rate=0.5,
    max_rate=100.0,
    first_rate=4.0,
    probe_s=60.0,
    confirm_s=600.0,
    precision=0.05,
    max_probes=30,
)


def shown(step: Step, passes: bool) -> Tried:
    """A try that passed or failed by a wide margin."""
    share = 1.0 if passes else 0.5
    return Tried(step, 1000, 0, int(1000 * share), (Evidence("made", 0.99, 0, 1000, share, share, share, share),))


def searched(aim: Aim, passes: Callable[[Step], bool]) -> tuple[list[Tried], Over]:
    """A whole search of a service without chance."""
    history: list[Tried] = []
    while isinstance(step := next_step(aim, history), Step):
        history.append(shown(step, passes(step)))
    return history, step


def test_the_rate_doubles_then_bisects_then_is_confirmed() -> None:
    history, over = searched(AIM, lambda step: step.rate <= 20)
    rates = [(tried.step.rate, tried.step.confirms) for tried in history]
    assert rates[:5] == [(4, False), (8, False), (16, False), (32, False), (22.63, False)]
    assert rates[-1] == (19.87, True)
    assert over == Over(19.87)
    assert all(tried.step.seconds == (600 if tried.step.confirms else 60) for tried in history)
    low, high = bracket(history)
    assert low == 19.87
    assert high is not None
    assert high <= low * 1.05


def test_the_rate_halves_until_one_passes() -> None:
    history, _ = searched(AIM, lambda step: step.rate <= 1.5)
    assert [tried.step.rate for tried in history][:4] == [4, 2, 1, 1.414]


@settings(max_examples=60, deadline=None)
@given(limit=st.floats(0.51, 99.0), start=st.floats(0.5, 100.0))
def test_without_chance_the_claim_is_within_the_precision_below_the_limit(limit: float, start: float) -> None:
    history, over = searched(replace(AIM, first_rate=start), lambda step: step.rate <= limit)
    assert over.proven_rate is not None
    # rates have four significant digits
    assert limit / 1.0502 <= over.proven_rate <= limit * 1.0005
    assert len(history) <= 9 + 4 + 1


def test_a_confirming_run_that_fails_is_followed_by_one_three_percent_lower() -> None:
    history, over = searched(AIM, lambda step: step.rate <= (18.5 if step.confirms else 20))
    confirming = [tried.step.rate for tried in history if tried.step.confirms]
    assert confirming == [19.87, 19.27, 18.69, 18.13]
    assert over == Over(18.13)


def test_nothing_passes() -> None:
    history, over = searched(AIM, lambda step: False)
    assert [tried.step.rate for tried in history] == [4, 2, 1, 0.5]
    assert over.proven_rate is None
    assert "a probe failed even at load.min_rate=0.5" in claim(AIM, history, over)


def test_everything_passes() -> None:
    history, over = searched(AIM, lambda step: True)
    assert history[-1].step == Step(100, 600, True)
    assert over == Over(100)
    assert "No rate failed up to load.max_rate=100: the limit may lie higher." in claim(AIM, history, over)


def test_no_confirming_run_passes_down_to_the_lowest_rate() -> None:
    history, over = searched(
        replace(AIM, min_rate=3.5, max_probes=99), lambda step: not step.confirms and step.rate <= 4
    )
    assert history[-1].step.rate == 3.5
    assert over.proven_rate is None
    said = claim(AIM, history, over)
    assert said.startswith("No rate is proven to meet ttft_ms_p99 <= 1000: no confirming run passed")
    assert "Probes passed up to 4/s, which proves nothing yet, and failed from" in said
    assert "The last confirming run that failed, at 3.5/s: made: 50.00%" in said


def test_it_stops_when_the_probes_are_used_up() -> None:
    history, over = searched(replace(AIM, max_probes=5), lambda step: step.rate <= 20)
    assert len(history) == 5
    assert over == Over(None, "load.max_probes=5 were used up")


def test_a_confirming_run_too_short_to_prove_anything_is_not_made() -> None:
    assert [needed_to_prove(share) for share in (0.99, 0.999, 0.95, 0.5)] == [299, 2995, 59, 40]
    history, over = searched(replace(AIM, confirm_s=10), lambda step: step.rate <= 20)
    assert not any(tried.step.confirms for tried in history)
    assert over.proven_rate is None
    assert over.why.endswith("for a share of 0.99 takes 299; raise load.confirm_s")


def test_a_try_that_was_cut_short_is_made_again() -> None:
    cut = Tried(Step(4, 60, False), 0, 0, 0)
    assert cut.passed is None
    assert next_step(AIM, [cut]) == cut.step
    assert next_step(AIM, [shown(cut.step, True), Tried(Step(8, 60, False), 0, 0, 0)]) == Step(8, 60, False)


# --- what a try shows


def requests(due_s: Any, first_s: Any, end_s: Any, **columns: Any) -> pd.DataFrame:
    """Served requests that were sent when they were due; ``columns`` replace any."""
    nothing = np.full(len(due_s), np.nan)
    due_ns = np.asarray(due_s) * 1e9
    known = {
        "outcome": "ok",
        "cached": False,
        "warmup": False,
        "due_ns": due_ns,
        "permit_ns": due_ns,
        "sent_ns": due_ns,
        "first_reasoning_ns": nothing,
        "first_answer_ns": np.asarray(first_s) * 1e9,
        "last_token_ns": np.asarray(end_s) * 1e9,
        "end_ns": np.asarray(end_s) * 1e9,
        "completion_tokens": 51.0,
        "n": 1.0,
    }
    return derive(pd.DataFrame({**known, **columns}))


def test_each_term_asks_for_its_own_share() -> None:
    slo = parse_slo("ttft_ms_p99 <= 500 and output_tok_per_s_p5 >= 20 and failure_rate <= 0.02 and e2e_ms <= 9000")
    assert [(str(part), round(share, 6)) for part, share in demands(slo, 0.9)] == [
        ("ttft_ms_p99 <= 500", 0.99),
        ("output_tok_per_s_p5 >= 20", 0.95),
        ("failure_rate <= 0.02", 0.98),
        ("e2e_ms <= 9000", 0.9),
    ]


def test_the_evidence_of_a_try() -> None:
    due = np.arange(100.0)
    first = due + np.where(due < 96, 0.2, 2.0)  # the last four are late
    outcome = np.where(due == 10, "failed", np.where(due == 11, "not_sent", "ok"))
    aim = replace(AIM, slo="ttft_ms_p95 <= 1000 and failure_rate <= 0.1")
    rows = requests(due, first, due + 3, outcome=outcome, warmup=due == 0)
    tried = weigh(aim, Step(1, 100, False), rows)
    assert (tried.sent, tried.failed, tried.good) == (98, 1, 93)
    ttft, failures = tried.evidence
    assert (ttft.demand, ttft.share, ttft.good, ttft.n) == ("ttft_ms_p95 <= 1000", 0.95, 93, 98)
    assert ttft.attainment == 93 / 98
    assert ttft.second_half == 45 / 49
    # one-sided 95% bound by its definition: so many good ones or more have a chance of 5% there
    assert ttft.lower95 is not None
    chance = sum(math.comb(98, k) * ttft.lower95**k * (1 - ttft.lower95) ** (98 - k) for k in range(93, 99))
    assert chance == pytest.approx(0.05)
    assert not ttft.holds
    assert (failures.good, failures.holds, failures.is_proven) == (97, True, True)
    assert tried.passed is False


def test_latency_counts_from_the_time_a_request_was_due() -> None:
    due = np.arange(50.0)
    held_back = requests(due, due + 2.1, due + 3.1, sent_ns=(due + 2.0) * 1e9)
    assert held_back["ttft_ms"].max() == pytest.approx(100)
    for slo, passes in (("ttft_ms_p50 <= 1000", False), ("ttft_ms_p50 <= 2200", True), ("e2e_ms_p50 <= 3000", False)):
        assert weigh(replace(AIM, slo=slo), Step(1, 50, False), held_back).passed is passes


def test_a_backlog_in_the_second_half_fails_a_probe() -> None:
    due = np.arange(1000.0)
    late = requests(due, due + np.where(due >= 991, 5.0, 0.1), due + 6)
    tried = weigh(AIM, Step(1, 1000, False), late)
    assert tried.evidence[0].attainment == 0.991
    assert tried.passed is False


def test_a_confirming_run_must_pass_with_its_bounds() -> None:
    due = np.arange(2000.0)
    late = requests(due, due + np.where(due % 125 == 7, 5.0, 0.1), due + 6)  # 0.8%, evenly
    probe, confirming = (weigh(AIM, Step(1, 2000, confirms), late) for confirms in (False, True))
    assert (probe.passed, confirming.passed) == (True, False)
    few = requests(due, due + np.where(due % 1000 == 7, 5.0, 0.1), due + 6)
    assert weigh(AIM, Step(1, 2000, True), few).passed is True


def test_no_request_shows_nothing_good() -> None:
    tried = weigh(AIM, Step(1, 5, False), requests([], [], []))
    assert tried.passed is False
    assert "nothing was answered" in claim(AIM, [tried], Over(None, "made up"))


def test_a_try_survives_json() -> None:
    tried = weigh(AIM, Step(1, 50, True), requests(np.arange(50.0), np.arange(50.0), np.arange(50.0) + 1))
    assert Tried.of(json.loads(json.dumps(tried.row()))) == tried


# --- a queue with chance


def queue(rate: float, seconds: float, random: Random, slots: int = 16) -> pd.DataFrame:
    """Poisson arrivals at a service of 16 slots, first come first served; service times are log-normal, mean 1 s."""
    free = [0.0] * slots
    due, begun, ended = [], [], []
    now = random.expovariate(rate)
    while now <= seconds:
        start = max(now, free[0])
        end = start + random.lognormvariate(-0.125, 0.5)
        heapq.heapreplace(free, end)
        due.append(now)
        begun.append(start + 0.05)
        ended.append(end + 0.05)
        now += random.expovariate(rate)
    return requests(np.array(due), np.array(begun), np.array(ended))


@pytest.mark.slow
def test_the_claim_is_seldom_above_the_true_limit() -> None:
    # three simulated runs of 100,000 s at 13.45/s: 99.07% to 99.10% of the requests wait for less than 1 s; the share
    # falls by about 0.3 points for each further 0.1/s
    limit = 13.5
    claims, lengths = [], []
    for seed in range(40):
        random, history = Random(seed), list[Tried]()
        while isinstance(step := next_step(AIM, history), Step):
            history.append(weigh(AIM, step, queue(step.rate, step.seconds, random)))
        assert step.proven_rate is not None
        claims.append(step.proven_rate)
        lengths.append(len(history))
    assert sum(rate > limit for rate in claims) <= 0.35 * len(claims)
    assert max(claims) < 1.08 * limit
    assert np.mean(claims) > 0.93 * limit
    assert max(lengths) <= 20


# --- the course of a run


def plan_of(folder: Path, slo: str = "e2e_ms_p90 <= 500", **changes: Any) -> Plan:
    load = {
        "kind": "search",
        "slo": slo,
        "min_rate": 1,
        "start_rate": 4,
        "max_rate": 64,
        "confirm_s": 60,
        "probe_s": 20,
    }
    extra = changes.pop("load", {})
    return make_plan([experiment(rows_file(folder, 8), load={**load, **extra}, **changes)])


def answered(request: Request, seconds: float) -> Exchange:
    """A request that was sent when it was due and took so long."""
    sent, end = request.due_ns, request.due_ns + round(seconds * 1e9)
    choice = Choice(0, "4", event_ns=(end - 1000, end), event_kind=(EventKind.ANSWER, EventKind.ANSWER))
    return Exchange(
        request,
        Outcome.OK,
        Timeline(due_ns=sent, permit_ns=sent, sent_ns=sent, end_ns=end),
        reply=Reply((choice,), Usage(10, 2)),
        attempts=(Attempt(1, sent, end, 200),),
        cost=0.5,
    )


def drive(course: SearchCourse, plan: Plan, record: Any, serve: Callable[[Request, Stage], Exchange]) -> list[Stage]:
    """Run stage after stage in no time."""
    stages = []
    while (stage := course.next_stage(record)) is not None:
        stages.append(stage)
        for lane in plan.lanes(stage).values():
            for request in lane:
                course.saw(pack(serve(request, stage)))
    return stages


def limited(rate: float) -> Callable[[Request, Stage], Exchange]:
    """A service that keeps the objective up to a rate."""
    return lambda request, stage: answered(request, 0.1 if stage.probe and stage.probe.rate <= rate else 0.9)


def test_every_try_is_a_cell_of_the_record(tmp_path: Path) -> None:
    plan, notes = plan_of(tmp_path), list[str]()
    with open_record(plan, tmp_path / "results") as record:
        stages = drive(SearchCourse(plan, notes.append), plan, record, limited(10))
        record.finish(state="finished")
    header = read_header(record.path)
    (found,) = header["search"]
    assert found["proven_rate"] == 9.932
    assert found["claim"].startswith("9.932 requests/s meets e2e_ms_p90 <= 500: confirmed by ")
    assert [tried["rate"] for tried in found["tried"]] == [4, 8, 16, 11.31, 9.512, 10.37, 9.932, 9.932]
    ids = [tried["cell_id"] for tried in found["tried"]]
    assert len(set(ids)) == len(ids) == len(stages) == len(notes)
    assert [cell["cell_id"] for cell in header["cells"]] == ids
    assert header["cells"][0]["label"] == "search 4/s probe 1"
    assert {cell["config"]["load"]["kind"] for cell in header["cells"]} == {"poisson"}
    assert read_table(record.path, "cells", ["cell_id"]).column(0).to_pylist() == ids
    report = "\n".join(trace(header))
    assert "How the rate was found" in report
    assert report.count("passed") + report.count("| failed |") >= len(ids)


def test_a_failed_try_counts_its_failures(tmp_path: Path) -> None:
    def refusing(request: Request, stage: Stage) -> Exchange:
        failure = Failure(ErrorKind.HTTP_5XX, "overloaded")
        return replace(answered(request, 0.1), outcome=Outcome.FAILED, reply=None, failure=failure)

    plan = plan_of(tmp_path)
    with open_record(plan, tmp_path / "results") as record:
        drive(SearchCourse(plan, lambda _: None), plan, record, refusing)
        (found,) = record.header["search"]
    assert [tried["rate"] for tried in found["tried"]] == [4, 2, 1]
    assert all(tried["failed"] == tried["sent"] > 0 for tried in found["tried"])
    assert "a probe failed even at load.min_rate=1" in found["claim"]


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"requests": 200}, "budget.requests=200 does not cover a probe of 20 s at 8/s"),
        ({"tokens": 2500}, "budget.tokens=2500 does not cover a probe of 20 s at 8/s"),
        ({"cost": 100.0}, "budget.cost=100 does not cover a probe of 20 s at 8/s"),
        ({"seconds": 300.0}, "budget.seconds=300 does not cover a probe of 20 s at 16/s"),
    ],
)
def test_no_try_is_begun_that_the_budget_does_not_cover(tmp_path: Path, budget: dict[str, Any], said: str) -> None:
    plan = plan_of(tmp_path, budget=budget)
    clock = iter([0.0, 100.0, 200.0, 290.0])
    course = SearchCourse(plan, lambda _: None, clock=lambda: next(clock))
    with open_record(plan, tmp_path / "results") as record:
        drive(course, plan, record, limited(10))
        (found,) = record.header["search"]
    assert found["proven_rate"] is None
    assert said in found["claim"]
    assert "Probes passed up to" in found["claim"]


def test_a_request_given_up_as_too_late_counts_against_a_rate(tmp_path: Path) -> None:
    def late(request: Request, stage: Stage) -> Exchange:
        failure = Failure(ErrorKind.TIMEOUT_TOTAL, "not sent within 1 s of its due time")
        unsent = Exchange(request, Outcome.NOT_SENT, Timeline(due_ns=request.due_ns), failure=failure)
        return unsent if stage.probe and stage.probe.rate > 10 else answered(request, 0.1)

    plan = plan_of(tmp_path, load={"drop_after_s": 1.0})
    with open_record(plan, tmp_path / "results") as record:
        stages = drive(SearchCourse(plan, lambda _: None), plan, record, late)
        (found,) = record.header["search"]
    assert found["proven_rate"] == 9.932
    assert {stage.cells[0].config.load.drop_after_s for stage in stages} == {1.0}
    assert {tried["rate"]: tried["failed"] == tried["sent"] for tried in found["tried"]}[16] is True


def test_a_try_that_the_budget_cuts_short_shows_nothing(tmp_path: Path) -> None:
    def spent(request: Request, stage: Stage) -> Exchange:
        if stage.probe and stage.probe.number < 3:
            return answered(request, 0.1)
        failure = Failure(ErrorKind.BUDGET, "budget.tokens is used up")
        return Exchange(request, Outcome.NOT_SENT, Timeline(due_ns=request.due_ns), failure=failure)

    plan = plan_of(tmp_path)
    with open_record(plan, tmp_path / "results") as record:
        drive(SearchCourse(plan, lambda _: None), plan, record, spent)
        (found,) = record.header["search"]
        report = "\n".join(trace(record.header))
    assert [tried["passed"] for tried in found["tried"]] == [True, True, None]
    assert "the budget was used up during try 3" in found["claim"]
    assert "cut short" in report


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with open_record(plan, tmp_path / "results") as record:
        whole = drive(SearchCourse(plan, lambda _: None), plan, record, limited(10))
        first = SearchCourse(plan, lambda _: None)
        for _ in range(4):  # the fourth is never weighed
            stage = first.next_stage(record)
            assert stage is not None
            for request in next(iter(plan.lanes(stage).values())):
                first.saw(pack(limited(10)(request, stage)))
        kept = json.loads(json.dumps(record.header["search"]))
        assert "the search has not ended" in kept[0]["claim"]
        rest = drive(SearchCourse(plan, lambda _: None, kept), plan, record, limited(10))
        (found,) = record.header["search"]
        assert len(record.header["cells"]) == len(whole) + 1
    assert [tried["passed"] for tried in found["tried"]][3] is None
    probes = [stage.probe for stage in whole[3:]]
    assert [(probe.rate, probe.number + 1) for probe in probes if probe] == [
        (stage.probe.rate, stage.probe.number) for stage in rest if stage.probe
    ]
    assert found["proven_rate"] == 9.932


def test_a_sweep_searches_cell_after_cell(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 8)
    load = {"kind": "search", "slo": "e2e_ms_p90 <= 500", "min_rate": 1, "start_rate": 4, "max_rate": 8, "probe_s": 20}
    plan = make_plan([experiment(rows, load=load, sampling__temperature=value) for value in (0.0, 1.0)])
    with open_record(plan, tmp_path / "results") as record:
        stages = drive(SearchCourse(plan, lambda _: None), plan, record, limited(100))
        found = record.header["search"]
    assert [one["proven_rate"] for one in found] == [8, 8]
    assert [one["label"] for one in found] == ["temperature=0", "temperature=1"]
    assert [stage.probe.position for stage in stages if stage.probe] == [0] * 3 + [1] * 3
    assert stages[0].cells[0].label == "temperature=0 search 4/s probe 1"
    assert stages[0].cells[0].config.sampling.temperature == 0


def test_a_worker_makes_the_same_stage_from_the_probe_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with open_record(plan, tmp_path / "results") as record:
        stage = SearchCourse(plan, lambda _: None).next_stage(record)
    assert stage is not None
    again = plan.stage(stage.index, stage.probe)
    assert again == stage
    due = [[(r.request_id, r.due_ns) for lane in plan.lanes(one).values() for r in lane] for one in (stage, again)]
    assert due[0] == due[1]
    assert len(due[0]) > 50


# --- what is refused before anything is sent


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": {"kind": "search"}}, "load.slo: a search needs an objective"),
        ({"load": {"kind": "search", "slo": "failure_rate <= 0"}}, "which no number of requests can prove"),
        (
            {"load": {"kind": "search", "slo": "ttft_ms_p90 <= 5"}, "sampling": {"stream": False}},
            "load.slo: ttft_ms is known of streamed replies only",
        ),
        (
            {"load": {"kind": "search", "slo": "tpot_ms_p90 <= 5"}, "sampling": {"n": 2}},
            "load.slo: tpot_ms is not known of replies with several choices",
        ),
    ],
)
def test_a_search_without_a_sound_objective_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    asked = experiment(rows_file(tmp_path, 2), **changes)
    with pytest.raises(ConfigError, match=said):
        check_searches([asked])
    with pytest.raises(ConfigError, match=said):
        execute([replace(asked, dry_run=True)], ())


def test_the_objective_of_the_run_serves_a_search_without_its_own(tmp_path: Path) -> None:
    check_searches([experiment(rows_file(tmp_path, 2), load={"kind": "search"}, slo="e2e_ms_p90 <= 500")])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"slo": "speed <= 3"}, "load.slo: unknown metric 'speed'"),
        ({"requests": 5}, "load.requests: a search sets it per probe"),
        ({"start_rate": 0.01}, "load.start_rate=0.01: must lie within load.min_rate=0.1"),
        ({"min_rate": 9.0, "max_rate": 3.0, "start_rate": 9.0}, "must lie within"),
        ({"target": 1.0}, "load.target=1: must be a share"),
        ({"probe_s": 10.0}, "a probe at load.min_rate=0.1 has fewer than 5 requests"),
        ({"min_rate": -1.0}, "load.min_rate=-1.0: must be a finite number greater than 0"),
    ],
)
def test_a_search_out_of_range_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Search(**fields)


def test_a_search_is_not_swept_together_with_other_loads(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 2)
    loads: Sequence[dict[str, Any]] = ({"kind": "search", "slo": "e2e_ms_p90 <= 5"}, {"kind": "closed"})
    with pytest.raises(ConfigError, match="a search cannot be swept together with other loads"):
        make_plan([experiment(rows, load=load) for load in loads])


# --- on the simulator


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_search_of_the_simulator(tmp_path: Path, processes: int, capsys: pytest.CaptureFixture[str]) -> None:
    load = {"kind": "search", "slo": "e2e_ms_p80 <= 400", "min_rate": 8, "start_rate": 16, "max_rate": 64}
    load |= {"probe_s": 1.0, "confirm_s": 5.0, "precision": 0.4, "max_probes": 5}
    knobs = {"slots_per_model": 1, "speed": 4}
    asked: Experiment = experiment(
        rows_file(tmp_path, 8),
        load=load,
        provider={"kind": "sim", "name": "sim", "knobs": knobs},
        sampling={"max_tokens": 24, "enable_thinking": False},
        engine={"processes": processes},
        report={"plots": False},
        results_dir=str(tmp_path / "results"),
    )
    result = execute([asked], ("bench", "run"))
    assert result.exit_code == 0
    assert result.path is not None
    header = read_header(result.path)
    (found,) = header["search"]
    ids = read_table(result.path, "requests", ["cell_id"]).column(0).to_pylist()
    assert {tried["cell_id"]: tried["sent"] for tried in found["tried"]} == {one: ids.count(one) for one in set(ids)}
    assert {row["shard"] for row in header["vitals"]} == set(range(processes))
    assert len({row["stage"] for row in header["vitals"]}) == len(found["tried"])
    assert 0 < len(found["tried"]) <= 5
    assert found["claim"].split(":")[0] in " ".join(capsys.readouterr().out.split())
    assert found["claim"][:20].replace("<", r"\<") in (result.path / "report.md").read_text(encoding="utf-8")
