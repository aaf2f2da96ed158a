"""Recorded loads: every known format, exact times, prompts of the traced lengths, and one order for both."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import run_measured
from setups import experiment, rows_file

from bench import engine
from bench.config import Experiment, parse, plain
from bench.datasets import MadeSamples
from bench.datasets.synthetic import BLOCK_TOKENS, prompt_text
from bench.domain import ConfigError
from bench.judge.score import score_run
from bench.measure.body import request_body
from bench.measure.ceiling import ceilings, most_of
from bench.measure.loads.trace import Trace
from bench.measure.plan import Plan, make_plan
from bench.measure.shards import Shard, shard_of
from bench.record import read_samples
from bench.registry import build
from bench.rules import estimate_tokens
from bench.trace_fields import time_of
from bench.traces import read_trace

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
SECOND_NS = 1_000_000_000

#: the same four requests in every format: at 0, 0.25, 2 and 3.5 s
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 23:59:58.5000000,100,10\n2023-11-16 23:59:58.7500000,700,1\n"
    "2023-11-17 00:00:00.5000000,9,30\n2023-11-17 00:00:02,3,0\n"
)
MOONCAKE = "".join(
    json.dumps({"timestamp": at, "input_length": tokens, "output_length": cap, "hash_ids": ids}) + "\n"
    for at, tokens, cap, ids in ((1000, 100, 10, [7]), (1250, 700, 1, [8, 9]), (3000, 9, 30, [7]), (4500, 3, 0, [1]))
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5.0,ChatGPT,100,10,110,API log\n5.25,GPT-4,700,1,701,API log\n"
    "7,ChatGPT,9,30,39,API log\n8.5,ChatGPT,3,0,3,API log\n"
)
PLAIN = "timestamp,input_tokens,output_tokens\n0,100,10\n0.25,700,1\n2,9,30\n3.5,3,0\n"
PLAIN_LINES = "".join(
    json.dumps(dict(zip(("timestamp", "input_tokens", "output_tokens"), row, strict=True))) + "\n"
    for row in ((10, 100, 10), (10.25, 700, 1), (12, 9, 30), (13.5, 3, 0))
)
FORMATS = {"azure": AZURE, "mooncake": MOONCAKE, "burst": BURST, "plain": PLAIN, "plain-lines": PLAIN_LINES}


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def replay(path: Path, dataset: Path | None = None, **load: Any) -> Experiment:
    return experiment(
        dataset or path, load={"kind": "trace", "path": str(path), **load}, sampling={"enable_thinking": False}
    )


def dues(plan: Plan) -> list[int]:
    return [request.due_ns for request in plan.requests()]


@pytest.mark.parametrize("name", ["trace.csv", "trace.gz"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_known_by_its_columns(form: str, name: str, tmp_path: Path) -> None:
    trace = read_trace(str(written(tmp_path, FORMATS[form], name)))
    assert list(trace.arrival_ns) == [0, SECOND_NS // 4, 2 * SECOND_NS, 7 * SECOND_NS // 2]
    assert list(trace.input_tokens) == [100, 700, 9, 3]
    assert list(trace.output_tokens) == [10, 1, 30, 0]
    first = 1 if form in ("mooncake", "plain-lines") else 2
    assert list(trace.lines) == list(range(first, first + 4))
    assert [list(trace.blocks_of(row)) for row in range(4)] == (
        [[7], [8, 9], [7], [1]] if form == "mooncake" else [[], [], [], []]
    )


@pytest.mark.parametrize(
    ("name", "rows", "inputs", "outputs", "seconds"),
    [
        ("AzureLLMInferenceTrace_code.csv.gz", 8819, 2047.85, 27.88, 3435.948056),
        ("AzureLLMInferenceTrace_conv.csv.gz", 19366, 1154.70, 211.13, 3501.721937),
        ("mooncake_synthetic_trace.jsonl.gz", 3993, 15_325.48, 149.12, 1022.025),
    ],
)
def test_published_traces_have_their_published_means(
    name: str, rows: int, inputs: float, outputs: float, seconds: float
) -> None:
    if not (TRACES / name).exists():
        pytest.skip(f"{name} is not here")
    trace = read_trace(str(TRACES / name))
    assert len(trace) == rows
    assert sum(trace.input_tokens) / rows == pytest.approx(inputs, abs=0.01)
    assert sum(trace.output_tokens) / rows == pytest.approx(outputs, abs=0.01)
    assert trace.arrival_ns[-1] == round(seconds * 1e9)
    assert list(trace.arrival_ns) == sorted(trace.arrival_ns)


@pytest.mark.parametrize(
    ("value", "unit_ns", "time_ns"),
    [
        ("1970-01-01 00:00:01.0000001", 1, SECOND_NS + 100),
        ("1970-01-02T00:00:00Z", 1, 86_400 * SECOND_NS),
        ("1970-01-01 08:00:00.5+08:00", 1, SECOND_NS // 2),
        ("1700000000.123456789", SECOND_NS, 1_700_000_000_123_456_789),
        (0.1, SECOND_NS, 100_000_000),
        (27499, 1_000_000, 27_499_000_000),
        ("1e3", 1_000_000, SECOND_NS),
    ],
)
def test_timestamps_are_read_to_the_nanosecond(value: object, unit_ns: int, time_ns: int) -> None:
    assert time_of(value, unit_ns) == time_ns


@pytest.mark.parametrize("value", ["", "soon", None, True, "nan", "1e400", float("inf"), [1], "2023-02-30 00:00:00"])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be a number or a date|day is out of range"):
        time_of(value)


def test_unknown_columns_are_named_beside_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "num_prefill_tokens,num_decode_tokens\n74,918\n")
    with pytest.raises(ConfigError) as caught:
        read_trace(str(path))
    (said,) = caught.value.problems
    for expected in ("'num_prefill_tokens'", "TIMESTAMP", "input_length", "Request tokens"):
        assert expected in said
    assert "timestamp,input_tokens,output_tokens" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        (PLAIN.splitlines()[0] + "\n", "has no rows"),
        (PLAIN + "4,-1,5\n", r"trace\.csv:6: `input_tokens` must be a whole number of tokens"),
        (PLAIN + "4,1,\n", r"trace\.csv:6: `output_tokens` must be a whole number"),
        (PLAIN + "late,1,5\n", r"trace\.csv:6: `timestamp` must be a number or a date"),
        (PLAIN + "4,1\n", r"trace\.csv:6: 2 cells where the header names 3 columns"),
        (MOONCAKE + '{"timestamp": 5, "input_length": 4}\n', r"trace\.csv:5: lacks `output_length`"),
        (MOONCAKE + "{nonsense\n", r"trace\.csv:5: invalid JSON"),
        (MOONCAKE + "[1]\n", r"trace\.csv:5: a row must be a JSON object"),
        (MOONCAKE.replace("[8, 9]", '["a"]'), r"trace\.csv:2: `hash_ids` must be a list of whole numbers"),
    ],
)
def test_damaged_rows_are_named_by_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read_trace(str(written(tmp_path, text)))


def test_a_missing_file_is_named_by_the_key_that_points_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"load\.path=nowhere\.csv: there is no such file"):
        make_plan([replay(Path("nowhere.csv"), rows_file(tmp_path), prompts="dataset")])
    with pytest.raises(ConfigError, match=r"load\.path=nowhere\.csv: there is no such file"):
        replay(Path("nowhere.csv"))
    with pytest.raises(ConfigError, match=r"load\.speed=0"):
        replay(Path("nowhere.csv"), speed=0)


def test_rows_out_of_order_are_sorted_with_their_lengths(tmp_path: Path) -> None:
    rows = MOONCAKE.splitlines(keepends=True)
    tidy = read_trace(str(written(tmp_path, MOONCAKE, "a.jsonl")))
    mixed = read_trace(str(written(tmp_path, rows[2] + rows[0] + rows[3] + rows[1], "b.jsonl")))
    assert mixed.content_hash == tidy.content_hash
    assert list(mixed.lines) == [2, 4, 1, 3]


def test_a_replay_keeps_times_lengths_and_order_together(tmp_path: Path) -> None:
    plan = make_plan([replay(written(tmp_path, AZURE), speed=2.0)])
    assert plan.total == 4
    requests = list(plan.requests())
    assert [request.due_ns for request in requests] == [0, SECOND_NS // 8, SECOND_NS, 7 * SECOND_NS // 4]
    assert [estimate_tokens(request.sample.messages) for request in requests] == [100, 700, 9, 8]
    bodies = [request_body(request.cell.config, request.sample) for request in requests]
    assert [body["max_tokens"] for body in bodies] == [10, 1, 30, 1]
    assert [request.order for request in requests] == [0, 1, 2, 3]
    assert [request.sample.place for request in requests] == [f"{tmp_path}/trace.csv:{line}" for line in (2, 3, 4, 5)]
    assert len({request.request_id for request in requests}) == 4
    config = plan.experiment
    assert most_of(config, requests[1].sample)[0] == 701
    (ceiling,) = ceilings(plan)
    assert ceiling.tokens is not None
    assert 854 <= ceiling.tokens < 858


def test_a_trace_cannot_be_repeated(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="repeats=2: a replayed trace sends each of its rows once"):
        experiment(path, load={"kind": "trace", "path": str(path)}, repeats=2)


def test_the_sampling_overrules_the_traced_answer_length(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    one = experiment(path, load={"kind": "trace", "path": str(path)}, sampling={"max_tokens": 5})
    bodies = [request_body(one, request.sample) for request in make_plan([one]).requests()]
    assert [body["max_tokens"] for body in bodies] == [5, 5, 5, 5]


def test_requests_and_duration_cut_a_trace(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    assert dues(make_plan([replay(path, requests=2)])) == [0, SECOND_NS // 4]
    assert make_plan([replay(path, requests=9)]).total == 4
    plan = make_plan([replay(path, duration_s=2.0)])
    assert (plan.total, len(dues(plan))) == (3, 3)
    plan = make_plan([replay(path, duration_s=2.0, speed=2.0)])
    assert (plan.total, len(dues(plan))) == (4, 4)


def test_a_dataset_can_be_asked_at_the_traced_times(tmp_path: Path) -> None:
    plan = make_plan([replay(written(tmp_path, PLAIN), rows_file(tmp_path, 3), prompts="dataset")])
    requests = list(plan.requests())
    assert dues(plan) == [0, SECOND_NS // 4, 2 * SECOND_NS, 7 * SECOND_NS // 2]
    assert len({request.sample.sample_id for request in requests[:3]}) == 3
    assert requests[3].repeat == 1
    assert "max_tokens" not in request_body(plan.experiment, requests[0].sample)


def test_a_cell_is_known_by_what_the_trace_holds_not_by_where_it_lies(tmp_path: Path) -> None:
    def cell_id(path: Path, **load: Any) -> str:
        return make_plan([replay(path, rows_file(tmp_path, 3), **load)]).cells[0].cell_id

    for prompts in ("synthetic", "dataset"):
        here = cell_id(written(tmp_path, PLAIN), prompts=prompts)
        assert cell_id(written(tmp_path, PLAIN, "moved.csv"), prompts=prompts) == here
        assert cell_id(written(tmp_path, PLAIN, "zipped.csv.gz"), prompts=prompts) == here
        assert cell_id(written(tmp_path, PLAIN.replace("0.25", "0.26"), "other.csv"), prompts=prompts) != here
        assert cell_id(tmp_path / "moved.csv", prompts=prompts, speed=2.0) != here


def test_a_replay_is_the_same_after_a_round_through_run_json(tmp_path: Path) -> None:
    one = replay(written(tmp_path, PLAIN))
    again = parse(json.loads(json.dumps(plain(one))))
    assert again == one
    assert (again.dataset.kind, again.scorer.kind, again.dataset.name) == ("synthetic", "none", "trace")
    assert make_plan([again]).cells[0].cell_id == make_plan([one]).cells[0].cell_id


def test_a_context_window_that_the_trace_exceeds_is_refused_with_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN + "9,400000,2\n")
    with pytest.raises(ConfigError, match=r"trace\.csv:6: messages.*context window"):
        make_plan([replay(path)])


# prompts


@given(tokens=st.integers(0, 5000), seed=st.integers(0, 2**31), line=st.integers(1, 10**6))
@settings(max_examples=60)
def test_a_prompt_is_estimated_at_exactly_its_traced_length(tokens: int, seed: int, line: int) -> None:
    text = prompt_text(tokens, seed % 3, line)
    assert estimate_tokens([{"role": "user", "content": text}]) == max(8, tokens)
    assert text == prompt_text(tokens, seed % 3, line)
    assert set(map(len, text.split())) == {3}


def test_prompts_differ_from_their_first_words_on_unless_the_trace_says_otherwise() -> None:
    starts = {prompt_text(40, seed, line)[:32] for seed in (0, 1) for line in range(1, 2001)}
    assert len(starts) == 4000


def test_equal_block_ids_begin_with_equal_text_and_no_more(tmp_path: Path) -> None:
    block = (BLOCK_TOKENS) * 4
    one, two = prompt_text(1700, 0, 1, [5, 6, 7, 8]), prompt_text(1800, 0, 2, [5, 6, 9, 8])
    assert one[: 2 * block] == two[: 2 * block]
    assert one[2 * block : 2 * block + 32] != two[2 * block : 2 * block + 32]
    # the fourth block is the same again, as far as both reach; it follows other text, so no cache could use it
    assert one[3 * block :] == two[3 * block : len(one)]
    short = prompt_text(600, 0, 3, [5, 6])
    assert one.startswith(short)
    assert prompt_text(600, 1, 3, [5, 6]) != short


def test_made_samples_are_a_sequence_that_never_holds_more_than_it_is_asked_for(tmp_path: Path) -> None:
    samples = build("dataset", {"kind": "synthetic", "path": str(written(tmp_path, PLAIN))}).made()
    assert isinstance(samples, MadeSamples)
    assert len(samples) == 4
    assert samples[-1] == samples[3] == list(samples)[3]
    assert samples[1:3] == (samples[1], samples[2])
    with pytest.raises(IndexError):
        samples[4]
    assert (samples.prompt_tokens, samples.answer_tokens) == (203, 10.5)
    assert [sample.sample_id for sample in samples.hardest()] == ["line-3", "line-4"]


@pytest.mark.parametrize("wrong", [{"prompt": "{{ q }}"}, {"system": "Be brief."}, {"shuffle": True}])
def test_a_synthetic_dataset_refuses_what_it_would_ignore(wrong: dict[str, Any], tmp_path: Path) -> None:
    path = str(written(tmp_path, PLAIN))
    with pytest.raises(ConfigError, match=f"dataset.{next(iter(wrong))}"):
        build("dataset", {"kind": "synthetic", "path": path, **wrong}).made()


# properties

gaps = st.lists(st.integers(0, 10**10), min_size=1, max_size=60)


def trace_of(gaps_ns: Sequence[int], folder: Path) -> Path:
    at, rows = 0, []
    for gap in gaps_ns:
        at += gap
        rows.append(f"{at / 1e9:.9f},{gap % 50 + 8},{gap % 7}\n")
    return written(folder, "timestamp,input_tokens,output_tokens\n" + "".join(rows), f"{Random(str(gaps_ns)).random()}")


@given(gaps_ns=gaps, speed=st.floats(0.01, 1000), seed=st.integers())
@settings(max_examples=40)
def test_due_times_ascend_scale_with_speed_and_know_no_chance(
    gaps_ns: list[int], speed: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(trace_of(gaps_ns, tmp_path_factory.mktemp("trace")))
    as_it_was = list(Trace(path=path).due_ns(Random(seed)))
    assert as_it_was == [sum(gaps_ns[1 : number + 1]) for number in range(len(gaps_ns))]
    faster = list(Trace(path=path, speed=speed).due_ns(Random(0)))
    assert faster == sorted(faster)
    assert faster == [round(due / speed) for due in as_it_was]
    assert Trace(path=path, speed=speed).planned() == len(gaps_ns)


@given(gaps_ns=gaps, count=st.integers(1, 5))
@settings(max_examples=25)
def test_shards_of_a_trace_keep_its_order_and_cover_it(
    gaps_ns: list[int], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = make_plan([replay(trace_of(gaps_ns, tmp_path_factory.mktemp("trace")))])
    whole = list(plan.requests())
    shards = [list(shard_of(plan.requests(), Shard(index, count))) for index in range(count)]
    for shard in shards:
        assert [request.order for request in shard] == sorted(request.order for request in shard)
        assert [request.due_ns for request in shard] == sorted(request.due_ns for request in shard)
    assert sorted((r for shard in shards for r in shard), key=lambda r: r.order) == whole
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_peak_rate_is_the_busiest_second(tmp_path: Path) -> None:
    path = written(tmp_path, "timestamp,input_tokens,output_tokens\n" + "".join(f"{t},9,9\n" for t in (0, 0.5, 1, 5)))
    assert Trace(path=str(path)).peak_rate == 2
    assert Trace(path=str(path), speed=10).peak_rate == 4


# whole runs


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_replayed_run_asks_what_the_trace_says_and_keeps_no_prompt(processes: int, tmp_path: Path) -> None:
    path = written(tmp_path, MOONCAKE, "trace.jsonl")
    one = experiment(
        path,
        load={"kind": "trace", "path": str(path), "speed": 10.0},
        sampling={"enable_thinking": False},
        engine={"processes": processes},
    )
    done = run_measured([one], tmp_path / "results")
    rows = sorted(done.rows("requests"), key=lambda row: row["order"])
    assert [row["outcome"] for row in rows] == ["ok"] * 4
    assert [row["due_ns"] - rows[0]["due_ns"] for row in rows] == [0, 25_000_000, 200_000_000, 350_000_000]
    assert [row["sample_id"] for row in rows] == ["line-1", "line-2", "line-3", "line-4"]
    assert all(row["completion_tokens"] <= cap for row, cap in zip(rows, (10, 1, 30, 1), strict=True))
    assert read_samples(done.path) == {}
    score_run(done.path)
    assert {row["label"] for row in done.rows("scores")} == {"unscored"}


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None or engine.find_weights() is None, reason="no engine")
def test_a_real_tokenizer_counts_the_traced_length_beside_its_chat_template(tmp_path: Path) -> None:
    lengths = (50, 200, 400, 801)
    rows = "".join(f"{number},{tokens},2\n" for number, tokens in enumerate(lengths))
    path = written(tmp_path, "timestamp,input_tokens,output_tokens\n" + rows)
    one = experiment(
        path,
        model={"name": "SmolLM2-135M-Instruct", "provider": "local", "context_tokens": 2048},
        provider={"kind": "local"},
        sampling={},
        load={"kind": "trace", "path": str(path), "speed": 10.0},
    )
    found = sorted(run_measured([one], tmp_path / "results").rows("requests"), key=lambda row: row["order"])
    beside = {row["prompt_tokens"] - tokens for row, tokens in zip(found, lengths, strict=True)}
    assert len(beside) == 1
    assert 0 <= beside.pop() < 40
    assert all(row["completion_tokens"] <= 2 for row in found)


@pytest.mark.slow
def test_a_long_trace_is_planned_row_by_row(tmp_path: Path) -> None:
    text = "timestamp,input_tokens,output_tokens\n" + "".join(f"{n / 100},2000,50\n" for n in range(50_000))
    plan = make_plan([replay(written(tmp_path, text))])
    assert plan.total == 50_000
    made: list[int] = []
    samples = next(iter(plan.samples.values())).samples
    assert isinstance(samples, MadeSamples)
    make: Callable[[int], Any] = samples.make
    samples.make = lambda index: made.append(index) or make(index)  # type: ignore[method-assign, func-returns-value]
    assert [request.due_ns for request in islice(plan.requests(), 3)] == [0, 10_000_000, 20_000_000]
    assert made == [0, 1, 2]
    ceilings(plan)
    assert made == [0, 1, 2]
