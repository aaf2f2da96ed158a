"""One metric of one model in an A/B gate, and what it may get worse by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.judge.gate import MARGINS, Verdict
from bench.judge.statistics.outcomes import BLOCKING_DIFFERENCE, ERROR_LIMIT

#: what may get worse before it counts, and the share of errors above which nothing is said
GATE_MARGINS = {
    **MARGINS,
    "cost": 0.05,
    "unparsed": BLOCKING_DIFFERENCE,
    "truncated": BLOCKING_DIFFERENCE,
    "errors": ERROR_LIMIT,
}


@dataclass(frozen=True)
class GateRow:
    """One metric of one model.

    Attributes:
        model, metric: what it is of; ``family`` names its margin.
        unit: ``ratio`` or ``points``: of ``change`` and ``upper``.
        baseline, candidate: typical figures of both arms; ``None`` where there are none.
        change: how much worse the candidate is; upper: one-sided 95% bound of it.
        p, p_adjusted: one-sided, and adjusted over all metrics and models.
        series: the change pair by pair; the test of what is paired by question does not stand on it.
        n: pairs, or questions.
        reason: why nothing can be said, or what it stands on.
        blocked: whether the reason forbids a verdict.
    """

    model: str
    metric: str
    family: str
    unit: str
    baseline: float | None
    candidate: float | None
    change: float | None
    upper: float | None
    margin: float
    p: float | None
    n: int
    series: tuple[float, ...] = ()
    reason: str = ""
    blocked: bool = False
    p_adjusted: float | None = None
    verdict: Verdict = Verdict.INCONCLUSIVE

    @property
    def name(self) -> str:
        """Model and metric."""
        return f"{self.model} {self.metric}"

    def block(self, reason: str) -> GateRow:
        """The same without a say, and why."""
        return replace(self, blocked=True, reason=reason)
