"""Strengths of models from pairwise battles."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.judge.intervals import CONFIDENCE, Estimate
from bench.judge.statistics.floats import cluster_codes
from bench.judge.statistics.resampling import SEED

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: points of Elo per unit of log-strength: ``400/ln 10``
ELO = 400 / math.log(10)
#: wins put in each way of a pair that was played, when some model never won or never lost
PSEUDO_WIN = 0.5
PROMPT_DRAWS = 1000
_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Strengths:
    """Fitted log-strengths.

    Attributes:
        beta: by model, the anchor at 0; ``None`` for a model that no chain of battles links to the anchor.
        se: by model but the anchor, of ``beta`` relative to the anchor (from the Fisher information).
        elo: ``400/ln 10 · beta``.
        anchor: the model at 0.
        pseudo_wins: whether half wins had to be put in.
    """

    beta: dict[str, float | None]
    se: dict[str, float | None]
    elo: dict[str, float | None]
    anchor: str
    pseudo_wins: bool


def bradley_terry(battles: Sequence[tuple[str, str, float, float]], anchor: str | None = None) -> Strengths:
    """Bradley and Terry's model, ``P(a beats b) = 1/(1 + exp(β_b - β_a))`` (1952, Biometrika 39:324).

    Fitted as a binomial regression without intercept by Newton's method. The likelihood has a maximum only if every
    model can be reached from every other one by a chain of wins (Ford 1957, American Mathematical Monthly 64:28);
    where it is not so, half a win each way goes to every pair that was played.

    Args:
        battles: ``(a, b, wins of a, wins of b)``, a tie half a win each; several rows of a pair add up.
        anchor: the model whose strength is 0; the first one named when ``None``.

    Raises:
        ValueError: a count is negative, a model meets itself, the anchor never played, or there are no battles.
    """
    import numpy as np

    names = list(dict.fromkeys(name for row in battles for name in row[:2]))
    if not names:
        raise ValueError("Strengths need at least one battle.")
    anchor = names[0] if anchor is None else anchor
    if anchor not in names:
        raise ValueError(f"The anchor {anchor!r} is in no battle.")
    place = {name: index for index, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for a, b, of_a, of_b in battles:
        if a == b or of_a < 0 or of_b < 0:
            raise ValueError(f"A battle has two models and counts of 0 or more; {a!r} against {b!r} does not.")
        wins[place[a], place[b]] += of_a
        wins[place[b], place[a]] += of_b
    linked = _reached(wins + wins.T, place[anchor])
    kept = np.flatnonzero(linked)
    beta, error, pseudo = _fit(wins[np.ix_(kept, kept)], int(np.flatnonzero(kept == place[anchor])[0]))
    strength: dict[str, float | None] = dict.fromkeys(names)
    se: dict[str, float | None] = {name: None for name in names if name != anchor}
    for index, model in enumerate(kept):
        strength[names[model]] = float(beta[index])
        if names[model] != anchor:
            se[names[model]] = float(error[index])
    elo = {name: None if value is None else ELO * value for name, value in strength.items()}
    return Strengths(strength, se, elo, anchor, pseudo)


def _reached(links: Floats, start: int) -> Floats:
    """Which models a chain of positive links leads to."""
    import numpy as np

    seen = np.zeros(len(links), dtype=np.bool_)
    queue = [start]
    while queue:
        model = queue.pop()
        if not seen[model]:
            seen[model] = True
            queue += [int(other) for other in np.flatnonzero(links[model] > 0)]
    return seen.astype(np.float64)


def _fit(wins: Floats, anchor: int) -> tuple[Floats, Floats, bool]:
    """Strengths and standard errors relative to the anchor, and whether pseudo-wins were needed; all models linked."""
    import numpy as np

    models = len(wins)
    pseudo = not (_reached(wins, anchor).all() and _reached(wins.T, anchor).all())
    if pseudo:
        wins = wins + PSEUDO_WIN * ((wins + wins.T) > 0)
    games, won = wins + wins.T, wins.sum(axis=1)
    free = np.arange(models) != anchor
    beta, error = np.zeros(models), np.zeros(models)
    if models == 1:
        return beta, error, pseudo

    def likelihood(at: Floats) -> float:
        return -float((wins * np.logaddexp(0.0, at[None, :] - at[:, None])).sum())

    level = likelihood(beta)
    information = np.eye(models)
    for _ in range(_STEPS):
        chance = 0.5 * (1 + np.tanh((beta[:, None] - beta[None, :]) / 2))
        weight = games * chance * (1 - chance)
        information = np.diag(weight.sum(axis=1)) - weight
        slope = won - (games * chance).sum(axis=1)
        step = np.zeros(models)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], slope[free])
        # The likelihood is concave: a step too far is halved.
        while likelihood(beta + step) < level - 1e-12 * abs(level) and float(np.abs(step).max()) > _TOLERANCE:
            step /= 2
        beta = beta + step
        level = likelihood(beta)
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    error[free] = np.sqrt(np.diag(np.linalg.inv(information[np.ix_(free, free)])))
    return beta, error, pseudo


@dataclass(frozen=True, slots=True)
class Battle:
    """One judged pair of replies: ``score`` is 1 when A won, 0 when B did, ½ for a tie."""

    prompt: Hashable
    a: str
    b: str
    score: float


def merge_orders(first: float, second: float) -> tuple[float, bool]:
    """Score of a battle judged in both orders, and whether the orders disagreed: then it is a tie.

    Args:
        first, second: score of A when shown first, and when shown second.
    """
    flipped = (first - 0.5) * (second - 0.5) < 0 or (first == 0.5) != (second == 0.5)
    return (0.5, True) if flipped else (first, False)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Strengths with intervals over prompts.

    Attributes:
        strengths: fitted on all battles.
        elo: by model, with the percentile interval of the prompt bootstrap; no interval for the anchor, or below two
            prompts.
        prompts, draws, seed: what the intervals stand on.
    """

    strengths: Strengths
    elo: dict[str, Estimate]
    prompts: int
    draws: int
    seed: int


def rank_battles(
    battles: Sequence[Battle],
    anchor: str | None = None,
    draws: int = PROMPT_DRAWS,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> Ranking:
    """Bradley-Terry ranking whose intervals resample *prompts*: battles on one prompt are not independent.

    A resample in which a model is unlinked or undefeated gets the pseudo-wins of :func:`bradley_terry`; one that does
    not link a model to the anchor says nothing of it.

    Raises:
        ValueError: as :func:`bradley_terry`.
    """
    import numpy as np

    rows = [(battle.a, battle.b, battle.score, 1 - battle.score) for battle in battles]
    strengths = bradley_terry(rows, anchor)
    codes, prompts = cluster_codes([battle.prompt for battle in battles])
    names = list(strengths.beta)
    place = {name: index for index, name in enumerate(names)}
    at = np.array([(place[a], place[b]) for a, b, _, _ in rows]).T
    score = np.array([row[2] for row in rows])
    found: dict[str, list[float]] = {name: [] for name in names}
    random = np.random.default_rng(seed)
    for _ in range(draws if prompts > 1 else 0):
        weight = np.bincount(random.integers(0, prompts, prompts), minlength=prompts)[codes].astype(np.float64)
        wins = np.zeros((len(names), len(names)))
        np.add.at(wins, (at[0], at[1]), weight * score)
        np.add.at(wins, (at[1], at[0]), weight * (1 - score))
        kept = np.flatnonzero(_reached(wins + wins.T, place[strengths.anchor]))
        beta, _, _ = _fit(wins[np.ix_(kept, kept)], int(np.flatnonzero(kept == place[strengths.anchor])[0]))
        for model, value in zip(kept, beta, strict=True):
            found[names[model]].append(ELO * float(value))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    elo = {}
    for name in names:
        ends: list[float | None] = [None, None]
        if name != strengths.anchor and found[name]:
            ends = [float(end) for end in np.quantile(found[name], tails)]
        elo[name] = Estimate(strengths.elo[name], ends[0], ends[1], prompts, "prompt bootstrap")
    return Ranking(strengths, elo, prompts, draws if prompts > 1 else 0, seed)
