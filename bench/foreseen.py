"""What judges will ask once a run is over, looked at before anything is sent: settings, rubrics, keys and ceilings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from bench.config import Experiment, plain
from bench.datasets import Dataset, MadeSamples
from bench.datasets.judged import asked, fenced
from bench.domain import Cell, ConfigError, JsonObject, Sample
from bench.judge.judged import judging_scorers
from bench.judging import judge_of
from bench.measure.ceiling import Ceiling, completion_cap, price_of
from bench.measure.plan import Plan, make_plan
from bench.measure.servers import api_key
from bench.record import find_run
from bench.rules import estimate_tokens
from bench.scorers.judge import Judge
from bench.scorers.judging import Judging
from bench.scorers.pairwise import Pairwise

#: questions whose prompts are made to see that the rubric fits, and to estimate their length
_LOOKED_AT = 500
#: characters of a token, for what is shown of a reply
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class _StandIn(Dataset):
    """The rows of a judge's run before there are any replies."""

    kind: str = "stand-in"
    questions: tuple[Sample, ...] = field(default=())
    shows: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        for number, sample in enumerate(self.questions):
            shown = {name: fenced(name, "", 10, str(number)) for name in self.shows}
            yield sample.place, {"id": f"stand-in-{number}", "origin": {}, **asked(sample), **shown}


def foresee(plan: Plan) -> list[Ceiling]:
    """The most that the judges of a planned run will take, one entry for each; none where no model judges.

    Raises:
        ConfigError: a judge's model or provider does not exist, its key is missing, its rubric does not fit the
            questions, or there is nothing to compare; nothing was sent.
    """
    configs = {cell.cell_id: _scoring(cell) for cell in plan.cells}
    scorers = judging_scorers(list(configs.values()))
    if not scorers:
        return []
    header = {
        "cells": [{"config": plain(cell.config)} for cell in plan.cells],
        "name": plan.experiment.name,
        "seed": plan.seed,
    }
    return [
        _foreseen(
            plan, scorer, [cell for cell in plan.cells if scorer in judging_scorers([configs[cell.cell_id]])], header
        )
        for scorer in scorers
    ]


def _scoring(cell: Cell) -> dict[str, Any]:
    config: Experiment = cell.config
    return {"scorer": plain(config.scorer), "also": plain(config.also)}


def _foreseen(plan: Plan, scorer: Judging, cells: Sequence[Cell], header: dict[str, Any]) -> Ceiling:
    judge = judge_of(scorer, header)
    api_key(judge.provider)
    shows = ("reply",) if isinstance(scorer, Judge) else ("first", "second")
    stand_in = _StandIn(
        name=scorer.title,
        prompt=scorer.rubric,
        system=scorer.system,
        questions=_questions(plan, scorer, cells),
        shows=shows,
    )
    try:
        asking = make_plan([replace(judge, dataset=stand_in)])
    except ConfigError as error:
        raise ConfigError(
            f"scorer={scorer.title}: its rubric or its judge does not fit: {error.problems[0]}"
        ) from error
    rows = next(iter(asking.samples.values())).samples
    prompt = sum(estimate_tokens(row.messages) for row in rows) / len(rows)
    reply, reply_assumed = max(_reply_tokens(cell.config, scorer) for cell in cells)
    completion, assumed = completion_cap(asking.experiment)
    requests, tokens = _requests(plan, scorer, cells), math.ceil(prompt) + len(shows) * reply
    price = price_of(judge.model.price, tokens, completion)
    return Ceiling(
        label=f"{scorer.title}: {judge.model.name.rsplit('/', 1)[-1]} at {judge.provider.name or judge.provider.kind}",
        cell_id="judge",
        requests=requests,
        tokens=None if requests is None else requests * (tokens + completion),
        assumed=assumed or reply_assumed,
        cost=None if requests is None or price is None else requests * price,
        currency=judge.model.price.currency,
    )


def _questions(plan: Plan, scorer: Judging, cells: Sequence[Cell]) -> tuple[Sample, ...]:
    """Some of the questions whose replies will be judged.

    Raises:
        ConfigError: they are not kept, or none has what the rubric needs.
    """
    found: list[Sample] = []
    for key in dict.fromkeys(cell.dataset_key for cell in cells):
        samples = plan.samples[key].samples
        if isinstance(samples, MadeSamples):
            raise ConfigError(f"scorer={scorer.title}: prompts that are made to a length have no answers to judge")
        fitting = (one for one in samples if one.target is not None or not getattr(scorer, "needs_reference", False))
        found += islice(fitting, _LOOKED_AT)
    if not found:
        raise ConfigError(
            f"scorer={scorer.title}: its rubric needs a reference, but no row of the dataset has a target"
        )
    return tuple(found)


def _reply_tokens(config: Experiment, scorer: Judging) -> tuple[int, bool]:
    """Tokens of one reply that the judge is shown at most; its chain of thought is not shown."""
    assumed = config.sampling.max_tokens is None
    cap = completion_cap(replace(config, sampling=replace(config.sampling, n=1, enable_thinking=False)))[0]
    return min(cap, math.ceil(scorer.reply_chars / _CHARS_PER_TOKEN)), assumed


def _requests(plan: Plan, scorer: Judging, cells: Sequence[Cell]) -> int | None:
    """Requests of a judge if every reply comes; ``None`` where a duration decides.

    Raises:
        ConfigError: a judge of pairs has one cell and no baseline, or one that is neither a cell nor a run.
    """
    counts: dict[str, int] = {}
    for cell in cells:
        count = plan.count(cell)
        if count is None:
            return None
        counts[cell.cell_id] = count * cell.config.sampling.n
    if not isinstance(scorer, Pairwise):
        return sum(counts.values())
    if scorer.baseline is None:
        if len(counts) < 2:
            raise ConfigError(
                f"scorer={scorer.title}: one model alone has nothing to be compared with; sweep over several models, "
                "or name a finished run over the same questions with scorer.baseline=RUN"
            )
        return sum(2 * min(counts[one], counts[other]) for one, other in combinations(counts, 2))
    named = [one.cell_id for one in cells if scorer.baseline in (one.cell_id, one.label, one.config.model.name)]
    if not named:
        find_run(scorer.baseline, Path(plan.experiment.results_dir))
    return 2 * sum(count for cell_id, count in counts.items() if cell_id not in named)
