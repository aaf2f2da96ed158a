"""Which course a run takes: the stages of its plan, perhaps with an early end by rule, or those that a search makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.config import Experiment
from bench.measure.course import Course, Listed
from bench.measure.plan import Plan


def check_searches(experiments: Sequence[Experiment]) -> None:
    """Whether every search among the experiments can come to a result.

    Raises:
        ConfigError: one without an objective, or with one that no requests can prove.
    """
    if any(experiment.load.is_adaptive for experiment in experiments):
        from bench import search

        search.check_searches(experiments)


def course_of(plan: Plan, note: Callable[[str], None], earlier: Sequence[Mapping[str, Any]] = ()) -> Course:
    """The course of a plan.

    Args:
        note: shows a person a line.
        earlier: the trace of a search that is resumed.

    Raises:
        ConfigError: a rule for stopping does not fit the plan.
    """
    if plan.experiment.load.is_adaptive:
        from bench.search import SearchCourse

        return SearchCourse(plan, note, earlier)
    if plan.experiment.stop.is_set:
        from bench.stopping import StoppingCourse

        return StoppingCourse(plan, note)
    return Listed(plan)
