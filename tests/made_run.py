"""Synthetic run folders, written straight from the contract's columns: what the reading side can be tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure.lag import LagMeter
from bench.measure.vitals import Watch

MS = 1_000_000
_INT, _TEXT, _FLAG, _REAL = pa.int64(), pa.string(), pa.bool_(), pa.float64()

_MARKS = ("due", "permit", "sent", "headers", "first_byte", "first_reasoning", "first_answer", "last_token", "end")
_COLUMNS = {
    "requests": {
        **dict.fromkeys(("request_id", "cell_id", "sample_id", "provider", "model"), _TEXT),
        **dict.fromkeys(("repeat", "order", "n", "status", "attempts"), _INT),
        **dict.fromkeys(("stream", "cached", "warmup"), _FLAG),
        **dict.fromkeys((f"{mark}_ns" for mark in _MARKS), _INT),
        **dict.fromkeys(("outcome", "error_kind", "error_detail", "usage_source", "currency"), _TEXT),
        **dict.fromkeys((f"{kind}_tokens" for kind in ("prompt", "completion", "reasoning", "cached")), _INT),
        **dict.fromkeys(("response_id", "response_model", "system_fingerprint", "trace_id"), _TEXT),
        **dict.fromkeys(("connect_ns", "bytes_in", "events", "loop_lag_ns"), _INT),
        "cost": _REAL,
    },
    "choices": {
        **dict.fromkeys(("request_id", "text", "reasoning", "tool_calls", "finish_reason"), _TEXT),
        **dict.fromkeys(("choice", "first_reasoning_ns", "first_answer_ns", "last_token_ns"), _INT),
        "event_ns": pa.list_(_INT),
        "event_kind": pa.list_(_TEXT),
    },
    "scores": {
        **dict.fromkeys(("request_id", "scorer", "label", "extracted", "detail", "scorer_version"), _TEXT),
        "choice": _INT,
        "value": _REAL,
    },
}
SCHEMAS = {name: pa.schema(list(columns.items())) for name, columns in _COLUMNS.items()}


@dataclass(frozen=True)
class MadeCell:
    """One cell to invent rows for.

    Attributes:
        params: swept parameters; they make the label.
        ttft_ms, tokens, token_ms: first event after the send, events per choice, pause between events.
        skill: share of right answers, spread evenly over the questions; ``None`` leaves replies unscored.
        failures: error kinds, given to the last requests of the cell, one each.
        truncated: streams that end early, before the failures.
        price: cost of one served request, in ``currency``.
        late_ms: from permit to send, the opening of a connection (``connect_ms``) included.
        rate: arrivals per second of an open load; ``spacing_ms``: between the sends of a closed one.
    """

    params: dict[str, Any]
    questions: int = 20
    repeats: int = 1
    n: int = 1
    stream: bool = True
    ttft_ms: float = 200.0
    tokens: int = 11
    token_ms: float = 20.0
    jitter: float = 0.0
    reasoning_events: int = 0
    skill: float | None = 0.8
    failures: Sequence[str] = ()
    truncated: int = 0
    not_sent: int = 0
    warmup: int = 0
    usage: bool = True
    price: float | None = 0.001
    currency: str = "CNY"
    load: str = "closed"
    rate: float = 10.0
    spacing_ms: float = 100.0
    slo: str | None = None
    scorer: str = "exact"
    late_ms: float = 1.0
    connect_ms: float | None = None

    @property
    def label(self) -> str:
        """The swept values, as tables show them."""
        return " ".join(str(value) for value in self.params.values())


def make_run(
    folder: Path,
    cells: Sequence[MadeCell],
    seed: int = 0,
    header: dict[str, Any] | None = None,
    parts: int = 1,
    vitals: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """Write a run folder with ``run.json`` and all tables; ``parts > 1`` writes folders of parts instead of files.

    ``vitals`` are those of one idle process over the whole run unless given.
    """
    random = Random(seed)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    for index, cell in enumerate(cells):
        _fill(cell, f"cell{index}", random, rows)
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in SCHEMAS.items():
        _write(folder / f"{name}.parquet", rows[name], schema, parts)
    params = [{key: str(value) for key, value in cell.params.items()} for cell in cells]
    flat = [{"cell_id": f"cell{i}", "index": i, "label": c.label, **params[i]} for i, c in enumerate(cells)]
    pq.write_table(pa.Table.from_pylist(flat), folder / "cells.parquet")
    ends = [row["end_ns"] for row in rows["requests"] if "end_ns" in row]
    known = [made_vitals(max(ends, default=0) / 1e9 + 0.1)] if vitals is None else list(vitals)
    head = _header(cells, rows["requests"]) | {"vitals": known} | (header or {})
    (folder / "run.json").write_text(json.dumps(head), encoding="utf-8")
    return folder


def made_vitals(wall_s: float, late: Mapping[float, int] | None = None, **changes: Any) -> dict[str, Any]:
    """Vitals of one process as ``run.json`` holds them: punctual but for ``late``, how many readings of what lag."""
    meter = LagMeter(lambda: 0)
    watch = Watch(0, 0, meter, clock=lambda: 0)
    for lag_ms, count in (late or {}).items():
        for _ in range(count):
            meter.note(0, int(lag_ms * MS))
    for _ in range(int(wall_s * 1000 / meter.period_ms)):
        meter.note(0, 0)
    return {**watch.stop().row(), "wall_s": wall_s, "cpu_s": 0.1 * wall_s, "gc_pause_max_ms": 1.0, **changes}


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema, parts: int) -> None:
    if parts == 1:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        return
    path.mkdir()
    for part in range(parts):
        pq.write_table(pa.Table.from_pylist(rows[part::parts], schema=schema), path / f"part-{part:05d}.parquet")


def _header(cells: Sequence[MadeCell], requests: list[dict[str, Any]]) -> dict[str, Any]:
    keys = {key for cell in cells for key in cell.params if len({str(c.params.get(key)) for c in cells}) > 1}
    counts: dict[str, int] = {}
    for row in requests:
        counts[row["outcome"]] = counts.get(row["outcome"], 0) + 1
    return {
        "schema_version": 1,
        "run_id": "20261122T120000Z-abc123",
        "name": "made",
        "state": "finished",
        "versions": {"chatbench": "0.1.0", "python": "3.11.7"},
        "host": {"cpus": 2, "platform": "Linux"},
        "seed": 7,
        "started_at": "2026-11-22T12:00:00Z",
        "origin_ns": 0,
        "datasets": {"d": {"name": "arithmetic", "rows": 20, "sha256": "ab" * 32}},
        "counts": counts,
        "cells": [
            {
                "cell_id": f"cell{index}",
                "index": index,
                "label": cell.label,
                "swept": sorted(keys),
                "config": _config(cell),
            }
            for index, cell in enumerate(cells)
        ],
    }


def _config(cell: MadeCell) -> dict[str, Any]:
    config: dict[str, Any] = {
        "load": {"kind": cell.load},
        "scorer": {"kind": cell.scorer},
        "dataset": {"name": "arithmetic"},
        "slo": cell.slo,
    }
    for key, value in cell.params.items():
        *groups, last = key.split(".")
        inner = config
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return config


def _fill(cell: MadeCell, cell_id: str, random: Random, rows: dict[str, list[dict[str, Any]]]) -> None:
    total = cell.questions * cell.repeats
    bad_from = total - len(cell.failures)
    for i in range(cell.warmup + total):
        order = i - cell.warmup
        sent = int(i * cell.spacing_ms * MS) if cell.load == "closed" else int(i * 1e9 / cell.rate)
        sent += 0 if cell.load == "closed" else int((2 + cell.late_ms) * MS)
        row: dict[str, Any] = {
            "request_id": f"{cell_id}-{i}",
            "cell_id": cell_id,
            "sample_id": f"q{max(order, 0) % cell.questions}",
            "repeat": max(order, 0) // cell.questions,
            "order": i,
            "provider": "sim",
            "model": str(cell.params.get("model.name", "m")),
            "stream": cell.stream,
            "n": cell.n,
            "due_ns": 0 if cell.load == "closed" else int(i * 1e9 / cell.rate),
            "attempts": 1,
            "cached": False,
            "warmup": order < 0,
        }
        rows["requests"].append(row)
        if order >= bad_from - cell.truncated - cell.not_sent and order < bad_from - cell.truncated:
            row |= {"outcome": "not_sent", "error_kind": "budget", "attempts": 0}
            continue
        row |= {"permit_ns": sent - int(cell.late_ms * MS), "sent_ns": sent, "headers_ns": sent + 5 * MS, "status": 200}
        row["connect_ns"] = None if cell.connect_ms is None else int(cell.connect_ms * MS)
        if order >= bad_from:
            kind = cell.failures[order - bad_from]
            row |= {
                "outcome": "failed",
                "error_kind": kind,
                "error_detail": f"{kind}: no luck",
                "end_ns": sent + 9 * MS,
            }
            continue
        _reply(cell, row, sent, order, random, rows)


def _reply(
    cell: MadeCell, row: dict[str, Any], sent: int, order: int, random: Random, rows: dict[str, list[dict[str, Any]]]
) -> None:
    cut = order >= cell.questions * cell.repeats - len(cell.failures) - cell.truncated
    slow = 1.0 + (random.lognormvariate(0, cell.jitter) - 1.0 if cell.jitter else 0.0)
    first = sent + int(cell.ttft_ms * slow * MS)
    events = [first + int(k * cell.token_ms * slow * MS) for k in range(cell.tokens)]
    end = events[-1] + 1 * MS
    kinds = ["reasoning" if k < cell.reasoning_events else "answer" for k in range(cell.tokens)]
    row |= {"outcome": "truncated" if cut else "ok", "first_byte_ns": first, "end_ns": end, "events": len(events)}
    row["error_kind"] = "stream_truncated" if cut else None
    if cell.stream:
        row |= {
            "first_reasoning_ns": first if cell.reasoning_events else None,
            "first_answer_ns": events[cell.reasoning_events],
            "last_token_ns": events[-1],
        }
    if cell.usage and not cut:
        row |= {"prompt_tokens": 50, "completion_tokens": cell.tokens * cell.n, "usage_source": "server"}
    if cell.price is not None and not cut:
        row |= {"cost": cell.price, "currency": cell.currency}
    for choice in range(cell.n):
        made = {"request_id": row["request_id"], "choice": choice, "text": f"answer {choice}", "reasoning": ""}
        made["finish_reason"] = None if cut else "stop"
        if cell.stream:
            made |= {name: row[name] for name in ("first_reasoning_ns", "first_answer_ns", "last_token_ns")}
            made |= {"event_ns": events, "event_kind": kinds}
        rows["choices"].append(made)
        if cell.skill is None:
            verdict = {"value": None, "label": "unscored"}
        elif (order * cell.n + choice) * 0.618034 % 1.0 < cell.skill:
            verdict = {"value": 1.0, "label": "correct"}
        else:
            verdict = {"value": 0.0, "label": "wrong"}
        scored = {"request_id": row["request_id"], "choice": choice, "scorer": cell.scorer, "scorer_version": "1"}
        rows["scores"].append(scored | verdict)
