"""Chaos, part two: runs killed with SIGKILL at seeded random moments and resumed, judged by an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
from bench_process import PATIENCE_S, await_gone, children
from chaos_table import Table
from measured import read_truth
from setups import rows_file

from bench.domain import ConfigError
from bench.providers.sim import SimKnobs
from bench.record import read_header, read_table
from bench.record.folder import sealed_parts
from bench.record.journal import read_segment, segments
from bench.record.rows import REQUEST_COLUMNS, unpack
from bench.sim.serve import running

CONCURRENCY = 8
KILLS_PER_RUN = 5
SEGMENT_ROWS = 40
#: ``bench`` with journal segments so small that runs of this size are sealed while they go on
SMALL_SEGMENTS = f"""
import sys
from functools import partial
from bench.record import journal, writer
writer.SegmentLimits = partial(journal.SegmentLimits, rows={SEGMENT_ROWS})
from bench.cli import main
sys.exit(main(sys.argv[1:]))
"""
TARGETS = ("main", "main", "group", "group", "worker", "sealer")
SAME = {
    "requests": [
        *("request_id", "cell_id", "sample_id", "repeat", "order", "model", "stream", "n", "outcome", "error_kind"),
        *("status", "attempts", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cost", "currency", "warmup"),
    ],
    "choices": ["request_id", "choice", "text", "reasoning", "tool_calls", "finish_reason"],
    "scores": ["request_id", "choice", "scorer", "value", "label", "extracted"],
}


@dataclass
class Tally:
    """What the kills did, and what they broke."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("main", "group", "worker", "sealer"), 0))
    early: int = 0
    late: int = 0
    runs: int = 0
    lost: int = 0
    changed: int = 0
    duplicated: int = 0
    unequal: list[str] = field(default_factory=list)
    resent: int = 0
    most_resent: int = 0
    over: int = 0
    acknowledged_resent: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass
class Trial:
    """One run folder on its way through kills and resumptions."""

    folder: Path
    base_url: str
    log: Path
    requests: int
    processes: int
    small_segments: bool

    @property
    def path(self) -> Path | None:
        """The run folder, once its header is written."""
        found = list((self.folder / "results").glob("run/*/run.json"))
        return found[0].parent if found else None

    def start(self) -> subprocess.Popen[bytes]:
        """``bench run``, or ``bench resume`` once there is something to resume."""
        rows_file(self.folder, self.requests)
        words = ["resume", "latest"] if self.path else self._words()
        command = ["-c", SMALL_SEGMENTS] if self.small_segments else ["-m", "bench"]
        with (self.folder / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, *command, *words],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _words(self) -> list[str]:
        words = ["run", f"provider.base_url={self.base_url}", "dataset=jsonl", "dataset.path=rows.jsonl"]
        words += ["dataset.scorer=contains", f"load.concurrency={CONCURRENCY}", "report=none"]
        words += ["sampling.temperature=0", "sampling.enable_thinking=false", "sampling.max_tokens=16", "sampling.n=2"]
        return [*words, f"engine.processes={self.processes}"]

    def answered(self) -> int:
        """How many replies the simulator has ended, whoever asked for them."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def kept(self) -> dict[str, str | None]:
        """Request id -> response id of every row on disk: in the journal, or sealed."""
        found: dict[str, str | None] = {}
        path = self.path
        if path is None:
            return found
        for segment in segments(path / "journal"):
            for payload in (read_segment(segment) or (0, []))[1]:
                row = dict(zip(REQUEST_COLUMNS, unpack(payload)[0], strict=True))
                found[row["request_id"]] = row["response_id"]
        parts = [part for _, part in sealed_parts(path)]
        single = path / "requests.parquet"
        for part in [*parts, *([single] if single.is_file() else [])]:
            rows = pq.read_table(part, columns=["request_id", "response_id", "outcome"]).to_pylist()
            found |= {row["request_id"]: row["response_id"] for row in rows if row["outcome"] == "ok"}
        return found


def kill(process: subprocess.Popen[bytes], target: str) -> bool:
    """SIGKILL to one of a run's processes or to all; false when there was none to kill."""
    if process.poll() is not None:
        return False
    family = _descendants(process.pid)
    sealers = [pid for pid in family if b"bench.record.background" in _command(pid)]
    workers = [pid for pid in family if pid not in sealers]
    if target in ("worker", "sealer"):
        aims = workers if target == "worker" else sealers
        if not aims:
            return False
        with suppress(ProcessLookupError):
            os.kill(aims[0], signal.SIGKILL)
        if target == "sealer":
            return True  # the run goes on without it
    elif target == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    await_gone(family)
    return True


def _descendants(pid: int) -> list[int]:
    with suppress(OSError):
        return children(pid)
    return []


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def serving(folder: Path, seed: int) -> Iterator[tuple[str, Path]]:
    """A simulator that outlives every kill, and its log."""
    log = folder / "truth.log"
    with running(SimKnobs(seed=seed, speed=10, truth_log=str(log))) as base_url:
        yield base_url, log


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The tables without what no two runs share: times, sizes, ids of replies and traces."""
    return {
        table: sorted((tuple(row.values()) for row in read_table(path, table, columns).to_pylist()), key=repr)
        for table, columns in SAME.items()
    }


def wait_for(trial: Trial, process: subprocess.Popen[bytes], random: Random, left: int, tally: Tally) -> None:
    """Let a seeded random part of a run pass: some of its start, of its requests, or of its end."""
    kind, before = random.random(), trial.answered()
    if kind < 0.1:
        tally.early += 1
        _pause(process, random.uniform(0.0, 1.2))
        return
    missing = trial.requests - len(trial.kept())
    wanted = missing if kind > 0.85 else random.randint(1, max(1, missing // left))
    tally.late += kind > 0.85
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and trial.answered() - before < wanted and time.monotonic() < end:
        time.sleep(0.003)
    _pause(process, random.uniform(0.0, 0.6 if kind > 0.85 else 0.03))


def _pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def kill_and_resume(trial: Trial, kills: int, random: Random, tally: Tally) -> int:
    """Kill a run up to so many times, resume it each time, then let it end. Returns how often it was killed."""
    done, acknowledged, sessions = 0, dict[str, str | None](), [time.monotonic_ns()]
    process = trial.start()
    while done < kills and process.poll() is None:
        wait_for(trial, process, random, kills - done, tally)
        target = random.choice(TARGETS)
        if not kill(process, target):
            if process.poll() is not None:
                break
            target = "main"
            kill(process, target)
        done += 1
        tally.kills[target] += 1
        if target == "sealer":
            continue
        sessions.append(time.monotonic_ns())
        now = trial.kept()
        check_kept(acknowledged, now, tally)
        acknowledged = now
        process = trial.start()
    if process.wait(PATIENCE_S) != 0 and not _was_over(trial):
        tally.failed.append((trial.folder / "said.txt").read_text(errors="replace")[-500:])
    tally.runs += 1
    check_kept(acknowledged, trial.kept(), tally)
    check_resent(trial, sessions, tally)
    return done


def _was_over(trial: Trial) -> bool:
    """Killed after its last line was written: there was nothing left to resume."""
    return b"nothing to resume" in (trial.folder / "said.txt").read_bytes()


def check_kept(before: dict[str, str | None], now: dict[str, str | None], tally: Tally) -> None:
    """What was once on disk is there still, and says the same."""
    tally.lost += len(before.keys() - now.keys())
    tally.changed += sum(now[key] != value for key, value in before.items() if key in now)


def check_resent(trial: Trial, sessions: list[int], tally: Tally) -> None:
    """Per kill, how many requests were asked again; none whose row was kept may be."""
    rows = sorted(read_truth(trial.log), key=lambda row: row["accept_ns"])
    path = trial.path
    assert path is not None
    ends = read_table(path, "requests", ["response_id"]).column(0).to_pylist()
    told = set(ends)
    settled: set[str] = set()
    seen: set[str] = set()
    for start_ns, end_ns in zip(sessions, [*sessions[1:], time.monotonic_ns()], strict=True):
        mine = [row for row in rows if start_ns <= row["accept_ns"] < end_ns]
        again = {row["digest"] for row in mine} & seen
        tally.acknowledged_resent += len(again & settled)
        tally.resent += len(again)
        tally.most_resent = max(tally.most_resent, len(again))
        tally.over += len(again) > in_flight_at_most(trial)
        seen |= {row["digest"] for row in mine}
        settled |= {row["digest"] for row in mine if row["id"] in told}


def in_flight_at_most(trial: Trial) -> int:
    """Requests that may be unrecorded at a kill: those in flight, and with worker processes as many on their way."""
    return CONCURRENCY * (1 if trial.processes == 1 else 2)


def check_equal(trial: Trial, reference: dict[str, list[tuple[Any, ...]]], tally: Tally) -> None:
    """The tables of a run that was killed against those of one that was not."""
    path = trial.path
    assert path is not None
    try:
        found = contents(path)
    except (ConfigError, OSError) as error:
        tally.unequal.append(f"{path}: {error}")
        return
    ids = [row[0] for row in found["requests"]]
    tally.duplicated += len(ids) - len(set(ids))
    header = read_header(path)
    if header["state"] != "finished" or header["counts"] != {"ok": trial.requests} or (path / "journal").exists():
        tally.unequal.append(f"{path}: {header['state']}, {header['counts']}")
    for table, rows in reference.items():
        if found[table] != rows:
            odd = [row for row in found[table] if row not in rows][:2]
            tally.unequal.append(f"{path}: {table} has {len(found[table])} rows of {len(rows)}, such as {odd}")


def chaos(folder: Path, kills: int, seed: int, requests: int, table: Table) -> None:
    """Kill, resume, compare, until so many kills have been dealt."""
    random, tally = Random(seed), Tally()
    reference: dict[str, list[tuple[Any, ...]]] = {}
    with serving(folder, seed) as (base_url, log):
        while sum(tally.kills.values()) < kills or not reference:
            place = folder / f"run-{tally.runs:03d}"
            place.mkdir()
            log.write_bytes(b"")  # the simulator appends
            shape = (1 + tally.runs % 2, tally.runs // 2 % 2 == 1) if reference else (1, False)
            trial = Trial(place, base_url, log, requests, *shape)
            most = min(KILLS_PER_RUN, kills - sum(tally.kills.values())) if reference else 0
            kill_and_resume(trial, most, random, tally)
            if reference:
                check_equal(trial, reference, tally)
            elif trial.path is not None:
                reference = contents(trial.path)
    report(tally, requests, table)


def report(tally: Tally, requests: int, table: Table) -> None:
    """The lines of the table."""
    dealt = ", ".join(f"{count} {name}" for name, count in tally.kills.items())
    table.add(
        "kills with SIGKILL",
        f"{sum(tally.kills.values())}: {dealt}; {tally.early} at the start, {tally.late} at the end",
    )
    table.add("runs they struck", f"{tally.runs - 1} of {requests} requests, each resumed to its end")
    table.equal("resumptions that failed", len(tally.failed), 0)
    table.equal("acknowledged rows lost", tally.lost, 0)
    table.equal("acknowledged rows changed", tally.changed, 0)
    table.equal("rows duplicated", tally.duplicated, 0)
    table.equal("tables unlike the uninterrupted run's", len(tally.unequal), 0)
    table.equal("acknowledged requests sent again", tally.acknowledged_resent, 0)
    table.add("requests sent again", f"{tally.resent} in all, {tally.most_resent} after one kill")
    table.equal("kills after which more than those in flight were sent again", tally.over, 0)
    for wrong in [*tally.failed, *tally.unequal][:10]:
        table.add("  " + " ".join(wrong.split())[:300], "", "", False)
