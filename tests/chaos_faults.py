"""Chaos, part one: every fault at once under limits per minute, judged by the simulator's own log."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_table import Table, most_in_window
from measured import Measured, read_truth, run_measured
from setups import MODEL, experiment, rows_file
from test_faults import ENDS

from bench.config import Experiment
from bench.domain import Request
from bench.measure.body import request_body
from bench.measure.ceiling import most_of
from bench.providers.sim import EXCLUSIVE
from bench.sim.api import digest_of

MINUTE_NS = 60_000_000_000
SLOW_HEADERS_S = 0.3
#: models that start many small requests, and models that write much
MANY = ("Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-32B-Instruct")
MUCH = ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct")


@dataclass(frozen=True)
class Size:
    """How much chaos: requests of all four models together, the limits of each, and the share of each fault."""

    requests: int = 2_000
    rpm: int = 330
    tpm: int = 25_000
    rate: float = 0.05
    settle_s: float = 60.0
    stall_s: float = 0.8
    adaptive: bool = True
    seed: int = 20261122


@dataclass
class Lane:
    """One model's attempts as the server saw them, and what the client recorded of each."""

    model: str
    pairs: list[tuple[Request, dict[str, Any], dict[str, Any]]] = field(default_factory=list)  # request, sent, recorded
    unmatched: int = 0


def cells(folder: Path, size: Size, log: Path) -> list[Experiment]:
    """Streamed cells of short answers, which meet RPM first, and plain ones of long answers, which meet TPM."""
    faults = {**dict.fromkeys((*EXCLUSIVE, "slow_headers"), size.rate), "slow_headers_s": SLOW_HEADERS_S}
    knobs = {"speed": 20, "seed": size.seed, "rpm": size.rpm, "tpm": size.tpm, "faults": faults, "truth_log": str(log)}
    dataset = rows_file(folder, size.requests // 4)
    shapes = [*((name, True, 8, 1) for name in MANY), *((name, False, 32, 4) for name in MUCH)]
    return [
        experiment(
            dataset,
            model={**MODEL, "name": name, "thinking": "none", "min_p": False},
            provider={"kind": "sim", "name": "sim", "knobs": knobs},
            sampling={"stream": stream, "max_tokens": max_tokens, "n": n},
            load={"kind": "closed", "concurrency": 64},
            limits={"rpm": size.rpm, "tpm": size.tpm, "backoff_s": 0.2, "adaptive": size.adaptive},
            timeout={"between_tokens_s": size.stall_s, "total_s": 2 * size.stall_s},
        )
        for name, stream, max_tokens, n in shapes
    ]


def lanes_of(run: Measured, truth: Sequence[dict[str, Any]]) -> list[Lane]:
    """Attempt by attempt, what was sent beside what was recorded, matched by the body and its order."""
    sent: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(truth, key=lambda row: row["accept_ns"]):
        sent.setdefault(row["digest"], []).append(row)
    tried: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows("attempts"):
        tried.setdefault(row["request_id"], []).append(row)
    lanes: dict[str, Lane] = {}
    for request in run.plan.requests():
        lane = lanes.setdefault(request.cell.config.model.name, Lane(request.cell.config.model.name))
        body = request_body(request.cell.config, request.sample, request.repeat, request.cell.dropped)
        mine, theirs = sent.pop(f"{digest_of(body):016x}", []), tried.get(request.request_id, [])
        lane.unmatched += abs(len(mine) - len(theirs))
        lane.pairs += [(request, one, other) for one, other in zip(mine, theirs, strict=False)]
    for lane in lanes.values():
        lane.unmatched += sum(len(rows) for rows in sent.values() if rows[0]["model"] == lane.model)
    return list(lanes.values())


def check_rows(run: Measured, table: Table) -> dict[str, dict[str, Any]]:
    """Every planned request has exactly one row."""
    rows = run.rows("requests")
    planned = [request.request_id for request in run.plan.requests()]
    by_id = {row["request_id"]: row for row in rows}
    table.equal("requests with exactly one terminal row", len(by_id.keys() & set(planned)), len(planned))
    table.equal("rows", len(rows), len(planned))
    outcomes = Counter(row["outcome"] for row in rows)
    table.add("outcomes", ", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    attempts = run.rows("attempts", ["request_id"])
    table.equal("attempts recorded against attempts in the rows", len(attempts), sum(row["attempts"] for row in rows))
    return by_id


def check_windows(truth: Sequence[dict[str, Any]], size: Size, table: Table) -> None:
    """The limits, in any minute, as the server counted."""
    for model in (*MANY, *MUCH):
        mine = [row for row in truth if row["model"] == model]
        starts = [(row["accept_ns"], 1) for row in mine]
        table.most(f"{model}: attempts in the fullest 60 s", most_in_window(starts, MINUTE_NS), size.rpm)
        used = [row for row in mine if row["usage"]]
        tokens = [(row["accept_ns"], row["usage"]["prompt_tokens"]) for row in used]
        tokens += [(row["end_ns"], row["usage"]["completion_tokens"]) for row in used]
        table.most(f"{model}: tokens in the fullest 60 s", most_in_window(tokens, MINUTE_NS), size.tpm)
    refused = sum(row["status"] == 429 and row["fault"] is None for row in truth)
    table.equal("attempts that the server's limits refused", refused, 0)


def check_pace(lane: Lane, size: Size, table: Table) -> None:
    """How much of its limit a lane used after the first window, while first attempts were still waiting to be sent.

    An attempt counts the tokens that the client has to: those it was told, or all that it could have used where it was
    told none; an attempt refused with a status counts none.
    """
    start_ns = min(sent["accept_ns"] for _, sent, _ in lane.pairs)
    end_ns = max(sent["accept_ns"] for _, sent, told in lane.pairs if told["attempt"] == 1)
    first_ns = start_ns + round(size.settle_s * 1e9)
    minutes = (end_ns - first_ns) / MINUTE_NS
    if minutes <= 0:
        table.add(f"{lane.model}: pace in steady state", "no steady state", "longer than the first window", False)
        return
    steady = [pair for pair in lane.pairs if first_ns <= pair[1]["accept_ns"] < end_ns]
    rpm = len(steady) / minutes
    counted = [sent["usage"] for _, sent, _ in steady if sent["usage"]]
    seen_tpm = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in counted) / minutes
    owed_tpm = sum(map(_owed, steady)) / minutes
    told = f"{rpm:.0f} requests, {owed_tpm:.0f} tokens ({seen_tpm:.0f} by the server) per minute for {minutes:.1f} min"
    table.add(f"{lane.model}: steady state", told, f"{size.rpm} requests, {size.tpm} tokens")
    table.least(f"{lane.model}: share of its tightest limit", max(rpm / size.rpm, owed_tpm / size.tpm), 0.9)


def _owed(pair: tuple[Request, dict[str, Any], dict[str, Any]]) -> int:
    request, sent, recorded = pair
    if recorded["status"] is not None and recorded["status"] >= 400:
        return 0
    if recorded["error_kind"] is None and sent["usage"]:
        return int(sent["usage"]["prompt_tokens"] + sent["usage"]["completion_tokens"])
    return most_of(request.cell.config, request.sample)[0]


def check_faults(lanes: Sequence[Lane], rows: dict[str, dict[str, Any]], table: Table) -> None:
    """Fault by fault, what the client made of it."""
    table.equal("attempts at the server that match no recorded one", sum(lane.unmatched for lane in lanes), 0)
    pairs = list(itertools.chain.from_iterable(lane.pairs for lane in lanes))
    for fault in (None, *EXCLUSIVE):
        mine = [pair for pair in pairs if pair[1]["fault"] == fault and (fault or pair[1]["status"] == 200)]
        wrong = sum(not is_as_expected(sent, told, rows[request.request_id]) for request, sent, told in mine)
        kinds = Counter(told["error_kind"] or "ok" for _, _, told in mine)
        made = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        table.add(f"fault {fault or 'none'}", f"{len(mine)} times: {made}; {wrong} mismatches", 0, wrong == 0)
    ends = [(sent, rows[request.request_id]) for request, sent, told in pairs if _is_last(told, rows)]
    slow = [row for sent, row in ends if sent.get("slow_headers") and row["headers_ns"] is not None]
    early = sum(row["headers_ns"] - row["sent_ns"] < SLOW_HEADERS_S * 0.99e9 for row in slow)
    table.add("fault slow_headers", f"{len(slow)} times in last attempts; {early} mismatches", 0, early == 0)


def _is_last(told: dict[str, Any], rows: dict[str, dict[str, Any]]) -> bool:
    return bool(told["attempt"] == rows[told["request_id"]]["attempts"])


def is_as_expected(sent: dict[str, Any], told: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether an attempt was recorded as what happened to it; the last one's outcome included."""
    end = ENDS[sent["fault"]][0 if sent["stream"] else 1]
    if (told["error_kind"], told["status"]) != (end.kind, end.status):
        return False
    return told["attempt"] < row["attempts"] or row["outcome"] == end.outcome


def chaos(folder: Path, size: Size, table: Table) -> None:
    """Run it and judge it."""
    log = folder / "truth.log"
    run = run_measured(cells(folder, size, log), folder / "results")
    truth = read_truth(log)
    rows = check_rows(run, table)
    check_windows(truth, size, table)
    lanes = lanes_of(run, truth)
    for lane in lanes:
        check_pace(lane, size, table)
    check_faults(lanes, rows, table)
