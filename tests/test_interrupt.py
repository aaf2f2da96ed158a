"""Runs that are killed, interrupted or out of disk, then resumed: every planned request ends with exactly one row."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bench_process import await_children, await_gone, await_lines, children, start
from measured import read_truth
from setups import rows_file

from bench.cli import main
from bench.record import Record, read_header, read_table
from bench.record.journal import read_segment, segments
from bench.record.rows import REQUEST_COLUMNS, unpack

pytestmark = pytest.mark.slow

ROWS, REPEATS, CONCURRENCY = 60, 5, 8
PLANNED = ROWS * REPEATS


def arguments(folder: Path, *more: str) -> list[str]:
    """A run of 300 requests of some 40 ms each, 8 at a time, without plots."""
    rows_file(folder, ROWS)
    return [
        "run",
        "dataset=jsonl",
        "dataset.path=rows.jsonl",
        "dataset.scorer=contains",
        f"repeats={REPEATS}",
        f"load.concurrency={CONCURRENCY}",
        "sampling.enable_thinking=false",
        "sampling.max_tokens=16",
        "provider.knobs.speed=10",
        f"provider.knobs.truth_log={folder / 'truth.log'}",
        "report=none",
        *more,
    ]


def the_run(folder: Path) -> Path:
    (path,) = (folder / "results" / "run").iterdir()
    return path


def finished_rows(path: Path) -> dict[str, str]:
    """Request id -> response id of every terminal row that a dead run left behind, journalled or in tables."""
    found: dict[str, str] = {}
    for segment in segments(path / "journal"):
        for payload in (read_segment(segment) or (0, []))[1]:
            row = dict(zip(REQUEST_COLUMNS, unpack(payload)[0], strict=True))
            found[row["request_id"]] = row["response_id"]
    for part in path.glob("requests.parquet/part-*.parquet"):
        assert part  # a run of this size never fills a segment
    return found


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    rows = read_table(path, "requests").to_pylist()
    assert len({row["request_id"] for row in rows}) == len(rows)
    return {row["request_id"]: row for row in rows}


def check_complete(path: Path) -> dict[str, dict[str, Any]]:
    """The run is finished, and every planned request has one row, ``ok``, with its choice and its score."""
    rows = rows_of(path)
    header = read_header(path)
    assert (header["state"], header["counts"]) == ("finished", {"ok": PLANNED})
    assert len(rows) == PLANNED
    assert {(row["sample_id"], row["repeat"]) for row in rows.values()} == {
        (f"row-{i:03d}", repeat) for i in range(ROWS) for repeat in range(REPEATS)
    }
    for table in ("choices", "scores"):
        ids = read_table(path, table, ["request_id"]).column(0).to_pylist()
        assert sorted(ids) == sorted(rows)
    assert not (path / "journal").exists()
    return rows


@pytest.mark.parametrize(("processes", "times"), [(1, 3), (2, 2)])
def test_kills_lose_nothing_that_was_finished(tmp_path: Path, processes: int, times: int) -> None:
    random = Random(20261122 + processes)
    log = tmp_path / "truth.log"
    process = start(arguments(tmp_path, f"engine.processes={processes}"), tmp_path)
    kept: dict[str, str] = {}
    for kills, moment in enumerate(sorted(random.sample(range(1, PLANNED - 20), times)), start=1):
        answered = await_lines(log, moment, process)
        servers = children(process.pid)
        process.kill()
        process.communicate()
        await_gone(servers)
        path = the_run(tmp_path)
        now = finished_rows(path)
        assert kept.items() <= now.items()
        # whatever was answered is written down, but for the replies that were just on their way to this process
        assert len(now) >= answered - kills * CONCURRENCY * processes
        kept = now
        process = start(["resume", "latest"], tmp_path)
    servers = await_children(process)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    await_gone(servers)
    rows = check_complete(path)
    assert kept.items() <= {request_id: row["response_id"] for request_id, row in rows.items()}.items()
    # nothing was asked again but what was in flight at a kill
    assert len(read_truth(log)) <= PLANNED + times * CONCURRENCY * processes
    marks = [row["sent_ns"] for row in rows.values()]
    assert min(marks) > 0
    assert all(row["due_ns"] <= row["sent_ns"] <= row["end_ns"] for row in rows.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_in_order_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    process = start(arguments(tmp_path), tmp_path)
    await_lines(tmp_path / "truth.log", 60, process)
    servers = children(process.pid)
    assert servers
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, out + err
    await_gone(servers)
    path = the_run(tmp_path)
    assert f"bench resume {path}" in err.splitlines()[-1]
    rows = rows_of(path)
    assert len(rows) == PLANNED
    counts = Counter(row["outcome"] for row in rows.values())
    assert counts.keys() == {"ok", "not_sent"}  # requests in flight had time to end
    assert counts["ok"] >= 60
    assert read_header(path)["counts"] == counts
    scored = read_table(path, "scores", ["request_id"]).column(0).to_pylist()
    assert {rows[request_id]["outcome"] for request_id in scored} == {"ok"}

    monkeypatch.chdir(tmp_path)
    assert main(["resume", str(path)]) == 0
    complete = check_complete(path)
    for request_id, row in rows.items():
        if row["outcome"] == "ok":
            assert complete[request_id] == row
    assert len(read_truth(tmp_path / "truth.log")) == PLANNED

    assert main(["resume", str(path)]) == 2
    assert "the run is finished; there is nothing to resume" in capsys.readouterr().err


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def after(count: int, real: Any) -> Any:
    """The function itself so many times; then the disk is full."""
    calls = iter(range(count))

    def call(*args: Any, **known: Any) -> Any:
        return full() if next(calls, None) is None else real(*args, **known)

    return call


def test_a_disk_that_fills_up_stops_the_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Record, "append_packed", after(25, Record.append_packed))
        assert main(arguments(tmp_path)) == 130
    path = the_run(tmp_path)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in said
    assert f"bench resume {path}" in said
    assert len(finished_rows(path)) == 25
    assert main(["resume", "latest"]) == 0
    check_complete(path)


@pytest.mark.parametrize(
    "where", ["bench.record.seal.seal_all", "bench.record.tables.write_cells", "bench.record.tables.write_samples"]
)
def test_a_disk_that_is_full_when_tables_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        assert main(arguments(tmp_path, "provider.knobs.speed=0")) == 130
    path = the_run(tmp_path)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in said
    assert f"bench resume {path}" in said
    assert main(["resume", "latest"]) == 0
    check_complete(path)
    assert len(read_truth(tmp_path / "truth.log")) == PLANNED


@pytest.mark.parametrize("where", ["write_cells", "write_samples"])
def test_a_disk_that_is_full_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Record, where, full)
    assert main(arguments(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert str(tmp_path / "results" / "run") in said
    assert list((tmp_path / "results" / "run").iterdir()) == []
    assert read_truth(tmp_path / "truth.log") == []


PLUGIN = """
from dataclasses import dataclass
from bench.domain import Choice, Label, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer

@plugin("scorer", "polite")
@dataclass(frozen=True)
class Polite(Scorer):
    kind: str = "polite"

    def score(self, sample: Sample, choice: Choice) -> Score:
        return Score(1.0, Label.CORRECT)
"""


@pytest.mark.parametrize("place", ["conf", "mine"])
def test_plug_ins_of_the_user_are_found_again(tmp_path: Path, place: str) -> None:
    """``conf`` in the working folder is found by itself, another folder is named."""
    (tmp_path / place / "plugins").mkdir(parents=True)
    (tmp_path / place / "plugins" / "polite.py").write_text(PLUGIN)
    named = [] if place == "conf" else ["--config-dir", place]
    process = start([*arguments(tmp_path, *named), "dataset.scorer=polite"], tmp_path)
    await_lines(tmp_path / "truth.log", 20, process)
    process.kill()
    process.communicate()
    process = start(["resume", "latest", *named], tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    check_complete(the_run(tmp_path))


@pytest.mark.parametrize(
    ("where", "verb"), [("bench.judge.score.write_scores", "resume"), ("bench.show.report.write_summary", "report")]
)
def test_a_disk_that_is_full_after_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str, verb: str
) -> None:
    """The replies are safe; only what can be derived from them is missing, and the message says how to get it."""
    monkeypatch.chdir(tmp_path)
    run = [*arguments(tmp_path, "provider.knobs.speed=0"), "report=quick"]
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        assert main(run) == 130
    path = the_run(tmp_path)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in said
    assert f"bench {verb} {path}" in said
    assert main([verb, str(path)]) == 0
    check_complete(path)
    assert len(read_truth(tmp_path / "truth.log")) == PLANNED
