"""Ranking by a judge of pairs: strengths, win rates and flips of the cells of a judged run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bench.judge.intervals import Estimate, mean_t
from bench.judge.judged import asked_of, identity_of, judgements, judging_scorers
from bench.judge.statistics.bradley_terry import Battle, rank_battles
from bench.record import read_header
from bench.scorers.pairwise import Compared, Pairwise


@dataclass(frozen=True, slots=True)
class Ranked:
    """One model's place.

    Attributes:
        label: of its cell.
        elo: ``400/ln 10`` times its log-strength relative to the anchor, with the interval of the prompt bootstrap.
        win_rate: mean score of its pairs, a tie half a win, with the t interval over prompts; against the baseline
            alone where there is one.
        pairs: how many have a verdict.
    """

    label: str
    elo: Estimate
    win_rate: Estimate
    pairs: int


@dataclass(frozen=True, slots=True)
class PairwiseRanking:
    """What a judge of pairs says of a run.

    Attributes:
        scorer: its name.
        anchor: label of the model at 0: the baseline, or the first cell.
        rows: strongest first.
        pairs, flipped, missing: pairs with a verdict; those of them whose orders disagree, which are ties; and pairs
            without a verdict.
        pseudo_wins: whether half wins had to be put in, because a model never won or never lost.
        prompts, draws, seed: what the intervals stand on.
    """

    scorer: str
    anchor: str
    rows: tuple[Ranked, ...]
    pairs: int
    flipped: int
    missing: int
    pseudo_wins: bool
    prompts: int
    draws: int
    seed: int

    @property
    def flip_rate(self) -> float | None:
        """Share of judged pairs whose verdict depends on the order."""
        return self.flipped / self.pairs if self.pairs else None


def rankings_of(path: Path, header: Mapping[str, Any]) -> list[PairwiseRanking]:
    """A ranking for every judge of pairs among the scorers of a run; none where no pair has a verdict.

    Raises:
        ConfigError: a judge's run cannot be read.
    """
    configs = [cell["config"] for cell in header["cells"]]
    if not header.get("judges"):
        return []
    found = []
    for scorer in judging_scorers(configs):
        if isinstance(scorer, Pairwise):
            mine = identity_of(scorer, configs)
            runs = [run for one in asked_of(path, header) if one.identity == mine for run in one.runs]
            pairs = list(scorer.compared(chain.from_iterable(judgements(run) for run in runs)))
            labels = {str(cell["cell_id"]): str(cell["label"]) for cell in header["cells"]}
            ranking = rank_pairs(pairs, labels, scorer.title, scorer.baseline is not None)
            found += [ranking] if ranking is not None else []
    return found


def _model(place: Mapping[str, Any]) -> str:
    """The cell that a reply is of; of another run its folder in front."""
    return f"{place['run']}#{place['cell_id']}" if "run" in place else str(place["cell_id"])


def _label(model: str, labels: Mapping[str, str]) -> str:
    run, _, cell_id = model.rpartition("#")
    if not run:
        return labels.get(model, model)
    path = Path(run)
    known = read_header(path)["cells"] if (path / "run.json").is_file() else []
    return " ".join([path.name, *(str(cell["label"]) for cell in known if cell["cell_id"] == cell_id)])


def rank_pairs(
    pairs: Sequence[Compared], labels: Mapping[str, str], scorer: str, has_baseline: bool
) -> PairwiseRanking | None:
    """Bradley-Terry strengths of the cells of compared pairs, B being the baseline's where there is one.

    Prompts are resampled for the intervals, since pairs on one prompt are not independent.
    """
    known = [(pair, pair.score) for pair in pairs if pair.score is not None]
    if not known:
        return None
    anchor = _model(known[0][0].b) if has_baseline else next(iter(labels))
    battles: list[Battle] = []
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair, score in known:
        a, b = _model(pair.a), _model(pair.b)
        prompt = sample_of(pair.a)
        battles += [Battle(prompt, a, b, score)] * pair.weight
        scores[a][prompt].append(score)
        scores[b][prompt].append(1 - score)
    playing = {battle.a for battle in battles} | {battle.b for battle in battles}
    if anchor not in playing:
        anchor = battles[0].b
    ranking = rank_battles(battles, anchor)
    rows = [
        Ranked(
            label=_label(cell_id, labels),
            elo=ranking.elo[cell_id],
            win_rate=mean_t([sum(values) / len(values) for values in scores[cell_id].values()]),
            pairs=sum(map(len, scores[cell_id].values())),
        )
        for cell_id in playing
    ]
    rows.sort(key=lambda row: (-(row.elo.value if row.elo.value is not None else float("-inf")), row.label))
    return PairwiseRanking(
        scorer=scorer,
        anchor=_label(anchor, labels),
        rows=tuple(rows),
        pairs=len(known),
        flipped=sum(pair.flipped for pair, _ in known),
        missing=len(pairs) - len(known),
        pseudo_wins=ranking.strengths.pseudo_wins,
        prompts=ranking.prompts,
        draws=ranking.draws,
        seed=ranking.seed,
    )


def sample_of(place: Mapping[str, Any]) -> str:
    """The question that a reply answers: its request is named ``cell:sample:repeat``."""
    return str(place["request_id"]).partition(":")[2].rpartition(":")[0]
