"""Files fetched from the net, kept by the hash of their content; a record for each address says which one it gave."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench.domain import ConfigError

CHUNK_BYTES = 1 << 20
NAME_CHARS = 100


@dataclass(frozen=True)
class Kept:
    """A fetched file.

    Attributes:
        url: where it came from.
        sha256: of its bytes, hex.
        size: bytes.
        name: its last path segment, which tells the format.
        fetched_at: UTC time, ISO 8601.
    """

    url: str
    sha256: str
    size: int
    name: str
    fetched_at: str

    @property
    def path(self) -> Path:
        """Where the content lies."""
        return cache_folder() / "files" / self.sha256 / self.name


def cache_folder() -> Path:
    """``chatbench/datasets`` under ``XDG_CACHE_HOME``, or under ``~/.cache``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "chatbench" / "datasets"


def kept(url: str) -> Kept | None:
    """What an address gave when it was last fetched; ``None`` where it was not, or the content is gone.

    Raises:
        ConfigError: the content is no longer what was fetched.
    """
    try:
        record = Kept(**json.loads(_record(url).read_bytes()))
        found = sha256_of(record.path)
    except (OSError, ValueError, TypeError):
        return None
    if found != record.sha256:
        raise ConfigError(f"{record.path}: damaged since it was fetched from {url}; delete it and pull it again")
    return record


def keep(part: Path, url: str, sha256: str, fetched_at: str) -> Kept:
    """Move a fetched file to its place, then write the record: one without the other is never seen."""
    made = Kept(url, sha256, part.stat().st_size, name_of(url), fetched_at)
    made.path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, made.path)
    record = _record(url)
    record.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False, encoding="utf-8") as stream:
        json.dump(asdict(made), stream, indent=1)
    os.replace(stream.name, record)
    return made


@contextmanager
def part_file(url: str) -> Iterator[Path]:
    """The unfinished download of an address, for one process at a time.

    Raises:
        ConfigError: another process is fetching the same.
    """
    import fcntl

    folder = cache_folder() / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{_key(url)}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{url}: another process is fetching it; wait for that one") from None
        yield folder / f"{_key(url)}.part"


def name_of(url: str) -> str:
    """The last path segment of an address, safe as a file name."""
    last = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return re.sub(r"[^\w.=-]|^\.+", "_", last, flags=re.ASCII)[-NAME_CHARS:] or "file"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _record(url: str) -> Path:
    return cache_folder() / "urls" / f"{_key(url)}.json"
