"""Loads in sequence: one schedule out of several, each stage at its place, warm-up marked and left out."""

from __future__ import annotations

import json
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_run import MadeCell, make_run
from setups import experiment, rows_file

from bench.config import parse, plain
from bench.domain import ConfigError
from bench.judge.rows import read_run
from bench.measure.loads.stages import Stages
from bench.measure.plan import make_plan
from bench.measure.shards import Shard, shard_of
from bench.pipeline import DONE, TOLERANCE, execute
from bench.registry import build, discover
from bench.show.summary import summarise

SECOND_NS = 1_000_000_000

discover()


def schedule(*stages: dict[str, Any], seed: int = 0, **whole: Any) -> list[tuple[int, bool]]:
    load = build("load", {"kind": "stages", "stages": list(stages), **whole})
    return list(load.arrivals(Random(seed)))


def seconds(arrivals: list[tuple[int, bool]]) -> list[float]:
    return [due_ns / SECOND_NS for due_ns, _ in arrivals]


def test_stages_follow_each_other_on_one_clock() -> None:
    two = schedule({"kind": "constant", "rate": 2, "duration_s": 2}, {"kind": "constant", "rate": 1, "duration_s": 3})
    assert seconds(two) == [0, 0.5, 1, 1.5, 2, 3, 4]


def test_a_stage_of_requests_ends_when_its_next_one_would_come_due() -> None:
    two = schedule({"kind": "constant", "rate": 4, "requests": 3}, {"kind": "constant", "rate": 1, "requests": 2})
    assert seconds(two) == [0, 0.25, 0.5, 0.75, 1.75]


def test_a_stage_that_is_out_of_requests_still_lasts_its_duration() -> None:
    one, two = {"kind": "constant", "rate": 4, "requests": 2, "duration_s": 5}, {"kind": "constant", "rate": 1}
    assert seconds(schedule(one, {**two, "requests": 1})) == [0, 0.25, 5]


def test_a_trace_can_be_a_stage_by_its_times(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n10,5,5\n11,5,5\n14,5,5\n", encoding="utf-8")
    trace = {"kind": "trace", "path": str(path), "speed": 2.0, "prompts": "dataset"}
    constant = {"kind": "constant", "rate": 1, "requests": 2}
    assert seconds(schedule(constant, trace, constant)) == [0, 1, 2, 2.5, 4, 4, 5]
    assert build("load", {"kind": "stages", "stages": [constant, trace]}).planned() == 5
    with pytest.raises(ConfigError, match=r"load\.stages\[1\]\.prompts: a stage takes only the times"):
        schedule(constant, {"kind": "trace", "path": str(path)})


def test_a_warm_up_stage_marks_its_requests() -> None:
    marked = schedule(
        {"kind": "constant", "rate": 1, "duration_s": 2, "warmup": True},
        {"kind": "constant", "rate": 1, "duration_s": 3, "warmup": 1},
        {"kind": "constant", "rate": 1, "duration_s": 2, "warmup": False},
    )
    assert [warmup for _, warmup in marked] == [True, True, True, False, False, False, False]
    counted = schedule(
        {"kind": "constant", "rate": 1, "duration_s": 2}, {"kind": "constant", "rate": 1, "requests": 2}, warmup=3
    )
    assert [warmup for _, warmup in counted] == [True, True, True, False]


def test_the_whole_can_be_cut(tmp_path: Path) -> None:
    constant = {"kind": "constant", "rate": 2, "duration_s": 4}
    assert len(schedule(constant, constant, requests=11)) == 11
    load = {"kind": "stages", "stages": [constant, constant], "duration_s": 5.0}
    plan = make_plan([experiment(rows_file(tmp_path), load=load)])
    assert [request.due_ns / SECOND_NS for request in plan.requests()][-1] == 5
    assert plan.total is None


def test_what_counts_can_tell_is_planned() -> None:
    constant = {"kind": "constant", "rate": 2, "requests": 30}
    assert build("load", {"kind": "stages", "stages": [constant, constant]}).planned() == 60
    assert build("load", {"kind": "stages", "stages": [constant, constant], "requests": 45}).planned() == 45
    assert build("load", {"kind": "stages", "stages": [constant, {**constant, "duration_s": 3}]}).planned() is None
    assert build("load", {"kind": "stages", "stages": [constant, {**constant, "rate": 9}]}).peak_rate == 9


stage = st.one_of(
    st.fixed_dictionaries({"kind": st.just("constant"), "rate": st.floats(0.1, 20)}),
    st.fixed_dictionaries({"kind": st.just("poisson"), "rate": st.floats(0.1, 20)}),
    st.fixed_dictionaries({"kind": st.just("gamma"), "rate": st.floats(0.1, 20), "cv": st.floats(0.2, 3)}),
    st.fixed_dictionaries({"kind": st.just("ramp"), "from_rate": st.floats(0.1, 20), "to_rate": st.floats(0.1, 20)}),
)
timed = st.lists(st.tuples(stage, st.floats(0.5, 20)), min_size=1, max_size=4)


@given(parts=timed, seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_stages_ascend_add_up_and_are_the_same_for_the_same_seed(
    parts: list[tuple[dict[str, Any], float]], seed: int
) -> None:
    stages = [{**options, "duration_s": duration} for options, duration in parts]
    whole = schedule(*stages, seed=seed)
    dues = [due_ns for due_ns, _ in whole]
    assert dues == sorted(dues)
    assert whole == schedule(*stages, seed=seed)
    # each stage is its own load's schedule, moved to its start, drawn from a generator that the ones before do not move
    draw, start_ns, alone = Random(seed), 0, []
    for options in stages:
        own = Random(draw.getrandbits(64))
        span_ns = int(options["duration_s"] * 1e9)
        for due_ns in build("load", options).due_ns(own):
            if due_ns >= span_ns:
                break
            alone.append(start_ns + due_ns)
        start_ns += span_ns
    assert dues == alone
    assert all(due_ns < start_ns for due_ns in dues)


@given(parts=timed, count=st.integers(1, 4))
@settings(max_examples=15)
def test_shards_of_stages_keep_the_order_and_cover_it(
    parts: list[tuple[dict[str, Any], float]], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stages = [{**options, "duration_s": duration} for options, duration in parts]
    data = rows_file(tmp_path_factory.mktemp("rows"))
    plan = make_plan([experiment(data, load={"kind": "stages", "stages": stages})])
    whole = [request.request_id for request in plan.requests()]
    shards = [list(shard_of(plan.requests(), Shard(index, count))) for index in range(count)]
    assert sorted(r.request_id for shard in shards for r in shard) == sorted(whole)
    assert all(one.due_ns <= two.due_ns for shard in shards for one, two in pairwise(shard))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"kind": "constant", "rate": 0, "duration_s": 1}, r"load\.stages\[1\]\.rate=0\.0: must be a finite number"),
        ({"kind": "constant", "duration_s": 1}, r"load\.stages\[1\]\.rate"),
        ({"kind": "constant", "rate": 1}, r"load\.stages\[1\]: it has no end; give it duration_s or requests"),
        ({"kind": "constant", "rat": 1, "duration_s": 1}, r"load\.stages\[1\]: there is no key 'rat'"),
        (
            {"kind": "konstant", "rate": 1},
            r"load\.stages\[1\]: there is no load kind 'konstant'; did you mean constant",
        ),
        ({"kind": "closed", "requests": 3}, r"load\.stages\[1\]: load=closed cannot be a stage"),
        (
            {"kind": "stages", "stages": [{"kind": "poisson", "rate": 1, "requests": 1}]},
            "load=stages cannot be a stage",
        ),
        ({"kind": "ramp", "from_rate": 1, "to_rate": 2}, r"load\.stages\[1\]\.ramp_s: a ramp needs"),
        ({"kind": "poisson", "rate": 1, "duration_s": -1}, r"load\.stages\[1\]\.duration_s=-1"),
        ({"kind": "poisson", "rate": 1, "requests": 0}, r"load\.stages\[1\]\.requests=0: must be greater than 0"),
        ({"kind": "poisson", "rate": 1, "requests": 2, "warmup": -1}, r"load\.stages\[1\]\.warmup=-1"),
        (
            {"kind": "poisson", "rate": 1, "requests": 2, "max_concurrency": 1},
            r"load\.stages\[1\]\.max_concurrency: is for",
        ),
        ("constant", r"load\.stages\[1\]: must be a mapping"),
    ],
)
def test_a_bad_stage_is_named_by_its_place(item: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schedule({"kind": "constant", "rate": 1, "duration_s": 1}, item)


def test_all_bad_stages_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Stages(stages=[{"kind": "constant", "rate": 1}, {"kind": "poisson", "rate": 1}])
    assert [problem[:15] for problem in caught.value.problems] == ["load.stages[0]:", "load.stages[1]:"]
    with pytest.raises(ConfigError, match=r"load\.stages is empty"):
        Stages(stages=[])


def test_a_plan_of_stages_marks_and_numbers_its_requests(tmp_path: Path) -> None:
    stages = [
        {"kind": "constant", "rate": 2, "duration_s": 2, "warmup": True},
        {"kind": "poisson", "rate": 5, "requests": 7},
    ]
    one = experiment(rows_file(tmp_path, 4), load={"kind": "stages", "stages": stages})
    plan = make_plan([one])
    requests = list(plan.requests())
    assert [request.warmup for request in requests] == [True] * 4 + [False] * 7
    assert [request.order for request in requests] == list(range(11))
    assert len({request.request_id for request in requests}) == 11
    again = parse(json.loads(json.dumps(plain(one))))
    assert again == one
    assert [r.request_id for r in islice(make_plan([again]).requests(), 11)] == [r.request_id for r in requests]


# the warm-up rule


def test_warm_up_rows_are_in_the_tables_and_in_no_figure(tmp_path: Path) -> None:
    """The figures of a run with 30 dreadful warm-up requests are those of the same run without them."""
    cell = MadeCell({}, questions=80, ttft_ms=100, tokens=10, token_ms=10, load="poisson", warmup=30)
    warm = make_run(tmp_path / "warm", [cell])
    spoil(warm)
    rows = read_run(warm)
    assert len(rows.every_request) == 110
    assert len(rows.requests) == 80
    kept = set(rows.requests["request_id"])
    for name, part in (("replies", rows.replies), ("scores", rows.scores)):
        assert set(part["request_id"]) <= kept, name
    plain_run = make_run(tmp_path / "plain", [cell])
    drop_warmup(plain_run)
    got, want = summarise(warm), summarise(plain_run)
    assert got.frame.drop(columns=["label"]).equals(want.frame.drop(columns=["label"]))
    assert got.failures.equals(want.failures)
    assert any(note.startswith("30 warm-up requests are left out") for note in got.notes)


def spoil(path: Path) -> None:
    """Make the warm-up of a run slow, failing and expensive."""
    import pyarrow.parquet as pq

    table = pq.read_table(path / "requests.parquet")
    rows = table.to_pylist()
    for number, row in enumerate(row for row in rows if row["warmup"]):
        row["cost"] = 1000.0
        row["completion_tokens"] = 10**6
        row["attempts"] = 3
        for mark in ("first_answer_ns", "last_token_ns", "end_ns"):
            row[mark] += 3600 * SECOND_NS
        if number % 2:
            row |= {"outcome": "failed", "error_kind": "http_5xx", "error_detail": "cold"}
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path / "requests.parquet")


def drop_warmup(path: Path) -> None:
    """Take the warm-up out of a run's tables."""
    import pyarrow.parquet as pq

    requests = pq.read_table(path / "requests.parquet").to_pylist()
    gone = {row["request_id"] for row in requests if row["warmup"]}
    for name in ("requests", "choices", "scores"):
        table = pq.read_table(path / f"{name}.parquet")
        rows = [row for row in table.to_pylist() if row["request_id"] not in gone]
        pq.write_table(type(table).from_pylist(rows, schema=table.schema), path / f"{name}.parquet")


@pytest.mark.slow
def test_a_warm_up_that_fails_is_no_reason_to_refuse_the_run(tmp_path: Path) -> None:
    """A server that refuses everything: of two runs of four requests, one is nothing but warm-up."""

    def exit_code(warmup: int) -> int:
        one = experiment(
            rows_file(tmp_path),
            provider={"kind": "sim", "name": "sim", "knobs": {"speed": 0, "faults": {"http_500": 1.0}}},
            load={"kind": "constant", "rate": 100.0, "requests": 4, "warmup": warmup},
            limits={"retries": 0},
            results_dir=str(tmp_path / "results"),
            report={"plots": False},
        )
        return execute([one], ["bench", "run"]).exit_code

    assert exit_code(warmup=0) == TOLERANCE
    assert exit_code(warmup=4) == DONE
