"""Typed experiments and plans for tests, without Hydra."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.config import Experiment, parse
from bench.registry import discover

MODEL = {
    "name": "Qwen/Qwen3-8B",
    "context_tokens": 131072,
    "thinking": "toggle",
    "tools": True,
    "min_p": True,
    "price": {"currency": "CNY", "input_per_mtok": 1.0, "output_per_mtok": 4.0, "as_of": "2025-09"},
}


def experiment(dataset: Path, **changes: Any) -> Experiment:
    """An experiment on a JSONL file; ``changes`` replace whole top-level keys or, by ``a__b``, single values."""
    discover()
    config: dict[str, Any] = {
        "model": dict(MODEL),
        "provider": {"kind": "sim", "name": "sim"},
        "dataset": {"kind": "jsonl", "path": str(dataset), "name": "made", "scorer": "none"},
        "sampling": {"max_tokens": 64},
        "load": {"kind": "closed", "concurrency": 8},
    }
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            config[group] = {**config.get(group, {}), name: value}
        else:
            config[group] = value
    return parse(config)


def rows_file(folder: Path, count: int = 10, name: str = "rows.jsonl", **extra: Any) -> Path:
    """A JSONL file of ``count`` rows with ids, prompts and numeric targets."""
    path = folder / name
    rows = [{"id": f"row-{i:03d}", "prompt": f"What is {i} + {i}?", "target": 2 * i, **extra} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
