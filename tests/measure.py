"""What the product costs on this machine: ``python tests/measure.py`` prints the table that the README quotes.

CPU seconds are the operating system's own for the finished process (children apart); wall times are noisy and shown
for orientation only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scored_run import finished_run

from bench.judge.score import score_run

RUNS = 5

FIRST_REQUEST = """
import sys, time
import bench.measure.transport as transport
send = transport.Transport.send
async def timed(self, *args, **kwargs):
    print("CPU", time.process_time(), file=sys.stderr)
    transport.Transport.send = send
    return await send(self, *args, **kwargs)
transport.Transport.send = timed
from bench.cli import main
sys.exit(main(["run", "model=qwen3-8b", "dataset.limit=1", "report=none", "results_dir=RESULTS"]))
"""


def cpu_and_wall(command: Sequence[str], folder: str) -> tuple[float, float, str]:
    """CPU and wall seconds of one process, and what it wrote to standard error."""
    before, start = os.times(), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - start, done.stderr


def row(name: str, once: Callable[[], tuple[float, float]]) -> None:
    """Print the medians of ``RUNS`` runs after one warm-up."""
    once()
    cpus, walls = zip(*(once() for _ in range(RUNS)), strict=True)
    print(f"{name:<58} {statistics.median(cpus):7.2f} {statistics.median(walls):8.2f}")


def scoring(folder: str, replies: int) -> Callable[[], tuple[float, float]]:
    """What scoring recorded replies takes in this process, from the tables of a run to the table of scores."""
    rows = [{"id": f"q{number}", "prompt": f"What is {number} + 1?", "target": number + 1} for number in range(replies)]
    said = {f"q{number}": [f"Adding one to {number} gives {number + number % 3}."] for number in range(replies)}
    path = finished_run(Path(folder), rows, said, scorer={"kind": "numeric"})

    def once() -> tuple[float, float]:
        cpu, wall = time.process_time(), time.monotonic()
        score_run(path)
        return time.process_time() - cpu, time.monotonic() - wall

    return once


def main() -> None:
    """Measure and print."""
    bench = [sys.executable, "-m", "bench"]
    print(f"{'median of ' + str(RUNS) + ' runs':<58} {'CPU s':>7} {'wall s':>8}")
    with tempfile.TemporaryDirectory() as folder:

        def whole(*arguments: str) -> Callable[[], tuple[float, float]]:
            return lambda: cpu_and_wall([*bench, *arguments], folder)[:2]

        def first_request() -> tuple[float, float]:
            program = FIRST_REQUEST.replace("RESULTS", f"{folder}/results")
            _, wall, said = cpu_and_wall([sys.executable, "-c", program], folder)
            return float(next(line.split()[1] for line in said.splitlines() if line.startswith("CPU"))), wall

        models = "qwen3-8b,qwen3-14b,qwen3-32b"
        temperatures = f"range(0,1,{1 / 100})"
        fast = ["provider.knobs.speed=0", f"results_dir={folder}/results", "sampling.max_tokens=64"]
        row("bench --help", whole("--help"))
        row("bench run, up to its first request (own process)", first_request)
        row(
            "plan 300 cells: 3 models x 100 values",
            whole("run", f"model={models}", f"sampling.temperature={temperatures}", "dry_run=true", "-m"),
        )
        row("plan 57 cells: model=glob(*)", whole("run", "model=glob(*)", "dry_run=true", "-m"))
        row(
            "run 10 requests, no report (simulator's CPU included)",
            whole("run", "load.requests=10", "report=none", *fast),
        )
        row(
            "run 2,000 requests, no report (simulator's CPU included)",
            whole("run", "load.requests=2000", "load.concurrency=64", "report=none", *fast),
        )
        row("score 10,000 replies with a cheap scorer", scoring(folder, 10_000))


if __name__ == "__main__":
    main()
