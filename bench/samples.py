"""From dataset rows to samples ready to send: field mapping, ids, order, templates, few-shot turns."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.datasets import Dataset, MadeSamples
from bench.datasets.cells import fields_of, json_object, kind_of, needed, objects, tags
from bench.domain import ConfigError, JsonObject, Sample
from bench.files import Problems, resolve

if TYPE_CHECKING:
    from jinja2 import Template

Row = tuple[str, JsonObject]


@dataclass(frozen=True)
class SampleSet:
    """The samples of one dataset configuration, in the order in which they are planned.

    Attributes:
        samples: at least one; made when looked up where the dataset makes them.
        content_hash: SHA-256 (hex) over ids, messages, targets and fields in order: equal hashes, equal questions.
        rows_total: rows in the source, before ``limit``.
    """

    samples: Sequence[Sample]
    content_hash: str
    rows_total: int

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
    made = (replace(dataset, path=str(resolve(dataset.path, root))) if dataset.path and root else dataset).made()
    if made is not None:
        return SampleSet(made, made.content_hash, len(made))
    problems = Problems()
    templates = _Templates.compiled(dataset, problems)
    rows = _read(dataset, root, problems)
    ids = _ids(rows, problems)
    problems.refuse()
    picked = _picked(len(rows), dataset)
    shots = _few_shot(dataset, templates, problems)
    samples = []
    for position in picked:
        place, row = rows[position]
        try:
            samples.append(_sample(ids[position], place, row, templates, shots))
        except ConfigError as error:
            problems.add(*error.problems)
    problems.refuse()
    return SampleSet(tuple(samples), _content_hash(samples), len(rows))


def _read(dataset: Dataset, root: Path | None, problems: Problems) -> list[Row]:
    rows: list[Row] = []
    try:
        located = replace(dataset, path=str(resolve(dataset.path, root))) if dataset.path else dataset
        for row in located.rows():
            rows.append(row)  # noqa: PERF402  # rows read before an error count, so that the error is the only news
    except ConfigError as error:
        problems.add(*error.problems)
        return rows
    if not rows:
        problems.add(f"dataset {dataset.name or dataset.path}: it has no rows; give it at least one")
    return _renamed(rows, dataset.fields, problems)


def _renamed(rows: list[Row], names: Mapping[str, str], problems: Problems) -> list[Row]:
    """Rows with ``fields`` applied; only a name that no row has is an error, since a row may lack an optional field."""
    for new, old in names.items():
        if rows and not any(old in row for _, row in rows):
            problems.add(f"dataset.fields.{new}={old}: no row has this field; {fields_of(rows[0][1])}")
    if not names:
        return rows
    olds = set(names.values())
    return [
        (
            place,
            {k: v for k, v in row.items() if k not in olds and k not in names}
            | {new: row[old] for new, old in names.items() if old in row},
        )
        for place, row in rows
    ]


def _ids(rows: Sequence[Row], problems: Problems) -> list[str]:
    ids: list[str] = []
    first: dict[str, str] = {}
    for place, row in rows:
        given = row.get("id")
        if given is None or given == "":
            sample_id = hashlib.sha256(_canonical(row).encode()).hexdigest()[:16]
        elif isinstance(given, str | int) and not isinstance(given, bool):
            sample_id = str(given)
        else:
            problems.add(f"{place}: `id` must be a text or a whole number, it is {kind_of(given)}")
            sample_id = place
        if sample_id in first:
            what = f"the id {sample_id!r} of" if given not in (None, "") else "the same content as"
            problems.add(f"{place}: has {what} {first[sample_id]}; ids must be unique")
        first.setdefault(sample_id, place)
        ids.append(sample_id)
    return ids


def _picked(total: int, dataset: Dataset) -> list[int]:
    """Positions of the rows to take, in order.

    Fisher-Yates over ``Random.random()``, the one sequence that Python promises to keep between versions
    (``Random.shuffle`` is not promised).
    """
    order = list(range(total))
    if dataset.shuffle:
        draw = random.Random(dataset.sample_seed).random
        for last in range(total - 1, 0, -1):
            other = int(draw() * (last + 1))
            order[last], order[other] = order[other], order[last]
    return order[: dataset.limit]


@dataclass(frozen=True)
class _Templates:
    prompt: Template | None = None
    system: Template | None = None

    @classmethod
    def compiled(cls, dataset: Dataset, problems: Problems) -> _Templates:
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        # Jinja's own `tojson` escapes for HTML, which would put \\u0027 into prompts.
        environment.filters["tojson"] = _to_json
        made: dict[str, Template] = {}
        for key in ("prompt", "system"):
            source = getattr(dataset, key)
            if source is None:
                continue
            try:
                made[key] = environment.from_string(source)
            except TemplateSyntaxError as error:
                problems.add(f"dataset.{key}: template syntax error in line {error.lineno}: {error.message}")
        return cls(**made)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _rendered(template: Template, key: str, place: str, row: JsonObject) -> str:
    from jinja2 import TemplateError

    try:
        return template.render(row)
    except TemplateError as error:
        raise ConfigError(f"{place}: the `{key}` template fails: {error.message}; {fields_of(row)}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{place}: the `{key}` template fails: {type(error).__name__}: {error}") from error


def _few_shot(dataset: Dataset, templates: _Templates, problems: Problems) -> list[JsonObject]:
    turns: list[JsonObject] = []
    for position, example in enumerate(dataset.few_shot):
        place = f"dataset.few_shot[{position}]"
        if not isinstance(example, Mapping):
            problems.add(f"{place}: must be a mapping with the fields of `prompt` and an `answer`")
            continue
        row = {str(key): value for key, value in example.items()}
        try:
            answer = needed(row, "answer", place)
            if not isinstance(answer, str | int | float):
                raise ConfigError(f"{place}: `answer` must be a text, it is {kind_of(answer)}")
            turns += [{"role": "user", "content": _user_text(row, place, templates)}]
            turns += [{"role": "assistant", "content": str(answer)}]
        except ConfigError as error:
            problems.add(*error.problems)
    return turns


def _sample(sample_id: str, place: str, row: JsonObject, templates: _Templates, shots: Sequence[JsonObject]) -> Sample:
    if templates.prompt is None and row.get("messages") is not None:
        if shots:
            raise ConfigError(f"{place}: few_shot needs a `prompt`; this row brings whole `messages`")
        turns = _messages(row, place)
    else:
        turns = [*shots, {"role": "user", "content": _user_text(row, place, templates)}]
    if templates.system is not None:
        turns = [{"role": "system", "content": _rendered(templates.system, "system", place, row)}, *turns]
    tools = objects(row, "tools", place)
    return Sample(
        sample_id=sample_id,
        messages=tuple(turns),
        target=None if row.get("target") == "" else row.get("target"),
        tags=tags(row, place),
        fields=row,
        tools=tuple(tools) if tools is not None else None,
        response_format=json_object(row, "response_format", place),
        place=place,
    )


def _user_text(row: JsonObject, place: str, templates: _Templates) -> str:
    if templates.prompt is not None:
        return _rendered(templates.prompt, "prompt", place, row)
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


def _content_hash(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(_canonical([sample.sample_id, sample.messages, sample.fields]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
