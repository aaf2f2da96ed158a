"""The sealing process: turns full segments into Parquet while the run goes on, outside the event loop's process.

A thread would share the interpreter lock, and the import of pyarrow, with the loop whose latencies are being measured.
The process is started when the first segment is full, so a small run never has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

_END_S = 120.0
# the run's own import path, so that the same package is found from any folder and however it was started
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from bench.record.background import main; sys.exit(main())"
)


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
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(self._run)],
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


class WithoutPandas(MetaPathFinder):
    """Hides pandas: pyarrow imports it for the first array it makes, 40 MB and 0.2 s that sealing has no use for."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Refuse pandas; leave every other name to the finders behind."""
        if fullname == "pandas":
            raise ImportError("pandas is not needed here")


def spare_pandas() -> None:
    """Do without pandas in this process from now on: for one that writes Parquet and shows nothing."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, WithoutPandas())


def main() -> int:
    """Seal each segment whose path comes in on standard input, until that ends; it does when the run's process dies."""
    with contextlib.suppress(OSError):
        os.nice(10)
    spare_pandas()
    from bench.record.seal import seal_segment

    run = Path(sys.argv[1])
    for line in sys.stdin:
        seal_segment(run, Path(line.rstrip("\n")))
    return 0
