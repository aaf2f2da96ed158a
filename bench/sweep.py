"""Sweeps: from Hydra's sweep syntax to typed experiments, all at once."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString, ValueType

from bench.config import Experiment, Schema, parse, replace_checked
from bench.domain import ConfigError
from bench.loader import Loader
from bench.registry import typed

MAX_PROBLEMS = 20


def preset_lines(params: Mapping[str, Any]) -> list[str]:
    """``hydra.sweeper.params`` as overrides: a text is Hydra's sweep syntax, a list is the list of its values."""
    return [
        f"{key}={','.join(map(_written, value)) if isinstance(value, list) else value}" for key, value in params.items()
    ]


def _written(value: Any) -> str:
    """A YAML value in Hydra's override syntax."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_written(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./-]+", value) else QuotedString(value, Quote.single).with_quotes()
    return json.dumps(value)


def jobs_of(loader: Loader, presets: Iterable[Override], arguments: Iterable[Override]) -> list[list[str]]:
    """The override lists of a sweep's jobs: the product of all values, the last key moving fastest.

    An argument replaces the preset sweep of the same key, however either is written (``key``, ``+key``, ``++key``).

    Raises:
        ConfigError: a sweep that has no values or cannot be listed.
    """
    chosen: dict[tuple[str, str | None], list[str]] = {}
    for override in (*presets, *arguments):
        place = (override.key_or_group, override.package)
        chosen[place] = _values(loader, override)
    return [list(job) for job in itertools.product(*chosen.values())]


def _values(loader: Loader, override: Override) -> list[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval has no list of values; write range(start, stop, step) or list them, "
            f"or choose an optimising sweeper with hydra/sweeper="
        )
    try:
        values = [str(value) for value in override.sweep_string_iterator()]
    except Exception as error:
        raise ConfigError(f"{override.input_line}: {' '.join(str(error).split())}") from error
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        values = _complete(loader, override, values)
    if not values:
        options = ", ".join(loader.options(override.key_or_group)) or "nothing, as it is no config group"
        raise ConfigError(f"{override.input_line}: gives no values; {override.key_or_group} has {options}")
    return [f"{key}={value}" for value in values]


def _complete(loader: Loader, override: Override, options: list[str]) -> list[str]:
    """What a pattern matched, less the presets that cannot stand alone (the ``custom`` model has no name)."""
    pattern: object = override.value()
    named: list[str] = pattern.include if isinstance(pattern, Glob) else []
    kept = []
    for option in options:
        lacking = [] if option in named else loader.lacks(override.key_or_group, option)
        if lacking:
            print(
                f"note: {override.input_line} leaves out {option!r}, which needs {', '.join(lacking)}", file=sys.stderr
            )
        else:
            kept.append(option)
    return kept


def experiments_of(
    loader: Loader, jobs: Sequence[Sequence[str]], config_name: str | None
) -> tuple[list[Experiment], list[int]]:
    """The distinct experiments of all jobs in order, and for each job the index of its experiment.

    Raises:
        ConfigError: the problems of all jobs, each one once, at most ``MAX_PROBLEMS``.
    """
    parser = Parser()
    experiments: list[Experiment] = []
    index: dict[tuple[str, ...], int] = {}
    problems: dict[str, None] = {}
    cell_of_job = []
    for job in jobs:
        key = tuple(sorted(job))
        if key not in index:
            index[key] = len(experiments)
            try:
                experiments.append(parser.parse(loader.compose(job, config_name)))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
                del index[key]
                continue
        cell_of_job.append(index[key])
    if problems:
        shown = list(problems)[:MAX_PROBLEMS]
        more = len(problems) - len(shown)
        raise ConfigError(*shown, *([f"and {more} more problems"] if more else []))
    return experiments, cell_of_job


class Parser:
    """:func:`bench.config.parse` for many configs that share most of their sections, which it types only once."""

    def __init__(self) -> None:
        self._typed: dict[tuple[str, str], Any] = {}
        self._text: dict[int, tuple[Any, str]] = {}

    def parse(self, config: Mapping[str, Any]) -> Experiment:
        """The same experiment, or the same error, as ``bench.config.parse(config)``."""
        keys = {key: (key, self._canonical(value)) for key, value in config.items()}
        if "scorer" in keys:  # scorer=auto is the dataset's
            keys["scorer"] = ("scorer", keys["scorer"][1] + keys.get("dataset", ("", ""))[1])
        new = [key for key in keys if keys[key] not in self._typed]
        if keys.keys() != {f.name for f in fields(Experiment)} or not all(key in _SECTIONS for key in new):
            experiment = parse(config)
            self._typed.update(
                {keys[f.name]: getattr(experiment, f.name) for f in fields(experiment) if f.name in keys}
            )
            return experiment
        for key in new:
            self._typed[keys[key]] = typed(_SECTIONS[key], config[key], where=f"config.{key}")
        return replace_checked(Experiment(**{key: self._typed[keys[key]] for key in keys}))

    def _canonical(self, value: Any) -> str:
        if id(value) not in self._text:
            self._text[id(value)] = (value, json.dumps(value, sort_keys=True, default=repr))
        return self._text[id(value)][1]


_SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in fields(Schema) if is_dataclass(f.default_factory)}
