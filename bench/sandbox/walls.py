"""The walls of a sandbox, by the kernel's own calls: namespaces, mounts, and the users that exist inside.

Loaded by ``inside.py`` alone, and like it free of the harness.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
OUTER_NOBODY, INNER_USER = 65534, 1000
DEVICES = ("null", "zero", "random", "urandom")

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


def enter_namespaces(init_process: Callable[[Callable[[dict[str, Any]], int | None]], None]) -> int:
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
    """A handle on their ``/proc``, itself unmounted again; further namespaces and shared segments are forbidden."""
    os.mkdir("/proc")
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:  # a container that masks parts of its own /proc allows no other one
        return None
    handle = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    for setting in ("user/max_user_namespaces", "kernel/shmmni", "kernel/msgmni"):
        with contextlib.suppress(OSError):  # older kernels leave some of these to the real root
            put(f"/proc/sys/{setting}", "0")
    call("umount2", b"/proc", MNT_DETACH)
    return handle


def mount_points(roots: list[str], proc: int | None) -> list[str]:
    """Every mount under the roots, those that came along inside of them too."""
    if proc is None:
        return list(roots)
    with os.fdopen(os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)) as file:
        points = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return [point for point in points if any(point == root or point.startswith(f"{root}/") for root in roots)]
