"""The run folder: its name, its places, its lock, and how a run is found again."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from itertools import groupby
from pathlib import Path

from bench.domain import ConfigError

HEADER = "run.json"
JOURNAL = "journal"
TAIL = "tail"

_NEWER_NAMES = 100
_LOCK_WAIT_S = 60.0
_SHOWN = 20


def table_path(run: Path, table: str) -> Path:
    """Where a table lies, as one file or as a folder of parts."""
    return run / f"{table}.parquet"


def is_scored(run: Path) -> bool:
    """Whether the run has a table of scores."""
    return table_path(run, "scores").exists()


def part_path(run: Path, table: str, stem: str) -> Path:
    """Where one part of a table lies. Parts sort by segment, the tail of unsettled rows last."""
    return table_path(run, table) / f"part-{stem}.parquet"


def sealed_parts(run: Path) -> list[tuple[int, Path]]:
    """``(segment number, part of requests)`` of every sealed segment, oldest first; the tail is none."""
    found = [(path.stem.removeprefix("part-"), path) for path in table_path(run, "requests").glob("part-*.parquet")]
    return sorted((int(stem), path) for stem, path in found if stem.isdigit())


def remove(path: Path) -> None:
    """Remove a table, be it a file or a folder of parts; nothing to do when it is not there.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: it cannot be opened or synced (a full disk may show only here).
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside a folder survive a power cut.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    sync_file(folder)


def create_folder(
    results_dir: Path, name: str, moment: datetime, short_id: Callable[[], str] = lambda: os.urandom(3).hex()
) -> Path:
    """Make ``results_dir/name/<UTC time>-<short id>`` with its journal folder; never one that exists.

    Raises:
        ConfigError: the name is no folder name, or the folder cannot be written; names it.
    """
    if not name or name in (".", "..") or "/" in name or "\x00" in name:
        raise ConfigError(f"name={name!r}: must be a folder name without '/'")
    parent = results_dir.absolute() / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_NEWER_NAMES):
            path = parent / f"{moment:%Y%m%dT%H%M%SZ}-{short_id()}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            (path / JOURNAL).mkdir()
            sync_folder(parent)
            return path
    except OSError as error:
        raise unwritable(parent, error) from error
    raise ConfigError(f"{parent}: no free name for a run folder was found; set another results_dir")


def unwritable(folder: Path, error: OSError) -> ConfigError:
    """The sentence for a results folder that does not take a run."""
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "writing is not permitted",
        errno.EPERM: "writing is not permitted",
        errno.ENOTDIR: f"{error.filename or folder} is in the way and is not a folder",
        errno.EEXIST: f"{error.filename or folder} is in the way and is not a folder",
    }.get(error.errno or 0, error.strerror or str(error))
    return ConfigError(f"{folder}: cannot write results there ({reason}); free it or set results_dir to another folder")


class Lock:
    """A run folder is held by one process at a time, by ``flock`` on ``journal/lock``; it ends with its holders."""

    def __init__(self, run: Path, wait_s: float = _LOCK_WAIT_S) -> None:
        """Take the lock. A holder that is dead is waited for: its sealing process is about to end.

        Raises:
            ConfigError: another process holds the run; names its pid.
        """
        self.path = run / JOURNAL / "lock"
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(run, error) from error
        try:
            self._take(run, time.monotonic() + wait_s)
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, str(os.getpid()).encode(), 0)
        except BaseException as error:
            os.close(self.fd)
            if isinstance(error, OSError):
                raise unwritable(run, error) from error
            raise

    def _take(self, run: Path, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pid = os.pread(self.fd, 20, 0).decode(errors="replace").strip()
                if _alive(pid) or time.monotonic() > deadline:
                    who = f"another process (pid {pid or 'unknown'})"
                    raise ConfigError(f"{run}: {who} is writing this run; wait until it ends, or stop it") from None
                time.sleep(0.02)

    def release(self) -> None:
        """Give the run free."""
        os.close(self.fd)


def _alive(pid: str) -> bool:
    if not pid.isdigit() or int(pid) == 0:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _zombie(pid)


def _zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] == [b"Z"]
    except OSError:
        return False


def find_run(selector: str, results_dir: Path) -> Path:
    """The run folder that a RUN argument means: a folder, ``latest``, or an unambiguous part of ``name/folder``.

    Raises:
        ConfigError: none or several match; lists the candidates.
    """
    given = Path(selector)
    if selector and (given / HEADER).is_file():
        return given.absolute()
    folders = sorted((header.parent.absolute() for header in results_dir.glob(f"*/*/{HEADER}")), key=_stamp)
    if not folders:
        raise ConfigError(f"{results_dir}: there are no runs there; start one with `bench run` or set results_dir")
    if selector == "latest":
        return _latest(folders)
    exact = [folder for folder in folders if selector in (folder.name, _short(folder))]
    found = exact or [folder for folder in folders if selector and selector in _short(folder)]
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"  {_short(folder)}" for folder in (found or folders)[-_SHOWN:])
    if found:
        raise ConfigError(f"{selector!r} matches {len(found)} runs; name one of them:\n{listed}")
    raise ConfigError(f"no run matches {selector!r}; the newest runs under {results_dir} are:\n{listed}")


def _latest(folders: list[Path]) -> Path:
    """The newest run; one in which a judge was asked counts as part of the run that it judged."""
    for _, same_second in groupby(reversed(folders), key=lambda folder: _stamp(folder)[0]):
        found = [folder for folder in same_second if _created(folder)[1] is None]
        if found:
            return max(found, key=lambda folder: _created(folder)[0])
    return folders[-1]


def _short(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _stamp(folder: Path) -> tuple[str, str]:
    return folder.name.partition("-")[0], _short(folder)


def _created(folder: Path) -> tuple[int, str | None]:
    """The wall clock when a run was created, which tells runs of the same second apart (0 when it cannot be read), and
    the run that it judges, if any.
    """
    try:
        header = json.loads((folder / HEADER).read_bytes())
        return int(header["created_unix_ns"]), header.get("judge_of")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, None
