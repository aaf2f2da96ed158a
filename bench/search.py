"""A search for the highest rate under an SLO: turns what the judge wants to try into stages, and keeps the trace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from bench.config import Experiment, plain
from bench.domain import Cell, ConfigError, Failure
from bench.judge.metrics.requests import given_up
from bench.judge.search import Aim, Over, Step, Tried, claim, demands, next_step, weigh
from bench.measure.header import cell_rows
from bench.measure.loads.search import Search
from bench.measure.plan import Plan, Stage
from bench.measure.probes import Probe
from bench.record import Record
from bench.record.rows import REQUEST_COLUMNS, names, unpack
from bench.slo import parse_slo

if TYPE_CHECKING:
    import pandas as pd

#: what judging a try takes of each request
_COLUMNS = names(
    "outcome error_kind cached warmup due_ns permit_ns sent_ns first_reasoning_ns first_answer_ns last_token_ns end_ns "
    "prompt_tokens completion_tokens n attempts cost"
)
_TEXT = ("outcome", "error_kind", "cached", "warmup")
_picked = itemgetter(*(REQUEST_COLUMNS.index(name) for name in _COLUMNS))
#: metrics that only a streamed reply has
_STREAMED = ("ttft_ms", "ttfa_ms", "due_ttft_ms", "tpot_ms")


def check_searches(experiments: Sequence[Experiment]) -> None:
    """Whether every search among the experiments can come to a result.

    Raises:
        ConfigError: one without an objective, or with one that no requests can prove.
    """
    found = [experiment for experiment in experiments if isinstance(experiment.load, Search)]
    if problems := dict.fromkeys(problem for experiment in found for problem in _unfit(experiment)):
        raise ConfigError(*problems)


def _unfit(experiment: Experiment) -> list[str]:
    try:
        aim = aim_of(experiment)
    except ConfigError as error:
        return list(error.problems)
    slo = parse_slo(aim.slo)
    problems = [
        f"load.slo: {part} asks for {share:.4g} of the requests, which no number of requests can prove; ask for a "
        f"share between 0 and 1"
        for part, share in demands(slo, aim.target)
        if not 0 < share < 1
    ]
    streamed = [term.metric for term in slo.terms if term.metric in _STREAMED]
    if streamed and not experiment.sampling.stream:
        problems.append(f"load.slo: {streamed[0]} is known of streamed replies only; set sampling.stream=true")
    if "tpot_ms" in streamed and experiment.sampling.n > 1:
        problems.append("load.slo: tpot_ms is not known of replies with several choices; set sampling.n=1")
    return problems


def aim_of(experiment: Experiment) -> Aim:
    """What the experiment's search is after.

    Raises:
        ConfigError: no objective is set.
    """
    load = experiment.load
    assert isinstance(load, Search), "only a search is adaptive"
    text = load.slo or experiment.slo
    if not text:
        raise ConfigError("load.slo: a search needs an objective, such as \"load.slo='ttft_ms_p99 <= 500'\"")
    return Aim(
        slo=str(parse_slo(text, "load.slo")),
        target=load.target,
        min_rate=load.min_rate,
        max_rate=load.max_rate,
        first_rate=load.first_rate,
        probe_s=load.probe_s,
        confirm_s=load.confirm_s,
        precision=load.precision,
        max_probes=load.max_probes,
    )


@dataclass
class Hunt:
    """The search of one cell: its probes, the cells they made, what each showed, and what came of it."""

    cell: Cell
    aim: Aim
    probes: list[Cell] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    over: Over | None = None

    def row(self) -> dict[str, Any]:
        """JSON-ready, for ``run.json``."""
        over = self.over or Over(None, "the search has not ended")
        told = [
            {"number": number, "cell_id": cell.cell_id, **tried.row()}
            for number, (cell, tried) in enumerate(zip(self.probes, self.tried, strict=True), 1)
        ]
        return {
            "cell_id": self.cell.cell_id,
            "label": self.cell.label,
            **asdict(self.aim),
            "proven_rate": over.proven_rate,
            "claim": claim(self.aim, self.tried, over),
            "tried": told,
            "config": plain(self.cell.config),
        }


class SearchCourse:
    """Searches the plan's cells one after another; every try is a stage and a cell of its own.

    Args:
        note: shows a person a line.
        earlier: what ``run.json`` of an interrupted search says under ``search``, to go on from there. A try that was
            cut short is made again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        plan: Plan,
        note: Callable[[str], None],
        earlier: Sequence[Mapping[str, Any]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._note, self._clock = plan, note, clock
        self._hunts = [Hunt(cell, aim_of(cell.config)) for cell in plan.cells]
        self.closed: Mapping[str, Failure] = {}
        self._cells: list[Cell] = []
        self._rows: list[tuple[Any, ...]] = []
        self._spent = Spent()
        self._start_s: float | None = None
        self._current: Hunt | None = None
        made = {row["cell_id"]: row["tried"] for row in earlier}
        for position, hunt in enumerate(self._hunts):
            for tried in map(Tried.of, made.get(hunt.cell.cell_id, ())):
                self._try(position, tried.step)
                hunt.tried[-1] = tried
        self._current = None

    def saw(self, packed: bytes) -> None:
        """One more exchange of the try that is under way."""
        self._rows.append(_picked(unpack(packed)[0]))

    def next_stage(self, record: Record) -> Stage | None:
        """The next try of the cell in turn, or the first one of the cell after it; the trace goes to the record.

        Raises:
            OSError: the disk is full or the record's folder cannot be written.
        """
        self._start_s = self._clock() if self._start_s is None else self._start_s
        if self._current is not None:
            self._weigh(self._current)
        stage = self._next()
        record.write_cells(self._cells)
        record.update(cells=cell_rows(self._plan, self._cells), search=[hunt.row() for hunt in self._hunts])
        return stage

    def told(self) -> Mapping[str, Any]:
        """Nothing more: the trace was written as it grew."""
        return {}

    def _next(self) -> Stage | None:
        for position, hunt in enumerate(self._hunts):
            if hunt.over is None:
                step = self._affordable(next_step(hunt.aim, hunt.tried))
                if isinstance(step, Step):
                    return self._try(position, step)
                hunt.over = step
        return None

    def _try(self, position: int, step: Step) -> Stage:
        """A stage for one more try, which shows nothing until it is weighed."""
        hunt = self._current = self._hunts[position]
        probe = Probe(position, len(hunt.probes) + 1, step.rate, step.seconds, step.confirms)
        stage = self._plan.stage(len(self._cells), probe)
        hunt.probes += stage.cells
        hunt.tried.append(Tried(step, 0, 0, 0))
        self._cells += stage.cells
        return stage

    def _weigh(self, hunt: Hunt) -> None:
        rows, self._rows, self._current = _frame(self._rows), [], None
        self._spent.add(rows)
        if (rows["outcome"].isin(["not_sent", "cancelled"]) & ~given_up(rows)).any():
            hunt.over = Over(None, f"the budget was used up during try {len(hunt.tried)}")
            return
        tried = hunt.tried[-1] = weigh(hunt.aim, hunt.tried[-1].step, rows)
        share = f", {tried.good / tried.sent:.2%} within {hunt.aim.slo}" if tried.sent else ""
        passed = "passed" if tried.passed else "failed"
        self._note(f"{hunt.probes[-1].label}: {passed}, {tried.sent:,} requests{share}")

    def _affordable(self, step: Step | Over) -> Step | Over:
        """The step, unless the budget does not cover it: a try that stops halfway shows nothing."""
        if isinstance(step, Over):
            return step
        budget = self._plan.experiment.budget
        passed_s = self._clock() - (self._start_s or 0.0)
        takes = {"seconds": passed_s + step.seconds, **self._spent.after(step.rate * step.seconds)}
        kind = "confirming run" if step.confirms else "probe"
        for name, amount in takes.items():
            cap = getattr(budget, name)
            if cap is not None and amount > cap:
                return Over(
                    None, f"budget.{name}={cap:g} does not cover a {kind} of {step.seconds:g} s at {step.rate:g}/s"
                )
        return step


@dataclass
class Spent:
    """What the tries of this session used; attempts count as requests, as in the budget."""

    seen: int = 0
    requests: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    def add(self, rows: pd.DataFrame) -> None:
        """Count the requests of one try."""
        self.seen += len(rows)
        self.requests += float(rows["attempts"].sum())
        self.tokens += float(rows["prompt_tokens"].sum() + rows["completion_tokens"].sum())
        self.cost += float(rows["cost"].sum())

    def after(self, expected: float) -> dict[str, float]:
        """What will be used once so many more requests were made: Poisson, so three deviations are added."""
        more = expected + 3 * math.sqrt(expected)
        each = more / self.seen if self.seen else 0.0
        return {
            "requests": self.requests + more,
            "tokens": self.tokens * (1 + each),
            "cost": self.cost * (1 + each),
        }


def _frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of requests with the derived columns; numbers are float64 with NaN for null."""
    import pandas as pd

    from bench.judge.rows import derive

    frame = pd.DataFrame(list(rows), columns=list(_COLUMNS))
    return derive(frame.astype({name: "float64" for name in _COLUMNS if name not in _TEXT}))
