"""The A/B gate over runs: every metric of every model in three states, and one verdict over all."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.domain import ConfigError
from bench.judge.gate import LOOK_LIMITS, GateMetric, Verdict, gate_verdicts, joint_verdict, run_ratio
from bench.judge.gate_arms import Arms, Matched
from bench.judge.gate_quality import quality_rows
from bench.judge.gate_rows import GATE_MARGINS, GateRow
from bench.judge.intervals import needed_for_quantile
from bench.judge.paired_logs import log_ratios, references, tail_ratios
from bench.judge.statistics.comparison import Estimand

#: pairs of the first look, and of both together
PAIRS, BOTH_LOOKS = 8, 16
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Gate:
    """The verdict of a gate.

    Attributes:
        limit: of p at this look.
        pairs: the fewest of any model.
    """

    verdict: Verdict
    rows: tuple[GateRow, ...]
    arms: Arms
    look: int
    limit: float
    pairs: int
    notes: tuple[str, ...]


def judge_arms(
    arms: Arms,
    margins: Mapping[str, float] | None = None,
    skip: Collection[str] = (),
    look: int | None = None,
    estimand: Estimand = Estimand.KIND_OF_TASK,
) -> Gate:
    """Every metric of every model, adjusted together, and the worst of their verdicts.

    Args:
        margins: those of :data:`GATE_MARGINS` that differ.
        skip: metrics or families of them that are not judged.
        estimand: whether the questions stand for others like them, or are all that matter.
        look: 1 or 2 of the two that the pairs are planned for, 0 for a single look at p 0.05; by default 1, and 2
            from 16 pairs on.

    Raises:
        ConfigError: nothing is called as what is to be skipped.
    """
    limits = {**GATE_MARGINS, **(margins or {})}
    pairs = min((len(one.pairs) for one in arms.matched), default=0)
    look = (2 if pairs >= BOTH_LOOKS else 1) if look is None else look
    limit = 0.05 if look == 0 else LOOK_LIMITS[look - 1]
    every = [row for one in arms.matched for row in _rows(one, limits, estimand)]
    unknown = sorted(set(skip) - {name for row in every for name in (row.metric, row.family)} - set(GATE_MARGINS))
    if unknown:
        raise ConfigError(
            f"skip {', '.join(unknown)}: is no metric here; there are: "
            + ", ".join(dict.fromkeys(row.metric for row in every))
        )
    rows = [row for row in every if row.metric not in skip and row.family not in skip]
    tested = [
        GateMetric(
            row.name,
            None if row.blocked else row.p,
            row.change,
            None if row.blocked else row.upper,
            row.margin,
        )
        for row in rows
    ]
    judged = [
        replace(row, verdict=found.verdict, p_adjusted=found.p_adjusted)
        for row, found in zip(rows, gate_verdicts(tested, limit=limit), strict=True)
    ]
    joint = joint_verdict([row.verdict for row in judged])
    return Gate(joint, tuple(judged), arms, look, limit, pairs, (*arms.notes, *_notes(arms, look, pairs, joint)))


def _notes(arms: Arms, look: int, pairs: int, joint: Verdict) -> Iterator[str]:
    if pairs < 2:
        yield (
            f"One pair of runs says nothing of how runs vary: times, throughput and cost need {PAIRS} pairs for the "
            "full verdict, made in the order ABBA. What is paired by question is judged."
        )
    elif pairs < PAIRS and look:
        yield f"{pairs} pairs of runs: the full verdict takes {PAIRS}."
    elif joint is Verdict.INCONCLUSIVE and look == 1:
        yield f"Not decided at the first look: add {BOTH_LOOKS - pairs} pairs once and judge all {BOTH_LOOKS} together."
    yield from (text for one in arms.matched for text in _uncompared_cost(one))
    few = min((run.served for one in arms.matched for side in (0, 1) for run in one.arm(side)), default=0)
    if few < 200:
        yield f"The smallest run served {few} requests; 200 a run are wanted for p50, 1,000 for p95."


def _rows(one: Matched, margins: Mapping[str, float], estimand: Estimand) -> list[GateRow]:
    errors = _errors(one, margins["errors"])
    rows = [
        *_time_rows(one, margins),
        *_rate_rows(one, margins),
        *_cost_rows(one, margins),
        *quality_rows(one, margins, estimand),
    ]
    return [*([row.block(errors.reason) for row in rows] if errors.blocked else rows), errors]


def _errors(one: Matched, limit: float) -> GateRow:
    """Failures are never a regression: above the limit the runs say nothing, below it they pass."""
    rates = [
        sum(run.not_ok for run in one.arm(side)) / max(1, sum(run.requests for run in one.arm(side))) for side in (0, 1)
    ]
    bad = [f"{run.run_id} {run.error_rate:.1%}" for side in (0, 1) for run in one.arm(side) if run.error_rate > limit]
    row = GateRow(
        model=one.model,
        metric="failure_rate",
        family="errors",
        unit="points",
        baseline=rates[0],
        candidate=rates[1],
        change=rates[1] - rates[0],
        upper=-math.inf,  # never a matter of degree: every run is within the limit, or its gate says nothing
        margin=limit,
        p=None,
        n=sum(run.requests for run in one.arm(1)),
    )
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        reason = f"errors over {limit:.0%} ({', '.join(bad[:3])}{more}): such a run says nothing; make its pair again"
        return row.block(reason)
    return replace(row, reason=f"no run has more than {limit:.0%} of errors")


def _time_rows(one: Matched, margins: Mapping[str, float]) -> Iterator[GateRow]:
    """Medians by prompt, and tails of what each request took over what its prompt usually takes."""
    pairs = [(a.times, b.times) for a, b in one.pairs]
    invalid = list(dict.fromkeys(run.run_id for side in (0, 1) for run in one.arm(side) if run.invalid))
    fewest = min((run.served for side in (0, 1) for run in one.arm(side)), default=0)
    for column in dict.fromkeys(name for pair in pairs for side in pair for name in side):
        have = [(a[column], b[column]) for a, b in pairs if column in a and column in b]
        usual = references(have)
        for family, q in _QUANTILES.items():
            needed = needed_for_quantile(q) if q > 0.5 else 1
            if family == "p99" and fewest < needed:
                continue
            # p99 hangs on the few slowest requests, to which the pace of their prompts only adds noise
            pace = None if family == "p99" else usual
            logs = [log_ratios(a, b) if family == "p50" else tail_ratios(a, b, pace, q) for a, b in have]
            row = _ratio_row(one, f"{column[:-3]}_{family}_ms", family, logs, margins[family])
            row = replace(
                row,
                baseline=_middle([_quantile(a, q) for a, _ in have]),
                candidate=_middle([_quantile(b, q) for _, b in have]),
            )
            if invalid:
                row = row.block(f"the measurement of {', '.join(invalid[:3])} is invalid")
            elif fewest < needed:
                row = row.block(f"{family} needs {needed} served requests in each run, {fewest} here")
            elif len(have) < len(pairs):
                row = row.block(f"{len(pairs) - len(have)} of {len(pairs)} pairs have no {column} on both sides")
            yield row


def _rate_rows(one: Matched, margins: Mapping[str, float]) -> Iterator[GateRow]:
    """Throughput, in tokens where every run knows them, as how many times as much the baseline did."""
    known = [name for name in ("throughput_tok_per_s", "throughput_req_per_s") if _all_know(one, name)]
    if not known:
        return
    pairs = [(a.rates[known[0]], b.rates[known[0]]) for a, b in one.pairs]
    row = _ratio_row(one, known[0], "throughput", [math.log(a / b) for a, b in pairs], margins["throughput"])
    row = replace(row, baseline=_middle([a for a, _ in pairs]), candidate=_middle([b for _, b in pairs]))
    invalid = list(dict.fromkeys(run.run_id for side in (0, 1) for run in one.arm(side) if run.invalid))
    yield row.block(f"the measurement of {', '.join(invalid[:3])} is invalid") if invalid else row


def _all_know(one: Matched, name: str) -> bool:
    return all(run.rates.get(name, 0) > 0 for side in (0, 1) for run in one.arm(side))


def _cost_rows(one: Matched, margins: Mapping[str, float]) -> Iterator[GateRow]:
    runs = [run for side in (0, 1) for run in one.arm(side)]
    if not runs or any(not run.cost for run in runs) or len({run.currency for run in runs}) > 1:
        return
    pairs = [(a.cost or 0.0, b.cost or 0.0) for a, b in one.pairs]
    row = _ratio_row(one, "cost_per_request", "cost", [math.log(b / a) for a, b in pairs], margins["cost"])
    yield replace(row, baseline=_middle([a for a, _ in pairs]), candidate=_middle([b for _, b in pairs]))


def _uncompared_cost(one: Matched) -> Iterator[str]:
    """Why runs of which some have a price have no row of costs."""
    sides = [list(one.arm(side)) for side in (0, 1)]
    priced = [run for side in sides for run in side if run.cost]
    if not priced or len(priced) == sum(map(len, sides)):
        if len({run.currency for run in priced}) > 1:
            yield f"{one.model}: cost is not judged, because runs are priced in different currencies."
        return
    said = [
        f"{name} {'costs something' if all(run.cost for run in side) else 'is free or without a price'}"
        for name, side in zip(("the baseline", "the candidate"), sides, strict=True)
    ]
    yield f"{one.model}: cost is not judged, because it has no ratio: {' and '.join(said)}."


def _ratio_row(one: Matched, metric: str, family: str, logs: Sequence[float], margin: float) -> GateRow:
    """From the log ratio of each pair: a one-sided paired t test on them."""
    found = run_ratio([1.0] * len(logs), [math.exp(d) for d in logs])
    change = None if found.ratio is None else found.ratio - 1
    p = found.p_slower
    if p is None and found.pairs > 1 and change is not None:
        # Nothing varies, as where a price alone changed: that is arithmetic, not chance.
        p = 0.0 if change > 1e-12 else 1.0
    return GateRow(
        model=one.model,
        metric=metric,
        family=family,
        unit="ratio",
        baseline=None,
        candidate=None,
        change=change,
        upper=None if found.high is None else found.high - 1,
        margin=margin,
        p=p,
        n=found.pairs,
        series=tuple(math.expm1(d) for d in logs),
        reason="" if found.pairs > 1 else "one pair of runs",
    )


def _quantile(values: object, q: float) -> float:
    import numpy as np

    return float(np.quantile(np.asarray(values, dtype=np.float64), q, method="inverted_cdf"))


def _middle(values: Sequence[float]) -> float | None:
    import numpy as np

    return float(np.median(values)) if values else None
