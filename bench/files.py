"""Files of rows: where a path in a configuration points, its bytes and lines, and the problems found on the way."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.depth import MOST_LEVELS, too_deep
from bench.domain import ConfigError, JsonObject
from bench.places import shipped
from bench.registry import unknown

SHIPPED = "shipped://"
#: an endless line, such as a few kilobytes of gzip can hold, is not read into memory
MAX_LINE_BYTES = 256 * 1024**2


@dataclass
class Problems:
    """Sentences about what is wrong with an input: the first ``shown`` are kept, the rest are counted."""

    shown: int = 20
    kept: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, *sentences: str) -> None:
        """Note one problem or several."""
        room = max(0, self.shown - len(self.kept))
        self.kept += sentences[:room]
        self.more += len(sentences[room:])

    def __bool__(self) -> bool:
        return bool(self.kept)

    def refuse(self) -> None:
        """Raise everything noted as one ``ConfigError``; does nothing when there is nothing."""
        if self.kept:
            raise ConfigError(*self.kept, *([f"... and {self.more} more problems"] if self.more else []))


def resolve(path: str | None, root: Path | None = None, key: str = "dataset.path") -> Path:
    """The file that a ``path`` names: ``shipped://NAME``, absolute, or relative to ``root`` (default: here).

    Args:
        key: the configuration key that holds it, for messages.

    Raises:
        ConfigError: no path, an unknown scheme, or no such file; a shipped name that does not exist lists the others.
    """
    if not path:
        raise ConfigError(f"{key} is not set: name a file, for example {key}=rows.jsonl")
    if path.startswith(SHIPPED):
        return _shipped_file(path, key)
    if "://" in path:
        raise ConfigError(f"{key}={path}: is no file name, and no address of a kind that is read here")
    found = (root or Path()) / Path(path).expanduser()
    if not found.is_file():
        raise ConfigError(f"{key}={path}: there is no such file (looked for {found.absolute()})")
    return found


def _shipped_file(path: str, key: str) -> Path:
    names = sorted(file.name for file in shipped("datasets").iterdir() if file.suffix in (".jsonl", ".csv", ".gz"))
    name = path.removeprefix(SHIPPED)
    if name not in names:
        raise ConfigError(f"{key}={path}: {unknown('shipped file', name, names)}; shipped: {', '.join(names)}")
    return shipped("datasets") / name


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed when its name ends in ``.gz``.

    Raises:
        ConfigError: the file cannot be read, or is damaged gzip data.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream  # type: ignore[misc]  # GzipFile is a binary stream without being declared one
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def text_lines(path: Path | str, stream: IO[bytes], problems: Problems) -> Iterator[tuple[int, str]]:
    """Lines as ``(number from 1, text with its line end)``; a line that is not UTF-8 is noted and comes out empty."""
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), start=1):
        if len(line) == MAX_LINE_BYTES:
            problems.add(f"{path}:{number}: a line of over {MAX_LINE_BYTES} bytes; the rest of the file is not read")
            return
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            at = f"{path}:{number}: invalid UTF-8 at byte {error.start + 1} of the line"
            problems.add(f"{at}; save the file as UTF-8")
            yield number, ""


def json_rows(
    path: Path | str, lines: Iterable[tuple[int, str]], problems: Problems
) -> Iterator[tuple[int, JsonObject]]:
    """The JSON object of each line with its number; blank lines are skipped, a line of anything else is noted."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            problems.add(f"{path}:{number}: invalid JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{path}:{number}: a row must be a JSON object {{...}}, this one is a {type(row).__name__}")


def parse_json(text: str) -> Any:
    """A JSON value by the letter of the standard (no ``NaN``).

    Raises:
        ValueError: not JSON, or nested too deep; the message says where.
    """
    if too_deep(text):
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
