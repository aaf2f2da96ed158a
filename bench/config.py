"""The configuration as typed, validated, frozen values: one :class:`Experiment` per point of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import Any

from omegaconf import MISSING

from bench.bounds import Budget as Budget
from bench.bounds import Limits as Limits
from bench.bounds import Timeout as Timeout
from bench.datasets import Dataset
from bench.domain import ConfigError
from bench.early_stop import EarlyStop as EarlyStop
from bench.measure.loads import Load
from bench.providers import Provider
from bench.ranges import out_of_range
from bench.registry import build, typed
from bench.scorers import Scorer
from bench.scorers.several import further_scorers, named_scorer


class Thinking(Enum):
    """Whether a model reasons before it answers, and whether a request can switch that."""

    none = "none"
    toggle = "toggle"
    always = "always"


class Unsupported(Enum):
    """What happens to a parameter that a model does not take."""

    error = "error"
    drop = "drop"


@dataclass(frozen=True)
class Price:
    """A dated list price per million tokens. ``None`` prices make no cost."""

    currency: str = "CNY"
    input_per_mtok: float | None = None
    output_per_mtok: float | None = None
    as_of: str | None = None


@dataclass(frozen=True)
class Model:
    """Facts about one model. ``thinking_budget`` is taken by every model with ``thinking`` other than ``none``."""

    name: str = MISSING
    provider: str = "siliconflow"
    context_tokens: int | None = None
    thinking: Thinking = Thinking.none
    tools: bool = True
    vision: bool = False
    min_p: bool = False
    price: Price = field(default_factory=Price)


@dataclass(frozen=True)
class Sampling:
    """Request parameters; a field left ``None`` is not sent.

    ``stop`` is a text or texts; ``response_format``, ``tools`` and ``tool_choice`` go as they are, ``extra`` goes last.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    n: int = 1
    stop: Any = None
    seed: int | None = None
    stream: bool = True
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    response_format: Any = None
    tools: Any = None
    tool_choice: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """How requests are fired.

    Attributes:
        processes: worker processes, or ``auto``: by the load, at most one per processor.
        max_body_bytes: bounds what is read of one reply.
    """

    processes: Any = "auto"
    uvloop: bool = True
    max_body_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class ReportConfig:
    """What is written after a run."""

    summary: bool = True
    markdown: bool = True
    plots: bool = True


class WhenInvalid(Enum):
    """What an invalid measurement does to the exit code."""

    warn = "warn"
    fail = "fail"


@dataclass(frozen=True)
class Tolerance:
    """When a finished run is refused with exit code 3.

    Attributes:
        failure_rate: more failures than this share of planned requests.
        invalid: ``fail`` refuses a run whose measurement is invalid; ``warn`` only says so.
    """

    failure_rate: float = 0.05
    invalid: WhenInvalid = WhenInvalid.warn


@dataclass(frozen=True)
class Experiment:
    """One point of a sweep, complete: what the planner takes.

    ``slo`` is read by :mod:`bench.slo`, ``cache`` by :mod:`bench.measure.cache`; ``also`` names further scorers of the
    same replies, each by kind or as a mapping with its options. ``reference`` names the pinned model among those asked,
    by which the history tells a slow night of the service from a slow model.
    """

    model: Model
    provider: Provider
    dataset: Dataset
    sampling: Sampling
    load: Load
    scorer: Scorer
    limits: Limits = field(default_factory=Limits)
    timeout: Timeout = field(default_factory=Timeout)
    budget: Budget = field(default_factory=Budget)
    stop: EarlyStop = field(default_factory=EarlyStop)
    engine: Engine = field(default_factory=Engine)
    report: ReportConfig = field(default_factory=ReportConfig)
    tolerance: Tolerance = field(default_factory=Tolerance)
    unsupported: Unsupported = Unsupported.error
    slo: str | None = None
    also: list[Any] = field(default_factory=list)
    repeats: int = 1
    seed: int = 0
    name: str = "run"
    results_dir: str = "results"
    dry_run: bool = False
    cache: Any = None
    reference: str | None = None


@dataclass
class Schema:
    """The shape Hydra composes into (``conf/bench.yaml`` starts from it); plug-in groups bring their own schemas."""

    model: Model = field(default_factory=Model)
    provider: Any = None
    dataset: Any = None
    sampling: Sampling = field(default_factory=Sampling)
    load: Any = None
    scorer: Any = None
    limits: Limits = field(default_factory=Limits)
    timeout: Timeout = field(default_factory=Timeout)
    budget: Budget = field(default_factory=Budget)
    stop: EarlyStop = field(default_factory=EarlyStop)
    engine: Engine = field(default_factory=Engine)
    report: ReportConfig = field(default_factory=ReportConfig)
    tolerance: Tolerance = field(default_factory=Tolerance)
    unsupported: Unsupported = Unsupported.error
    slo: str | None = None
    also: list[Any] = field(default_factory=list)
    repeats: int = 1
    seed: int = 0
    name: str = "run"
    results_dir: str = "results"
    dry_run: bool = False
    cache: Any = None
    reference: str | None = None


PLUGIN_KEYS = ("provider", "dataset", "load", "scorer")


def parse(config: Mapping[str, Any]) -> Experiment:
    """A plain composed config (as saved in ``run.json`` too) to a typed experiment.

    ``scorer: {kind: auto}`` becomes the dataset's own scorer, with what else is set beside ``kind``.

    Raises:
        ConfigError: every problem found, each with its key.
    """
    problems: list[str] = []
    parts: dict[str, Any] = {}
    config, auto = dict(config), {}
    for key in PLUGIN_KEYS:
        value = dict(config.pop(key, None) or {})
        if key == "scorer" and value.get("kind") in (None, "auto"):
            auto = value
            continue
        try:
            parts[key] = build(key, value)
        except ConfigError as error:
            problems += error.problems
    try:
        rest = typed(Schema, config, where="config")
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from error
    if "scorer" not in parts and "dataset" in parts:
        try:
            parts["scorer"] = named_scorer(parts["dataset"].scorer or "none", auto)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    others = {f.name: getattr(rest, f.name) for f in fields(Experiment) if f.name not in PLUGIN_KEYS}
    return completed(Experiment(**parts, **others))


def completed(experiment: Experiment) -> Experiment:
    """The experiment after the checks that need no model knowledge.

    A load that brings its own dataset replaces the chosen one; a dataset without a name takes its file's.

    Raises:
        ConfigError: one sentence per value out of range.
    """
    if problems := out_of_range(experiment):
        raise ConfigError(*problems)
    further_scorers(experiment.also, experiment.scorer)
    if (brought := experiment.load.own_dataset(experiment.seed)) is not None:
        own, none = build("dataset", brought), build("scorer", {"kind": "none"})
        experiment = replace(experiment, dataset=own, scorer=none)
    dataset = experiment.dataset
    if dataset.name or not dataset.path:
        return experiment
    first = dataset.path[0] if isinstance(dataset.path, list) else dataset.path
    return replace(experiment, dataset=replace(dataset, name=PurePath(str(first)).name.split(".")[0]))


def plain(value: Any) -> Any:
    """A typed configuration back to JSON values (enums by name); ``parse(plain(e)) == e`` for an experiment."""
    if isinstance(value, Enum):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
