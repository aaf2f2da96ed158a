"""Chaos, part three: budgets under concurrency, judged by the simulator's log, and a key that must appear nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from os import environ
from pathlib import Path

from chaos_table import Table
from measured import read_truth, run_measured
from setups import MODEL, experiment, rows_file

from bench.measure.ceiling import price_of
from bench.providers.sim import EXCLUSIVE, Faults, SimKnobs
from bench.record import read_table
from bench.sim.serve import running

CANARY = "canary-7d1f0c9ab25e4483"
CAPS: dict[str, int | float] = {"requests": 101, "tokens": 9_000, "cost": 0.02}
TABLES = ("requests", "choices", "attempts")


def check_cap(folder: Path, cap: str, most: float, table: Table) -> None:
    """A run of more than a budget covers, 32 requests at once with four choices each, faults and retries included."""
    log = folder / "truth.log"
    faults = dict.fromkeys(("http_429", "http_500", "drop", "cut", "reset", "malformed", "no_finish"), 0.05)
    knobs = {"speed": 0, "faults": faults, "truth_log": str(log)}
    cell = experiment(
        rows_file(folder, 300),
        model={**MODEL, "name": "Qwen/Qwen2.5-7B-Instruct", "thinking": "none", "min_p": False},
        provider={"kind": "sim", "name": "sim", "knobs": knobs},
        sampling={"max_tokens": 24, "n": 4},
        load={"kind": "closed", "concurrency": 32},
        limits={"backoff_s": 0.001, "adaptive": False},
        budget={cap: most},
    )
    run = run_measured([cell], folder / "results")
    truth = read_truth(log)
    usages = [row["usage"] for row in truth if row["usage"]]
    spent = {
        "requests": float(len(truth)),
        "tokens": float(sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)),
        "cost": sum(
            price_of(cell.model.price, usage["prompt_tokens"], usage["completion_tokens"]) or 0.0 for usage in usages
        ),
    }[cap]
    table.most(
        f"budget.{cap} of {len(run.rows('requests'))} requests, n=4, 32 at once: spent at the server", spent, most
    )
    refused = sum(row["error_kind"] == "budget" for row in run.rows("requests"))
    table.least(f"budget.{cap}: requests it kept from being sent", refused, 1)


def said_after(folder: Path, fault: str) -> Iterator[str]:
    """Everything that a run of eight requests under one fault leaves behind: files, tables, standard output."""
    folder.mkdir()
    rows_file(folder, 4)
    knobs = (
        SimKnobs(speed=0, api_keys=[CANARY], faults=Faults(**{fault: 1.0}, stall_s=0.2, slow_headers_s=0.01))
        if fault != "refused_key"
        else SimKnobs(speed=0, api_keys=["another"])
    )
    with running(knobs) as base_url:
        words = ["run", "provider=compatible", f"provider.base_url={base_url}", "provider.api_key_env=CHAOS_KEY"]
        words += ["dataset=jsonl", "dataset.path=rows.jsonl", "sampling.stream=true,false", "sampling.max_tokens=8"]
        words += ["limits.backoff_s=0.001", "model=qwen2.5-7b-instruct", "scorer=none", "-m"]
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=folder,
            env={**environ, "CHAOS_KEY": CANARY},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    yield from (done.stdout, done.stderr)
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes().decode("utf-8", "replace")
    for header in folder.glob("results/*/*/run.json"):
        for name in TABLES:
            yield json.dumps(read_table(header.parent, name).to_pylist(), default=str)


def check_canary(folder: Path, table: Table, faults: tuple[str, ...] = ("refused_key", *EXCLUSIVE)) -> None:
    """The key is sent with every request and must be found in nothing that a run leaves behind, whole or in part."""
    for fault in faults:
        texts = list(said_after(folder / fault, fault))
        found = sum(CANARY[:14] in text for text in texts)
        looked = sum(map(len, texts))
        table.add(f"key after {fault}", f"in {found} of {len(texts)} texts ({looked} characters)", 0, found == 0)


def chaos(folder: Path, table: Table) -> None:
    """Budgets, then the key."""
    for cap, most in CAPS.items():
        place = folder / cap
        place.mkdir()
        check_cap(place, cap, most, table)
    check_canary(folder, table)
