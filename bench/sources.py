"""Where rows come from: local files and globs, members of archives, fetched addresses; each as named bytes."""

from __future__ import annotations

import fnmatch
import glob
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bench.cached import kept, name_of
from bench.domain import ConfigError
from bench.files import SHIPPED, opened, resolve
from bench.registry import unknown

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
FETCHED = ("https://", "http://", "hf://", "s3://")
#: of one member of an archive, and of all that are read
MAX_MEMBER_BYTES = 2 * 1024**3
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class Source:
    """A place of files as a configuration names it.

    Attributes:
        key: the configuration key that holds it, for messages.
        dataset: the dataset's name, for messages.
        path: what the user or preset points at; text or a list of texts.
        url: what is pulled into the cache where no path is given; likewise.
        sha256: of the file at ``url``; or a mapping from file names to hashes.
        member: glob over the names of an archive's members.
        variants: what ``{variant}`` stands for in the others, each in turn.
    """

    key: str
    dataset: str
    path: Any = None
    url: Any = None
    sha256: Any = None
    member: str | None = None
    variants: tuple[str, ...] = ()

    def addresses(self) -> list[tuple[str, str | None]]:
        """Every address to pull, with the hash its file must have."""
        return [(url, self.hash_of(url)) for url in _expanded(self.url, self.variants, f"{self.key}.url")]

    def hash_of(self, url: str) -> str | None:
        """The hash that the file of an address must have; ``None``: any."""
        found = self.sha256.get(name_of(url)) if isinstance(self.sha256, Mapping) else self.sha256
        return None if found is None else str(found)


@dataclass(frozen=True)
class Part:
    """One file, or one member of an archive, while it is open.

    Attributes:
        name: for messages: the path, and the member after a colon.
        path: the file on disk.
        file: the last segment of the name, which tells what is in it.
        stream: its bytes, decompressed.
        fetched: whether it came from ``url`` through the cache.
    """

    name: str
    path: Path
    file: str
    stream: IO[bytes]
    fetched: bool


def parts(source: Source) -> Iterator[Part]:
    """Every file that a source names, one at a time; a part can be read until the next one is asked for.

    Raises:
        ConfigError: nothing is there, it cannot be read, or it was never pulled; says what to do.
    """
    for path, fetched in _files(source):
        name = path.name.lower()
        if name.endswith(TARS):
            yield from _tar(path, source, fetched)
        elif name.endswith(".zip"):
            yield from _zip(path, source, fetched)
        elif source.member is not None and fetched:
            raise ConfigError(f"{source.key}.member={source.member}: {path} is no archive")
        else:
            with opened(path) as stream:
                yield Part(str(path), path, path.name, stream, fetched)


def _files(source: Source) -> Iterator[tuple[Path, bool]]:
    if source.path:
        for text in _expanded(source.path, source.variants, f"{source.key}.path"):
            if text.startswith(FETCHED):
                yield _fetched(text, source.hash_of(text), source), False
            else:
                yield from ((path, False) for path in _local(text, f"{source.key}.path"))
        return
    if not source.url:
        resolve(None, key=f"{source.key}.path")
    for url, _ in source.addresses():
        record = kept(url)
        if record is None:
            raise ConfigError(
                f"dataset {source.dataset}: {name_of(url)} is not here yet. Run `bench datasets pull "
                f"{source.dataset}`, which fetches {url}; or give {source.key}.path=FILE"
            )
        if (wanted := source.hash_of(url)) not in (None, record.sha256):
            raise ConfigError(
                f"dataset {source.dataset}: the {name_of(url)} that was pulled has the SHA-256 {record.sha256}, not "
                f"{wanted}; run `bench datasets pull {source.dataset}` again"
            )
        yield record.path, True


def _fetched(url: str, sha256: str | None, source: Source) -> Path:
    """The cached file of an address given as a path; fetched on first use."""
    record = kept(url)
    if record is None or sha256 not in (None, record.sha256):
        from bench.download import download  # imported late: http and tls take time to import

        try:
            record = download(url, sha256)
        except ConfigError as error:
            raise ConfigError(f"{source.key}.path: {error.problems[0]}") from error
    return record.path


def _local(text: str, key: str) -> list[Path]:
    """The files of a path or a glob, sorted."""
    path = Path(text).expanduser()
    if text.startswith(SHIPPED) or "://" in text or path.is_file() or not glob.has_magic(text):
        return [resolve(text, key=key)]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise ConfigError(f"{key}={text}: no file has such a name")
    return found


def _expanded(given: Any, variants: tuple[str, ...], key: str) -> list[str]:
    """One text or a list of them, with ``{variant}`` filled in by each variant in turn."""
    items = given if isinstance(given, list | tuple) else [given]
    texts = [item for item in items if isinstance(item, str) and item]
    if len(texts) != len(items):
        raise ConfigError(f"{key}={given!r}: must be a text or a list of texts")
    found: list[str] = []
    for text in texts:
        found += [text.replace("{variant}", one) for one in variants] if "{variant}" in text else [text]
    return found


def chosen(variant: Any, variants: list[str], dataset: str) -> tuple[str, ...]:
    """The variants that a configuration asks for: one, a list, or all of them.

    Raises:
        ConfigError: one that does not exist.
    """
    if variant is None or not variants:
        return ()
    names = variants if variant == "all" else [str(one) for one in variant] if isinstance(variant, list) else [variant]
    problems = [
        f"dataset.variant: {unknown(f'variant of {dataset}', str(n), variants)}" for n in names if n not in variants
    ]
    if problems or not names:
        raise ConfigError(*(problems or [f"dataset.variant: name one of {', '.join(variants)}, or all"]))
    return tuple(names)


def _members(source: Source) -> list[str]:
    if source.member is None:
        return ["*"]
    return _expanded(source.member, source.variants, f"{source.key}.member")


def _wanted(name: str, patterns: list[str]) -> bool:
    # "._x" files are what macOS leaves in archives
    return not PurePosixPath(name).name.startswith("._") and any(fnmatch.fnmatchcase(name, one) for one in patterns)


def _tar(path: Path, source: Source, fetched: bool) -> Iterator[Part]:
    patterns, found, size, others = _members(source), 0, 0, list[str]()
    with damage_told(str(path)), tarfile.open(path) as archive:
        for member in archive:
            if not member.isfile() or not _wanted(member.name, patterns):
                others += [member.name] if member.isfile() else []
                continue
            found, size = found + 1, size + member.size
            _bound(path, size)
            stream = archive.extractfile(member)
            assert stream is not None  # a plain file
            with stream:
                yield Part(f"{path}:{member.name}", path, PurePosixPath(member.name).name, stream, fetched)
    _some(found, path, source, others)


def _zip(path: Path, source: Source, fetched: bool) -> Iterator[Part]:
    patterns, found, size, others = _members(source), 0, 0, list[str]()
    with damage_told(str(path)), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not _wanted(member.filename, patterns):
                others += [] if member.is_dir() else [member.filename]
                continue
            found, size = found + 1, size + member.file_size
            _bound(path, size)
            with archive.open(member) as stream:
                yield Part(f"{path}:{member.filename}", path, PurePosixPath(member.filename).name, stream, fetched)
    _some(found, path, source, others)


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn what reading a damaged file or archive raises into words.

    Raises:
        ConfigError: with the file's name.
    """
    try:
        yield
    except (*_DAMAGE, RuntimeError) as error:
        # a RuntimeError is zipfile's word for a member that needs a password
        raise ConfigError(f"{name}: cannot be read: {error}") from error


def _bound(path: Path, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise ConfigError(f"{path}: its members hold over {MAX_MEMBER_BYTES} bytes unpacked; unpack what you need")


def _some(found: int, path: Path, source: Source, others: list[str]) -> None:
    if not found:
        wanted = " or ".join(_members(source))
        held = (
            f"it holds {', '.join([*others[:3], *(['...'] if len(others) > 3 else [])])}" if others else "it is empty"
        )
        other = f"; choose another {source.key}.variant" if source.variants else ""
        raise ConfigError(f"{source.key}.member: {path} has no member {wanted} ({held}){other}")
