"""Which values of an experiment are out of range: the checks that need no model knowledge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from bench.domain import ConfigError
from bench.early_stop import stop_problems
from bench.slo import parse_slo

if TYPE_CHECKING:
    from bench.config import Experiment


def out_of_range(experiment: Experiment) -> list[str]:
    """One sentence per value that no run can use."""
    if endless := list(_not_finite(experiment)):
        return endless  # nan compares with nothing, so the other checks would say nonsense of it
    positive = {
        "repeats": experiment.repeats,
        "engine.max_body_bytes": experiment.engine.max_body_bytes,
        "limits.concurrency": experiment.limits.concurrency,
        "limits.rpm": experiment.limits.rpm,
        "limits.tpm": experiment.limits.tpm,
        "dataset.limit": experiment.dataset.limit,
        "scorer.time_limit_s": experiment.scorer.time_limit_s,
        "load.requests": experiment.load.requests,
        "load.duration_s": experiment.load.duration_s,
        "load.max_concurrency": experiment.load.max_concurrency,
        "load.drop_after_s": experiment.load.drop_after_s,
        **{f"timeout.{f.name}": getattr(experiment.timeout, f.name) for f in fields(experiment.timeout)},
    }
    not_negative = {
        "load.warmup": experiment.load.warmup,
        "limits.retries": experiment.limits.retries,
        "limits.backoff_s": experiment.limits.backoff_s,
        **{f"budget.{f.name}": getattr(experiment.budget, f.name) for f in fields(experiment.budget)},
    }
    problems = [f"{k}={v}: must be greater than 0" for k, v in positive.items() if v is not None and v <= 0]
    problems += [f"{k}={v}: must not be negative" for k, v in not_negative.items() if v is not None and v < 0]
    if experiment.load.drop_after_s is not None and not experiment.load.is_open:
        problems.append("load.drop_after_s: a closed load's requests have no time to be late for; use an open load")
    if experiment.repeats > 1 and experiment.load.keeps_order:
        problems.append(f"repeats={experiment.repeats}: a replayed trace sends each of its rows once; leave it 1")
    processes = experiment.engine.processes
    if processes != "auto" and not (isinstance(processes, int) and not isinstance(processes, bool) and processes > 0):
        problems.append(f"engine.processes={processes}: must be auto or a whole number greater than 0")
    if not 0 <= experiment.tolerance.failure_rate <= 1:
        problems.append(f"tolerance.failure_rate={experiment.tolerance.failure_rate}: must be between 0 and 1")
    problems += _unreadable_slo(experiment.slo) + _cache_problems(experiment) + stop_problems(experiment)
    if not experiment.name or "/" in experiment.name or experiment.name.startswith("."):
        problems.append(f"name={experiment.name!r}: must be a folder name without '/' and leading '.'")
    return problems


def _not_finite(value: Any, key: str = "") -> Iterator[str]:
    """One sentence per number that is none, or endless: neither can be counted with, nor stand in a JSON body."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key}={value}: must be a finite number" + ("" if math.isnan(value) else "; null is no limit")
    elif is_dataclass(value):
        for one in fields(value):
            yield from _not_finite(getattr(value, one.name), f"{key}.{one.name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _not_finite(item, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{key}[{index}]")


def _unreadable_slo(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        parse_slo(text)
    except ConfigError as error:
        return list(error.problems)
    return []


def _cache_problems(experiment: Experiment) -> list[str]:
    cache, load = experiment.cache, experiment.load
    if not (cache is None or isinstance(cache, bool) or (isinstance(cache, str) and cache)):
        return [f"cache={cache}: must be null, true or a folder"]
    if not cache:
        return []
    measures_load = {
        f"load={load.kind or type(load).__name__}": load.is_open or load.is_adaptive,
        f"load.duration_s={load.duration_s}": load.duration_s is not None,
        f"load.warmup={load.warmup}": load.warmup > 0,
    }
    return [
        f"{key} with cache={cache}: replies from a cache are no load and have no latency; use a closed load over the "
        f"samples, or leave cache off"
        for key, found in measures_load.items()
        if found
    ]
