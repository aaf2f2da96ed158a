"""Datasets: where samples come from. One plug-in per reader or generator; presets are YAML files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from bench.domain import ConfigError, JsonObject, Sample


class MadeSamples(Sequence[Sample]):
    """Samples that are made when they are looked up: a set too large to hold, the same at every look.

    Attributes:
        content_hash: SHA-256 (hex) over all that decides them.
        prompt_tokens, answer_tokens: means over the set, known without making it.
    """

    content_hash: str
    prompt_tokens: float
    answer_tokens: float

    def make(self, index: int) -> Sample:
        """The sample at an index from 0 up to the length."""
        raise TypeError(f"{type(self).__name__} makes no samples: it lacks make()")

    def hardest(self) -> tuple[Sample, ...]:
        """Those that a rule on prompts and answers would refuse first."""
        raise TypeError(f"{type(self).__name__} lacks hardest()")

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        """One sample, or the samples of a slice."""
        if isinstance(index, slice):
            return tuple(self.make(one) for one in range(*index.indices(len(self))))
        return self.make(range(len(self))[index])


@dataclass(frozen=True)
class FewShot:
    """Worked examples drawn from a file, the same for every row of a group and never the row that is asked.

    Attributes:
        path, url, sha256, member: the file, as for the dataset itself; without ``path`` and ``url`` the dataset's own
            file or archive.
        count: examples for each question.
        seed: draws them at random; ``None`` takes the first of the file.
        per: a field: examples have the same value in it as the row that is asked.
        answer: Jinja2 template of an example's answer over its fields.
    """

    path: Any = None
    url: Any = None
    sha256: Any = None
    member: str | None = None
    count: int = 5
    seed: int | None = None
    per: str | None = None
    answer: str = "{{ answer }}"


@dataclass(frozen=True)
class Dataset:
    """What every dataset has; ``kind`` names the plug-in that reads or makes the rows.

    Attributes:
        name: the preset's name, a column of the tables.
        path: file to read; ``shipped://NAME`` is a file of the package's own ``datasets/``.
        fields: new name -> name in the file, or a dotted path into it (``answer.spans.0``); applied before anything
            else sees the row.
        derive: new field -> Jinja2 expression over the row's fields, in order.
        prompt: Jinja2 template of the user turn over the row's fields; ``None`` sends ``prompt`` or ``messages``
            of the row as they are. Templates see the whole row as ``row`` too, and few-shot examples as ``shots``.
        system: Jinja2 template of a system turn, put first.
        few_shot: worked examples: a list of rows with the fields that ``prompt`` needs and an ``answer``, or a mapping
            (:class:`FewShot`). They go before the prompt as turns, unless ``prompt`` itself writes out ``shots``.
        where: Jinja2 expression; rows for which it is false are left out.
        tags: fields whose values become tags, as ``field=value``; besides the row's own ``tags``.
        shuffle_options: puts a row's ``options`` in an order seeded by ``sample_seed`` and the row's id, for files in
            which the right one stands first; the target becomes its letter.
        limit: at most this many rows, taken after the shuffle.
        stratify: a field: ``limit`` is spread evenly over its values.
        shuffle: whether rows are taken in a random order seeded by ``sample_seed`` (else file order).
        scorer: name of a scorer plug-in, or a mapping with ``kind`` and its options; used by ``scorer=auto``.
        licence, citation: of the rows.
    """

    kind: str = ""
    name: str = ""
    path: Any = None
    fields: dict[str, str] = field(default_factory=dict)
    derive: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    system: str | None = None
    few_shot: Any = None
    where: str | None = None
    tags: list[str] = field(default_factory=list)
    shuffle_options: bool = False
    limit: int | None = None
    stratify: str | None = None
    shuffle: bool = False
    sample_seed: int = 0
    scorer: Any = "none"
    licence: str | None = None
    citation: str | None = None
    description: str = ""

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Raw rows in file order as ``(place, row)``, ``place`` being ``file:line``.

        Raises:
            ConfigError: missing file, unreadable row, invalid UTF-8; names file and line.
        """
        raise TypeError(f"{type(self).__name__} is no dataset reader: it lacks rows()")

    def example_rows(self, few_shot: FewShot) -> Iterator[tuple[str, JsonObject]]:
        """Raw rows to draw worked examples from.

        Raises:
            ConfigError: as :meth:`rows`; or this dataset reads no files.
        """
        raise ConfigError(f"dataset.few_shot: {self.kind} reads no file of examples; list the examples themselves")

    def made(self) -> MadeSamples | None:
        """The samples of a dataset that makes them one at a time; ``None`` for one that has :meth:`rows`.

        Raises:
            ConfigError: what they are made from cannot be read.
        """
        return None
