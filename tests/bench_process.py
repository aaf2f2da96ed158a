"""``bench`` as its user meets it: a process of its own, its children, its output and its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: waiting for something that a sound program does within seconds ends here, so that a broken one fails its test
PATIENCE_S = 120.0


def start(arguments: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``bench`` in a folder; its output is kept in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``bench`` to its end."""
    process = start(arguments, folder, env)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def children(pid: int) -> list[int]:
    """The processes that a process started and that still live."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def await_children(process: subprocess.Popen[str]) -> list[int]:
    """Wait until a process has started another one."""
    end = time.monotonic() + PATIENCE_S
    while not (found := children(process.pid)):
        assert process.poll() is None, "it ended without ever starting a process"
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def await_gone(pids: Sequence[int]) -> None:
    """Wait until processes have ended (a zombie has)."""
    end = time.monotonic() + PATIENCE_S
    while left := [pid for pid in pids if _lives(pid)]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] != [b"Z"]
    except OSError:
        return False


def await_lines(path: Path, count: int, process: subprocess.Popen[str]) -> int:
    """Wait until a file has so many lines, or the process has ended; gives how many it has."""
    end = time.monotonic() + PATIENCE_S
    while True:
        ended = process.poll() is not None
        lines = path.read_bytes().count(b"\n") if path.exists() else 0
        if lines >= count or ended:
            return lines
        assert time.monotonic() < end, f"{path}: {lines} lines of {count}"
        time.sleep(0.005)
