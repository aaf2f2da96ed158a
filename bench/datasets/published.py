"""Datasets in files: local, in archives or fetched; with what belongs to their rows in files beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from bench.datasets import Dataset, FewShot
from bench.domain import ConfigError, JsonObject
from bench.files import Problems
from bench.registry import typed
from bench.sources import Part, Source, chosen, damage_told, parts

MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True)
class Beside:
    """A file that goes with each file of a dataset. ``{file}`` and ``{folder}`` in its place stand for that file.

    Attributes:
        path: the place where the dataset's file is a local one.
        url, sha256: the place where the dataset was pulled.
        member: where that is an archive.
        by: the field in which a row of it and a row of the dataset agree (``join`` only).
        skip: glob; files of the dataset that have nothing beside them.
    """

    path: str | None = None
    url: str | None = None
    sha256: Any = None
    member: str | None = None
    by: str = "id"
    skip: str | None = None


@dataclass(frozen=True)
class Published(Dataset):
    """What every reader of files has. ``path`` takes one file, a list or a glob; archives are read by ``member``.

    Attributes:
        url: where ``bench datasets pull`` gets the file; used where ``path`` is null.
        sha256: what that file must have, or a mapping from file names to it; null records what comes.
        member: glob over an archive's member names.
        variant: which of ``variants`` (one, a list, or ``all``) to fill in for ``{variant}`` in the places above.
        variants: the parts that the set was published in: tasks, languages, splits.
        path_fields: regular expression on the file's or member's name; its named groups become fields of the row.
        join: a file of more fields for the same rows (:class:`Beside`).
        preamble: a text file whose content becomes the field ``preamble`` of the rows (:class:`Beside`).
    """

    url: Any = None
    sha256: Any = None
    member: str | None = None
    variant: Any = None
    variants: list[str] = field(default_factory=list)
    path_fields: str | None = None
    join: Any = None
    preamble: Any = None

    def read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        """The good rows of one file; what is wrong with the others is noted."""
        raise TypeError(f"{type(self).__name__} is no reader: it lacks read()")

    def source(self) -> Source:
        """Where the rows are.

        Raises:
            ConfigError: a variant that does not exist.
        """
        variants = chosen(self.variant, self.variants, self.name)
        return Source("dataset", self.name, self.path, self.url, self.sha256, self.member, variants)

    def addresses(self) -> list[tuple[str, str | None]]:
        """Every address that ``bench datasets pull`` fetches, with the hash its file must have (``None``: any)."""
        found = self.source().addresses() if self.url else []
        beside = [self._beside(key) for key in ("join", "preamble")]
        for url, _ in list(found):
            file = url.rsplit("/", 1)[-1]
            for one in beside:
                if one and one.url and not (one.skip and fnmatchcase(file, one.skip)):
                    found += Source(
                        "dataset", self.name, url=self._filled(one.url, file), sha256=one.sha256
                    ).addresses()
        if isinstance(self.few_shot, Mapping):
            shots = typed(FewShot, self.few_shot, "dataset.few_shot")
            found += self._of_examples(shots).source().addresses() if shots.url else []
        return list(dict.fromkeys(found))

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Every good row; what is wrong with the others is raised after the last one."""
        problems = Problems()
        join, preamble = self._beside("join"), self._beside("preamble")
        for part in parts(self.source()):
            fields: JsonObject = self._named(part.file)
            if preamble is not None and not (preamble.skip and fnmatchcase(part.file, preamble.skip)):
                fields["preamble"] = self._text(preamble, part)
            more = None
            if join is not None and not (join.skip and fnmatchcase(part.file, join.skip)):
                more = self._joined(join, part)
            for place, row in self._read(part, problems):
                partner = {} if more is None or join is None else _partner(row, join.by, more, place, problems)
                yield place, {**fields, **row, **partner}
        problems.refuse()

    def _read(self, part: Part, problems: Problems) -> Iterator[tuple[str, JsonObject]]:
        with damage_told(part.name):
            yield from self.read(part, problems)

    def example_rows(self, few_shot: FewShot) -> Iterator[tuple[str, JsonObject]]:
        """The rows of the examples' own file, or of another member of the dataset's archive."""
        try:
            yield from self._of_examples(few_shot).rows()
        except ConfigError as error:
            hint = "dataset.few_shot=null asks without examples"
            raise ConfigError(*(f"{problem} ({hint})" for problem in error.problems)) from error

    def _of_examples(self, few_shot: FewShot) -> Published:
        places: dict[str, Any] = {"path": few_shot.path, "url": few_shot.url, "sha256": few_shot.sha256}
        if not few_shot.path and not few_shot.url:
            places = {}
        return replace(self, **places, member=few_shot.member or (None if places else self.member), few_shot=None)

    def _beside(self, key: str) -> Beside | None:
        given = getattr(self, key)
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise ConfigError(f"dataset.{key}: must be a mapping with path or url")
        return typed(Beside, given, f"dataset.{key}")

    def _named(self, file: str) -> JsonObject:
        if self.path_fields is None:
            return {}
        try:
            found = re.search(self.path_fields, file)
        except re.error as error:
            raise ConfigError(f"dataset.path_fields: not a regular expression: {error}") from error
        return {key: value for key, value in found.groupdict().items() if value is not None} if found else {}

    def _filled(self, text: str, file: str, folder: str = "") -> str:
        """A place with what ``{file}``, ``{folder}`` and the fields of the file's name stand for."""
        for key, value in {**self._named(file), "file": file, "folder": folder}.items():
            text = text.replace("{" + key + "}", value)
        return text

    def _source_beside(self, beside: Beside, part: Part, key: str) -> Source:
        # a path beats the address; but the preset's own, which counts from the file, makes sense for local files only
        local = not part.fetched or (beside.path is not None and "{folder}" not in beside.path)
        path = beside.path if local else None
        folder = str(part.path.parent)
        path, url = (self._filled(one, part.file, folder) if one else None for one in (path, beside.url))
        member = self._filled(beside.member, part.file) if beside.member else None
        return Source(f"dataset.{key}", self.name, path, url, beside.sha256, member)

    def _joined(self, join: Beside, part: Part) -> Mapping[str, JsonObject]:
        """The rows of the file beside a file, by the value of the field they agree in."""
        problems = Problems()
        found: dict[str, JsonObject] = {}
        for other in parts(self._source_beside(join, part, "join")):
            for place, row in self._read(other, problems):
                if row.get(join.by) is None:
                    problems.add(f"{place}: lacks the field `{join.by}` that rows are joined on")
                found[str(row.get(join.by))] = row
        problems.refuse()
        return found

    def _text(self, preamble: Beside, part: Part) -> str:
        found = []
        for one in parts(self._source_beside(preamble, part, "preamble")):
            try:
                with damage_told(one.name):
                    found.append(one.stream.read(MAX_TEXT_BYTES).decode())
            except UnicodeDecodeError as error:
                raise ConfigError(f"{one.name}: dataset.preamble is not UTF-8: {error}") from error
        return "\n".join(found)


def _partner(row: JsonObject, on: str, rows: Mapping[str, JsonObject], place: str, problems: Problems) -> JsonObject:
    found = rows.get(str(row.get(on)))
    if found is None:
        problems.add(f"{place}: the file of dataset.join has no row with `{on}` {row.get(on)!r}")
    return found or {}
