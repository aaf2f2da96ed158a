"""What a sandbox lets a program do, and what it does not, for every kind of sandbox that this machine can make."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.domain import ConfigError
from bench.sandbox import ready, rooms
from bench.sandbox.ready import faults, ready_backend
from bench.sandbox.rooms import Backend, Ended, Finding, Limits, SandboxError, run_program

SHORT = Limits(cpu_s=0.1)
FORK = "import os\ndef fork():\n    try:\n        return os.fork()\n    except OSError:\n        return None\n"
FLOOD = """
import os
while True:
    for fd in range(3, 9):
        try:
            os.write(fd, b"x" * 4096)
        except OSError:
            pass
"""
DEAF = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""


@pytest.fixture(params=list(Backend))
def backend(request: pytest.FixtureRequest) -> Backend:
    one: Backend = request.param
    try:
        assert run_program("assert True", Limits(), one).ended is Ended.PASSED
    except SandboxError as error:
        pytest.skip(f"no such sandbox here: {error}")
    return one


def test_some_sandbox_stands_where_the_gate_runs() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces may be forbidden to an ordinary user; root can always make them")
    assert faults(Backend.NAMESPACES) == []
    assert ready_backend() is Backend.NAMESPACES


@pytest.mark.parametrize(
    ("program", "ended", "why"),
    [
        ("assert 1 + 1 == 2", Ended.PASSED, ""),
        ("assert 1 + 1 == 3, 'no'", Ended.FAILED, "AssertionError: no"),
        ("def f(:", Ended.FAILED, "SyntaxError"),
        ("import sys\nsys.exit(0)", Ended.FAILED, "SystemExit: 0"),
        ("import os\nos._exit(0)", Ended.FAILED, "before its checks"),
        ("print('passed')\nimport os\nos._exit(0)", Ended.FAILED, "before its checks"),
        ("input()", Ended.FAILED, "EOFError"),
        ("import os\nos.kill(os.getpid(), 9)", Ended.FAILED, "signal 9"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", Ended.FAILED, "cannot be shown"),
        ("if __name__ == '__main__':\n    raise ValueError", Ended.PASSED, ""),
        ("import os\nif os.fork() == 0:\n    os._exit(0)\nassert False", Ended.FAILED, "AssertionError"),
        ("import os\nif os.fork():\n    os._exit(0)", Ended.FAILED, "before its checks"),
        ("x = bytearray(1 << 31)", Ended.LIMIT, "out of memory"),
        ("raise ValueError('\\ud800' * 10_000)", Ended.FAILED, "ValueError"),
    ],
)
def test_how_a_program_ends_is_told_exactly(backend: Backend, program: str, ended: Ended, why: str) -> None:
    found = run_program(program, Limits(), backend)
    assert found.ended is ended
    assert why in found.why
    assert len(found.why) <= 300


def test_a_pass_cannot_be_written_into_the_pipe_of_verdicts(backend: Backend) -> None:
    program = (
        "import os\n"
        "for fd in range(3, 64):\n"
        "    try:\n"
        "        os.write(fd, b'passed')\n"
        "    except OSError:\n"
        "        pass\n"
        "os._exit(0)"
    )
    assert run_program(program, Limits(), backend).ended is Ended.FAILED


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("while True: pass", {Ended.TIMEOUT}),
        ("import time\ntime.sleep(60)", {Ended.TIMEOUT}),
        ("while True: print('x' * 10_000)", {Ended.TIMEOUT}),
        (FLOOD, {Ended.TIMEOUT}),
        (DEAF, {Ended.TIMEOUT}),
        (FORK + "while True: fork()", {Ended.TIMEOUT, Ended.LIMIT}),
        (FORK + "while True:\n    if fork() == 0: os._exit(0)", {Ended.TIMEOUT, Ended.LIMIT}),
        (FORK + "held = []\nwhile True:\n    held.append(bytearray(1 << 26))\n    fork()", {*Ended} - {Ended.PASSED}),
    ],
    ids=["loop", "sleep", "output", "pipe flood", "signals", "fork bomb", "zombies", "memory of many"],
)  # fmt: skip
def test_what_does_not_end_is_ended(backend: Backend, program: str, ended: set[Ended]) -> None:
    assert run_program(program, SHORT, backend).ended in ended


def test_a_daemon_ends_with_its_sandbox(backend: Backend, tmp_path: Path) -> None:
    mark = f"daemon-{os.getpid()}-{time.monotonic_ns()}"
    program = (
        FORK + f"import sys\nif fork() == 0:\n    os.setsid()\n    if fork() == 0:\n"
        f"        os.execv('/usr/bin/env', ['env', 'sh', '-c', 'sleep 300; : {mark}'])\n    os._exit(0)"
    )
    assert run_program(program, Limits(), backend).ended is Ended.PASSED
    assert not any(mark in _command_line(process) for process in Path("/proc").glob("[0-9]*"))


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


FORBIDDEN = [
    "open('/usr/here', 'w')",
    "open('/here', 'w')",
    "open('/etc/passwd')",
    "open('/proc/1/environ').read()",
    "open('/proc/1/mem')",
    f"open({__file__!r})",
    "os.listdir('/home')",
    "os.listdir('/var')",
    "__import__('socket').create_connection(('203.0.113.1', 80), 1)",
    "os.chroot('/tmp')",
    "os.setuid(12345)",
    "os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))",
    "open('/tmp/big', 'wb').write(bytes(32 << 20))",
    "[open(f'/tmp/{n}', 'wb').write(bytes(8 << 20)) for n in range(10)]",
    "[open('/dev/null') for n in range(100)]",
]


def test_what_is_forbidden_fails(backend: Backend) -> None:
    program = (
        "import os\nworked = []\ntry:\n    os.kill(1, 9)\nexcept OSError:\n    pass\n"  # at best it does nothing
        f"for attempt in {FORBIDDEN!r}:\n"
        "    try:\n        exec(attempt)\n        worked.append(attempt)\n    except OSError:\n        pass\n"
        "assert not worked, worked"
    )
    assert run_program(program, Limits(), backend) == Finding(Ended.PASSED)


def test_rm_rf_removes_nothing(backend: Backend) -> None:
    wiped = "'/usr/bin', '/usr/sbin', '/lib', '/dev', '/tmp'"
    program = f"import subprocess\nsubprocess.run(['rm', '-rf', {wiped}])\nopen('/usr/bin/env').close()"
    assert run_program(program, Limits(), backend) == Finding(Ended.PASSED)


def test_programs_share_nothing_and_see_no_secret(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "very-secret")
    left = "open('/tmp/left', 'w').close()"
    assert run_program(left, Limits(), backend).ended is Ended.PASSED
    program = "import os\nassert os.listdir('/tmp') == []\nassert 'very-secret' not in str(dict(os.environ))"
    assert run_program(program, Limits(), backend) == Finding(Ended.PASSED)


def test_a_new_namespace_brings_no_rights_back(backend: Backend) -> None:
    program = "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == -1"
    assert run_program(program, Limits(), backend) == Finding(Ended.PASSED)


def test_no_program_runs_where_no_sandbox_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(backend: Backend) -> list[str]:
        return ["/bin/false"]

    monkeypatch.setattr(rooms, "_command", nothing)
    with pytest.raises(SandboxError):
        run_program("assert True", Limits(), Backend.NAMESPACES)
    ready.ready_backend.cache_clear()
    try:
        with pytest.raises(ConfigError, match="install bubblewrap"):
            ready_backend()
    finally:
        ready.ready_backend.cache_clear()


def test_a_sandbox_that_lets_something_through_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(program: str, limits: Limits, backend: Backend) -> Finding:
        return Finding(Ended.PASSED)

    monkeypatch.setattr(ready, "run_program", lenient)
    assert any("early exit" in fault for fault in faults(Backend.NAMESPACES))
