"""The highest rate that meets an SLO: what to try next, what a try shows, and what may be claimed in the end.

Short probes bracket the rate: it is doubled or halved until one passed and one failed, then the bracket is bisected
geometrically. Short probes alone claim too much, because a queue near saturation takes long to show, and because the
best of several noisy tries is a lucky one. So a long run confirms the candidate with its lower bounds; a failed one is
followed by another at a rate 3% lower. Everything is a pure function of the tries so far, so a search can be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.attainment import meets
from bench.judge.intervals import clopper_pearson, mean_t
from bench.judge.metrics.requests import NS_PER_MS, never_served
from bench.slo import FAILURE_RATE, Slo, parse_slo

if TYPE_CHECKING:
    import pandas as pd

#: by how much the rate falls after a confirming run that failed
STEP_DOWN = 0.97
BATCHES = 20
#: two-sided confidence whose lower end is the one-sided 95% bound
_ONE_SIDED = 0.9
_FROM_SEND = ("ttft_ms", "ttfa_ms", "e2e_ms")


@dataclass(frozen=True, slots=True)
class Aim:
    """What is searched; the fields are those of ``load=search``, all of them set."""

    slo: str
    target: float
    min_rate: float
    max_rate: float
    first_rate: float
    probe_s: float
    confirm_s: float
    precision: float
    max_probes: int


@dataclass(frozen=True, slots=True)
class Step:
    """A try to make: Poisson arrivals at ``rate`` per second for ``seconds``."""

    rate: float
    seconds: float
    confirms: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """How many requests of a try met one demand of the SLO.

    Attributes:
        demand: a term, or all terms without a percentile together.
        share: the share of requests that has to meet it.
        attainment: the share that did, of all that were answered or failed.
        lower95: its one-sided 95% lower bound (Clopper and Pearson).
        batch_lower95: the same from the t interval over 20 batches in time; ``None`` with fewer requests.
        second_half: the share in the second half of the requests; ``None`` without any.
    """

    demand: str
    share: float
    good: int
    n: int
    attainment: float | None
    lower95: float | None
    batch_lower95: float | None
    second_half: float | None

    @property
    def holds(self) -> bool:
        """Whether the requests met the demand, in the second half too: what a probe must show."""
        return _reached(self.share, self.attainment, self.second_half)

    @property
    def is_proven(self) -> bool:
        """Whether the lower bounds meet it too, and so does the second half: what a confirming run must show."""
        return _reached(self.share, self.lower95, self.batch_lower95, self.second_half)


@dataclass(frozen=True, slots=True)
class Tried:
    """A try that was made. ``evidence`` is empty for one that was cut short: it shows nothing.

    Attributes:
        failed: requests that were not served, of ``sent``.
        good: requests that met every term at once.
    """

    step: Step
    sent: int
    failed: int
    good: int
    evidence: tuple[Evidence, ...] = ()

    @property
    def passed(self) -> bool | None:
        """Whether it met the SLO, by the measure of its kind; ``None`` when it was cut short."""
        if not self.evidence:
            return None
        return all(one.is_proven if self.step.confirms else one.holds for one in self.evidence)

    def row(self) -> dict[str, Any]:
        """JSON-ready; :meth:`of` reads it back."""
        flat = {"sent": self.sent, "failed": self.failed, "good": self.good, "passed": self.passed}
        return {**asdict(self.step), **flat, "evidence": [asdict(one) for one in self.evidence]}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Tried:
        """A try from its :meth:`row`."""
        step = Step(row["rate"], row["seconds"], row["confirms"])
        return cls(step, row["sent"], row["failed"], row["good"], tuple(Evidence(**one) for one in row["evidence"]))


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more is to be tried: the rate that is proven, or why none is."""

    proven_rate: float | None
    why: str = ""


def demands(slo: Slo, target: float) -> list[tuple[Slo, float]]:
    """The SLO as shares of requests, all of which must hold (intersection-union: no correction for their number).

    ``p99 <= x`` asks 99% of the requests to be within ``x``, ``p5 >= x`` 95%; ``failure_rate <= x`` asks ``1 - x`` to
    be served; the terms without a percentile ask for ``target`` together.
    """
    found: list[tuple[Slo, float]] = []
    for term in slo.terms:
        upper = term.sign in ("<=", "<")
        if term.metric == FAILURE_RATE:
            found.append((Slo((term,)), 1 - term.bound))
        elif term.percentile is not None:
            found.append((Slo((term,)), term.percentile if upper else 1 - term.percentile))
    plain = tuple(term for term in slo.terms if term.percentile is None and term.metric != FAILURE_RATE)
    return [*found, (Slo(plain), target)] if plain else found


def needed_to_prove(share: float) -> int:
    """Fewest requests, all good, whose lower bound reaches a share: 299 for 99%; two for each batch at least."""
    return max(2 * BATCHES, math.ceil(math.log((1 - _ONE_SIDED) / 2) / math.log(share)))


def weigh(aim: Aim, step: Step, requests: pd.DataFrame) -> Tried:
    """What the requests of a try say of the SLO.

    Args:
        requests: one row per request with ``outcome``, ``error_kind``, ``cached``, ``warmup``, the marks and the
            derived columns (:func:`bench.judge.rows.derive`). Latencies are taken from the time a request was due:
            who arrives at a busy service waits from then on, whoever keeps them.
    """
    counted = (requests["outcome"] == "ok") | never_served(requests)
    rows = requests[counted & ~requests["cached"].astype(bool) & ~requests["warmup"].astype(bool)]
    waited_ms = (rows["sent_ns"] - rows["due_ns"]) / NS_PER_MS
    rows = rows.assign(**{name: rows[name] + waited_ms for name in _FROM_SEND}).sort_values("due_ns")
    slo = parse_slo(aim.slo)
    evidence = tuple(_evidence(part, share, rows) for part, share in demands(slo, aim.target))
    failed, good = int((rows["outcome"] != "ok").sum()), int(meets(slo, rows).sum())
    return Tried(step, len(rows), failed, good, evidence)


def _evidence(part: Slo, share: float, rows: pd.DataFrame) -> Evidence:
    import numpy as np

    met = meets(part, rows).astype(np.float64)
    good, n = int(met.sum()), int(met.size)
    exact = clopper_pearson(good, n, _ONE_SIDED)
    batches = mean_t([batch.mean() for batch in np.array_split(met, BATCHES)], _ONE_SIDED).low if n >= BATCHES else None
    later = float(met[n // 2 :].mean()) if n else None
    return Evidence(str(part), share, good, n, exact.value, exact.low, batches, later)


def _reached(share: float, *figures: float | None) -> bool:
    # a share of 0.95 that comes out of a percentile, or out of 1 - 0.05, is off by a rounding error
    return all(figure is not None and figure >= share - 1e-9 for figure in figures)


def next_step(aim: Aim, history: Sequence[Tried]) -> Step | Over:
    """What to try after the tries so far, or why it is over. A try that was cut short is made again."""
    step = _wanted(aim, [tried for tried in history if tried.passed is not None])
    if isinstance(step, Over):
        return step
    if len(history) >= aim.max_probes:
        return Over(None, f"load.max_probes={aim.max_probes} were used up")
    share = max(share for _, share in demands(parse_slo(aim.slo), aim.target))
    if step.confirms and step.rate * step.seconds < needed_to_prove(share):
        return Over(
            None,
            f"a confirming run of {step.seconds:g} s at {step.rate:g}/s has too few requests, for a share of {share:g} "
            f"takes {needed_to_prove(share)}; raise load.confirm_s",
        )
    return step


def _wanted(aim: Aim, history: Sequence[Tried]) -> Step | Over:
    confirming = [tried for tried in history if tried.step.confirms]
    if confirming:
        last = confirming[-1]
        if last.passed:
            return Over(last.step.rate)
        if last.step.rate <= aim.min_rate:
            return Over(None, "no confirming run passed, down to load.min_rate")
        return Step(max(aim.min_rate, tidy(last.step.rate * STEP_DOWN)), aim.confirm_s, True)
    low, high = bracket(history)
    if low is None and high is None:
        return Step(tidy(aim.first_rate), aim.probe_s, False)
    if low is None or high is None:
        return _widened(aim, low, high)
    if high <= low * (1 + aim.precision):
        return Step(low, aim.confirm_s, True)
    return Step(tidy(math.sqrt(low * high)), aim.probe_s, False)


def _widened(aim: Aim, low: float | None, high: float | None) -> Step | Over:
    if low is not None:
        at_end = low >= aim.max_rate
        return Step(low, aim.confirm_s, True) if at_end else Step(min(aim.max_rate, 2 * low), aim.probe_s, False)
    assert high is not None
    if high <= aim.min_rate:
        return Over(None, f"a probe failed even at load.min_rate={aim.min_rate:g}")
    return Step(max(aim.min_rate, high / 2), aim.probe_s, False)


def bracket(history: Sequence[Tried]) -> tuple[float | None, float | None]:
    """The highest rate whose probe passed and the lowest whose probe failed; ``None`` where there is none."""
    probes = [tried for tried in history if not tried.step.confirms]
    passed = [tried.step.rate for tried in probes if tried.passed]
    failed = [tried.step.rate for tried in probes if tried.passed is False]
    return max(passed, default=None), min(failed, default=None)


def tidy(rate: float) -> float:
    """A rate with four significant digits."""
    return float(f"{rate:.4g}")


def claim(aim: Aim, history: Sequence[Tried], over: Over) -> str:
    """What the tries prove and what they do not, in words."""
    low, high = bracket(history)
    if over.proven_rate is not None:
        last = history[-1]
        found = f"{over.proven_rate:g} requests/s meets {aim.slo}: confirmed by {last.sent:,} requests in "
        found += f"{last.step.seconds:g} s; " + "; ".join(map(_told, last.evidence)) + "."
        if high is None:
            return f"{found} No rate failed up to load.max_rate={aim.max_rate:g}: the limit may lie higher."
        return f"{found} The lowest rate whose probe failed is {high:g}/s."
    found = f"No rate is proven to meet {aim.slo}: {over.why}."
    if low is not None:
        found += f" Probes passed up to {low:g}/s, which proves nothing yet"
        found += f", and failed from {high:g}/s." if high is not None else "; none failed."
    worst = next((tried for tried in reversed(history) if tried.passed is False), None)
    if worst is not None:
        kind = "confirming run" if worst.step.confirms else "probe"
        found += f" The last {kind} that failed, at {worst.step.rate:g}/s: {'; '.join(map(_told, worst.evidence))}."
    return found


def _told(one: Evidence) -> str:
    if one.attainment is None:
        return f"{one.demand}: nothing was answered"
    return (
        f"{one.demand}: {one.attainment:.2%} of the requests are within the bound (95% lower bound {one.lower95:.2%}"
        + (f", over {BATCHES} batches {one.batch_lower95:.2%}" if one.batch_lower95 is not None else "")
        + f"; needed {one.share:.2%})"
    )
