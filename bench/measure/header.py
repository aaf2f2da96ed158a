"""What ``run.json`` says of a run before its first request: enough to understand, repeat and resume it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench import __version__
from bench.config import plain
from bench.domain import Cell
from bench.measure.plan import Plan

_PACKAGES = ("aiohttp", "hydra-core", "msgspec", "pyarrow", "uvloop")


def make_header(plan: Plan, command: Sequence[str]) -> dict[str, Any]:
    """The header of a new run; the record adds ``schema_version`` and ``run_id``.

    ``origin_ns`` is the monotonic clock at this moment, from which every time in the tables counts, and
    ``started_at`` the wall clock at the same moment.
    """
    origin_ns, started_at = time.monotonic_ns(), datetime.now(UTC)
    return {
        "name": plan.experiment.name,
        "state": "running",
        "started_at": started_at.isoformat(),
        "origin_ns": origin_ns,
        "command": list(command),
        "seed": plan.seed,
        "planned": plan.total,
        "versions": {"chatbench": __version__, "python": platform.python_version(), **_versions()},
        "git_commit": git_commit(),
        "host": _host(),
        "cells": cell_rows(plan, plan.cells),
        "datasets": {
            key: {"content_hash": one.content_hash, "samples": len(one.samples), "rows_total": one.rows_total}
            for key, one in plan.samples.items()
        },
        "notes": list(plan.notes),
    }


def cell_rows(plan: Plan, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What the header says of each cell."""
    return [
        {
            "cell_id": cell.cell_id,
            "index": cell.index,
            "label": cell.label,
            "swept": list(cell.swept),
            "dataset_key": cell.dataset_key,
            "dropped": sorted(cell.dropped),
            "planned": plan.count(cell),
            "config": plain(cell.config),
        }
        for cell in cells
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the working directory, ``-dirty`` appended when it has changes; ``None`` outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _host() -> dict[str, Any]:
    return {
        "node": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "executable": sys.executable,
    }
