"""A results folder as a whole, here or behind an address: which runs it holds, and whether one has changed."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.domain import ConfigError
from bench.record.folder import HEADER

#: what a run folder is called unless someone has renamed it
_RUN_NAME = re.compile(r".+/\d{8}T\d{6}Z-[^/]+")
#: what is read of a run for its history
FILES = ("requests.parquet", "scores.parquet", "choices.parquet", HEADER)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://")


@dataclass(frozen=True, order=True)
class FoundRun:
    """A run folder under a results folder.

    Attributes:
        name: ``NAME/FOLDER``.
        mark: changes when a file that its history is read from does; empty where there is no ``run.json``.
        files: below the results folder; filled for addresses alone.
    """

    name: str
    mark: str
    files: tuple[str, ...] = field(default=(), compare=False)


def is_run(found: FoundRun) -> bool:
    """Whether a folder is a run, or is called like one and has no ``run.json``: half copied, and worth a word."""
    return bool(found.mark or _RUN_NAME.fullmatch(found.name))


class Results(Protocol):
    """A results folder, wherever it lies."""

    @property
    def name(self) -> str:
        """As it was named."""

    @property
    def index(self) -> Path:
        """Where an index of it is kept on this machine."""

    def runs(self) -> list[FoundRun]:
        """Every run folder, by name; those without ``run.json`` too."""

    def opened(self, run: FoundRun) -> Any:
        """A context manager: the run as a folder on this machine while it is open."""

    def read(self, name: str) -> bytes:
        """A file beside the runs; empty where there is none."""

    def append(self, name: str, line: bytes) -> None:
        """Add a line to a file beside the runs."""


def open_results(name: str) -> Results:
    """The results folder that a text names: a folder, or an address as ``s3://bucket/folder``.

    Raises:
        ConfigError: no such folder, or what reads such addresses is not installed.
    """
    if _ADDRESS.match(name):
        return _address(name)
    folder = Path(name)
    if not folder.is_dir():
        raise ConfigError(f"{name}: is no folder; name the folder that runs are written to: --results DIR")
    return LocalResults(name, folder.absolute() / ".history.parquet", folder.absolute())


@dataclass(frozen=True)
class LocalResults:
    """A results folder on this machine."""

    name: str
    index: Path
    folder: Path

    def runs(self) -> list[FoundRun]:
        """Every run folder, by name."""
        found: list[FoundRun] = []
        for name in _folders(self.folder):
            if name.name.startswith("."):
                continue
            found += [
                FoundRun(f"{name.name}/{run.name}", mark_of(_files_of(Path(run.path))))
                for run in _folders(Path(name.path))
            ]
        return sorted(filter(is_run, found))

    @contextmanager
    def opened(self, run: FoundRun) -> Iterator[Path]:
        """The run where it lies."""
        yield self.folder / run.name

    def read(self, name: str) -> bytes:
        """A file beside the runs; empty where there is none."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ConfigError(f"{self.folder / name}: cannot be read ({error.strerror})") from error

    def append(self, name: str, line: bytes) -> None:
        """Add a line to a file beside the runs, in one write, on the disk when this returns."""
        path = self.folder / name
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def _folders(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be listed ({error.strerror})") from error


def _files_of(run: Path) -> dict[str, object]:
    """Size and time of every file that matters, parts of tables included."""
    found: dict[str, object] = {}
    for name in FILES:
        path = run / name
        try:
            stat = path.stat()
            parts = sorted(path.iterdir()) if path.is_dir() else []
            found[name] = (stat.st_size, stat.st_mtime_ns)
            found |= {f"{name}/{part.name}": ((kept := part.stat()).st_size, kept.st_mtime_ns) for part in parts}
        except OSError:
            continue
    return found


def mark_of(files: Mapping[str, object]) -> str:
    """What changes with any of the files; empty without ``run.json``."""
    if HEADER not in files:
        return ""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def _address(url: str) -> Results:
    try:
        import fsspec
    except ImportError:
        raise ConfigError(f"{url}: addresses need the extra `remote`: pip install 'chatbench[remote]'") from None
    from bench.record.remote import RemoteResults  # needs what was just tried

    with asked(url):
        system, root = fsspec.core.url_to_fs(url)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatbench" / "history"
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return RemoteResults(url, cache / f"{digest}.parquet", system, str(root).rstrip("/"))


@contextmanager
def asked(url: str) -> Iterator[None]:
    """Whatever a file system says against it becomes one sentence.

    Raises:
        ConfigError: any error of the file system.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - any file system's own errors, none of which is a bug of ours
        said = " ".join(str(error).split())[:300]
        raise ConfigError(f"{url}: cannot be read or written: {said or type(error).__name__}") from None


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a run that is fetched to be read."""
    return tempfile.TemporaryDirectory(prefix="bench-history-")
