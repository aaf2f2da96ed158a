"""Runs against a simulator that fails in every way it knows, a twentieth of the requests each."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from measured import Measured, read_truth, run_measured
from setups import experiment, rows_file

from bench.judge.metrics.quality import accuracy
from bench.judge.rows import read_run
from bench.judge.score import score_run
from bench.providers.sim import EXCLUSIVE

pytestmark = pytest.mark.slow

RATES = dict.fromkeys((*EXCLUSIVE, "slow_headers"), 0.05)
ROWS, SPAN_S = 400, 2.0


@dataclass(frozen=True)
class End:
    """How an attempt ends: outcome, kind of error, HTTP status."""

    outcome: str
    kind: str | None = None
    status: int | None = 200


#: fault -> how a streamed attempt ends, and one that is not streamed
ENDS = {
    None: (End("ok"), End("ok")),
    "http_429": 2 * (End("failed", "http_429", 429),),
    "http_500": 2 * (End("failed", "http_5xx", 500),),
    "http_503": 2 * (End("failed", "http_5xx", 503),),
    "http_504": 2 * (End("failed", "http_5xx", 504),),
    "http_400": 2 * (End("failed", "http_400", 400),),
    "plain_text": 2 * (End("failed", "http_5xx", 502),),
    "drop": 2 * (End("failed", "reset", None),),
    "cut": (End("truncated", "stream_truncated"), End("failed", "reset")),
    "reset": (End("truncated", "reset"), End("failed", "reset")),
    "stall": (End("truncated", "timeout_between_tokens"), End("failed", "timeout_total")),
    "no_done": 2 * (End("ok"),),
    "no_finish": 2 * (End("ok"),),
    "error_in_stream": (End("truncated", "stream_error"), End("failed", "stream_error")),
    "malformed": (End("truncated", "bad_payload"), End("failed", "bad_payload")),
    "empty": 2 * (End("failed", "bad_payload"),),
    "early_hints": 2 * (End("ok"),),
    "http_1_0": 2 * (End("ok"),),
    "header_flood": 2 * (End("failed", "bad_payload", None),),
}


def faulty(folder: Path, retries: int) -> tuple[Measured, list[dict[str, Any]]]:
    """A streamed and a plain cell under all faults at once; they exclude each other."""
    log = folder / "truth.log"
    knobs = {"speed": 0, "seed": 3, "faults": {**RATES, "slow_headers_s": 0.01}, "truth_log": str(log)}
    dataset = rows_file(folder, ROWS)
    cells = [
        experiment(
            dataset,
            provider={"kind": "sim", "name": "sim", "knobs": knobs},
            sampling={"stream": stream, "n": 2, "enable_thinking": False, "max_tokens": 48},
            load={"kind": "closed", "concurrency": 64},
            limits={"retries": retries, "backoff_s": 0.001, "adaptive": False},
            timeout={"between_tokens_s": SPAN_S, "total_s": 1.5 * SPAN_S},
            dataset__scorer="contains",
        )
        for stream in (True, False)
    ]
    return run_measured(cells, folder / "results"), read_truth(log)


def expected(sent: dict[str, Any]) -> End:
    return ENDS[sent["fault"]][0 if sent["stream"] else 1]


def check_one_row_each(run: Measured) -> dict[str, dict[str, Any]]:
    rows = run.rows("requests")
    assert {row["request_id"] for row in rows} == {request.request_id for request in run.plan.requests()}
    assert len(rows) == run.plan.total == 2 * ROWS
    return {row["request_id"]: row for row in rows}


def check_final_attempts(run: Measured, rows: dict[str, dict[str, Any]]) -> None:
    """A request's attempts are numbered, and the last one is what its row tells."""
    attempts: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows("attempts"):
        attempts.setdefault(row["request_id"], []).append(row)
    assert attempts.keys() == rows.keys()
    for request_id, tried in attempts.items():
        row = rows[request_id]
        assert [attempt["attempt"] for attempt in tried] == list(range(1, row["attempts"] + 1))
        names = ("status", "error_kind", "sent_ns", "end_ns")
        assert [tried[-1][name] for name in names] == [row[name] for name in names]
        assert all(attempt["error_kind"] is not None for attempt in tried[:-1])
        assert [attempt["waited_ns"] > 0 for attempt in tried] == [False, *[True] * (len(tried) - 1)]
        assert all(a["end_ns"] <= b["sent_ns"] for a, b in itertools.pairwise(tried))


def check_scores(run: Measured, rows: dict[str, dict[str, Any]]) -> None:
    """What is left of a reply that broke off has a row without a value; no figure of quality stands on failures."""
    score_run(run.path)
    scores = run.rows("scores")
    assert len(scores) == len(run.rows("choices", ["choice"]))
    whole = [score for score in scores if rows[score["request_id"]]["outcome"] == "ok"]
    assert {(score["label"], score["value"]) for score in scores if score not in whole} == {("truncated", None)}
    assert Counter(score["request_id"] for score in whole) == {i: 2 for i, r in rows.items() if r["outcome"] == "ok"}
    judged = read_run(run.path)
    for info in judged.cells:
        cell = judged.rows_of(info)
        values = [s["value"] for s in whole if rows[s["request_id"]]["cell_id"] == info.cell_id]
        assert accuracy(cell).value == pytest.approx(sum(values) / len(values))


def test_without_retries_every_fault_is_told_as_what_it_is(tmp_path: Path) -> None:
    run, truth = faulty(tmp_path, retries=0)
    rows = check_one_row_each(run)
    assert len(truth) == len(rows)
    assert set(ENDS) == {sent["fault"] for sent in truth}
    got = Counter((row["stream"], End(row["outcome"], row["error_kind"], row["status"])) for row in rows.values())
    assert got == Counter((sent["stream"], expected(sent)) for sent in truth)
    by_id = {sent["id"]: sent for sent in truth if sent["id"]}
    for row in rows.values():
        if row["response_id"] is not None:
            sent = by_id[row["response_id"]]
            assert End(row["outcome"], row["error_kind"], row["status"]) == expected(sent)
    check_final_attempts(run, rows)
    check_scores(run, rows)
    partial = [choice for choice in run.rows("choices") if rows[choice["request_id"]]["outcome"] != "ok"]
    assert partial
    for choice in partial:
        said = by_id[rows[choice["request_id"]]["response_id"]]["choices"][choice["choice"]]
        assert said["text"].startswith(choice["text"])


def test_with_retries_passing_faults_are_tried_again_and_all_attempts_are_kept(tmp_path: Path) -> None:
    run, truth = faulty(tmp_path, retries=2)
    rows = check_one_row_each(run)
    attempts = run.rows("attempts")
    assert len(attempts) == len(truth) > len(rows)
    streams = {request_id: row["stream"] for request_id, row in rows.items()}
    got = Counter((streams[row["request_id"]], row["error_kind"], row["status"]) for row in attempts)
    assert got == Counter((sent["stream"], expected(sent).kind, expected(sent).status) for sent in truth)
    check_final_attempts(run, rows)
    lasting = {"stream_error", "bad_payload", "stream_truncated", None}
    for row in rows.values():
        most = 2 if row["error_kind"] == "http_400" else 3  # the service's sporadic refusal is tried again once
        assert row["attempts"] >= most or row["error_kind"] in lasting
    assert sum(row["attempts"] > 1 and row["outcome"] == "ok" for row in rows.values()) > 100
    check_scores(run, rows)
