"""``stop``: looks at whole questions in planned order, cells that end early, what is said of it, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import Counted, open_record
from setups import MODEL, experiment, rows_file
from test_dispatch import bad, good

from bench.config import Experiment
from bench.domain import (
    Answer,
    Attempt,
    Choice,
    ConfigError,
    ErrorKind,
    Exchange,
    Failure,
    Outcome,
    Reply,
    Request,
    Timeline,
)
from bench.judge.rows import read_run
from bench.judge.score import score_run
from bench.judge.statistics.sequential import Stop as Verdict
from bench.judge.stopping import NARROW, NOT_NARROW, PairRule, WidthRule, looks_taken
from bench.measure import run as run_module
from bench.measure.plan import Plan, make_plan
from bench.measure.run import measure, unsent
from bench.measure.servers import Servers
from bench.pipeline import execute
from bench.record import Record, SegmentLimits, pack, read_header, read_table
from bench.show.summary import summary_of
from bench.sim.answers import uniform
from bench.stopping import StoppingCourse

A, B, C = "Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B"


def plan_of(rows: Path, *names: str, **changes: Any) -> Plan:
    """One cell for each model over the rows, 8 requests at a time."""
    changes = {"scorer": {"kind": "numeric"}} | changes
    return make_plan([experiment(rows, model={**MODEL, "name": name}, **changes) for name in names or (A,)])


def is_right(skills: Mapping[str, float], name: str, question: str) -> bool:
    return uniform(name, question) < skills[name]


class Skilled:
    """Answers rows_file's questions, rightly with each model's skill, in an order of its own."""

    def __init__(self, skills: Mapping[str, float], on_call: Callable[[int], None] = lambda _: None) -> None:
        self.skills, self.on_call, self.calls = skills, on_call, 0

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        self.calls += 1
        self.on_call(self.calls)
        asked = json.loads(body)
        question = asked["messages"][-1]["content"]
        for _ in range(int(9 * uniform("turns", asked["model"], question))):
            await asyncio.sleep(0)
        if uniform("fails", asked["model"], question) < 0.02:
            return bad(due_ns, permit_ns, ErrorKind.HTTP_400, 400)
        number = 2 * int(question.split()[2])
        answer, right = good(due_ns, permit_ns), is_right(self.skills, asked["model"], question)
        assert answer.reply is not None
        choice = replace(answer.reply.choices[0], text=f"The answer is {number if right else number + 1}.")
        return replace(answer, reply=replace(answer.reply, choices=(choice,)))


def measured(
    plan: Plan, sender: Skilled, folder: Path, monkeypatch: pytest.MonkeyPatch, record: Record | None = None
) -> tuple[Path, StoppingCourse]:
    """Measure with a sender in place of connections, and finish the record."""

    async def senders(plan: Plan, servers: Servers, stack: AsyncExitStack) -> dict[str, Any]:
        return {cell.cell_id: sender for cell in plan.cells}

    async def nothing(*_: Any) -> None: ...

    monkeypatch.setattr(run_module, "open_transports", senders)
    monkeypatch.setattr(run_module, "check_reachable", nothing)
    monkeypatch.setattr(run_module, "warm", nothing)
    progress = Counted()
    course = StoppingCourse(plan, progress.note)
    done = measure(plan, Servers([]), progress, lambda: record or open_record(plan, folder / "results"), course)
    done.record.update(**course.told())
    state = "finished" if done.stop.reason is None else "interrupted"
    done.record.finish(state=state, unsent=unsent(plan, done.record, done.stop.reason or ""))
    return done.record.path, course


def decisions(course: StoppingCourse) -> list[Any]:
    return [one["decision"] for one in course.told()["stopping"]]


# --- the rules


def test_a_width_rule_stops_at_its_first_narrow_look() -> None:
    rule = WidthRule(0.05, 400)
    right: list[float | None] = [1.0] * 400
    assert not rule.is_look(49)
    assert [rule.is_look(n) for n in (50, 55, 60, 400)] == [True, False, True, True]
    # Wilson's interval of 50 of 50 is 0.9287 to 1: half of that is 0.036
    found = rule.decide(right[:50], single_binary=True)
    assert found is not None
    assert (found.verdict, found.look, found.questions) == (NARROW, 1, 50)
    half: list[float | None] = [float(n % 2) for n in range(400)]
    assert rule.decide(half[:50], single_binary=True) is None
    # of a coin even 377 questions leave ± 0.05
    assert rule.decide(half[:370], single_binary=True) is None
    found = rule.decide(half[:390], single_binary=True)
    assert found is not None
    assert found.verdict == NARROW
    last = WidthRule(0.01, 400).decide(half, single_binary=True)
    assert last is not None
    assert (last.verdict, last.look, last.looks) == (NOT_NARROW, 36, 36)


def test_clusters_and_lost_questions_count_for_a_width() -> None:
    rule = WidthRule(0.06, 1000)
    scores: list[float | None] = [float(n % 10 > 0) for n in range(100)]
    alone = rule.decide(scores, single_binary=True)
    assert alone is not None
    assert rule.decide(scores, single_binary=True, clusters=[n // 10 % 5 for n in range(100)]) is not None
    assert rule.decide(scores, single_binary=True, clusters=[n % 10 for n in range(100)]) is None  # all of one kind
    lost = rule.decide([None if n % 3 else score for n, score in enumerate(scores)], single_binary=True)
    assert lost is None  # 34 scores are too few, whatever was asked


def test_a_group_sequential_rule_decides_by_its_boundaries() -> None:
    rule = PairRule(total=200, alpha=0.05, looks=5, equal_within=0.03)
    assert [n for n in range(1, 201) if rule.is_look(n)] == [40, 80, 120, 160, 200]
    much: list[float | None] = [1.0] * 30 + [0.0] * 10  # z = 0.75/0.0693 = 10.8, over 4.8769
    found = rule.decide(much)
    assert found is not None
    assert found.verdict == Verdict.A_BETTER
    assert found.estimate.low == pytest.approx(0.75 - 4.8769 * 0.069338, abs=2e-4)
    little: list[float | None] = [1.0] * 12 + [0.0] * 28  # z = 4.1 < 4.8769
    assert rule.decide(little) is None
    found = rule.decide([1.0, -1.0] + [0.0] * 158)
    assert found is not None
    assert found.verdict == Verdict.EQUAL
    found = rule.decide([1.0, -1.0] * 100)
    assert found is not None
    assert found.verdict == Verdict.UNDECIDED


def test_an_open_ended_rule_needs_no_plan_of_looks() -> None:
    rule = PairRule(total=5000, alpha=0.05, looks=10, equal_within=0.05, open_ended=True)
    assert [n for n in range(90, 131) if rule.is_look(n)] == [100, 110, 120, 130]
    found = rule.decide([-1.0, 0.0, 0.0, -1.0] * 30)
    assert found is not None
    assert found.verdict == Verdict.B_BETTER
    assert rule.decide([1.0, -1.0, 0.0, 0.0] * 30) is None
    found = rule.decide([0.0, 0.0, 1.0, -1.0] * 1000)
    assert found is not None
    assert found.verdict == Verdict.EQUAL


# --- what has come back counts in planned order


def played(request: Request, skills: Mapping[str, float], at_ns: int) -> Exchange:
    name = request.cell.config.model.name
    number = request.sample.target + (not is_right(skills, name, f"{request.sample.sample_id}:{request.repeat}"))
    reply = Reply((Choice(0, str(number), finish_reason="stop"),))
    sent = Attempt(1, at_ns, at_ns + 1, 200)
    return Exchange(request, Outcome.OK, Timeline(at_ns, sent_ns=at_ns, end_ns=at_ns + 1), reply, attempts=(sent,))


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), repeats=st.integers(1, 2), gap=st.sampled_from([0.0, 0.3]))
def test_a_decision_does_not_depend_on_what_comes_back_first(
    tmp_path_factory: pytest.TempPathFactory, seed: int, repeats: int, gap: float
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    plan = plan_of(rows_file(folder, 80), A, B, repeats=repeats, stop={"compare": "model.name", "looks": 4})
    packed = [pack(played(one, {A: 0.5 + gap, B: 0.5}, place)) for place, one in enumerate(plan.requests())]
    in_order, shuffled = (StoppingCourse(plan, lambda _: None) for _ in range(2))
    for one in packed:
        in_order.saw(one)
    Random(seed).shuffle(packed)
    for one in packed:
        shuffled.saw(one)
    assert decisions(shuffled) == decisions(in_order) != [None]


def test_a_question_counts_once_it_and_all_before_it_were_answered_by_both(tmp_path: Path) -> None:
    plan = plan_of(rows_file(tmp_path, 100), A, B, stop={"compare": "model.name", "looks": 2})
    course = StoppingCourse(plan, lambda _: None)
    requests = list(plan.requests())
    first = requests[0].sample.sample_id
    late = [one for one in requests if one.sample.sample_id == first]
    for one in requests:
        if one not in late[1:]:
            course.saw(pack(played(one, {A: 1.0, B: 0.1}, one.order)))
    assert decisions(course) == [None]
    assert not course.closed
    course.saw(pack(played(late[1], {A: 1.0, B: 0.1}, 1)))
    assert decisions(course)[0]["verdict"] == Verdict.A_BETTER
    assert set(course.closed) == {cell.cell_id for cell in plan.cells}


def test_what_was_never_sent_is_no_question_asked(tmp_path: Path) -> None:
    plan = plan_of(rows_file(tmp_path, 60), stop={"half_width": 0.2})
    course = StoppingCourse(plan, lambda _: None)
    for one in plan.requests():
        failure = Failure(ErrorKind.BUDGET, "budget.requests is used up")
        course.saw(pack(Exchange(one, Outcome.NOT_SENT, Timeline(0), failure=failure)))
    assert decisions(course) == [None]


def test_repeats_of_a_question_follow_each_other(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 20)
    apart, together = (plan_of(rows, repeats=3, stop={"half_width": width}) for width in (None, 0.1))
    pairs = [(one.sample.sample_id, one.repeat) for one in together.requests()]
    assert [repeat for _, repeat in pairs] == [0, 1, 2] * 20
    assert all(len({name for name, _ in pairs[i : i + 3]}) == 1 for i in range(0, 60, 3))
    assert {one.request_id for one in apart.requests()} == {one.request_id for one in together.requests()}


# --- whole runs


def test_an_easy_model_saves_requests_and_the_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(rows_file(tmp_path, 300), A, B, stop={"half_width": 0.05})
    path, course = measured(plan, Skilled({A: 1.0, B: 0.5}), tmp_path, monkeypatch)
    easy, hard = course.told()["stopping"]
    assert easy["decision"]["verdict"] == NARROW
    assert easy["decision"]["questions"] <= 60
    assert easy["requests_saved"][0] > 200 < 300 * easy["tokens_saved"][0]
    assert (hard["decision"]["verdict"], hard["requests_saved"]) == (NOT_NARROW, [0])
    rows = read_table(path, "requests", ["cell_id", "outcome", "error_kind", "error_detail"]).to_pylist()
    assert len(rows) == 600  # a row for every planned request
    unsent_rows = [row for row in rows if row["outcome"] == "not_sent"]
    assert len(unsent_rows) == easy["requests_saved"][0]
    assert {(row["error_kind"], row["error_detail"].split()[0]) for row in unsent_rows} == {
        ("budget", "stop.half_width")
    }
    score_run(path)
    summary = summary_of(read_run(path))
    frame = summary.frame.set_index("cell_id")
    saved = frame.loc[plan.cells[0].cell_id]
    assert saved["saved"] == len(unsent_rows)
    assert saved["failure_rate"] == pytest.approx((300 - saved["saved"] - saved["ok"]) / (300 - saved["saved"]))
    assert (summary.failures["error_kind"] == "http_400").all()
    notes = " ".join(summary.notes)
    assert "ended early, narrow enough at look" in notes
    assert f"The rule saved {len(unsent_rows):,} requests and about" in notes


def test_a_large_gap_ends_the_pair_and_no_gap_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(rows_file(tmp_path, 200), A, B, C, stop={"compare": "model.name", "equal_within": None})
    path, course = measured(plan, Skilled({A: 0.9, B: 0.3, C: 0.9}), tmp_path, monkeypatch)
    first, second = course.told()["stopping"]
    assert first["decision"]["verdict"] == Verdict.A_BETTER
    assert first["decision"]["questions"] <= 80
    assert first["alpha_each"] == 0.025
    assert second["decision"]["verdict"] == Verdict.UNDECIDED
    sent = Counter(
        row["cell_id"]
        for row in read_table(path, "requests", ["cell_id", "outcome"]).to_pylist()
        if row["outcome"] != "not_sent"
    )
    base, worse, same = (sent[cell.cell_id] for cell in plan.cells)
    # the one that all are compared with goes on as long as any pair is open; a few were in flight at the end
    assert (base, same) == (200, 200)
    assert first["decision"]["questions"] <= worse <= first["decision"]["questions"] + 24
    score_run(path)
    notes = " ".join(summary_of(read_run(path)).notes)
    assert "Qwen3-8B against Qwen3-14B: Qwen3-8B is better at look" in notes
    assert "repeated interval, O'Brien-Fleming" in notes
    assert "2 pairs share alpha=0.05" in notes


@pytest.mark.slow
@pytest.mark.parametrize("decided", [False, True])
def test_an_interrupted_run_comes_to_the_same_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    plan = plan_of(rows_file(tmp_path, 160), A, B, stop={"compare": "model.name", "looks": 8})
    sender = Skilled(skills := {A: 0.9, B: 0.45})
    _, whole = measured(plan, sender, tmp_path / "whole", monkeypatch)
    after = sender.calls - 1 if decided else 30

    def interrupt(call: int) -> None:
        if call == after:
            raise KeyboardInterrupt

    record = Record.create(tmp_path, "cut", {}, limits=SegmentLimits(rows=16))
    record.write_cells(plan.cells)
    record.write_samples({key: one.kept for key, one in plan.samples.items()})
    with pytest.raises(KeyboardInterrupt):
        measured(plan, Skilled(skills, interrupt), tmp_path, monkeypatch, record)
    again = Skilled(skills)
    path, resumed = measured(plan, again, tmp_path, monkeypatch, Record.reopen(record.path))
    assert decisions(resumed) == decisions(whole)
    assert decisions(whole)[0]["verdict"] == Verdict.A_BETTER
    rows = read_table(path, "requests", ["request_id", "outcome"]).to_pylist()
    assert Counter(row["request_id"] for row in rows).most_common(1)[0][1] == 1
    assert len(rows) == 320
    assert again.calls <= sender.calls - after + 24  # what was in flight is asked again
    assert again.calls < 30 or not decided


@pytest.mark.slow
def test_a_run_on_the_simulator_ends_early_and_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "needles.jsonl"
    hidden = [
        {"id": f"q{i}", "prompt": f"The magic number of item{i} is {i + 7001}.", "target": i + 7001} for i in range(300)
    ]
    for i, row in enumerate(hidden):
        row["prompt"] = f"{row['prompt']}\nWhat is the magic number of item{i}?"
    rows.write_text("".join(json.dumps(row) + "\n" for row in hidden), encoding="utf-8")
    knobs = {"speed": 0, "models": {A: {"skill": 0.9}, B: {"skill": 0.4}}}
    asked = [
        experiment(
            rows,
            model={**MODEL, "name": name},
            provider={"kind": "sim", "name": "sim", "knobs": knobs},
            scorer={"kind": "numeric"},
            stop={"compare": "model.name"},
            report={"plots": False},
            results_dir=str(tmp_path / "results"),
        )
        for name in (A, B)
    ]
    result = execute(asked, ("bench", "run"))
    assert result.exit_code == 0  # far more than tolerance.failure_rate was not sent, and none of it failed
    assert result.path is not None
    (found,) = read_header(result.path)["stopping"]
    assert found["decision"]["verdict"] == Verdict.A_BETTER
    assert found["decision"]["questions"] <= 150
    said = " ".join(capsys.readouterr().out.split())
    assert "Qwen3-8B is better at look" in said
    assert "Qwen3-8B is better at look" in " ".join((result.path / "report.md").read_text(encoding="utf-8").split())


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stop": {"half_width": 0.6}}, r"stop.half_width=0.6: must be a share between 0 and 0.5"),
        ({"stop": {"half_width": 0.03, "compare": "model.name"}}, "a run has one rule for stopping"),
        ({"stop": {"looks": 5}}, "stop.looks: has no effect without stop.compare"),
        ({"stop": {"compare": "model.name", "alpha": 0}}, "stop.alpha=0: must be a share"),
        ({"stop": {"compare": "model.name", "looks": 0}}, "stop.looks=0: must be greater than 0"),
        ({"stop": {"compare": "model.name", "equal_within": 1.5}}, "stop.equal_within=1.5: must be a share"),
        ({"load": {"kind": "poisson", "rate": 5}}, "stop with load=poisson: only a closed load can end early"),
        ({"load": {"kind": "closed", "requests": 50}}, "stop with load.requests=50: .* set dataset.limit"),
        ({"load": {"kind": "closed", "duration_s": 9}}, "stop with load.duration_s=9"),
        ({"load": {"kind": "closed", "warmup": 5}}, "stop with load.warmup=5"),
        ({"scorer": {"kind": "none"}}, "stop with scorer=none: the rule needs verdicts"),
        ({"scorer": {"kind": "math"}}, "the scorer must be quick"),
        ({"engine": {"processes": 2}}, "stop with engine.processes=2: one process"),
    ],
)
def test_where_a_rule_makes_no_sense_it_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(rows_file(tmp_path, 3), **({"scorer": {"kind": "numeric"}, "stop": {"half_width": 0.1}} | changes))


@pytest.mark.parametrize(
    ("names", "changes", "said"),
    [
        ((A,), {}, r"stop.compare=model.name: is not swept in this run; give it two or more values"),
        ((A, B), {"stop": {"compare": "sampling.top_p"}}, "is not swept in this run; swept are: model.name"),
        ((A, B), {"load": {"kind": "closed", "isolate": True}}, "the cells run one after another"),
        ((A, B), {"stop": {"compare": "model.name", "looks": 20}}, "are too few for so many looks; ask for at most 12"),
        ((A, B), {"scorer": {"kind": "judge"}}, "a judge is asked once a run has ended|the scorer must be quick"),
    ],
)
def test_a_comparison_that_the_plan_cannot_make_is_refused(
    tmp_path: Path, names: tuple[str, ...], changes: dict[str, Any], said: str
) -> None:
    rows, changes = rows_file(tmp_path, 60), {"stop": {"compare": "model.name"}} | changes
    with pytest.raises(ConfigError, match=said):
        StoppingCourse(plan_of(rows, *names, **changes), print)


def test_cells_with_different_questions_make_no_pair(tmp_path: Path) -> None:
    asked: list[Experiment] = [
        experiment(
            rows_file(tmp_path, 60 + number, f"{number}.jsonl"),
            model={**MODEL, "name": name},
            scorer={"kind": "numeric"},
            stop={"compare": "model.name"},
        )
        for number, name in enumerate((A, B))
    ]
    with pytest.raises(ConfigError, match=r"asked different questions|no two cells differ in that alone"):
        StoppingCourse(make_plan(asked), print)


def test_questions_that_hang_together_refuse_the_open_ended_rule(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 120, passage="one text for all")
    with pytest.raises(ConfigError, match=r"stop\.open_ended: its bound needs independent questions"):
        StoppingCourse(plan_of(rows, A, B, stop={"compare": "model.name", "open_ended": True}), print)


def test_a_test_at_the_end_says_that_it_knows_nothing_of_the_looks() -> None:
    header = {"run_id": "r1", "stopping": [{"rule": "compare", "compare": "model.name", "cells": ["a", "b"]}]}
    (said,) = looks_taken(header, {"b", "c"})
    assert "stop.compare=model.name" in said
    assert looks_taken(header, {"c"}) == looks_taken({}, {"a"}) == []
    assert looks_taken({"stopping": [{"rule": "half_width", "cells": ["a"]}]}, {"a"}) == []
