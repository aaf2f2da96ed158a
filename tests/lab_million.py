"""A run of a million requests against a sender that answers at once: ``python tests/lab_million.py [REQUESTS]``.

Prints the peak memory of the recording process after every tenth, and CPU seconds per stage, then of ``bench report``.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from measured import Counted, open_record
from setups import experiment, rows_file

from bench.domain import Answer, Choice, EventKind, Outcome, Reply, Timeline, Usage
from bench.measure import run as run_module
from bench.measure.plan import Plan, make_plan
from bench.measure.run import measure, unsent
from bench.measure.servers import Servers
from bench.progress import Figures

EVENTS = 4


class Null:
    """Answers at once, with a short streamed reply."""

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        now = time.monotonic_ns()
        marks = tuple(now + 1000 * (i + 1) for i in range(EVENTS))
        choice = Choice(0, "4", finish_reason="stop", event_ns=marks, event_kind=(EventKind.ANSWER,) * EVENTS)
        reply = Reply((choice,), Usage(12, EVENTS), "id", "null", events=EVENTS, done=True)
        timeline = Timeline(due_ns, permit_ns, now, now + 500, now + 900, marks[-1] + 100)
        await asyncio.sleep(0)
        return Answer(Outcome.OK, timeline, 200, reply)


class Memory(Counted):
    """Prints the peak memory after every tenth of the run."""

    def finished(self, figures: Figures) -> None:
        self.done_before += 1
        if self.total and self.done_before % (self.total // 10) == 0:
            print(
                f"{self.done_before:>9,} requests  peak {peak_mb():4d} MB  CPU {time.process_time():6.1f} s", flush=True
            )


def peak_mb() -> int:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(requests: int) -> None:
    """Plan, record, report."""

    async def senders(plan: Plan, servers: Servers, stack: AsyncExitStack) -> dict[str, Any]:
        return {cell.cell_id: Null() for cell in plan.cells}

    async def nothing(*_: Any) -> None: ...

    run_module.open_transports = senders  # type: ignore[assignment]  # doubles of the same shape
    run_module.check_reachable = run_module.warm = nothing  # type: ignore[assignment]  # likewise
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        load = {"kind": "closed", "concurrency": 64, "requests": requests}
        plan = make_plan([experiment(rows_file(Path(folder), 100), load=load, engine={"processes": 1})])
        done = measure(plan, Servers([]), Memory(), lambda: open_record(plan, results))
        done.record.finish(state="finished", unsent=unsent(plan, done.record, "not reached"))
        print(f"recorded and sealed: peak {peak_mb()} MB, CPU {time.process_time():.1f} s", flush=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        report = [sys.executable, "-m", "bench", "report", str(done.record.path)]
        subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        wall = time.monotonic() - start
        print(f"bench report: CPU {cpu:.1f} s, wall {wall:.1f} s, largest child {after.ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
