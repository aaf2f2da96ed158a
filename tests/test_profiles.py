"""Other tools' definitions: the worked example, hand-made cells, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ConfigError
from bench.judge import streams
from bench.judge.definitions import interpolated, nearest_weighted
from bench.judge.intervals import nearest_rank
from bench.judge.profiles import profile, recompute
from bench.judge.rows import read_run
from bench.judge.streams import read_streams
from tests.made_run import MS, SCHEMAS, MadeCell, make_run
from tests.test_intervals import agrees, known

S = 1000 * MS


def request(name: str, sent_ns: int, choices: list[list[int]], tokens: int | None, **more: Any) -> dict[str, Any]:
    """A request as served: events of each choice in ns after the send, body over 50 ms after the last one."""
    last = max((events[-1] for events in choices if events), default=0)
    return {
        "request_id": name,
        "sent_ns": sent_ns,
        "end_ns": sent_ns + last + 50 * MS,
        "choices": [[sent_ns + event for event in events] for events in choices],
        "completion_tokens": tokens,
        "prompt_tokens": 7,
        "outcome": "ok",
        "stream": True,
        "n": len(choices),
    } | more


def run_of(folder: Path, requests: list[dict[str, Any]]) -> Path:
    """A run of one cell with these requests."""
    rows, lists = [], []
    for made in requests:
        choices = made.pop("choices")
        rows.append({"cell_id": "c", "sample_id": "q", "repeat": 0, "cached": False, "warmup": False} | made)
        firsts = [events[0] for events in choices if events]
        rows[-1] |= {"first_answer_ns": min(firsts, default=None), "due_ns": made["sent_ns"], "attempts": 1}
        for index, events in enumerate(choices):
            kinds = ["answer"] * len(events)
            lists.append({"request_id": made["request_id"], "choice": index, "event_ns": events, "event_kind": kinds})
    folder.mkdir(parents=True)
    for name, table in (("requests", rows), ("choices", lists), ("scores", [])):
        pq.write_table(pa.Table.from_pylist(table, schema=SCHEMAS[name]), folder / f"{name}.parquet")
    cells = [{"cell_id": "c", "index": 0, "label": "one", "swept": [], "config": {}}]
    header = {"schema_version": 1, "run_id": "r", "state": "finished", "cells": cells}
    (folder / "run.json").write_text(json.dumps(header), encoding="utf-8")
    return folder


def figures(folder: Path, name: str) -> dict[str, Any]:
    (row,) = recompute(read_run(folder), name).to_dict("records")
    return {str(key): value for key, value in row.items()}


def test_one_stream_many_definitions(tmp_path: Path) -> None:
    """First token at 2 s, 100 tokens in 25 equal chunks, the last at 5 s."""
    run = run_of(tmp_path / "run", [request("a", S, [[2 * S + k * 125 * MS for k in range(25)]], 100)])
    vllm, guidellm, aiperf = (figures(run, name) for name in ("vllm", "guidellm", "aiperf"))
    for tool in (vllm, guidellm, aiperf):
        assert tool["ttft_mean_ms"] == tool["ttft_p50_ms"] == tool["ttft_p99_ms"] == 2000
    assert guidellm["tpot_mean_ms"] == 50
    assert vllm["tpot_mean_ms"] == pytest.approx(30.303, abs=1e-3)
    assert vllm["itl_p50_ms"] == 125
    assert guidellm["itl_p50_ms"] == aiperf["itl_p50_ms"] == pytest.approx(30.303, abs=1e-3)
    assert aiperf["icl_p99_ms"] == 125
    assert vllm["e2e_mean_ms"] == aiperf["e2e_mean_ms"] == 5000
    assert guidellm["e2e_mean_ms"] == 5050


def test_latency_metrics_agree_with_the_reference(tmp_path: Path) -> None:
    case = known("latency_metrics")
    inputs = case["inputs"]
    sent = round(inputs["t_send"] * S)
    marks = [round(t * S) - sent for t, _, _ in inputs["chunks"]]
    answer = round(next(t for t, kind, _ in inputs["chunks"] if kind == "content") * S)
    more = {"end_ns": round(inputs["t_end"] * S), "first_answer_ns": answer}
    tokens = inputs["output_tokens"]
    run = run_of(tmp_path / "run", [request("a", sent, [marks], tokens)])
    table = pq.read_table(run / "requests.parquet").to_pylist()
    reasoning = {"first_reasoning_ns": sent + marks[0], "last_token_ns": sent + marks[-1]}
    pq.write_table(pa.Table.from_pylist([table[0] | more | reasoning], SCHEMAS["requests"]), run / "requests.parquet")
    ours = read_run(run).requests.iloc[0]
    agrees(case, "ttft", ours["ttft_ms"] / 1000)
    agrees(case, "ttfat", ours["ttfa_ms"] / 1000)
    agrees(case, "e2e", ours["e2e_ms"] / 1000)
    agrees(case, "e2e_scheduled", ours["due_e2e_ms"] / 1000)
    agrees(case, "tpot", ours["tpot_ms"] / 1000)
    agrees(case, "ntpot", ours["e2e_ms"] / 1000 / tokens)
    assert (read_run(run).gaps_ms["c"] / 1000).tolist() == pytest.approx(case["expected"]["icl"])
    aiperf = figures(run, "aiperf")
    agrees(case, "ttft", aiperf["ttft_mean_ms"] / 1000)
    agrees(case, "ttfat", aiperf["ttfa_mean_ms"] / 1000)
    agrees(case, "tpot", aiperf["itl_mean_ms"] / 1000)


def test_percentiles_agree_with_the_reference() -> None:
    case = known("percentiles")
    ordered, shares = np.sort(np.array(case["inputs"]["x"], dtype=float)), (0.5, 0.9, 0.95, 0.99)
    assert [interpolated(ordered, None, q) for q in shares] == pytest.approx(case["expected"]["linear"])
    assert [nearest_weighted(ordered, None, q) for q in shares] == case["expected"]["nearest_rank"]


def test_guidellm_weighs_requests_by_their_tokens(tmp_path: Path) -> None:
    run = run_of(
        tmp_path / "run",
        [
            request("a", 0, [[100 * MS, 200 * MS]], 2),
            request("b", S, [[100 * MS, 1900 * MS]], 10),
        ],
    )
    got = figures(run, "guidellm")
    assert got["tpot_mean_ms"] == pytest.approx((100 * 2 + 190 * 10) / 12)
    assert got["tpot_p50_ms"] == 190, "ten of twelve tokens came at that pace"
    assert got["itl_mean_ms"] == pytest.approx((100 * 1 + 200 * 9) / 10)
    assert got["throughput_tok_per_s"] == pytest.approx(12 / 2.8), "from the first chunk at 0.1 s to the last at 2.9 s"
    assert got["throughput_req_per_s"] == pytest.approx(2 / 2.95)
    vllm = figures(run, "vllm")
    assert vllm["tpot_p50_ms"] == 150, "between the two requests"
    assert vllm["throughput_tok_per_s"] == pytest.approx(12 / 2.95)
    assert vllm["total_tok_per_s"] == pytest.approx(26 / 2.95)
    assert figures(run, "aiperf")["throughput_tok_per_s"] == pytest.approx(12 / 2.9)


def test_choices_of_one_request_are_one_stream_to_them(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [request("a", S, [[10 * MS, 30 * MS], [20 * MS, 60 * MS]], 7)])
    vllm = figures(run, "vllm")
    assert vllm["itl_mean_ms"] == pytest.approx(50 / 3), "pauses of 10, 10 and 30 ms, ours are 20 and 40"
    assert vllm["tpot_mean_ms"] == pytest.approx(50 / 6)
    assert figures(run, "aiperf")["icl_p50_ms"] == 10


def test_failures_lengthen_the_time_of_vllm_alone(tmp_path: Path) -> None:
    failed = request("b", S, [], None, outcome="failed", n=1, end_ns=11 * S)
    run = run_of(tmp_path / "run", [request("a", S, [[S]], 1), failed])
    assert figures(run, "vllm")["throughput_req_per_s"] == pytest.approx(0.1)
    assert figures(run, "aiperf")["throughput_req_per_s"] == 1
    assert figures(run, "vllm")["served"] == 1


def test_without_usage_guidellm_counts_chunks_and_the_others_say_nothing(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [request("a", S, [[100 * MS, 200 * MS, 300 * MS]], None)])
    assert figures(run, "guidellm")["tpot_mean_ms"] == 100
    assert figures(run, "guidellm")["itl_mean_ms"] == 100
    for name in ("vllm", "aiperf"):
        got = figures(run, name)
        assert pd.isna(got["throughput_tok_per_s"])
        assert got["ttft_mean_ms"] == 100
    assert pd.isna(figures(run, "vllm")["tpot_mean_ms"])
    assert pd.isna(figures(run, "aiperf")["itl_mean_ms"])


def test_replies_that_were_not_streamed(tmp_path: Path) -> None:
    whole = request("a", S, [[]], 10, stream=False, end_ns=2 * S)
    run = run_of(tmp_path / "run", [whole, request("b", S, [[]], 10, stream=False, end_ns=3 * S)])
    assert figures(run, "guidellm")["tpot_mean_ms"] == 150
    assert figures(run, "guidellm")["throughput_tok_per_s"] == 20, "over the second between the two replies"
    assert figures(run, "aiperf")["e2e_p50_ms"] == 1500
    assert pd.isna(figures(run, "vllm")["e2e_mean_ms"])
    for name in ("vllm", "guidellm", "aiperf"):
        assert pd.isna(figures(run, name)["ttft_mean_ms"])
        assert pd.isna(figures(run, name)["itl_mean_ms"])


def test_a_cell_without_replies_has_no_figures(tmp_path: Path) -> None:
    never = request("a", 0, [], None, outcome="not_sent", n=1) | {"sent_ns": 0, "end_ns": None}
    run = run_of(tmp_path / "run", [never])
    for name in ("vllm", "guidellm", "aiperf"):
        got = figures(run, name)
        assert got.pop("served") == 0
        assert (got.pop("cell_id"), got.pop("label")) == ("c", "one")
        assert all(pd.isna(value) for value in got.values())


def test_cells_and_warm_up_are_kept_apart(tmp_path: Path) -> None:
    cells = [
        MadeCell({"load.rate": rate}, questions=9, token_ms=20.0 * rate, warmup=3, load="poisson") for rate in (1, 2)
    ]
    run = make_run(tmp_path / "run", cells, parts=4)
    got = recompute(read_run(run), "vllm")
    assert got["label"].tolist() == ["1", "2"]
    assert got["served"].tolist() == [9, 9]
    assert got["itl_p50_ms"].tolist() == [20, 40]
    assert got["tpot_p99_ms"].tolist() == pytest.approx([20, 40])
    assert got.columns.tolist()[3:] == [column.name for column in profile("vllm").columns]


def test_a_request_whose_choices_fall_into_two_batches_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request(f"r{i}", i * S, [[10 * MS, 30 * MS], [20 * MS, 60 * MS], []], 7) for i in range(7)]
    run = read_run(run_of(tmp_path / "run", requests))
    whole = read_streams(run)
    table = pq.read_table(tmp_path / "run" / "choices.parquet", columns=["request_id", "event_ns"])
    for size in (1, 2, 4, 5):
        cut = table.to_batches(max_chunksize=size)
        monkeypatch.setattr(streams.record, "iter_batches", lambda *_, cut=cut, **__: iter(cut))
        split = read_streams(run)
        assert split.gaps_ms["c"].tolist() == whole.gaps_ms["c"].tolist() == [10, 10, 30] * 7
        assert split.requests["chunks"].tolist() == [4] * 7


def test_every_column_is_explained() -> None:
    for name in ("vllm", "guidellm", "aiperf"):
        columns = profile(name).columns
        assert len({column.name for column in columns}) == len(columns)
        for column in columns:
            assert column.definition.endswith(".")
            assert column.differs.endswith(".")
            assert column.label
            assert column.name.endswith(("_ms", "_per_s"))


def test_an_unknown_tool_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="no definitions of 'wrk'; there are vllm, guidellm, aiperf"):
        profile("wrk")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=30), st.integers(1, 99))
def test_a_weighted_quantile_is_that_of_the_repeated_values(pairs: list[tuple[int, int]], percent: int) -> None:
    pairs.sort()
    values, weights = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    repeated = np.repeat(values, weights.astype(int))
    got = nearest_weighted(values, weights, percent / 100)
    assert got == repeated[nearest_rank(repeated.size, percent / 100) - 1]
