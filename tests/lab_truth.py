"""The independent ground-truth server of the lab: built, run on a core of its own, and its log read."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import read_table


def build(source: Path, folder: Path) -> Path:
    """Compile the server.

    Raises:
        SystemExit: there is no compiler, or it refuses the source.
    """
    target = folder / "truthd"
    try:
        subprocess.run(
            ["gcc", "-O2", "-o", str(target), str(source), "-lm"], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise SystemExit("gcc is missing: install a C compiler to run the lab") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{source} does not compile:\n{error.stderr}") from error
    return target


def pinned(command: Sequence[str], cores: Sequence[int]) -> list[str]:
    """The command, kept on some cores by ``taskset``."""
    return ["taskset", "-c", ",".join(str(core) for core in cores), *command]


@dataclass
class Truth:
    """A running server; ``rows`` and ``summary`` are there once it has ended."""

    base_url: str
    rows: list[dict[str, int]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


@contextmanager
def serving(program: Path, cores: Sequence[int], **options: float) -> Iterator[Truth]:
    """The server with its options (``ttft_ms=100``), on some cores, until the block ends; its log is then read."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, summary = program.parent / f"truth-{port}.csv", program.parent / f"truth-{port}.json"
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", f"{value:g}")]
    command = [str(program), "--port", str(port), "--log", str(log), "--summary", str(summary), *flags]
    process = subprocess.Popen(pinned(command, cores), stderr=subprocess.DEVNULL)
    truth = Truth(f"http://127.0.0.1:{port}/v1")
    try:
        _wait_for(port, process)
        yield truth
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    with log.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        truth.rows = [{key: int(text) for key, text in row.items() if text and text.isdigit()} for row in rows]
    truth.summary = json.loads(summary.read_text(encoding="utf-8"))


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"the truth server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("the truth server does not listen")


@dataclass(frozen=True)
class Cost:
    """What the operating system says a finished process (and the children it waited for) cost."""

    cpu_s: float
    wall_s: float
    max_rss_mb: float


def run_counted(command: Sequence[str], cores: Sequence[int], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command on some cores to its end.

    Raises:
        SystemExit: it failed; what it said is shown.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        pinned(command, cores),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode('utf-8', 'replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss / 1024)


@dataclass(frozen=True)
class Errors:
    """Reported minus true, one value per stream that both sides know. ``tpot`` is relative."""

    ttft_ms: Any
    tpot: Any
    streams: int


def errors(run: Path, truth: Truth) -> Errors:
    """Compare a run's record with what the server sent; the response id carries the server's sequence number.

    Reported TTFT is the first event minus the last byte handed to the socket, true TTFT the first token written minus
    the request read.
    """
    by_seq = {row["seq"]: row for row in truth.rows}
    ttft, tpot = [], []
    columns = ["request_id", "response_id", "sent_ns", "last_token_ns", "events", "outcome"]
    firsts = {
        row["request_id"]: row["event_ns"][0]
        for row in read_table(run, "choices", ["request_id", "event_ns"]).to_pylist()
        if row["event_ns"]
    }
    for row in read_table(run, "requests", columns).to_pylist():
        first_ns = firsts.get(row["request_id"])
        if row["outcome"] != "ok" or first_ns is None:
            continue
        true = by_seq[int(row["response_id"].rpartition("-")[2], 16)]
        ttft.append((first_ns - row["sent_ns"] - (true["t_first_content"] - true["t_rx"])) / 1e6)
        if row["events"] > 1 and true["t_last"] > true["t_first_content"]:
            tpot.append((row["last_token_ns"] - first_ns) / (true["t_last"] - true["t_first_content"]) - 1)
    return Errors(np.array(ttft), np.array(tpot), len(ttft))
