"""When a run of a closed quality load may end early: the key ``stop``, and where it does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config import Experiment

#: what every reason begins with for which a rule kept a request from being sent
RULE_PREFIX = "stop."


@dataclass(frozen=True)
class EarlyStop:
    """Ends cells once enough is known. Nothing set: every planned request is sent.

    Attributes:
        half_width: a cell ends once the 95% interval of its accuracy is within ± this share.
        compare: a swept parameter, such as ``model.name``; its first value is compared with every other on the same
            questions, and a cell ends once that is decided.
        looks: of the comparison, equally spaced over the questions.
        alpha: chance of a wrong difference over all looks and all pairs, two-sided.
        equal_within: difference that counts as none; ``None`` never ends because there is none.
        open_ended: compare by a confidence sequence, which may be looked at any time, in place of a plan of looks.
    """

    half_width: float | None = None
    compare: str | None = None
    looks: int = 10
    alpha: float = 0.05
    equal_within: float | None = 0.03
    open_ended: bool = False

    @property
    def is_set(self) -> bool:
        """Whether there is a rule at all."""
        return self.half_width is not None or self.compare is not None


def is_saved(error_detail: str | None) -> bool:
    """Whether a request was not sent because a rule had found enough: no failure, and nothing that is missing."""
    return (error_detail or "").startswith(RULE_PREFIX)


def stop_problems(experiment: Experiment) -> list[str]:
    """One sentence per reason for which the rule makes no sense, or not for this experiment."""
    stop = experiment.stop
    if not stop.is_set:
        idle = [f.name for f in fields(stop) if getattr(stop, f.name) != f.default]
        return [f"stop.{name}: has no effect without stop.compare; set that too" for name in idle]
    return [*_out_of_range(stop), *_unfit(experiment)]


def _out_of_range(stop: EarlyStop) -> Iterator[str]:
    if stop.half_width is not None and stop.compare is not None:
        yield "stop.half_width and stop.compare: a run has one rule for stopping; set one of them to null"
    if stop.half_width is not None and not 0 < stop.half_width < 0.5:
        yield f"stop.half_width={stop.half_width:g}: must be a share between 0 and 0.5, such as 0.03"
    if not 0 < stop.alpha < 1:
        yield f"stop.alpha={stop.alpha:g}: must be a share between 0 and 1"
    if stop.looks < 1:
        yield f"stop.looks={stop.looks}: must be greater than 0"
    if stop.equal_within is not None and not 0 < stop.equal_within < 1:
        yield f"stop.equal_within={stop.equal_within:g}: must be a share between 0 and 1, or null"


def _unfit(experiment: Experiment) -> Iterator[str]:
    load, scorer = experiment.load, experiment.scorer
    if load.is_open or load.is_adaptive:
        yield f"stop with load={load.kind}: only a closed load can end early without changing what it measures"
    for key, found in (("requests", load.requests), ("duration_s", load.duration_s), ("warmup", load.warmup or None)):
        if found is not None:
            yield (
                f"stop with load.{key}={found}: the rule counts whole questions of the dataset; leave load.{key} out "
                f"and set dataset.limit for how many there are at most"
            )
    if scorer.kind == "none":
        yield "stop with scorer=none: the rule needs verdicts; choose a scorer"
    elif scorer.time_limit_s is not None or scorer.is_sandboxed:
        yield (
            f"stop with scorer={scorer.kind}: replies are scored while others are on their way, so the scorer must be "
            f"quick and work on its own; use one without a time limit, a sandbox or a judge, or leave stop out"
        )
    processes = experiment.engine.processes
    if processes not in ("auto", 1):
        yield f"stop with engine.processes={processes}: one process must see every reply in turn; leave it auto or 1"
