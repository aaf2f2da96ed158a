"""Sandboxes from outside: which kinds this machine can make, and one program run in a fresh one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_MOUNTED = "/inside"
_SYSTEM = ("/lib", "/lib64", "/lib32", "/bin", "/sbin")
_GRACE_S = 20.0
#: all that a program finds in its environment
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
}


class SandboxError(Exception):
    """A sandbox did not stand, so nothing ran in it."""


class Ended(StrEnum):
    """How a program ended; only ``PASSED`` says that its last line was reached."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LIMIT = "limit"


@dataclass(frozen=True)
class Finding:
    """What became of a program, and why in a few words of the program's own or of the limit's."""

    ended: Ended
    why: str = ""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        cpu_s: CPU seconds of all its processes together.
        memory_bytes: address space of each process, and resident memory of all of them.
        processes: processes and threads at a time.
        file_bytes: size of one file.
        tmp_bytes: size of its private ``/tmp``, which is all that it can write to.
    """

    cpu_s: float = 5.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    file_bytes: int = 16 << 20
    tmp_bytes: int = 64 << 20

    @property
    def wall_s(self) -> float:
        """Longest time by the clock: wider than that of the CPU, so that a busy machine fails no honest program."""
        return 2 * self.cpu_s + 1


class Backend(StrEnum):
    """Who makes the namespaces: bubblewrap, or this package by itself through the kernel's ``unshare``."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"


def run_program(program: str, limits: Limits, backend: Backend) -> Finding:
    """Run a Python program in a fresh sandbox, which is gone with all its processes when this returns.

    The program passes exactly if its last line is reached without an exception and its process then still obeys.

    Raises:
        SandboxError: no sandbox could be made; the program did not run.
    """
    order = {**vars(limits), "wall_s": limits.wall_s, "program": program, "roots": roots(), "links": links()}
    text = json.dumps(order).encode()  # lone surrogates come as escapes
    try:
        with subprocess.Popen(
            _command(backend),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        ) as process:
            try:
                said, complaint = process.communicate(text, timeout=limits.wall_s + _GRACE_S)
            except BaseException as interrupted:
                process.kill()  # its init dies with it, and all processes of the room with that
                process.communicate()
                if isinstance(interrupted, subprocess.TimeoutExpired):
                    return Finding(Ended.TIMEOUT, f"more than {limits.wall_s:g} s, and the sandbox had to be killed")
                raise
    except OSError as error:
        raise SandboxError(f"{backend}: {error.strerror or error}") from error
    return _read(backend, said, complaint)


def _read(backend: Backend, said: bytes, complaint: bytes) -> Finding:
    started, _, rest = said.partition(b"\n")
    last = "".join(complaint.decode("utf-8", "replace").strip().splitlines()[-1:])[:300]
    if started != b"started":
        raise SandboxError(f"{backend}: {last or 'it ended without a word'}")
    try:
        found = json.loads(rest)
    except ValueError:  # the kernel ended it for want of memory, or the program found a way
        return Finding(Ended.LIMIT, f"the sandbox ended before the program did {last}".strip())
    return Finding(Ended(found["ended"]), str(found["why"]))


def _command(backend: Backend) -> Sequence[str]:
    python = [_python(), "-I", "-S", "-B"]
    if backend is Backend.NAMESPACES:
        return [*python, str(_FOLDER / "inside.py"), "build", str(os.getpid())]
    return [*_bubblewrap(), *python, f"{_MOUNTED}/inside.py", "stands"]


def _bubblewrap() -> list[str]:
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError("bubblewrap: there is no `bwrap` in PATH")
    options = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"]
    options += ["--cap-drop", "ALL", "--hostname", "sandbox"]
    options += ["--disable-userns"] if "--disable-userns" in _bubblewrap_help(found) else []
    for root in roots():
        options += ["--ro-bind", root, root]
    for link, target in links().items():
        options += ["--symlink", target, link]
    for device in ("null", "zero", "random", "urandom"):
        options += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for script in ("inside.py", "walls.py"):
        options += ["--ro-bind", str(_FOLDER / script), f"{_MOUNTED}/{script}"]
    options += ["--proc", "/proc"]
    options += ["--size", str(Limits.tmp_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return [found, *options]


@cache
def _bubblewrap_help(path: str) -> str:
    return subprocess.run([path, "--help"], capture_output=True, text=True, timeout=10, check=False).stdout


@cache
def _python() -> str:
    base: Any = getattr(sys, "_base_executable", None)  # of a virtual environment: the interpreter it was made from
    return os.path.realpath(base or sys.executable)


@cache
def roots() -> tuple[str, ...]:
    """The folders that a sandbox shows, read-only: the system's programs and libraries, and Python's own."""
    wanted = ["/usr", *(name for name in _SYSTEM if os.path.isdir(name) and not os.path.islink(name))]
    for prefix in (os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)):
        if not any(prefix == root or prefix.startswith(f"{root}/") for root in wanted):
            wanted.append(prefix)
    return tuple(wanted)


@cache
def links() -> dict[str, str]:
    """Links that stand at the top of a system whose programs all lie under ``/usr``."""
    return {name: os.readlink(name) for name in _SYSTEM if os.path.islink(name)}
