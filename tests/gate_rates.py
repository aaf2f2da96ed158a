"""False alarms and power of the nightly monitor and of the A/B gate, by simulation through the product's own functions.

``python tests/gate_rates.py [--rounds N] [--seed S] [--only monitor|gate]`` prints our figure with its Monte-Carlo
error (one standard error) beside the figure of the design, and exits with 1 where they differ by more than three
standard errors of both together and by more than three points.

Generative models. One night of a series asks 400 fixed prompts once: latency = night x prompt x request, with
log-normal prompts (sd 0.52) and requests (sd 0.21; together 0.56), 1% of requests retried (4 times as slow). E1: night
sd 2%, independent. E2: 5% and 0.3 of the night before, 3% of nights slower, in logs by an exponential of mean 8 sd. E3:
8%, 0.5, 5%. A pinned reference shares the night; both have 1.5% of their own. The shift comes with night 41 of 60.
Accuracy: each question's chance of a right answer is Beta(3.44, 0.86), asked 500 x 2 times a night, or 200 x 1; a drop
takes as much from all of them, down to 0. Pairs of runs share 5% of noise, each run has 1.5% of its own, 200 prompts
(1,000 for p99). The family of 120 tests: 20 models x 6 metrics of 8 pairs with a log spread of 6.5%, 12 of them worse
by 20%.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.judge.gate import LOOK_LIMITS, GateMetric, Verdict, gate_verdicts, run_ratio
from bench.judge.gate_arms import ArmRun, Arms, Matched
from bench.judge.gate_rows import GateRow
from bench.judge.gating import judge_arms
from bench.judge.monitor import ACCURACY_GATE, RATIO_GATE, monitor

Floats = NDArray[np.float64]

NIGHTS, SHIFTED_FROM, SEEDS = 60, 40, 20
REQUEST_SD, PROMPT_SD, RETRIED = 0.21, 0.52, 0.01
#: noise that pairs share, and what each run has beside it
PAIR_SD, OWN_SD = 0.05, 0.015
#: the design's tables come from so many series and gates
DESIGN_SERIES, DESIGN_GATES = 1000, 2000
NOT_LABELLED: dict[str, dict[str, list[float]]] = {"unparsed": {}, "truncated": {}}


@dataclass(frozen=True)
class Line:
    """One figure beside the design's, ``nan`` without; ``spread``: between rounds, where it is no share."""

    name: str
    got: float
    rounds: int
    wanted: float = math.nan
    wanted_rounds: int = DESIGN_SERIES
    nights: float = math.nan
    wanted_nights: float = math.nan
    spread: float | None = None

    @property
    def error(self) -> float:
        if self.spread is not None:
            return self.spread / math.sqrt(self.rounds)
        return math.sqrt(max(self.got * (1 - self.got), 0.25 / self.rounds) / self.rounds)

    @property
    def differs(self) -> bool:
        if math.isnan(self.wanted):
            return False
        theirs = max(self.wanted * (1 - self.wanted), 0.25 / self.wanted_rounds) / self.wanted_rounds
        off = abs(self.got - self.wanted)
        return off > 3 * math.hypot(self.error, math.sqrt(theirs)) and off > 0.03

    def __str__(self) -> str:
        took = "" if math.isnan(self.nights) else f"({self.nights:.0f})"
        wanted = "" if math.isnan(self.wanted) else f"{100 * self.wanted:6.1f}%"
        theirs = "" if math.isnan(self.wanted_nights) else f"({self.wanted_nights:.0f})"
        mark = "  <-- differs" if self.differs else ""
        return f"{self.name:58}{100 * self.got:6.1f}% +- {100 * self.error:3.1f} {took:5}{wanted:>8} {theirs}{mark}"


# nightly monitor


@dataclass(frozen=True)
class Service:
    """How the nights of a service vary: ``sd`` is of what each adds to its share of the night before."""

    sd: float
    correlation: float = 0.0
    outliers: float = 0.0

    def levels(self, random: np.random.Generator) -> Floats:
        """Log pace of each night."""
        noise = random.normal(0, self.sd, NIGHTS + 30)
        level = np.empty_like(noise)
        level[0] = noise[0]
        for night in range(1, noise.size):
            level[night] = self.correlation * level[night - 1] + noise[night]
        bad = random.random(NIGHTS) < self.outliers
        return level[-NIGHTS:] + bad * random.exponential(8 * self.sd, NIGHTS)


E1, E2, E3 = Service(0.02), Service(0.05, 0.3, 0.03), Service(0.08, 0.5, 0.05)


def one_night_statistics(random: np.random.Generator, levels: Floats) -> Floats:
    """Log p50 of each night, every request divided by its prompt's median over the nights that seed the level."""
    logs = levels[:, None] + requests(random, (NIGHTS, 400))
    usual = np.median(logs[:SEEDS], axis=0)
    found: Floats = np.median(logs - usual, axis=1)
    return found


def requests(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Log latencies; the prompt's own share is left out where each is divided by it anyway."""
    return random.normal(0, REQUEST_SD, shape) + math.log(4) * (random.random(shape) < RETRIED)


def latency_series(service: Service, referenced: bool) -> Callable[[np.random.Generator], Floats]:
    def make(random: np.random.Generator) -> Floats:
        levels = service.levels(random)
        if not referenced:
            return one_night_statistics(random, levels)
        own, pinned = (one_night_statistics(random, levels + random.normal(0, OWN_SD, NIGHTS)) for _ in range(2))
        return own - pinned

    return make


def accuracy_series(questions: int, replies: int, drop: float) -> Callable[[np.random.Generator], Floats]:
    def make(random: np.random.Generator) -> Floats:
        chance = random.beta(3.44, 0.86, questions)
        lost = np.where(np.arange(NIGHTS) >= SHIFTED_FROM, drop, 0.0)
        right = random.binomial(replies, np.clip(chance - lost[:, None], 0, 1))
        found: Floats = -right.mean(axis=1) / replies
        return found

    return make


def watched(series: list[Floats], threshold: float, step: float, gate: float) -> tuple[float, float]:
    """Share of the series that alarm at or after the shift, of those that did not before; median nights it takes.

    Without a step: the share that ever alarms.
    """
    later = np.where(np.arange(NIGHTS) >= SHIFTED_FROM, step, 0.0)
    alarms = [monitor(x + later, threshold, gate).alarm for x in series]
    if step == 0 and gate == RATIO_GATE:
        return float(np.mean([alarm is not None for alarm in alarms])), math.nan
    quiet = [alarm for alarm in alarms if alarm is None or alarm >= SHIFTED_FROM]
    delays = [alarm - SHIFTED_FROM + 1 for alarm in quiet if alarm is not None]
    return len(delays) / max(1, len(quiet)), float(np.median(delays)) if delays else math.nan


#: service, pinned reference, threshold; the design's false alarms and, for +5, +10, +20%, power and nights
MONITORED = (
    ("E1", E1, False, 1000, 0.021, ((0.99, 4), (1.0, 2), (1.0, 2))),
    ("E1", E1, False, 20_000, 0.004, ((0.98, 7), (1.0, 3), (1.0, 3))),
    ("E2", E2, False, 1000, 0.16, ()),
    ("E2", E2, False, 20_000, 0.027, ((0.30, 12), (0.87, 9), (0.998, 4))),
    ("E3", E3, False, 1000, 0.27, ()),
    ("E3", E3, False, 20_000, 0.059, ((0.18, math.nan), (0.44, 10), (0.91, 7))),
    ("E2 with reference", E2, True, 1000, 0.009, ((0.98, 7), (1.0, 3), (1.0, 2))),
    ("E3 with reference", E3, True, 1000, 0.009, ((0.98, 7), (1.0, 3), (1.0, 2))),
)


def monitor_lines(rounds: int, seed: int) -> Iterator[Line]:
    made: dict[tuple[Service, bool], list[Floats]] = {}
    for place, (name, service, referenced, threshold, alarms, powers) in enumerate(MONITORED):
        if (service, referenced) not in made:
            random = np.random.default_rng([seed, place])
            made[service, referenced] = [latency_series(service, referenced)(random) for _ in range(rounds)]
        series = made[service, referenced]
        title = f"{name}, A={threshold:,}"
        yield Line(f"{title}: false alarms", watched(series, threshold, 0, RATIO_GATE)[0], rounds, alarms)
        for share, (power, nights) in zip((0.05, 0.1, 0.2), powers, strict=False):
            got, took = watched(series, threshold, math.log1p(share), RATIO_GATE)
            yield Line(f"{title}: +{share:.0%}", got, rounds, power, DESIGN_SERIES, took, nights)
    for questions, replies, drop, power, nights in (
        (500, 2, 0.0, 0.013, math.nan),
        (500, 2, 0.02, 0.997, 6),
        (500, 2, 0.03, 1.0, 3),
        (200, 1, 0.03, 0.82, 10),
    ):
        random = np.random.default_rng([seed, 100 + questions, int(1000 * drop)])
        series = [accuracy_series(questions, replies, drop)(random) for _ in range(rounds)]
        alarms_of = [monitor(x, 1000, ACCURACY_GATE).alarm for x in series]
        if not drop:
            got, took = float(np.mean([alarm is not None for alarm in alarms_of])), math.nan
        else:
            got, took = watched(series, 1000, 0, ACCURACY_GATE)
        what = f"-{100 * drop:g} points" if drop else "false alarms"
        title = f"accuracy, {questions} questions x {replies}, A=1,000: {what}"
        yield Line(title, got, rounds, power, DESIGN_SERIES, took, nights)


# A/B gate


def arm_run(random: np.random.Generator, level: float, prompts: int, pace: Floats, names: pd.Index[str]) -> ArmRun:
    times = pd.Series(np.exp(level + pace + requests(random, (prompts,))), index=names)
    return ArmRun("run", prompts, 0, {"ttft_ms": times}, {}, None, None, {}, NOT_LABELLED, None, False)


def made_pairs(
    random: np.random.Generator, pairs: int, prompts: int, shift: float, pace: Floats, names: pd.Index[str]
) -> tuple[tuple[ArmRun, ArmRun], ...]:
    """Interleaved pairs: 5% of noise is the pair's, 1.5% each run's own."""
    found = []
    for _ in range(pairs):
        hour = random.normal(0, PAIR_SD)
        levels = [hour + random.normal(0, OWN_SD) + extra for extra in (0.0, math.log1p(shift))]
        a, b = (arm_run(random, level, prompts, pace, names) for level in levels)
        found.append((a, b))
    return tuple(found)


def gate_rows(pairs: tuple[tuple[ArmRun, ArmRun], ...]) -> dict[str, GateRow]:
    matched = Matched("m", ("a", "b"), pairs, {}, None, False)
    return {row.family: row for row in judge_arms(Arms((matched,), ((), ()), ())).rows}


def alone(row: GateRow, look: int) -> Verdict:
    """The verdict on one metric as the only one of its family."""
    metric = GateMetric(row.name, row.p, row.change, row.upper, row.margin)
    return gate_verdicts([metric], limit=LOOK_LIMITS[look - 1])[0].verdict


@dataclass(frozen=True)
class GateCounts:
    """Shares of simulated gates by metric."""

    regressions: dict[str, float]
    passes: dict[str, float]
    single_look: dict[str, float]


def gates(
    random: np.random.Generator, rounds: int, prompts: int, shift: float, families: tuple[str, ...]
) -> GateCounts:
    names = pd.Index([f"q{place}" for place in range(prompts)], dtype=object)
    ends: dict[str, list[Verdict]] = {family: [] for family in families}
    small: dict[str, list[bool]] = {family: [] for family in families}
    for _ in range(rounds):
        pace = random.normal(0, PROMPT_SD, prompts)
        first = made_pairs(random, 8, prompts, shift, pace, names)
        rows = gate_rows(first)
        verdicts = {family: alone(rows[family], 1) for family in families}
        for family in families:
            small[family].append((rows[family].p or 0.0) < 0.05)
        if Verdict.INCONCLUSIVE in verdicts.values():
            both = gate_rows((*first, *made_pairs(random, 8, prompts, shift, pace, names)))
            for family, verdict in verdicts.items():
                if verdict is Verdict.INCONCLUSIVE:
                    verdicts[family] = alone(both[family], 2)
        for family, verdict in verdicts.items():
            ends[family].append(verdict)
    share = {verdict: {f: float(np.mean([end is verdict for end in ends[f]])) for f in families} for verdict in Verdict}
    return GateCounts(share[Verdict.REGRESSION], share[Verdict.PASS], {f: float(np.mean(small[f])) for f in families})


#: shift; the design's shares of p50 REGRESSION, p50 PASS, p95 REGRESSION
GATED = (
    (0.0, 0.0, 1.0, 0.0),
    (0.05, 0.60, 0.08, math.nan),
    (0.10, 1.0, math.nan, 0.68),
    (0.20, 1.0, math.nan, 1.0),
)


def gate_lines(rounds: int, seed: int) -> Iterator[Line]:
    for place, (shift, p50, p50_pass, p95) in enumerate(GATED):
        found = gates(np.random.default_rng([seed, 200, place]), rounds, 200, shift, ("p50", "p95"))
        said = f"+{shift:.0%}" if shift else "null"
        yield Line(f"gate p50, {said}: REGRESSION", found.regressions["p50"], rounds, p50, DESIGN_GATES)
        yield Line(f"gate p50, {said}: PASS", found.passes["p50"], rounds, p50_pass, DESIGN_GATES)
        yield Line(f"gate p95, {said}: REGRESSION", found.regressions["p95"], rounds, p95, DESIGN_GATES)
        if not shift:
            for family in ("p50", "p95"):
                name = f"one look, 8 pairs, p<.05, no margin, {family}, null"
                yield Line(name, found.single_look[family], rounds, 0.0475, DESIGN_GATES)
    few = max(50, rounds // 2)
    for shift, wanted in ((0.0, 0.0475), (0.2, 0.97)):
        found = gates(np.random.default_rng([seed, 300, int(100 * shift)]), few, 1000, shift, ("p99",))
        name = f"one look, 8 pairs, p<.05, no margin, p99 of 1,000, {f'+{shift:.0%}' if shift else 'null'}"
        yield Line(name, found.single_look["p99"], few, wanted, DESIGN_GATES)
    yield from family_lines(rounds, seed)
    yield from accuracy_lines(rounds, seed)


def family_lines(rounds: int, seed: int) -> Iterator[Line]:
    """20 models x 6 metrics under Benjamini and Hochberg, one look."""
    random = np.random.default_rng([seed, 400])
    discoveries, naive = [], []
    for _ in range(rounds):
        truth = np.arange(120) < 12
        logs = random.normal(np.where(truth, math.log(1.2), 0.0)[:, None], 0.065, (120, 8))
        ratios = [run_ratio(np.ones(8), np.exp(row)) for row in logs]
        tests = [
            GateMetric(str(place), found.p_slower, (found.ratio or 1) - 1, (found.high or 1) - 1, 0.05)
            for place, found in enumerate(ratios)
        ]
        flagged = np.array([one.verdict is Verdict.REGRESSION for one in gate_verdicts(tests)])
        discoveries.append((flagged & ~truth).sum() / max(1, flagged.sum()))
        naive.append(np.mean([(test.p or 1.0) < 0.05 for test, worse in zip(tests, truth, strict=True) if not worse]))
    for title, found, wanted in (
        ("120 tests: share of false ones among REGRESSIONs", discoveries, 0.036),
        ("120 tests: share of the 108 nulls below a naive .05", naive, 5.4 / 108),
    ):
        yield Line(title, float(np.mean(found)), rounds, wanted, DESIGN_GATES, spread=float(np.std(found)))


def accuracy_lines(rounds: int, seed: int) -> Iterator[Line]:
    """Power of the accuracy test alone (one-sided p at .05) for 3 points on 500 questions, one pair of runs."""
    names = [f"q{place}" for place in range(500)]
    for drop, replies, wanted in ((0.0, 1, 0.05), (0.0, 4, 0.05), (0.03, 1, 0.37), (0.03, 4, 0.82)):
        random = np.random.default_rng([seed, 500, replies, int(100 * drop)])
        low = 0
        for _ in range(rounds):
            chance = random.beta(3.44, 0.86, 500)
            runs = []
            for lost in (0.0, drop):
                right = random.random((500, replies)) < np.clip(chance - lost, 0, 1)[:, None]
                scores = {name: list(map(float, row)) for name, row in zip(names, right, strict=True)}
                runs.append(ArmRun("run", 500, 0, {}, {}, None, None, scores, NOT_LABELLED, None, False))
            low += (gate_rows(((runs[0], runs[1]),))["accuracy"].p or 0.0) <= 0.05
        title = (
            f"accuracy, 500 questions x {replies}, one-sided p<=.05, {f'-{100 * drop:g} points' if drop else 'null'}"
        )
        yield Line(title, low / rounds, rounds, wanted, DESIGN_GATES)


def main() -> int:
    parser = argparse.ArgumentParser(description="False alarms and power by simulation, beside the design's figures.")
    parser.add_argument("--rounds", type=int, default=400, help="series and gates per figure (default: 400)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("monitor", "gate"))
    options = parser.parse_args()
    parts = {"monitor": monitor_lines, "gate": gate_lines}
    print(f"{options.rounds} rounds, seed {options.seed}; in brackets: median nights from the shift to the alarm")
    print(f"{'':58}{'here':>7} +- s.e. {'':5}{'design':>8}")
    differing = 0
    for name, lines in parts.items():
        for line in lines(options.rounds, options.seed) if options.only in (None, name) else ():
            print(line, flush=True)
            differing += line.differs
    print(f"{differing} figures differ from the design")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
