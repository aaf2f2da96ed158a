"""The sealing process: turns full segments into Parquet while the run goes on, outside the event loop's process.

A thread would share the interpreter lock, and the import of pyarrow, with the loop whose latencies are being measured.
The process is started when the first segment is full, so a small run never has one.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

_END_S = 120.0


class Sealer:
    """Owns the sealing process. Whatever it does not get done, :meth:`bench.record.Record.finish` does."""

    def __init__(self, run: Path, lock_fd: int) -> None:
        """``lock_fd``: the run's lock, which the process holds too, so that nobody resumes a run under its hands."""
        self._run = run
        self._lock_fd = lock_fd
        self._process: subprocess.Popen[str] | None = None

    def seal(self, segment: Path) -> None:
        """Hand a full segment over; returns at once."""
        with contextlib.suppress(OSError):  # it could not start or has died (disk full): the segment waits for finish
            if self._process is None:
                self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(f"{segment}\n")
            self._process.stdin.flush()

    def _start(self) -> subprocess.Popen[str]:
        # a process group of its own: Ctrl-C is for the run, which then waits for the segment in work
        return subprocess.Popen(
            [sys.executable, "-m", "bench.record.seal", str(self._run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._lock_fd],
            process_group=0,
            text=True,
        )

    def close(self) -> None:
        """Let the process seal what it has been given, and end it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
