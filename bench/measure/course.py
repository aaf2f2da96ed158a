"""The course of a run: which stage comes next, listed beforehand or decided by what has been measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bench.domain import Failure
from bench.measure.plan import Plan, Stage
from bench.measure.stop import Stop
from bench.record import Record


class Course(Protocol):
    """What a run asks for its next stage."""

    def next_stage(self, record: Record) -> Stage | None:
        """The stage to run once the one before has ended; ``None`` when there is nothing more to do.

        Raises:
            OSError: what it keeps in the record cannot be written.
        """

    def saw(self, packed: bytes) -> None:
        """One exchange of the current stage, packed as for the journal."""

    @property
    def closed(self) -> Mapping[str, Failure]:
        """Why nothing more of a cell is to be sent, by cell id; grows while the run goes on."""

    def told(self) -> Mapping[str, Any]:
        """What ``run.json`` says of the course once the run has ended, by key."""


def following(course: Course, record: Record, stop: Stop) -> Stage | None:
    """The next stage, unless the run is to stop; a record that cannot be written stops it."""
    if stop.event.is_set():
        return None
    try:
        return course.next_stage(record)
    except OSError as error:
        stop.disk_full(error)
        return None


class Listed:
    """The plan's stages, one after another."""

    def __init__(self, plan: Plan) -> None:
        self._stages = iter(plan.stages)
        self.closed: dict[str, Failure] = {}

    def next_stage(self, record: Record) -> Stage | None:
        """The next one on the list."""
        return next(self._stages, None)

    def saw(self, packed: bytes) -> None:
        """A list does not depend on what is measured."""

    def told(self) -> Mapping[str, Any]:
        """Nothing beyond the plan."""
        return {}
