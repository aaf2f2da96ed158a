"""Scoring: recorded replies to verdicts, sending nothing. A run can be scored again at any time."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from bench.config import plain
from bench.domain import Choice, ConfigError, Label, Outcome, Sample, Score
from bench.judge.asking import Asking, Pending
from bench.judge.judged import verdicts_of
from bench.record import RecordedChoice, ScoreRow, read_choices, read_header, read_samples, write_scores
from bench.registry import build, discover
from bench.scorers import Scorer
from bench.scorers.judging import Judging
from bench.scorers.refusal import declined
from bench.scorers.several import further_scorers

#: verdicts that may be outstanding before the oldest is waited for
_AHEAD = 1000


def score_run(path: Path, configs: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, float]:
    """Score every recorded choice of a run with its cell's scorers and write ``scores.parquet``.

    An error is never a wrong answer: a failed request has no choices, and what is left of a reply that broke off (its
    stream ended early, or failed in the middle) is labelled ``truncated`` and has no value. A reply cut by
    ``max_tokens`` counts as right only if the right answer is in what was said, else it is ``truncated`` with value 0.
    Gives the mean value of each cell that has scored choices by its own scorer, by cell id; the further scorers of
    ``also`` have rows of their own in the table.

    Args:
        path: the run folder.
        configs: plain configs (``scorer`` and ``also``) by cell id, in place of those that the run was made with.

    Raises:
        ConfigError: the folder is no run, a table cannot be read, or a scorer lacks what it needs.
    """
    discover()
    header = read_header(path)
    keys = {cell["cell_id"]: cell["dataset_key"] for cell in header["cells"]}
    asked = {cell["cell_id"]: (configs or {}).get(cell["cell_id"], cell["config"]) for cell in header["cells"]}
    samples = read_samples(path)
    sums: defaultdict[str, float] = defaultdict(float)
    scored: Counter[str] = Counter()
    with ExitStack() as stack:
        askings = _askings(asked, stack)

        judged = _judged(path, header, askings)

        def rows() -> Iterator[ScoreRow]:
            for recorded, asking, pending in _in_order(path, askings, samples, keys, judged):
                score = pending.result() if isinstance(pending, Future) else pending
                if not isinstance(asking.scorer, Judging):  # a judge has read the reply as it is
                    score = settled(score, recorded.choice)
                if score.value is not None and asking is askings[recorded.cell_id][0]:
                    sums[recorded.cell_id] += score.value
                    scored[recorded.cell_id] += 1
                yield _row(recorded.request_id, recorded.choice.index, asking.scorer, score)

        write_scores(path, rows())
    return {cell_id: sums[cell_id] / count for cell_id, count in scored.items()}


def scorers_of(config: Mapping[str, Any]) -> tuple[Scorer, ...]:
    """The scorer of a cell's plain config, then the further ones that judge the same replies.

    Raises:
        ConfigError: one that does not exist, options that it does not take, or two of one name.
    """
    return build("scorer", config["scorer"]), *further_scorers(config.get("also") or (), config["scorer"])


def _askings(configs: Mapping[str, Mapping[str, Any]], stack: ExitStack) -> dict[str, list[Asking]]:
    """Each cell's scorers, its own first; equal ones of several cells are one."""
    made: dict[str, Asking] = {}
    found: dict[str, list[Asking]] = {}
    problems: dict[str, None] = {}
    for cell_id, config in configs.items():
        found[cell_id] = []
        for scorer in scorers_of(config):
            identity = repr(plain(scorer))
            if identity not in made:
                try:
                    scorer.ready()
                except ConfigError as error:
                    problems.update(dict.fromkeys(error.problems))
                made[identity] = Asking(scorer)
                stack.callback(made[identity].close)
            found[cell_id].append(made[identity])
    if problems:
        raise ConfigError(*problems)
    return found


def _judged(
    path: Path, header: Mapping[str, Any], askings: Mapping[str, Sequence[Asking]]
) -> dict[str, dict[tuple[str, int], Score]]:
    """What the judges among the scorers have said so far, by name."""
    judges = {one.scorer.title: one.scorer for several in askings.values() for one in several}
    return {title: verdicts_of(path, header, scorer) for title, scorer in judges.items() if isinstance(scorer, Judging)}


def _in_order(
    path: Path,
    askings: Mapping[str, Sequence[Asking]],
    samples: Mapping[str, Mapping[str, Sample]],
    keys: Mapping[str, str],
    judged: Mapping[str, Mapping[tuple[str, int], Score]],
) -> Iterator[tuple[RecordedChoice, Asking, Pending]]:
    """Every choice with each of its scorers and the verdict or its promise, asked ahead of where it is read."""
    ahead: deque[tuple[RecordedChoice, Asking, Pending]] = deque()
    for recorded in chain.from_iterable(read_choices(path)):
        key = keys[recorded.cell_id]
        kept = samples.get(key)
        # prompts made to a length are not kept: they ask nothing, so there is nothing to hold a reply against
        sample = Sample(recorded.sample_id, ()) if kept is None else kept[recorded.sample_id]
        for asking in askings[recorded.cell_id]:
            pending: Pending | None = without_asking(asking.scorer, sample, recorded.outcome)
            if pending is None and isinstance(asking.scorer, Judging):
                pending = judged[asking.scorer.title].get((recorded.request_id, recorded.choice.index))
            if pending is None:
                pending = asking.verdict(key, sample, recorded.choice)
            ahead.append((recorded, asking, pending))
        while len(ahead) > _AHEAD:
            yield ahead.popleft()
    yield from ahead


def without_asking(scorer: Scorer, sample: Sample, outcome: Outcome) -> Score | None:
    """What no scorer decides: broken streams, and rows without the target that the scorer needs."""
    if outcome is not Outcome.OK:
        return Score(None, Label.TRUNCATED, detail="the reply broke off")
    if sample.target is None and scorer.needs_target:
        return Score(None, Label.UNSCORED, detail="the row has no target")
    return None


def settled(score: Score, choice: Choice) -> Score:
    """A verdict on a reply that may have been cut by length, which only a right answer outlives, or that declines."""
    if choice.finish_reason == "length" and score.label not in (Label.CORRECT, Label.UNSCORED, Label.TRUNCATED):
        return Score(0.0, Label.TRUNCATED, score.extracted, "cut by max_tokens")
    return declined(score, choice)


def _row(request_id: str, choice: int, scorer: Scorer, score: Score) -> ScoreRow:
    return ScoreRow(
        request_id=request_id,
        choice=choice,
        scorer=scorer.title,
        value=score.value,
        label=score.label,
        extracted=score.extracted,
        detail=score.detail,
        scorer_version=scorer.version,
    )
