"""What runs inside a sandbox: an init that builds the room, watches it, and says how the program ended.

This file is run as a script, by the host's Python in isolated mode, and must import nothing of the harness: the room
shows it the standard library alone. Its order on standard input is one JSON object (see :mod:`bench.sandbox.rooms`); on
standard output it writes ``started`` once the room stands, then one line of JSON. The program sees neither of them.

``inside.py build`` makes the namespaces itself; ``inside.py stands`` is started by bubblewrap, which has made them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
import types
from typing import Any

NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
OUTER_NOBODY, INNER_USER = 65534, 1000
DEVICES = ("null", "zero", "random", "urandom")
LOOK_EVERY_MS = 20
MAX_SAID_BYTES = 4096

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """One libc call; raises ``OSError`` where it fails."""
    result = int(getattr(libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    call("mount", source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), options.encode())


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def enter_namespaces() -> int:
    """Namespaces of one's own for everything; gives the exit status of the init that then ran in them."""
    me = os.getpid()
    unshared, tell = os.pipe()
    mapper = os.fork()
    if mapper == 0:  # whoever maps users has to stand outside of the new namespace
        os.close(tell)
        if os.read(unshared, 1):
            write_maps(me)
        os._exit(0)
    call("unshare", NEW_NAMESPACES)
    os.write(tell, b".")
    if os.waitpid(mapper, 0)[1] != 0:
        raise OSError("the users of the namespace cannot be mapped")
    init = os.fork()
    if init == 0:
        # from inside, the parent is outside and has no number
        die_with_parent(0)
        init_process(build_room)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])


def write_maps(target: int) -> None:
    """Root stays what it is and the program becomes nobody; who is not root can only map itself."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            for name in ("gid_map", "uid_map"):
                put(f"/proc/{target}/{name}", f"0 0 1\n{INNER_USER} {OUTER_NOBODY} 1\n")
            return
    put(f"/proc/{target}/setgroups", "deny")
    put(f"/proc/{target}/gid_map", f"{INNER_USER} {os.getegid()} 1\n")
    put(f"/proc/{target}/uid_map", f"{INNER_USER} {os.geteuid()} 1\n")


def put(path: str, text: str) -> None:
    """Write one kernel file in one go."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def build_room(order: dict[str, Any]) -> int | None:
    """A root of its own: what ``roots`` names, read-only, a private ``/tmp``, and nothing else.

    Gives a handle on a ``/proc`` that only the init sees, ``None`` where the kernel allows no fresh one.
    """
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("room", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    os.chdir("/tmp")
    os.mkdir("old")
    call("pivot_root", b".", b"old")
    os.chdir("/")
    for root in order["roots"]:
        os.makedirs(root, exist_ok=True)
        mount(f"/old{root}", root, None, MS_BIND | MS_REC)
    for link, target in order["links"].items():
        os.symlink(target, link)
    os.mkdir("/dev")
    for name in DEVICES:
        put_file(f"/dev/{name}")
        mount(f"/old/dev/{name}", f"/dev/{name}", None, MS_BIND)
    proc = private_proc()
    call("umount2", b"/old", MNT_DETACH)
    os.rmdir("/old")
    for point in mount_points(order["roots"], proc):
        mount("none", point, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.mkdir("/tmp")
    mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={order['tmp_bytes']},nr_inodes=4096,mode=1777")
    mount("none", "/", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    call("sethostname", b"sandbox", 7)
    os.chdir("/tmp")
    return proc


def put_file(path: str) -> None:
    """An empty file to mount over."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def private_proc() -> int | None:
    """A handle on the ``/proc`` of these namespaces, itself unmounted again; it also forbids further namespaces."""
    os.mkdir("/proc")
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:  # a container that masks parts of its own /proc allows no other one
        return None
    handle = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):
        put("/proc/sys/user/max_user_namespaces", "0")
    call("umount2", b"/proc", MNT_DETACH)
    return handle


def mount_points(roots: list[str], proc: int | None) -> list[str]:
    """Every mount under the roots, those that came along inside of them too."""
    if proc is None:
        return list(roots)
    with os.fdopen(os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)) as file:
        points = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return [point for point in points if any(point == root or point.startswith(f"{root}/") for root in roots)]


def standing_room(order: dict[str, Any]) -> int | None:
    """The room that bubblewrap has built."""
    os.chdir("/tmp")
    return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)


def init_process(room: Any) -> None:
    """Process 1 of the room: starts the program, reaps, watches, reports; when it ends, the kernel ends all others."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an init without a handler cannot be signalled from inside
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # nor read through /proc
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
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
        with contextlib.suppress(OSError):  # bubblewrap maps one user only: root then stays, without any right
            os.setresgid(INNER_USER, INNER_USER, INNER_USER)
            os.setresuid(INNER_USER, INNER_USER, INNER_USER)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
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
    heard = listen(said, heard, None)
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
    if not more and poll is not None:  # all writers are gone: the process is about to be reaped
        poll.unregister(said)
        time.sleep(0.001)
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
        put("/proc/self/oom_score_adj", "1000")
    if sys.argv[1] == "build":
        die_with_parent(int(sys.argv[2]))
        return enter_namespaces()
    init_process(standing_room)
    return 0


if __name__ == "__main__":
    sys.exit(main())
