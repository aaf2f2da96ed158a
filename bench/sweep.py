"""Sweeps: from Hydra's sweep syntax to typed experiments, all at once."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString, ValueType

from bench.compose import AUTO
from bench.config import PLUGIN_KEYS, Experiment, Schema, completed, parse
from bench.domain import ConfigError
from bench.loader import Loader
from bench.registry import build, typed
from bench.scorers.several import named_scorer, set_options

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
    if override.value_type is ValueType.RANGE_SWEEP:
        values = [_tidy(value) for value in values]
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        values = _complete(loader, override, values)
    if not values:
        options = ", ".join(loader.options(override.key_or_group)) or "nothing, as it is no config group"
        raise ConfigError(f"{override.input_line}: gives no values; {override.key_or_group} has {options}")
    return [f"{key}={value}" for value in values]


def _tidy(number: str) -> str:
    """0.6 for the 0.6000000000000001 that adding up a step of 0.2 gives: it becomes part of labels and hashes."""
    return number if re.fullmatch(r"-?\d+", number) else repr(float(f"{float(number):.12g}"))


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
        whole = config.keys() == _FIELDS and all(isinstance(config[key], dict) for key in (*_SECTIONS, *PLUGIN_KEYS))
        if not whole:
            return parse(config)
        try:
            parts = {key: self._section(key, config) for key in config if key in _SECTIONS or key in PLUGIN_KEYS}
            scalars = {key: value for key, value in config.items() if key not in parts}
            experiment = Experiment(
                **parts, **vars(self._once("", scalars, lambda: typed(_Scalars, scalars, "config")))
            )
        except ConfigError:
            return parse(config)  # which finds all problems, where this stops at the first
        return completed(experiment)

    def _section(self, key: str, config: Mapping[str, Any]) -> Any:
        value = config[key]
        if key in _SECTIONS:
            return self._once(key, value, lambda: typed(_SECTIONS[key], value, where=f"config.{key}"))
        if key == "scorer" and value.get("kind") == AUTO:
            dataset = self._section("dataset", config)
            if set_options(value):
                return named_scorer(dataset.scorer or "none", value)
            return self._once("auto scorer", config["dataset"], lambda: named_scorer(dataset.scorer or "none"))
        return self._once(key, value, lambda: build(key, value))

    def _once(self, key: str, value: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made only once for equal values. Sections shared by cells are not even compared."""
        if id(value) not in self._text:
            self._text[id(value)] = (value, json.dumps(value, sort_keys=True, default=repr))
        place = (key, self._text[id(value)][1])
        if place not in self._typed:
            self._typed[place] = make()
        return self._typed[place]


_FIELDS = {f.name for f in fields(Experiment)}
_SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in fields(Schema) if is_dataclass(f.default_factory)}
_SCALARS = [f for f in fields(Schema) if f.name not in _SECTIONS and f.name not in PLUGIN_KEYS]


def _default(of: Field[Any]) -> Any:
    """A field of the same default."""
    return of.default if of.default_factory is MISSING else field(default_factory=of.default_factory)


_Scalars = make_dataclass(
    "_Scalars",
    [(f.name, get_type_hints(Schema)[f.name], _default(f)) for f in _SCALARS],
)
