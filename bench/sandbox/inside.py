"""What runs inside a sandbox: an init that builds the room, watches it, and says how the program ended.

This file is run as a script, by the host's Python in isolated mode, and must import nothing of the harness: the room
shows it the standard library alone. Its order on standard input is one JSON object (see :mod:`bench.sandbox.rooms`); on
standard output it writes ``started`` once the room stands, then one line of JSON. The program sees neither of them.

``inside.py build`` makes the namespaces itself; ``inside.py stands`` is started by bubblewrap, which has made them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
import types
from typing import Any

LOOK_EVERY_MS = 20
MAX_SAID_BYTES = 4096


def beside(name: str) -> Any:
    """The module in the file beside this one, which has no package here."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


walls = beside("walls")


def standing_room(order: dict[str, Any]) -> int | None:
    """The room that bubblewrap has built."""
    os.chdir("/tmp")
    return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)


def init_process(room: Any) -> None:
    """Process 1 of the room: starts the program, reaps, watches, reports; when it ends, the kernel ends all others."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an init without a handler cannot be signalled from inside
    walls.call("prctl", walls.PR_SET_DUMPABLE, 0, 0, 0, 0)  # nor read through /proc
    order = json.loads(sys.stdin.buffer.read())
    proc = room(order)
    said, say = os.pipe()
    os.write(1, b"started\n")
    token = os.urandom(16).hex().encode()
    program = os.fork()
    if program == 0:
        os.close(said)
        if proc is not None:
            os.close(proc)
        run_program(order, say, token)
    os.close(say)
    ended, why = watch(program, said, proc, order, token)
    os.write(1, json.dumps({"ended": ended, "why": why[:300]}).encode() + b"\n")


def confine(order: dict[str, Any]) -> None:
    """Give up every right, for good, and take the limits."""
    limits = {
        resource.RLIMIT_AS: order["memory_bytes"],
        resource.RLIMIT_DATA: order["memory_bytes"],
        resource.RLIMIT_FSIZE: order["file_bytes"],
        resource.RLIMIT_CPU: int(order["cpu_s"]) + 2,  # the watch is finer; this one holds where it cannot look
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for name, limit in limits.items():
        resource.setrlimit(name, (limit, limit))
    for capability in range(64):
        with contextlib.suppress(OSError):
            walls.call("prctl", walls.PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
        with contextlib.suppress(OSError):  # bubblewrap maps one user only: root then stays, without any right
            os.setresgid(walls.INNER_USER, walls.INNER_USER, walls.INNER_USER)
            os.setresuid(walls.INNER_USER, walls.INNER_USER, walls.INNER_USER)
    header = (ctypes.c_uint32 * 2)(walls.CAPABILITY_VERSION_3, 0)
    walls.call("capset", header, (ctypes.c_uint32 * 6)())
    walls.call("prctl", walls.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (order["processes"], order["processes"]))


def run_program(order: dict[str, Any], say: int, token: bytes) -> None:
    """The program in a module of its own. Only its last line reached makes it pass: an early exit says nothing."""
    write, leave, own_id, me = os.write, os._exit, os.getpid, os.getpid()
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    confine(order)
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    sys.argv = ["candidate"]
    try:
        exec(compile(order["program"], "<candidate>", "exec", dont_inherit=True), module.__dict__)
        word = b"passed"
    except MemoryError:
        word = b"limit:out of memory"
    except BaseException as error:  # noqa: BLE001 - SystemExit and the like are what is looked for
        word = b"failed:" + told(error)
    if own_id() == me:  # not a child that ran on after a fork
        write(say, token + word[:MAX_SAID_BYTES])
    leave(0)


def told(error: BaseException) -> bytes:
    """An exception in a few words."""
    try:
        return f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:500]
    except BaseException:  # noqa: BLE001 - the program wrote the exception's class
        return b"an exception that cannot be shown"


def watch(program: int, said: int, proc: int | None, order: dict[str, Any], token: bytes) -> tuple[str, str]:
    """How the program ended, or which limit ended it."""
    os.set_blocking(said, False)
    until, heard, status = time.monotonic() + order["wall_s"], b"", None
    poll = select.poll()
    poll.register(said, select.POLLIN)
    look_at = 0.0
    while status is None:
        if not poll.poll(LOOK_EVERY_MS) or time.monotonic() > look_at:  # noise in the pipe puts no look off
            look_at = time.monotonic() + LOOK_EVERY_MS / 1000
            cpu_s, resident, processes = usage(proc)
            if time.monotonic() > until:
                return "timeout", f"more than {order['wall_s']:g} s"
            if cpu_s > order["cpu_s"]:
                return "timeout", f"more than {order['cpu_s']:g} s of CPU"
            if resident > order["memory_bytes"]:
                return "limit", "out of memory"
            if processes > order["processes"]:
                return "limit", "too many processes"
        heard = listen(said, heard, poll)
        status = reaped(program)
    heard = listen(said, heard, poll)
    if status == 0 and heard == token + b"passed":
        return "passed", ""
    for word in ("failed", "limit"):
        start = token + word.encode() + b":"
        if heard.startswith(start):
            return word, heard[len(start) :].decode("utf-8", "replace")
    if status in (-signal.SIGXCPU, -signal.SIGKILL) and usage(proc)[0] > order["cpu_s"]:
        return "timeout", f"more than {order['cpu_s']:g} s of CPU"
    return "failed", "it ended before its checks were done" if status >= 0 else f"killed by signal {-status}"


def listen(said: int, heard: bytes, poll: Any) -> bytes:
    """What the program's side of the pipe said, cut off where nothing true could follow."""
    try:
        more = os.read(said, MAX_SAID_BYTES)
    except BlockingIOError:
        return heard
    if not more:  # all writers are gone, which would end every later wait at once
        with contextlib.suppress(KeyError):
            poll.unregister(said)
    return (heard + more)[: 2 * MAX_SAID_BYTES]


def reaped(program: int) -> int | None:
    """Reap whatever ended; the exit code of the program once it did."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program:
                found = os.waitstatus_to_exitcode(ended[1])
    return found


def usage(proc: int | None) -> tuple[float, int, int]:
    """CPU seconds, resident bytes and number of all processes of the room but this one."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks, resident, count = 0, 0, 0
    for name in os.listdir(proc) if proc is not None else ():
        if not name.isdigit() or name == "1":
            continue
        try:
            with os.fdopen(os.open(f"{name}/stat", os.O_RDONLY, dir_fd=proc)) as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
        resident += int(fields[21]) * resource.getpagesize()
        count += 1
    return gone.ru_utime + gone.ru_stime + ticks / os.sysconf("SC_CLK_TCK"), resident, count


def main() -> int:
    """Nice to the machine: the first to go when memory runs out."""
    with contextlib.suppress(OSError):
        walls.put("/proc/self/oom_score_adj", "1000")
    if sys.argv[1] == "build":
        walls.die_with_parent(int(sys.argv[2]))
        return int(walls.enter_namespaces(init_process))
    init_process(standing_room)
    return 0


if __name__ == "__main__":
    sys.exit(main())
