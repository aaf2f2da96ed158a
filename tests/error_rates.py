"""How often verdicts are wrong, and how often they see what is there: ``python tests/error_rates.py``.

Two tables, both through the functions that the product decides with. In process: thousands of rounds of the
simulator's model of answers, without a network. On the wire: ``bench run`` against the simulator over HTTP, tens of
rounds; and runs with ``stop`` that end themselves. In an A/A round both sides have the same skill, so every difference
that is claimed is false. A round has questions of its own, so rounds are independent; the simulator draws the answers
of two models apart, so pairing gains nothing here.

``--rounds`` of the first table, ``--wire-rounds`` of the second (0 leaves it out), ``--seed`` of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from random import Random
from statistics import NormalDist

from measured import run_measured
from setups import MODEL, experiment
from sim_thread import SimThread

from bench.config import Experiment
from bench.judge.intervals import wilson
from bench.judge.score import score_run
from bench.judge.statistics.comparison import compare_pairs
from bench.judge.statistics.sequential import Stop
from bench.judge.stopping import NARROW, Decision, PairRule, WidthRule
from bench.pipeline import execute
from bench.providers.sim import ModelKnobs, SimKnobs
from bench.record import read_header, read_table
from bench.sim.answers import Row, is_right

ALPHA, POINT = 0.05, 0.01
#: skills of a round's A and B: no difference, and one of ten points
SKILLS = {"A/A": (0.7, 0.7), "A 10 points better": (0.8, 0.7)}
QUESTIONS = 400
PEEK_EVERY = 50
WIRE_QUESTIONS = 100
#: on the wire there are fewer questions, so the gap is larger
WIRE_SKILLS = {"A/A": (0.7, 0.7), "A 20 points better": (0.9, 0.7)}
NAMES = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B")

Scores = Sequence[float]


@dataclass
class Tally:
    """What one method said over the rounds of one case."""

    rounds: int = 0
    a_better: int = 0
    b_better: int = 0
    asked: int = 0
    covered: int = 0

    def add(self, verdict: str, asked: int, covered: bool) -> None:
        """One round: ``A better``, ``B better`` or anything else."""
        self.rounds += 1
        self.a_better += verdict == Stop.A_BETTER
        self.b_better += verdict == Stop.B_BETTER
        self.asked += asked
        self.covered += covered


@dataclass
class Table:
    """Rates by case and method."""

    questions: int
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def add(self, case: str, method: str, verdict: str, asked: int, covered: bool) -> None:
        """One round under one method."""
        self.tallies.setdefault((case, method), Tally()).add(verdict, asked, covered)

    def show(self) -> None:
        """Print it; each rate with the 95% interval that the number of rounds leaves it."""
        print(f"{'case':<20} {'method':<34} {'A beats B':>19} {'either differs':>19} {'covered':>8} {'asked':>6}")
        for (case, method), tally in self.tallies.items():
            a, either = (_rate(count, tally.rounds) for count in (tally.a_better, tally.a_better + tally.b_better))
            covered, asked = tally.covered / tally.rounds, tally.asked / tally.rounds / self.questions
            print(f"{case:<20} {method:<34} {a:>19} {either:>19} {covered:>8.1%} {asked:>6.0%}")


def _rate(count: int, rounds: int) -> str:
    found = wilson(count, rounds)
    return f"{count / rounds:.1%} [{100 * (found.low or 0):.1f}, {100 * (found.high or 0):.1f}]"


# --- what the product would say of a round


def fixed(a: Scores, b: Scores, gap: float) -> tuple[str, int, bool]:
    """One comparison at the end, by the test that ``bench compare`` chooses."""
    found = compare_pairs(a, b)
    low, high, value = found.estimate.low, found.estimate.high, found.estimate.value or 0.0
    verdict = Stop.UNDECIDED
    if found.p is not None and found.p <= ALPHA:
        verdict = Stop.A_BETTER if value > 0 else Stop.B_BETTER
    return verdict, len(a), low is not None and high is not None and low <= gap <= high


def peeking(a: Scores, b: Scores, gap: float) -> tuple[str, int, bool]:
    """The same test every few questions, stopping at the first p below 5%: what not to do."""
    for n in range(PEEK_EVERY, len(a) + 1, PEEK_EVERY):
        verdict, _, covered = fixed(a[:n], b[:n], gap)
        if verdict != Stop.UNDECIDED:
            return verdict, n, covered
    return Stop.UNDECIDED, len(a), covered


def sequential(rule: PairRule) -> Callable[[Scores, Scores, float], tuple[str, int, bool]]:
    """``stop.compare``: the looks of a rule, as a run takes them."""

    def judge(a: Scores, b: Scores, gap: float) -> tuple[str, int, bool]:
        differences = [x - y for x, y in zip(a, b, strict=True)]
        looks = (n for n in range(1, len(a) + 1) if rule.is_look(n))
        found: Decision | None = next((one for n in looks if (one := rule.decide(differences[:n]))), None)
        assert found is not None, "the last look always decides"
        low, high = found.estimate.low, found.estimate.high
        return found.verdict, found.questions, low is None or high is None or low <= gap <= high

    return judge


def methods(questions: int) -> dict[str, Callable[[Scores, Scores, float], tuple[str, int, bool]]]:
    """Every way of comparing, by name."""
    found = {
        "one test at the end": fixed,
        f"naive: peek every {PEEK_EVERY}": peeking,
        "stop.compare, 10 looks": sequential(PairRule(questions, ALPHA, 10, None)),
    }
    if questions > 100:
        found["stop.compare, open_ended"] = sequential(PairRule(questions, ALPHA, 10, None, open_ended=True))
    return found


# --- in process


def drawn(skill: float, model: str, count: int, repeats: int, seed: int) -> list[float]:
    """Scores of the simulator's model on questions of its own: one reply at temperature 0, or the mean of several."""
    random = Random(f"{seed}:{model}")
    rows = [Row(f"question {number}", "", "") for number in range(count)]

    def replies(row: Row) -> Iterator[bool]:
        for _ in range(repeats):
            yield is_right(
                seed=seed,
                model=model,
                row=row,
                skill=skill,
                temperature=0.0 if repeats == 1 else 1.0,
                correlation=0.5,
                random=random,
            )

    return [sum(replies(row)) / repeats for row in rows]


def in_process(rounds: int, seed: int) -> None:
    """Thousands of rounds without a network."""
    for repeats in (1, 4):
        table = Table(QUESTIONS)
        for case, (skill_a, skill_b) in SKILLS.items():
            for number in range(rounds):
                a, b = (
                    drawn(skill, name, QUESTIONS, repeats, seed * 1_000_003 + number)
                    for name, skill in (("a", skill_a), ("b", skill_b))
                )
                for method, judge in methods(QUESTIONS).items():
                    table.add(case, method, *judge(a, b, skill_a - skill_b))
        each = "one reply each" if repeats == 1 else f"{repeats} replies each"
        print(f"\nIn process: {rounds:,} rounds of {QUESTIONS} questions, {each}, nominal {ALPHA:.0%} two-sided")
        table.show()
    widths(rounds, seed)


def widths(rounds: int, seed: int) -> None:
    """``stop.half_width``: whether the interval at the stop holds the skill, and what it saves."""
    width, total = 0.05, 500
    print(f"\nstop.half_width={width}: {rounds:,} rounds of at most {total} questions, one reply each")
    print(f"{'skill':>6} {'covered':>19} {'ended early':>12} {'asked':>6}")
    rule = WidthRule(width, total)
    for skill in (0.5, 0.8, 0.9, 0.97):
        covered = early = asked = 0
        for number in range(rounds):
            scores = drawn(skill, "w", total, 1, seed * 1_000_003 + number)
            looks = (n for n in range(1, total + 1) if rule.is_look(n))
            found = next(one for n in looks if (one := rule.decide(scores[:n], single_binary=True)))
            low, high = found.estimate.low, found.estimate.high
            covered += low is not None and high is not None and low <= skill <= high
            early += found.verdict == NARROW and found.questions < total
            asked += found.questions
        print(f"{skill:>6} {_rate(covered, rounds):>19} {early / rounds:>12.1%} {asked / rounds / total:>6.0%}")


# --- on the wire


def needles(folder: Path, count: int, seed: int) -> Path:
    """Questions that the simulator answers with the models' skills, each with a draw of its own."""
    random, path = Random(seed), folder / f"needles-{seed}-{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            name, hidden = f"item {seed}-{number}", random.randrange(10**5, 10**6)
            text = f"The magic number of {name} is {hidden}.\nWhat is the magic number of {name}?"
            file.write(json.dumps({"id": f"{number:06d}", "prompt": text, "target": hidden}) + "\n")
    return path


def asked(folder: Path, rows: Path, port: int, **changes: object) -> list[Experiment]:
    """Both models over the rows, against a simulator that listens."""
    return [
        experiment(
            rows,
            model={**MODEL, "name": name},
            provider={"kind": "compatible", "name": "sim", "base_url": f"http://127.0.0.1:{port}/v1"},
            scorer={"kind": "numeric"},
            load={"kind": "closed", "concurrency": 8},
            report={"summary": False, "markdown": False, "plots": False},
            results_dir=str(folder / "results"),
            **changes,
        )
        for name in NAMES
    ]


def served(sims: SimThread, skills: Sequence[float], seed: int) -> int:
    """The port of a simulator whose models have these skills."""
    models = {name: ModelKnobs(skill=skill) for name, skill in zip(NAMES, skills, strict=True)}
    return sims.serve(SimKnobs(speed=0, seed=seed, models=models))


def scores_of(path: Path, cells: Sequence[str]) -> tuple[list[float], list[float]]:
    """The recorded verdicts of both cells, by sample id."""
    owners = {row["request_id"]: row for row in read_table(path, "requests").to_pylist()}
    found: Mapping[str, dict[str, float]] = {cell: {} for cell in cells}
    for row in read_table(path, "scores").to_pylist():
        owner = owners[row["request_id"]]
        found[owner["cell_id"]][owner["sample_id"]] = row["value"]
    a, b = ([values[name] for name in sorted(values)] for values in found.values())
    return a, b


def on_the_wire(rounds: int, seed: int, folder: Path) -> None:
    """Whole runs over HTTP: one with the questions of all rounds, and one per round that stops itself."""
    table, stopped = Table(WIRE_QUESTIONS), Table(WIRE_QUESTIONS)
    with SimThread() as sims:
        for case, skills in WIRE_SKILLS.items():
            port = served(sims, skills, seed)
            done = run_measured(asked(folder, needles(folder, rounds * WIRE_QUESTIONS, seed), port), folder / case[:3])
            score_run(done.path)
            a, b = scores_of(done.path, [cell.cell_id for cell in done.plan.cells])
            assert len(a) == len(b) == rounds * WIRE_QUESTIONS
            for start in range(0, len(a), WIRE_QUESTIONS):
                for method, judge in methods(WIRE_QUESTIONS).items():
                    part = slice(start, start + WIRE_QUESTIONS)
                    table.add(case, method, *judge(a[part], b[part], skills[0] - skills[1]))
            for number in range(rounds):
                rows = needles(folder, WIRE_QUESTIONS, seed + number + 1)
                stop = {"compare": "model.name", "equal_within": None}
                with redirect_stderr(StringIO()):  # its display
                    path = execute(asked(folder, rows, port, stop=stop, seed=number), ("bench", "run")).path
                assert path is not None
                stopped.add(case, "runs with stop.compare, 10 looks", *_told(path, skills[0] - skills[1]))
    print(f"\nOn the wire: {rounds} rounds of {WIRE_QUESTIONS} questions over HTTP, nominal {ALPHA:.0%} two-sided")
    table.show()
    print(f"\nOn the wire: {rounds} runs of at most {WIRE_QUESTIONS} questions that end themselves (asked: requests)")
    stopped.show()


def _told(path: Path, gap: float) -> tuple[str, int, bool]:
    """What a run says that its rule came to, and how many questions' requests it sent."""
    header = read_header(path)
    (found,) = header["stopping"]
    estimate = found["decision"]["estimate"]
    covered = estimate["low"] is None or estimate["low"] <= gap <= estimate["high"]
    return found["decision"]["verdict"], header["counts"]["ok"] // 2, covered


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000, help="rounds in process (default: 2000)")
    parser.add_argument("--wire-rounds", type=int, default=40, help="rounds over HTTP (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    error = NormalDist().inv_cdf(0.975) * (ALPHA * (1 - ALPHA) / options.rounds) ** 0.5
    print(f"Brackets: 95% intervals by the number of rounds; at 5% that is ± {error / POINT:.2f} points in process.")
    in_process(options.rounds, options.seed)
    if options.wire_rounds:
        with tempfile.TemporaryDirectory() as folder:
            on_the_wire(options.wire_rounds, options.seed, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
