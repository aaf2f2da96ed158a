"""Datasets: where samples come from. One plug-in per reader or generator; presets are YAML files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from bench.domain import JsonObject, Sample


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
class Dataset:
    """What every dataset has; ``kind`` names the plug-in that reads or makes the rows.

    Attributes:
        name: the preset's name, a column of the tables.
        path: file to read; ``shipped://NAME`` is a file of the package's own ``datasets/``.
        fields: new name -> name in the file; applied before anything else sees the row.
        prompt: Jinja2 template of the user turn over the row's fields; ``None`` sends ``prompt`` or ``messages``
            of the row as they are.
        system: Jinja2 template of a system turn, put first.
        few_shot: worked examples put before the prompt: rows with the fields that ``prompt`` needs and an ``answer``.
        limit: at most this many rows, taken after the shuffle.
        shuffle: whether rows are taken in a random order seeded by ``sample_seed`` (else file order).
        scorer: name of a scorer plug-in, or a mapping with ``kind`` and its options; used by ``scorer=auto``.
    """

    kind: str = ""
    name: str = ""
    path: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    system: str | None = None
    few_shot: list[Any] = field(default_factory=list)
    limit: int | None = None
    shuffle: bool = False
    sample_seed: int = 0
    scorer: Any = "none"
    licence: str | None = None
    description: str = ""

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """Raw rows in file order as ``(place, row)``, ``place`` being ``file:line``.

        Raises:
            ConfigError: missing file, unreadable row, invalid UTF-8; names file and line.
        """
        raise TypeError(f"{type(self).__name__} is no dataset reader: it lacks rows()")

    def made(self) -> MadeSamples | None:
        """The samples of a dataset that makes them one at a time; ``None`` for one that has :meth:`rows`.

        Raises:
            ConfigError: what they are made from cannot be read.
        """
        return None
