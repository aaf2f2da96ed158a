"""A run that may end early: scores replies as they come, looks when a rule says so, and closes cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.domain import Cell, ErrorKind, Failure, Outcome
from bench.early_stop import RULE_PREFIX, is_saved
from bench.judge.score import settled, without_asking
from bench.judge.stopping import PairRule
from bench.measure.course import Listed
from bench.measure.plan import Plan, Stage
from bench.record import Record
from bench.record.earlier import Replied, earlier_replies, replied
from bench.watching import Tally, Watch, watches_of


class StoppingCourse(Listed):
    """The plan's stages; closes cells by ``stop``. Hand it every exchange, in any order.

    What earlier sessions recorded is scored again before the first stage, so a run that was interrupted comes to the
    decisions that it would have come to.

    Raises:
        ConfigError: the rule does not fit the plan.
    """

    def __init__(self, plan: Plan, note: Callable[[str], None]) -> None:
        super().__init__(plan)
        self._plan, self._note = plan, note
        self._tallies = {cell.cell_id: Tally(cell) for cell in plan.cells}
        self._watches = list(watches_of(plan, self._tallies))
        self._of_cell: defaultdict[str, list[Watch]] = defaultdict(list)
        for watch in self._watches:
            for tally in watch.tallies:
                self._of_cell[tally.cell.cell_id].append(watch)
        for watch in self._watches:  # what they import takes a while, and no reply should wait for that
            watch.rule.warm()
        for cell in plan.cells:
            cell.config.scorer.warm()
        self._samples = {key: {one.sample_id: one for one in found.samples} for key, found in plan.samples.items()}
        self._seen: set[str] = set()
        self._begun = False

    def next_stage(self, record: Record) -> Stage | None:
        """See :class:`bench.measure.course.Course`."""
        if not self._begun:
            self._begun = True
            for one in earlier_replies(record.path):
                self._take(one)
            self._look(self._watches)
        return super().next_stage(record)

    def saw(self, packed: bytes) -> None:
        """See :class:`bench.measure.course.Course`."""
        one = replied(packed)
        self._take(one)
        self._look(self._of_cell[one.cell_id])

    def _take(self, one: Replied) -> None:
        tally = self._tallies.get(one.cell_id)
        if tally is None or one.request_id in self._seen or one.outcome is Outcome.CANCELLED:
            return
        if one.outcome is Outcome.NOT_SENT:
            tally.saved += is_saved(one.error_detail)
            return
        self._seen.add(one.request_id)
        tally.ended[one.sample_id] += 1
        tally.answered += 1
        tally.tokens += one.tokens
        if one.outcome is Outcome.OK:
            tally.values[one.sample_id] += self._scores(tally.cell, one)

    def _scores(self, cell: Cell, one: Replied) -> Iterator[float]:
        scorer, sample = cell.config.scorer, self._samples[cell.dataset_key][one.sample_id]
        for choice in one.choices:
            score = without_asking(scorer, sample, one.outcome)
            score = settled(scorer.score(sample, choice) if score is None else score, choice)
            if score.value is not None:
                yield score.value

    def _look(self, watches: Sequence[Watch]) -> None:
        for watch in watches:
            if watch.decision is None and watch.look() and watch.decision is not None:
                self._close(watch)

    def _close(self, watch: Watch) -> None:
        """Send nothing more of the cells that no other rule still needs."""
        decision = watch.decision
        assert decision is not None, "closed by a decision"
        key = "compare" if isinstance(watch.rule, PairRule) else "half_width"
        if decision.questions < len(watch.order):
            of = f"{decision.questions:,} of {len(watch.order):,} questions"
            self._note(f"{watch.label}: {watch.said} after {of}")
        for tally in watch.tallies:
            cell_id = tally.cell.cell_id
            if all(other.decision is not None for other in self._of_cell[cell_id]):
                detail = f"{RULE_PREFIX}{key} was decided after {decision.questions} questions: {watch.said}"
                self.closed[cell_id] = Failure(ErrorKind.BUDGET, detail)

    def told(self) -> Mapping[str, Any]:
        """See :class:`bench.measure.course.Course`: for each rule what it came to, at which look, and what it saved."""
        return {"stopping": [watch.row() for watch in self._watches]}
