"""What every output of a gate shows: one finding per metric and model, whoever judged it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.judge.gate import Verdict
from bench.judge.gate_rows import GateRow


@dataclass(frozen=True)
class Finding:
    """One metric of one model.

    Attributes:
        baseline, candidate: typical figures in their own unit.
        change: as text, ``+12.3%`` or ``+1.4 points``; worse is positive. upper, margin likewise.
        p: adjusted; ``None`` where there is no test.
        values: what is drawn: the change pair by pair, or a figure night by night.
        since: index of the value from which it got worse; ``None`` without one.
        value_title: what ``values`` are.
    """

    model: str
    metric: str
    verdict: Verdict
    baseline: float | None
    candidate: float | None
    change: str
    upper: str
    margin: str
    p: float | None
    n: int
    reason: str = ""
    values: tuple[float, ...] = ()
    since: int | None = None
    value_title: str = ""
    margin_line: float | None = None

    @classmethod
    def of_row(cls, row: GateRow) -> Finding:
        """A row of the A/B gate."""
        say = points if row.unit == "points" else percent
        return cls(
            model=row.model,
            metric=row.metric,
            verdict=row.verdict,
            baseline=row.baseline,
            candidate=row.candidate,
            change=say(row.change),
            upper="-" if row.family == "errors" else say(row.upper),
            margin=say(row.margin),
            p=row.p_adjusted,
            n=row.n,
            reason=row.reason,
            values=row.series,
            value_title="worse by, points" if row.unit == "points" else "worse by, %",
            margin_line=row.margin if row.series else None,
        )


@dataclass(frozen=True)
class Shown:
    """A verdict with its findings.

    Attributes:
        baseline, candidate: names of the runs of both sides.
        about: how it was judged, on one line.
        reading: what the columns and verdicts mean; empty for those of the A/B gate.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    about: str
    reading: str = ""

    def with_verdict(self, verdict: Verdict) -> list[Finding]:
        """The findings of one verdict."""
        return [one for one in self.findings if one.verdict is verdict]


def percent(share: float | None) -> str:
    """A share as ``+4.2%``."""
    return "-" if share is None else f"{100 * share:+.1f}%"


def points(share: float | None) -> str:
    """A difference of shares as ``+1.25 points``."""
    return "-" if share is None else f"{100 * share:+.2f} points"
