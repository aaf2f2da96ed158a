"""Whole runs without the command line: plan, servers, measuring and tables, and what the simulator says it sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.config import Experiment
from bench.measure.header import make_header
from bench.measure.plan import Plan, make_plan
from bench.measure.run import measure, unsent
from bench.measure.servers import Servers
from bench.measure.stop import Stop
from bench.progress import Figures
from bench.record import Record, read_table


@dataclass
class Counted:
    """A progress display that counts."""

    total: int | None = None
    done_before: int = 0
    outcomes: list[str] = field(default_factory=list)
    throttles: set[str | None] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def start(self, total: int | None, done: int, label: str) -> None:
        self.total, self.done_before = total, done

    def finished(self, figures: Figures) -> None:
        self.outcomes.append(figures.outcome)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def throttled(self, by: str | None) -> None:
        self.throttles.add(by)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Measured:
    """A run that is over."""

    path: Path
    plan: Plan
    stop: Stop
    progress: Counted

    def rows(self, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
        """A table as plain rows."""
        rows: list[dict[str, Any]] = read_table(self.path, table, columns).to_pylist()
        return rows


def open_record(plan: Plan, results: Path) -> Record:
    """A new run folder as ``bench run`` makes it."""
    record = Record.create(results, "made", make_header(plan, ("bench", "run")))
    record.write_cells(plan.cells)
    record.write_samples({key: one.kept for key, one in plan.samples.items()})
    return record


def run_measured(experiments: Sequence[Experiment], results: Path) -> Measured:
    """Measure and write the tables."""
    progress = Counted()
    with Servers(experiments) as servers:
        plan = make_plan(experiments)
        done = measure(plan, servers, progress, lambda: open_record(plan, results))
    record, stop = done.record, done.stop
    state = "finished" if stop.reason is None else "interrupted"
    record.finish(state=state, unsent=unsent(plan, record, stop.reason or "not reached"))
    return Measured(record.path, plan, stop, progress)


def read_truth(path: Path) -> list[dict[str, Any]]:
    """The simulator's log: one row per response."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
