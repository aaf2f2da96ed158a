"""What a rule for ending a run early looks at: the scores of whole questions, of one cell or of a pair."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from bench.domain import Cell, ConfigError, Sample
from bench.judge.clusters import find_clusters
from bench.judge.statistics.sequential import Stop
from bench.judge.stopping import Decision, PairRule, WidthRule
from bench.measure.plan import Plan
from bench.scorers.judging import Judging

#: fewer questions between two looks say too little of how much they vary
FEWEST_PER_LOOK = 5


@dataclass
class Tally:
    """The replies of one cell so far: requests that ended, and the scores, by question."""

    cell: Cell
    ended: Counter[str] = field(default_factory=Counter)
    values: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answered: int = 0
    tokens: int = 0
    saved: int = 0

    def score(self, sample_id: str) -> float | None:
        """Mean score of a question; ``None`` where no reply has one."""
        found = self.values.get(sample_id)
        return sum(found) / len(found) if found else None

    def is_whole(self, sample_id: str) -> bool:
        """Whether every repeat of a question has ended."""
        return self.ended[sample_id] >= self.cell.config.repeats  # type: ignore[no-any-return]  # a cell's is untyped

    @property
    def tokens_saved(self) -> int | None:
        """What the requests that were not sent would have used, had they been like the others."""
        return round(self.saved * self.tokens / self.answered) if self.answered else None


@dataclass
class Watch:
    """One rule over one or two cells, and how far along the planned order it has looked."""

    rule: WidthRule | PairRule
    tallies: tuple[Tally, ...]
    order: Sequence[str]
    clusters: Mapping[str, str]
    scores: list[float | None] = field(default_factory=list)
    decision: Decision | None = None

    def look(self) -> bool:
        """Take in the questions that were answered in full, and decide where that is due. ``True`` once, when it is."""
        while self.decision is None and len(self.scores) < len(self.order):
            sample_id = self.order[len(self.scores)]
            if not all(tally.is_whole(sample_id) for tally in self.tallies):
                return False
            self.scores.append(self.score(sample_id))
            if self.rule.is_look(len(self.scores)):
                self.decision = self._decide(self.scores, self.order)
        return self.decision is not None

    def _decide(self, scores: Sequence[float | None], asked: Sequence[str]) -> Decision | None:
        names = self.names(asked[: len(scores)])
        if isinstance(self.rule, PairRule):
            return self.rule.decide(scores, names)
        return self.rule.decide(scores, self.is_binary, names)

    def score(self, sample_id: str) -> float | None:
        """A question's score, or the difference of the two cells on it."""
        found = [tally.score(sample_id) for tally in self.tallies]
        if len(found) == 1 or None in found:
            return found[0] if len(found) == 1 else None
        return found[0] - found[1]  # type: ignore[operator]  # none of them is None here

    def names(self, sample_ids: Sequence[str]) -> list[Hashable] | None:
        """Their clusters; ``None`` where every question stands alone."""
        return [self.clusters.get(one, one) for one in sample_ids] if self.clusters else None

    @property
    def is_binary(self) -> bool:
        """Whether each question has one right-or-wrong reply."""
        found = [values for tally in self.tallies for values in tally.values.values()]
        return all(len(values) == 1 and values[0] in (0.0, 1.0) for values in found)

    def whole(self) -> list[str]:
        """Every question that all cells answered in full, those after the last look included."""
        return [one for one in self.order if all(tally.is_whole(one) for tally in self.tallies)]

    @property
    def label(self) -> str:
        """The cells, for people."""
        return " against ".join(tally.cell.label for tally in self.tallies)

    @property
    def said(self) -> str:
        """The verdict in words that name the better cell."""
        verdict = "" if self.decision is None else self.decision.verdict
        if verdict in (Stop.A_BETTER, Stop.B_BETTER):
            return f"{self.tallies[verdict == Stop.B_BETTER].cell.label} is better"
        return verdict

    def row(self) -> dict[str, Any]:
        """What ``run.json`` says of it: what it came to, at which look, and what it saved."""
        config = self.tallies[0].cell.config.stop
        whole, decision = self.whole(), self.decision
        scores = [self.score(one) for one in whole]
        known = [score for score in scores if score is not None]
        return {
            "rule": "compare" if isinstance(self.rule, PairRule) else "half_width",
            **asdict(config),
            "alpha_each": self.rule.alpha if isinstance(self.rule, PairRule) else None,
            "cells": [tally.cell.cell_id for tally in self.tallies],
            "labels": [tally.cell.label for tally in self.tallies],
            "planned_questions": len(self.order),
            "decision": None if decision is None else decision.row,
            "answered": {
                "questions": len(whole),
                "scored": len(known),
                "mean": sum(known) / len(known) if known else None,
            },
            "requests_saved": [tally.saved for tally in self.tallies],
            "tokens_saved": [tally.tokens_saved for tally in self.tallies],
        }


def watches_of(plan: Plan, tallies: Mapping[str, Tally]) -> Iterator[Watch]:
    """The rules of a plan: one for each cell, or one for each pair of cells.

    Raises:
        ConfigError: the rule does not fit the plan.
    """
    stop = plan.experiment.stop
    if judged := [one for cell in plan.cells if isinstance(one := cell.config.scorer, Judging)]:
        raise ConfigError(
            f"stop with scorer={judged[0].kind}: a judge is asked once a run has ended; use a scorer that "
            f"works on its own, or leave stop out"
        )
    clusters = {key: find_clusters(list(found.samples)) for key, found in plan.samples.items()}

    def watch(rule: WidthRule | PairRule, *cells: Cell) -> Watch:
        key = cells[0].dataset_key
        return Watch(rule, tuple(tallies[cell.cell_id] for cell in cells), _order(plan, key), clusters[key])

    if stop.half_width is not None:
        for cell in plan.cells:
            yield watch(WidthRule(stop.half_width, _questions(plan, cell)), cell)
        return
    pairs = pairs_of(plan, str(stop.compare))
    for first, second in pairs:
        _check_pair(plan, first, bool(clusters[first.dataset_key]))
        yield watch(PairRule.of(stop, _questions(plan, first), len(pairs)), first, second)


def _order(plan: Plan, key: str) -> list[str]:
    samples: Sequence[Sample] = plan.samples[key].samples
    return [samples[index].sample_id for index in plan.sample_order(key)]


def _questions(plan: Plan, cell: Cell) -> int:
    return len(plan.samples[cell.dataset_key].samples)


def pairs_of(plan: Plan, key: str) -> list[tuple[Cell, Cell]]:
    """Each cell with the first value of the swept parameter, and one that differs from it in that alone.

    What follows from the parameter (a model's own provider) may differ with it.

    Raises:
        ConfigError: the parameter was not swept, or cells of a pair are not asked the same questions at the same time.
    """
    swept = list(dict.fromkeys(name for cell in plan.cells for name in cell.swept))
    if key not in swept:
        raise ConfigError(
            f"stop.compare={key}: is not swept in this run; "
            + (f"swept are: {', '.join(swept)}" if swept else "give it two or more values")
        )
    if len(plan.stages) > 1:
        raise ConfigError(
            f"stop.compare={key}: the cells run one after another (load.isolate, or loads that differ), so none could "
            f"end early; let them share one closed load"
        )
    rest = [name for name in swept if name != key and not _follows(plan.cells, name, key)]

    def group_of(cell: Cell) -> str:
        return json.dumps([cell.params.get(name) for name in rest], default=str)

    groups = groupby(sorted(plan.cells, key=lambda cell: (group_of(cell), cell.index)), group_of)
    pairs = [(group[0], other) for _, found in groups for group in [list(found)] for other in group[1:]]
    if not pairs:
        raise ConfigError(f"stop.compare={key}: no two cells differ in that alone")
    if any(first.dataset_key != other.dataset_key for first, other in pairs):
        raise ConfigError(f"stop.compare={key}: the cells are asked different questions; pairs need the same dataset")
    return sorted(pairs, key=lambda pair: (pair[0].index, pair[1].index))


def _follows(cells: Sequence[Cell], name: str, key: str) -> bool:
    found = {(repr(cell.params.get(key)), repr(cell.params.get(name))) for cell in cells}
    return len(found) == len({first for first, _ in found})


def _check_pair(plan: Plan, cell: Cell, clustered: bool) -> None:
    stop, questions = plan.experiment.stop, _questions(plan, cell)
    if stop.open_ended and clustered:
        raise ConfigError(
            "stop.open_ended: its bound needs independent questions, but some of this dataset repeat each other or "
            "share a passage; leave it out for looks that allow for that"
        )
    if not stop.open_ended and questions < stop.looks * FEWEST_PER_LOOK:
        raise ConfigError(
            f"stop.looks={stop.looks}: {questions} questions are too few for so many looks; ask for at most "
            f"{max(1, questions // FEWEST_PER_LOOK)}"
        )
