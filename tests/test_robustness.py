"""What docs/robustness.md promises and no other test holds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from bench_process import await_gone, await_lines, children, run, start
from setups import rows_file
from test_interrupt import PLANNED, arguments, check_complete, the_run

from bench.cli import main

pytestmark = pytest.mark.slow


def workers_of(pid: int) -> list[int]:
    """The forked processes of a run: they have its own command line."""

    def command(of: int) -> bytes:
        return Path(f"/proc/{of}/cmdline").read_bytes()

    return [child for child in children(pid) if command(child) == command(pid)]


def test_a_run_belongs_to_one_process_and_outlives_a_worker_that_the_system_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(arguments(tmp_path, "engine.processes=2"), tmp_path)
    await_lines(tmp_path / "truth.log", 60, process)
    process.send_signal(signal.SIGSTOP)  # however slow this test is, the run is still there
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "latest"]) == 2
    assert f"another process (pid {process.pid}) is writing this run" in capsys.readouterr().err
    everyone = children(process.pid)
    victim, _ = workers_of(process.pid)
    os.kill(victim, signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert process.returncode == 130, out + err
    await_gone(everyone)
    (said,) = [line for line in err.splitlines() if "ended early" in line]
    assert "of 2 ended early (killed by signal 9, perhaps for want of memory)" in said
    assert "bench resume latest" in said
    assert main(["resume", "latest"]) == 0
    assert len(check_complete(the_run(tmp_path))) == PLANNED


def test_a_budget_that_is_used_up_ends_the_run_for_good_and_says_what_it_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_file(tmp_path, 20)
    asked = ["run", "dataset=jsonl", "dataset.path=rows.jsonl", "dataset.scorer=none", "budget.requests=8"]
    asked += ["provider.knobs.speed=0", "sampling.max_tokens=8", "report=quick", "report.plots=false"]
    done = run(asked, tmp_path)
    assert done.returncode == 0, done.stderr  # it did what it was told
    said = " ".join(done.stdout.split())
    assert "Stopped by budget.requests: 8 of 20 planned requests were sent (40.0%), a random sample" in said
    assert "stand under `failed`, but not against tolerance.failure_rate" in said
    # what was sent is judged by its own share, and a budget that holds no request is no success
    refusing = run([*asked, "provider.knobs.faults.http_400=1", "limits.retries=0"], tmp_path)
    assert refusing.returncode == 3, refusing.stderr
    assert "8 of 8 requests did not end ok (100.0%)" in refusing.stderr
    empty = run([*asked, "budget.tokens=1"], tmp_path)
    assert empty.returncode == 3, empty.stderr
    assert "no request was measured: budget.tokens has no room for a request that can use 4,1" in empty.stderr
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "latest"]) == 2
    assert "the run is finished; there is nothing to resume" in capsys.readouterr().err


def test_a_second_interrupt_cuts_off_what_is_in_flight_and_the_summary_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [word for word in arguments(tmp_path) if not word.startswith(("report", "provider.knobs.speed"))]
    asked += ["report=quick", "report.plots=false", "provider.knobs.speed=0.02"]
    process = start(asked, tmp_path)
    assert process.stderr is not None
    for sign in ("0/300 requests (0%)", "Ctrl-C again to cancel"):
        while sign not in (line := process.stderr.readline()):
            assert line, f"it ended before it said {sign!r}"
        process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, out + err
    said = " ".join(out.split())
    assert "The run was interrupted: 0 of 300 planned requests were sent" in said
    assert "8 more were cut off in flight, so long replies are under-represented" in said
