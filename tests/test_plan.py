"""The planner: stable cells, the check before sending, and the seeded interleaved order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from setups import MODEL, experiment, rows_file

from bench.domain import ConfigError
from bench.measure.canonical import canonical
from bench.measure.ceiling import ceilings
from bench.measure.plan import Plan, block_order, make_plan
from bench.measure.shards import Shard, shard_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**52), 2**52) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def reordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(json_values)
def test_same_meaning_same_text_whatever_the_key_order_and_number_form(value: object) -> None:
    assert canonical(value) == canonical(reordered(value))


def test_cell_id_is_pinned_and_follows_meaning_only(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    first = make_plan([experiment(data)]).cells[0].cell_id
    same = [
        experiment(data, repeats=3),
        experiment(data, limits={"rpm": 60}),
        experiment(data, model={**MODEL, "price": {"currency": "USD"}}),
        experiment(data, sampling={"max_tokens": 64, "temperature": None}),
        experiment(data, load={"kind": "closed", "concurrency": 8, "requests": 5}),
    ]
    assert {make_plan([e]).cells[0].cell_id for e in same} == {first}
    other = [
        experiment(data, sampling={"max_tokens": 64, "temperature": 0.5}),
        experiment(data, model__name="Qwen/Qwen3-14B"),
        experiment(data, load={"kind": "closed", "concurrency": 9}),
        experiment(data, dataset__system="Be brief."),
        experiment(rows_file(tmp_path, 11, "other.jsonl")),
    ]
    ids = {make_plan([e]).cells[0].cell_id for e in other}
    assert first not in ids
    assert len(ids) == len(other)


def test_every_cell_sample_and_repeat_comes_exactly_once(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 7)
    cells = [experiment(data, repeats=3, sampling={"temperature": t / 10}) for t in range(4)]
    plan = make_plan(cells)
    requests = list(plan.requests())
    assert plan.total == len(requests) == 4 * 7 * 3
    assert len({r.request_id for r in requests}) == len(requests)
    assert sorted(r.order for r in requests) == list(range(len(requests)))
    assert Counter((r.cell.index, r.sample.sample_id) for r in requests) == Counter(
        {(c, f"row-{i:03d}"): 3 for c in range(4) for i in range(7)}
    )


def test_order_is_seeded_interleaved_and_balanced_at_every_prefix(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 20)
    cells = [experiment(data, sampling={"temperature": t / 10}) for t in range(5)]

    def order(seed: int) -> list[str]:
        plan = make_plan([experiment(data, seed=seed, sampling=vars_of(c)) for c in cells])
        return [r.request_id for r in sorted(plan.requests(), key=lambda r: r.order)]

    def vars_of(config: object) -> dict[str, float]:
        return {"temperature": config.sampling.temperature}  # type: ignore[attr-defined]

    first = order(1)
    assert first == order(1)
    assert first != order(2)
    seen = Counter({request_id.split(":")[0]: 0 for request_id in first})
    for request_id in first:
        seen[request_id.split(":")[0]] += 1
        assert max(seen.values()) - min(seen.values()) <= 1


def test_all_samples_come_once_before_any_comes_again(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 9), repeats=2)])
    first = [r.sample.sample_id for r in islice(plan.requests(), 9)]
    assert len(set(first)) == 9


@settings(max_examples=15)
@given(cells=st.integers(1, 5), rows=st.integers(1, 12), repeats=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_wherever_a_run_stops_it_is_balanced_and_paired(
    tmp_path_factory: pytest.TempPathFactory, cells: int, rows: int, repeats: int, seed: int
) -> None:
    """Every prefix: cells within one of each other, samples of a cell within one, the same samples in every cell."""
    data = rows_file(tmp_path_factory.getbasetemp(), rows, f"rows-{rows}.jsonl")
    plan = make_plan(
        [experiment(data, seed=seed, repeats=repeats, sampling={"temperature": t / 10}) for t in range(cells)]
    )
    seen = {cell.cell_id: Counter[str](plan_ids(plan)) for cell in plan.cells}
    for counts in seen.values():
        counts.subtract(list(counts))
    for request in sorted(plan.requests(), key=lambda one: one.order):
        seen[request.cell.cell_id][request.sample.sample_id] += 1
        totals = [counts.total() for counts in seen.values()]
        assert max(totals) - min(totals) <= 1
        for counts in seen.values():
            assert max(counts.values()) - min(counts.values()) <= 1
        first, *others = seen.values()
        assert all(sum(abs(first[one] - counts[one]) for one in first) <= 1 for counts in others)


def plan_ids(plan: Plan) -> list[str]:
    (one,) = plan.samples.values()
    return [sample.sample_id for sample in one.samples]


def test_which_samples_come_first_is_left_to_the_seed(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 5))])
    first = Counter(next(replace(plan, seed=seed).requests()).sample.sample_id for seed in range(200))
    assert len(first) == 5
    assert min(first.values()) > 200 / 5 / 2


def test_cells_meet_the_same_samples_in_the_same_block(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 9)
    plan = make_plan([experiment(data, sampling={"temperature": t}) for t in (0.1, 0.9)])
    requests = sorted(plan.requests(), key=lambda r: r.order)
    for one, two in zip(requests[::2], requests[1::2], strict=True):
        assert one.sample.sample_id == two.sample.sample_id


@given(st.integers(), st.integers(0, 5), st.integers(0, 50), st.integers(1, 30))
def test_a_block_is_a_permutation(seed: int, stage: int, block: int, width: int) -> None:
    assert sorted(block_order(seed, stage, block, width)) == list(range(width))


def test_a_million_requests_are_streamed(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path), load={"kind": "closed", "requests": 1_000_000})])
    assert plan.total == 1_000_000
    assert [r.order for r in islice(plan.requests(), 25)] == list(range(25))


def test_shards_take_every_request_once(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 10)
    plan = make_plan([experiment(data, sampling={"temperature": t}) for t in (0.1, 0.9)])
    whole = {r.request_id for r in plan.requests()}
    parts = [[r.request_id for r in shard_of(plan.requests(), Shard(i, 3))] for i in range(3)]
    assert sorted(chain.from_iterable(parts)) == sorted(whole)


def test_closed_cells_share_a_stage_unless_their_loads_differ(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    shared = make_plan([experiment(data, sampling={"temperature": t}) for t in (0.1, 0.9)])
    assert len(shared.stages) == 1
    apart = make_plan([experiment(data, load={"kind": "closed", "concurrency": c}) for c in (1, 4)])
    assert len(apart.stages) == 2
    open_ = make_plan(
        [experiment(data, load={"kind": "constant", "rate": 5.0}, sampling={"temperature": t}) for t in (0.1, 0.9)]
    )
    assert len(open_.stages) == 2


def test_open_load_gives_due_times_and_ends_with_its_duration(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 3)
    plan = make_plan([experiment(data, load={"kind": "constant", "rate": 4.0, "duration_s": 2.0})])
    dues = [r.due_ns for r in plan.requests()]
    assert plan.total is None
    assert dues == [i * 250_000_000 for i in range(9)]


def test_labels_name_what_differs(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    plan = make_plan(
        [
            experiment(data, model__name=name, sampling={"temperature": t})
            for name in ("Qwen/Qwen3-8B", "Pro/deepseek-ai/DeepSeek-V3.1")
            for t in (0.2, 1.0)
        ]
    )
    assert [c.label for c in plan.cells] == [
        "Qwen3-8B temperature=0.2",
        "Qwen3-8B temperature=1",
        "Pro/DeepSeek-V3.1 temperature=0.2",
        "Pro/DeepSeek-V3.1 temperature=1",
    ]


def test_a_scorer_that_comes_with_its_dataset_tells_no_cells_apart(tmp_path: Path) -> None:
    sums, quiz = rows_file(tmp_path, 5, "sums.jsonl"), rows_file(tmp_path, 6, "quiz.jsonl")
    plans = [
        experiment(sums, dataset__name="sums", scorer={"kind": "numeric"}, also=["exact"]),
        experiment(quiz, dataset__name="quiz", scorer={"kind": "choice"}),
    ]
    cells = make_plan(plans).cells
    assert [cell.label for cell in cells] == ["dataset=sums", "dataset=quiz"]
    assert cells[0].swept == ("dataset.name",)


def test_all_broken_rules_of_all_cells_come_at_once(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    plain = {"name": "THUDM/GLM-4-9B-0414", "context_tokens": 32768}
    with pytest.raises(ConfigError) as caught:
        make_plan(
            [
                experiment(data, sampling={"min_p": 1.5, "thinking_budget": 5}),
                experiment(data, model=plain, sampling={"enable_thinking": True, "max_tokens": 40_000}),
            ]
        )
    text = "\n".join(caught.value.problems)
    for words in (
        "Qwen/Qwen3-8B: sampling.min_p=1.5",
        "Qwen/Qwen3-8B: sampling.thinking_budget=5",
        "THUDM/GLM-4-9B-0414: sampling.enable_thinking=true",
        "THUDM/GLM-4-9B-0414: sampling.max_tokens=40000",
    ):
        assert words in text


def test_unsupported_drop_leaves_out_and_says_so(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    glm = {"name": "THUDM/GLM-4-9B-0414", "context_tokens": 32768}
    plan = make_plan(
        [
            experiment(data, model=glm, unsupported="drop", sampling={"enable_thinking": flag, "temperature": 0.5})
            for flag in (True, False)
        ]
    )
    assert len(plan.cells) == 1, "the two cells ask the same once the parameter is dropped"
    assert plan.asked == (plan.cells[0].cell_id,) * 2
    assert plan.cells[0].config.sampling.enable_thinking is None
    assert any("enable_thinking" in note and "left out" in note for note in plan.notes)
    assert any("asked once" in note for note in plan.notes)


def test_scores_of_prompts_that_the_simulator_cannot_know_are_cautioned(tmp_path: Path) -> None:
    def notes(data: Path, **changes: Any) -> str:
        return " ".join(make_plan([experiment(data, **changes)]).notes)

    exact, mine = {"kind": "exact"}, rows_file(tmp_path)
    assert "dataset made: the simulator knows the answers of the shipped prompt sets alone" in notes(mine, scorer=exact)
    assert "simulator" not in notes(
        mine, scorer=exact, provider={"kind": "compatible", "base_url": "http://127.0.0.1:1/v1"}
    )
    assert "simulator" not in notes(Path("x"), scorer=exact, dataset__path="shipped://choice.jsonl")
    assert "simulator" not in notes(mine)


def test_rows_tools_that_a_model_does_not_take_are_dropped_from_the_body(tmp_path: Path) -> None:
    from bench.measure.body import request_body

    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    data = rows_file(tmp_path, tools=[tool])
    model = {"name": "internlm/internlm2_5-7b-chat", "tools": False}
    with pytest.raises(ConfigError, match="tools"):
        make_plan([experiment(data, model=model)])
    plan = make_plan([experiment(data, model=model, unsupported="drop")])
    cell = plan.cells[0]
    request = next(plan.requests())
    assert request_body(cell.config, request.sample)["tools"]
    assert "tools" not in request_body(cell.config, request.sample, 0, cell.dropped)


def test_equal_cells_and_swept_run_settings_are_refused(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    with pytest.raises(ConfigError, match="mean the same"):
        make_plan([experiment(data), experiment(data, repeats=2)])
    with pytest.raises(ConfigError, match="cannot be swept"):
        make_plan([experiment(data), experiment(data, seed=2, sampling={"temperature": 1})])
    with pytest.raises(ConfigError, match=r"use load\.concurrency"):
        make_plan([experiment(data), experiment(data, limits={"rpm": 5}, sampling={"temperature": 1})])


def test_body_sends_what_is_set_and_nothing_else(tmp_path: Path) -> None:
    from bench.measure.body import request_body

    data = rows_file(tmp_path)
    config = experiment(
        data,
        sampling={
            "temperature": 0.7,
            "top_p": 0.7,
            "top_k": 50,
            "min_p": 0.05,
            "frequency_penalty": 0.5,
            "n": 3,
            "stop": ["\n\n"],
            "seed": 5,
            "max_tokens": 100,
            "enable_thinking": True,
            "thinking_budget": 4096,
            "response_format": {"type": "json_object"},
            "extra": {"user": "u"},
        },
    )
    plan = make_plan([config])
    request = next(plan.requests())
    body = request_body(config, request.sample, repeat=2)
    assert json.loads(json.dumps(body)) == {
        "model": "Qwen/Qwen3-8B",
        "messages": list(request.sample.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "top_p": 0.7,
        "top_k": 50,
        "min_p": 0.05,
        "frequency_penalty": 0.5,
        "n": 3,
        "stop": ["\n\n"],
        "seed": 7,
        "max_tokens": 100,
        "enable_thinking": True,
        "thinking_budget": 4096,
        "response_format": {"type": "json_object"},
        "user": "u",
    }


def test_ceiling_counts_answer_thinking_and_n(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 10)
    plan = make_plan([experiment(data, sampling={"max_tokens": 100, "thinking_budget": 200, "n": 2})])
    (one,) = ceilings(plan)
    assert one.requests == 10
    assert not one.assumed
    assert one.tokens is not None
    assert 10 * 600 < one.tokens < 10 * 650
    assert one.cost == pytest.approx((one.tokens - 6000) * 1e-6 + 6000 * 4e-6, rel=0.02)


def test_a_cost_cap_needs_a_price(tmp_path: Path) -> None:
    data = rows_file(tmp_path)
    with pytest.raises(ConfigError, match=r"budget\.cost=1: the preset has no price"):
        make_plan([experiment(data, model={"name": "mine"}, budget={"cost": 1.0})])
    make_plan([experiment(data, budget={"cost": 1.0})])
