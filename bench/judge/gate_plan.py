"""How many runs and requests a gate takes for a wanted power, and what they cost, from the runs at hand."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from bench.judge.gate_arms import ArmRun, Arms, Matched
from bench.judge.gate_quality import pooled
from bench.judge.gate_rows import GATE_MARGINS, GateRow
from bench.judge.gating import judge_arms
from bench.judge.intervals import t_quantile
from bench.judge.statistics.comparison import compare_samples

#: pairs from which their own spread is taken
ENOUGH_PAIRS = 4
#: spread of a pair beyond what its requests explain, where too few pairs are at hand to see it
ASSUMED_SPREAD = 0.015
#: more pairs than this are not counted
MOST_PAIRS = 400
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class PlanRow:
    """What one metric of one model takes.

    Attributes:
        spread: standard deviation of a pair's log ratio, or of a question's difference; ``assumed`` when it was not
            seen in enough pairs.
        pairs: of runs of the present size; ``None`` for what is paired by question, and beyond :data:`MOST_PAIRS`.
        questions: at ``replies`` each and side; ``None`` for what is paired by run.
        requests, cost, seconds: of both sides together; ``None`` where unknown.
    """

    model: str
    metric: str
    margin: float
    spread: float | None
    assumed: bool
    pairs: int | None
    questions: int | None
    replies: int | None
    requests: int | None
    cost: float | None
    currency: str | None
    seconds: float | None


@dataclass(frozen=True)
class GatePlan:
    """What a verdict takes.

    Attributes:
        power: of a PASS where nothing changed, and of a REGRESSION at twice the margin.
        requests_per_run: of the smallest run at hand.
    """

    rows: tuple[PlanRow, ...]
    power: float
    requests_per_run: int


def plan_gate(
    arms: Arms, margins: Mapping[str, float] | None = None, power: float = 0.8, skip: Collection[str] = ()
) -> GatePlan:
    """Pairs and questions so that an unchanged candidate PASSes, and one worse by twice the margin is a REGRESSION.

    Each with the wanted power. A change of the margin itself is found half of the time whatever the number of runs,
    because the estimate must reach the margin too. P-values are taken as shared among all metrics (Bonferroni), which
    asks for more than the gate's own adjustment does. What is in ``skip`` is neither planned for nor counted.

    Raises:
        ConfigError: nothing is called as what is to be skipped.
    """
    limits = {**GATE_MARGINS, **(margins or {})}
    rows = judge_arms(arms, limits, skip).rows
    tests = max(1, sum(row.family != "errors" for row in rows))
    found = [
        row for one in arms.matched for row in _plans(one, [r for r in rows if r.model == one.model], power, tests)
    ]
    smallest = min((run.requests for one in arms.matched for side in (0, 1) for run in one.arm(side)), default=0)
    return GatePlan(tuple(found), power, smallest)


def _plans(one: Matched, rows: list[GateRow], power: float, tests: int) -> Iterator[PlanRow]:
    for row in rows:
        if row.unit == "ratio":
            yield _by_pairs(one, row, power, tests)
        elif row.family == "accuracy":
            yield _by_questions(one, row, power)


def _by_pairs(one: Matched, row: GateRow, power: float, tests: int) -> PlanRow:
    spread, assumed = _spread(one, row)
    pairs = None if spread is None else pairs_needed(spread, row.margin, power, tests)
    runs = [run for side in (0, 1) for run in one.arm(side)]
    per_pair = len(runs) / max(1, len(one.pairs))
    windows = [run.window_s for run in runs if run.window_s is not None]
    requests = None if pairs is None else round(pairs * sum(run.requests for run in runs) / max(1, len(one.pairs)))
    cost, currency = _price(runs, requests)
    return PlanRow(
        model=one.model,
        metric=row.metric,
        margin=row.margin,
        spread=spread,
        assumed=assumed,
        pairs=pairs,
        questions=None,
        replies=None,
        requests=requests,
        cost=cost,
        currency=currency,
        seconds=None if pairs is None or not windows else pairs * per_pair * sum(windows) / len(windows),
    )


def pairs_needed(spread: float, margin: float, power: float = 0.8, tests: int = 1) -> int | None:
    """Fewest pairs, at least 2, whose log ratios of this standard deviation give both verdicts with this power.

    ``(t_.95 + t_power)·s/√R <= log(1+m)`` for the PASS of no change; ``(t_{1-.05/tests} + t_power)·s/√R <=
    log(1+2m)`` and ``t_power·s/√R <= log(1+2m) - log(1+m)`` for the REGRESSION of twice the margin. ``None`` beyond
    :data:`MOST_PAIRS`.
    """
    small, large = math.log1p(margin), math.log1p(2 * margin)
    for pairs in range(2, MOST_PAIRS + 1):
        se, reach = spread / math.sqrt(pairs), t_quantile(pairs - 1, power)
        passes = (t_quantile(pairs - 1, 0.95) + reach) * se <= small
        fails = (t_quantile(pairs - 1, 1 - 0.05 / tests) + reach) * se <= large and reach * se <= large - small
        if passes and fails:
            return pairs
    return None


def _spread(one: Matched, row: GateRow) -> tuple[float | None, bool]:
    """Of the pairs' log ratios; of few pairs what their requests explain and :data:`ASSUMED_SPREAD` together."""
    import numpy as np

    logs = np.log1p(np.array(row.series))
    if logs.size >= ENOUGH_PAIRS:
        return float(logs.std(ddof=1)), False
    if row.family not in _QUANTILES or not one.pairs:
        return (ASSUMED_SPREAD, True) if logs.size else (None, True)
    column = row.metric.removesuffix(f"_{row.family}_ms") + "_ms"
    a, b = one.pairs[0][0].times.get(column), one.pairs[0][1].times.get(column)
    if a is None or b is None:
        return None, True
    medians = [side.groupby(level=0).median() for side in (a, b)]
    apart = np.log((medians[1] / medians[0]).dropna().to_numpy(dtype=np.float64))
    if apart.size < 2:
        return None, True
    q, normal = _QUANTILES[row.family], NormalDist()
    # asymptotic error of a quantile of normal values
    factor = math.sqrt(q * (1 - q)) / normal.pdf(normal.inv_cdf(q))
    return math.hypot(ASSUMED_SPREAD, factor * float(apart.std(ddof=1)) / math.sqrt(apart.size)), True


def _by_questions(one: Matched, row: GateRow, power: float) -> PlanRow:
    """Questions at the present number of replies, by the spread of their differences."""
    old, new = pooled(one, 0, None), pooled(one, 1, None)
    common = sorted(old.keys() & new.keys())
    found = compare_samples(
        [old[name] for name in common],
        [new[name] for name in common],
        clusters=[one.clusters.get(name, name) for name in common] if one.clusters else None,
    )
    spread = None if found.se is None else found.se * math.sqrt(len(common))
    normal = NormalDist()
    z = normal.inv_cdf(0.95) + normal.inv_cdf(power)
    questions = None if spread is None else math.ceil((z * spread / row.margin) ** 2)
    if questions == 0:
        # No question differs so far: as many as show that no more than the margin do (Clopper and Pearson).
        questions = math.ceil(math.log(0.05) / math.log1p(-row.margin))
    runs = [run for side in (0, 1) for run in one.arm(side)]
    asked = sum(run.requests for run in runs) / max(1, len(common))
    requests = None if questions is None else round(questions * asked)
    cost, currency = _price(runs, requests)
    replies = min((len(side[name]) for side in (old, new) for name in common), default=None)
    return PlanRow(
        model=one.model,
        metric=row.metric,
        margin=row.margin,
        spread=spread,
        assumed=False,
        pairs=None,
        questions=questions,
        replies=replies,
        requests=requests,
        cost=cost,
        currency=currency,
        seconds=None,
    )


def _price(runs: Sequence[ArmRun], requests: int | None) -> tuple[float | None, str | None]:
    """What ``requests`` cost at the mean of the runs, and the currency; unknown where not all have one price list."""
    costs = [run.cost for run in runs if run.cost is not None]
    if not costs or len(costs) < len(runs) or len({run.currency for run in runs}) > 1:
        return None, None
    return None if requests is None else sum(costs) / len(costs) * requests, runs[0].currency
