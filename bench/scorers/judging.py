"""What judges have in common: who is asked, what about, and that their verdicts come from a run of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from bench.domain import Choice, Sample, Score
from bench.scorers import Scorer
from bench.scorers.verdicts import unscored


@dataclass(frozen=True)
class JudgeCall:
    """Who judges, and how it is asked.

    Attributes:
        model: name of a model preset or of a configured model, or a mapping of a model's keys.
        provider: name of a provider preset, ``auto`` for the one that the model's preset names, or a mapping;
            ``None`` is the provider of the judged run.
        sampling, limits, budget: keys of those groups, over temperature 0 and 2,048 tokens; a budget not given is what
            the judged run has left of its own.
        concurrency: requests in flight.
    """

    model: Any = None
    provider: Any = None
    sampling: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of one row of its run.

    Attributes:
        row: the row's id.
        origin: which replies the row was about, as its dataset wrote it.
        said: the judge's answer; ``None`` where it gave none.
        why: why there is none.
    """

    row: str
    origin: Mapping[str, Any]
    said: str | None
    why: str = ""


@dataclass(frozen=True)
class Judging(Scorer):
    """What every scorer has whose verdicts come from another run: the judge's requests over a finished run.

    Attributes:
        rubric: Jinja2 template of the judge's prompt.
        system: Jinja2 template of a system turn, put first.
        reply_chars: longest part of a reply that the judge is shown; of a longer one the middle is left out.
        judge: who judges.
    """

    needs_target: ClassVar[bool] = False
    reading: ClassVar[tuple[str, ...]] = ("version", "name", "time_limit_s")

    rubric: str = ""
    system: str | None = None
    reply_chars: int = 20_000
    judge: JudgeCall = field(default_factory=JudgeCall)

    def asked(self) -> dict[str, Any]:
        """The settings that decide what the judge is asked, as plain values; the others decide how it is read."""
        return {key: value for key, value in asdict(self).items() if key not in self.reading}

    def dataset(self, path: str, cells: list[str], skip: list[str]) -> dict[str, Any]:
        """The plain configuration of the dataset that the judge is asked.

        Args:
            path: the judged run's folder.
            cells: ids of the cells that this scorer judges; empty is all.
            skip: ids of rows that are answered already.
        """
        raise TypeError(f"{type(self).__name__} is no judge: it lacks dataset()")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """Nothing: the verdict is in the judge's own run, which the scoring stage reads."""
        return unscored("the judge was not asked")

    def verdicts(self, judgements: Iterable[Judgement]) -> dict[tuple[str, int], Score]:
        """The verdict on each reply, by request id and choice; later judgements count before earlier ones."""
        raise TypeError(f"{type(self).__name__} is no judge: it lacks verdicts()")
