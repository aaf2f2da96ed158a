"""Open loads one after another, as one schedule: a warm-up and then the measurement, steps, a day in an hour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from omegaconf import MISSING

from bench.domain import ConfigError
from bench.measure.loads import Load
from bench.registry import build, plugin

#: what holds for the whole load and not for one of its stages
WHOLE = ("max_concurrency", "drop_after_s", "isolate")


@plugin("load", "stages")
@dataclass(frozen=True)
class Stages(Load):
    """Each stage starts when the one before it is over, on one clock: what is late in a stage delays no later one.

    A stage with a ``duration_s`` takes that long, and requests come due before its end; one with ``requests`` alone
    ends when its next request would come due, a trace with its last one.

    Attributes:
        stages: open loads, each a mapping with its ``kind`` and options, and ``warmup: true`` where all of its requests
            are warm-ups (or a number: the first so many). ``requests``, ``duration_s`` and ``warmup`` beside them count
            over all stages.
    """

    kind: str = "stages"
    stages: list[Any] = MISSING

    is_open = True
    is_finite = True

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("load.stages is empty: give it at least one open load, such as {kind: constant, rate: 5}")
        problems = [problem for i, item in enumerate(self.stages) for problem in _problems(f"load.stages[{i}]", item)]
        if problems:
            raise ConfigError(*problems)

    @cached_property
    def parts(self) -> tuple[tuple[Load, bool], ...]:
        """The loads in order, each with whether all of its requests are warm-ups."""
        return tuple((_built(item), item.get("warmup") is True) for item in self.stages)

    @property
    def peak_rate(self) -> float | None:
        """That of the stage with the highest one."""
        return max((load.peak_rate or 0.0 for load, _ in self.parts), default=None)

    def arrivals(self, random: Random) -> Iterator[tuple[int, bool]]:
        """The stages' own schedules, each drawn from a generator of its own and moved to its start."""
        start_ns = number = 0
        for load, warms_up in self.parts:
            stage_random, end_ns = Random(random.getrandbits(64)), start_ns
            span_ns = None if load.duration_s is None else int(load.duration_s * 1e9)
            for place, (due_ns, warmup) in enumerate(load.arrivals(stage_random)):
                if span_ns is not None and due_ns >= span_ns:
                    break
                end_ns = start_ns + due_ns
                if load.requests is not None and place >= load.requests:
                    break
                if self.requests is not None and number >= self.requests:
                    return
                yield end_ns, warms_up or warmup or number < self.warmup
                number += 1
            start_ns = end_ns if span_ns is None else start_ns + span_ns

    def due_ns(self, random: Random) -> Iterator[int]:
        """:meth:`arrivals` without the marks."""
        return (due_ns for due_ns, _ in self.arrivals(random))

    def planned(self) -> int | None:
        """The sum over the stages, ``requests`` at most; ``None`` where durations decide."""
        counts = [load.planned() if load.duration_s is None else None for load, _ in self.parts]
        if self.duration_s is not None or None in counts:
            return None
        whole = sum(count for count in counts if count is not None)
        return whole if self.requests is None else min(whole, self.requests)

    def identity(self) -> Mapping[str, Any]:
        """Every stage as configured, with what it means in place of what it says."""
        pairs = zip(self.stages, self.parts, strict=True)
        return {"stages": [{**item, **load.identity()} for item, (load, _) in pairs]}


def _built(item: Mapping[str, Any]) -> Load:
    """The load of one stage."""
    options = {str(key): value for key, value in item.items() if key != "warmup" or not isinstance(value, bool)}
    load: Load = build("load", options)
    return load


def _problems(place: str, item: object) -> list[str]:
    """What is wrong with one stage, in sentences that name it."""
    if not isinstance(item, Mapping):
        return [f"{place}: must be a mapping such as {{kind: constant, rate: 5, duration_s: 30}}"]
    outer = [f"{place}.{key}: is for the whole load; set load.{key} beside the stages" for key in WHOLE if key in item]
    if outer:
        return outer
    try:
        load = _built(item)
    except ConfigError as error:
        return [_placed(place, problem) for problem in error.problems]
    return [f"{place}{problem}" for problem in _misfits(load)]


def _misfits(load: Load) -> Iterator[str]:
    """Why a load that is valid alone cannot be a stage."""
    if not load.is_open or load.is_adaptive or isinstance(load, Stages):
        yield f": load={load.kind} cannot be a stage; a stage is an open load with a schedule of its own"
        return
    if load.keeps_order:
        yield ".prompts: a stage takes only the times of a trace; say prompts: dataset, or use load=trace alone"
    if load.requests is None and load.duration_s is None and not load.is_finite:
        yield ": it has no end; give it duration_s or requests"
    for key in ("requests", "duration_s"):
        value = getattr(load, key)
        if value is not None and not (math.isfinite(value) and value > 0):
            yield f".{key}={value}: must be greater than 0"
    if load.warmup < 0:
        yield f".warmup={load.warmup}: must not be negative"


def _placed(place: str, problem: str) -> str:
    """A load's own sentence, said of a stage."""
    own = problem.startswith(("load.", "load:"))
    return place + problem.removeprefix("load") if own else f"{place}: {problem}"
