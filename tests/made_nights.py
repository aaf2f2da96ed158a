"""Made nights: runs as `bench run experiment=nightly` leaves them, with a service whose hours differ."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made_run import MadeCell, make_run

from bench.judge.night import Asked, CellNight
from bench.judge.night_answers import Answered, short_hash

MODEL = "Qwen/Qwen3-8B"
PINNED = "THUDM/GLM-4-9B-0414"
FIRST = datetime(2026, 9, 1, 2, tzinfo=UTC)
PROMPTS = "ab" * 32


@dataclass(frozen=True)
class Service:
    """One model on one night.

    Attributes:
        slow: factor on all its times, beside the night's own.
        skill: share of right answers.
        failures: error kinds of its last requests.
        price: of one request.
    """

    slow: float = 1.0
    skill: float = 0.8
    failures: Sequence[str] = ()
    price: float | None = 0.001


Night = Callable[[int], Mapping[str, Service]]


@dataclass(frozen=True)
class Nights:
    """How nights are made.

    Attributes:
        sd: of the log of the whole service's speed from night to night, which all models share.
        reference: the pinned model.
    """

    questions: int = 40
    repeats: int = 2
    sd: float = 0.02
    reference: str | None = None
    name: str = "nightly"
    datasets: Mapping[str, Any] = field(default_factory=lambda: {"arith-1": {"content_hash": PROMPTS, "samples": 40}})

    def write(self, results: Path, night: int, services: Mapping[str, Service], **header: Any) -> Path:
        """The run of one night; the same numbers for the same night, whatever was made before."""
        random = Random(f"{night}")
        started = FIRST + timedelta(days=night)
        folder = results / self.name / f"{started:%Y%m%dT%H%M%SZ}-{night:06x}"
        hour = random.lognormvariate(0, self.sd)
        cells = [self._cell(model, one, hour) for model, one in services.items()]
        config = {"reference": self.reference, "repeats": self.repeats}
        return _finish(
            make_run(
                folder,
                cells,
                seed=night,
                vitals=[],
                header={
                    "run_id": folder.name,
                    "name": self.name,
                    "started_at": started.isoformat(),
                    "datasets": dict(self.datasets),
                    **header,
                },
            ),
            config,
            next(iter(self.datasets)),
        )

    def _cell(self, model: str, one: Service, hour: float) -> MadeCell:
        return MadeCell(
            {"model.name": model},
            questions=self.questions,
            repeats=self.repeats,
            ttft_ms=200.0 * one.slow * hour,
            token_ms=20.0 * one.slow * hour,
            tokens=4,
            jitter=0.15,
            skill=one.skill,
            failures=one.failures,
            price=one.price,
        )


def _finish(run: Path, config: Mapping[str, Any], dataset_key: str) -> Path:
    header = json.loads((run / "run.json").read_text())
    for cell in header["cells"]:
        cell["config"] |= config
        cell["dataset_key"] = dataset_key
    (run / "run.json").write_text(json.dumps(header), encoding="utf-8")
    return run


def altered(run: Path, table: str, **columns: Any) -> Path:
    """A run with columns of a table replaced: by a value for every row, or by one per row."""
    path = run / f"{table}.parquet"
    found = pq.read_table(path)
    for name, value in columns.items():
        values = value if isinstance(value, list) else [value] * len(found)
        place = found.column_names.index(name)
        found = found.set_column(place, name, pa.array(values, found.schema.field(name).type))
    pq.write_table(found, path)
    # a change of content is a change of the file: never within the clock's own step
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    return run


def made_night(
    at: int,
    model: str = MODEL,
    slow: float = 1.0,
    accuracy: float = 0.8,
    questions: int = 60,
    reference: str | None = None,
    hashes: dict[str, str] | None = None,
    figures: dict[str, float | None] | None = None,
    name: str = "nightly",
) -> CellNight:
    """A cell of a night out of thin air: latencies of prompts that differ far more than nights do; no run folder."""
    random = np.random.default_rng(short_hash(f"{at} {model}") % 2**32)
    question = np.array([short_hash(str(number)) for number in range(questions)])
    own = np.exp(np.random.default_rng(7).normal(0, 1, questions))
    ttft = (200 * own * slow * np.exp(random.normal(0, 0.1, questions))).astype(np.float32)
    p50 = float(np.median(ttft))
    known = {"planned": questions, "ok": questions, "scored": questions, "failure_rate": 0.0, "error_rate": 0.0}
    latencies = {"ttft_p50_ms": p50, "ttft_p95_ms": None, "ttft_p99_ms": None, "e2e_p50_ms": p50}
    rates = {f"{rate}_rate": 0.0 for rate in ("unparsed", "truncated", "refused")}
    return CellNight(
        run=f"{name}/{at:04}",
        run_id=f"{at:04}",
        name=name,
        started_at=f"2026-01-01T00:{at // 60:02}:{at % 60:02}",
        cell_id=f"cell {model}",
        label=model,
        model=model,
        dataset="arithmetic",
        variant="",
        reference=reference,
        hashes={
            "prompt set": "aaaa",
            "definitions": "schema 1",
            "scorer": "numeric 1",
            "sampling": "s",
            "load": "l",
            "provider": "p",
            "reference": reference,
            **(hashes or {}),
        },
        figures={**known, **latencies, **rates, "accuracy": accuracy, "cost": 0.001, **(figures or {})},
        currency="CNY",
        invalid=None,
        models=(model,),
        fingerprints=(),
        asked=Asked(question, ttft, ttft * 2, np.full(questions, 50)),
        answered=Answered(question, question, question, np.ones(questions, np.float32)),
    )
