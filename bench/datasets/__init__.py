"""Datasets: where samples come from. One plug-in per reader or generator; presets are YAML files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.domain import JsonObject


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
