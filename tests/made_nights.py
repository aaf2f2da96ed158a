"""Made nights: runs as `bench run experiment=nightly` leaves them, with a service whose hours differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from made_run import MadeCell, make_run

FIRST = datetime(2026, 9, 1, 2, tzinfo=UTC)
PROMPTS = "ab" * 32


@dataclass(frozen=True)
class Service:
    """One model on one night.

    Attributes:
        slow: factor on all its times, beside the night's own.
        skill: share of right answers.
        failures: error kinds of its last requests.
        header: of the cell's config, merged in.
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
    import json

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
