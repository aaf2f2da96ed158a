"""From dataset rows to samples ready to send: field mapping, ids, order, templates, few-shot turns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.datasets import Dataset, MadeSamples
from bench.datasets.cells import json_object, kind_of, needed, objects, tags
from bench.domain import ConfigError, JsonObject, Sample
from bench.few_shot import Shots, shots_of
from bench.files import Problems
from bench.row_fields import (
    Row,
    canonical,
    compiled,
    derived,
    kept,
    picked,
    renamed,
    row_ids,
    tagged,
    with_options_shuffled,
)
from bench.templates import Template, template


@dataclass(frozen=True)
class SampleSet:
    """The samples of one dataset configuration, in the order in which they are planned.

    Attributes:
        samples: at least one; made when looked up where the dataset makes them.
        content_hash: SHA-256 (hex) over ids, messages, targets and fields in order: equal hashes, equal questions.
        rows_total: rows in the source, before ``limit``.
        repeated: samples that ask the same as an earlier one, as ``(id, id of the first)``.
    """

    samples: Sequence[Sample]
    content_hash: str
    rows_total: int
    repeated: tuple[tuple[str, str], ...] = ()

    @property
    def kept(self) -> Sequence[Sample]:
        """What a record keeps: nothing of samples that can be made again from the dataset's configuration."""
        return () if isinstance(self.samples, MadeSamples) else self.samples


def load_samples(dataset: Dataset, root: Path | None = None) -> SampleSet:
    """Read, order, cut and render a dataset. A relative ``path`` counts from ``root`` (default: working directory).

    Raises:
        ConfigError: all problems found (the first 20 in words): missing or empty file, unreadable rows, duplicate
            ids, fields that a row lacks, wrong types, template errors.
    """
    dataset = _anchored(dataset, root) if root is not None else dataset
    made = dataset.made()
    if made is not None:
        return SampleSet(made, made.content_hash, len(made))
    problems = Problems()
    making = _Making(dataset, problems)
    rows = _read(dataset, problems)
    ids = row_ids(rows, problems)
    problems.refuse()
    making.shots = shots_of(dataset, problems, making.example_turns)
    samples = []
    for position in picked(rows, dataset):
        try:
            samples.append(making.sample(ids[position], *rows[position]))
        except ConfigError as error:
            problems.add(*error.problems)
    problems.refuse()
    return SampleSet(tuple(samples), _content_hash(samples), len(rows), tuple(_repeated(samples)))


def repeats_told(name: str, found: SampleSet) -> str | None:
    """A sentence on samples that ask the same as another, or ``None``."""
    if not found.repeated:
        return None
    again, first = found.repeated[0]
    asks = "sample asks" if len(found.repeated) == 1 else "samples ask"
    return (
        f"dataset {name}: {len(found.repeated)} of {len(found.samples)} {asks} word for word the same as an earlier "
        f"one ({again} as {first}); answers to them are not independent"
    )


def _anchored(dataset: Dataset, root: Path) -> Dataset:
    """The dataset with its relative paths counted from ``root``."""

    def under(path: Any) -> Any:
        if isinstance(path, list):
            return [under(one) for one in path]
        is_place = not isinstance(path, str) or not path or "://" in path or path.startswith(("~", "{folder}"))
        return path if is_place else str(root / path)

    nested: dict[str, Any] = {
        key: {**given, "path": under(given["path"])}
        for key in ("few_shot", "join", "preamble")
        if isinstance(given := getattr(dataset, key, None), dict) and given.get("path")
    }
    return replace(dataset, path=under(dataset.path), **nested)


def _read(dataset: Dataset, problems: Problems) -> list[Row]:
    rows: list[Row] = []
    try:
        for row in dataset.rows():
            rows.append(row)  # noqa: PERF402  # rows read before an error count, so that the error is the only news
    except ConfigError as error:
        problems.add(*error.problems)
        return rows
    if not rows:
        problems.add(f"dataset {dataset.name or dataset.path}: it has no rows; give it at least one")
    try:
        return kept(renamed(rows, dataset.fields, problems), dataset.where, problems)
    except ConfigError as error:
        problems.add(*error.problems)
        return []


class _Making:
    """What it takes to make samples of one dataset: its templates, compiled once, and its examples."""

    def __init__(self, dataset: Dataset, problems: Problems) -> None:
        self.dataset = dataset
        self.prompt, self.system = (self._template(key, problems) for key in ("prompt", "system"))
        self.derive = compiled(dataset.derive, problems)
        self.shots = Shots()
        self._turns_of: dict[str, list[JsonObject]] = {}

    def _template(self, key: str, problems: Problems) -> Template | None:
        source = getattr(self.dataset, key)
        return None if source is None else template(source, f"dataset.{key}", problems)

    def sample(self, sample_id: str, place: str, raw: JsonObject) -> Sample:
        """The sample of a row.

        Raises:
            ConfigError: what the row lacks or has wrong; names its place.
        """
        row = derived(raw, place, self.derive)
        if self.dataset.shuffle_options:
            row = with_options_shuffled(row, f"{self.dataset.sample_seed}/{sample_id}", place)
        turns = self._turns(row, place)
        if self.system is not None:
            turns = [{"role": "system", "content": self.system(row, place)}, *turns]
        tools = objects(row, "tools", place)
        return Sample(
            sample_id=sample_id,
            messages=tuple(turns),
            target=None if row.get("target") == "" else row.get("target"),
            tags=(*tags(row, place), *tagged(row, self.dataset.tags, place)),
            fields=row,
            tools=tuple(tools) if tools is not None else None,
            response_format=json_object(row, "response_format", place),
            place=place,
        )

    def _turns(self, row: JsonObject, place: str) -> list[JsonObject]:
        """The turns after the system's; examples stand in turns of their own, or where the prompt writes them out."""
        if self.prompt is None and row.get("messages") is not None:
            if self.shots.any:
                raise ConfigError(f"{place}: few_shot needs a `prompt`; this row brings whole `messages`")
            return _messages(row, place)
        examples = self.shots.of(row, place)
        if self._writes_shots:
            assert self.prompt is not None
            content = self.prompt(row, place, shots=[example for _, example in examples])
            return [{"role": "user", "content": content}]
        turns = [turn for where, example in examples for turn in self.example_turns(example, where)]
        return [*turns, {"role": "user", "content": self._user_text(row, place)}]

    @property
    def _writes_shots(self) -> bool:
        return self.prompt is not None and "shots" in self.prompt.names

    def example_turns(self, example: JsonObject, place: str) -> list[JsonObject]:
        """An example as two turns, rendered once; none where the prompt writes examples out.

        Raises:
            ConfigError: a field that the prompt needs is missing.
        """
        if self._writes_shots:
            return []
        if place not in self._turns_of:
            question = {"role": "user", "content": self._user_text(example, place)}
            self._turns_of[place] = [question, {"role": "assistant", "content": str(example["answer"])}]
        return self._turns_of[place]

    def _user_text(self, row: JsonObject, place: str) -> str:
        if self.prompt is not None:
            return str(self.prompt(row, place))
        text = needed(row, "prompt", place)
        if not isinstance(text, str) or not text:
            raise ConfigError(f"{place}: `prompt` must be a text that is not empty, it is {kind_of(text)}")
        return text


def _messages(row: JsonObject, place: str) -> list[JsonObject]:
    turns = objects(row, "messages", place) or []
    if not turns:
        raise ConfigError(f"{place}: `messages` is empty; it needs at least one turn")
    for position, turn in enumerate(turns):
        if not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str | list | None):
            raise ConfigError(f"{place}: messages[{position}] needs a text `role` and a `content` (text or parts)")
    return turns


def _repeated(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    found = []
    for sample in samples:
        asked = hashlib.sha256(canonical([sample.messages, sample.tools, sample.response_format]).encode()).hexdigest()
        if first.setdefault(asked, sample.sample_id) != sample.sample_id:
            found.append((sample.sample_id, first[asked]))
    return found


def _content_hash(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(canonical([sample.sample_id, sample.messages, sample.fields]).encode())
        digest.update(b"\n")
    return digest.hexdigest()
