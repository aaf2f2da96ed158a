"""What the history says of one night: does it page, is it one bad night, or is it too early to tell?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.judge.history.accepted import Accepted
from bench.judge.history.drift import Notice, find_drift
from bench.judge.history.reading import in_order
from bench.judge.history.series import Series, lay_out, paging_series, watch
from bench.judge.monitor import NightState
from bench.judge.night import CellNight


class Outcome(StrEnum):
    """PASS: nothing pages. FAIL: a series pages. INCONCLUSIVE: no series that pages has enough nights."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class NightVerdict:
    """One night against the nights before it.

    Attributes:
        series: those that the night belongs to, cut off after it.
        notices: signs of a silently changed model on this night; they do not change the outcome.
        reasons: one sentence per alarm, or why nothing can be said.
        rerun: series of one bad night, which is worth another run before anyone is woken.
    """

    outcome: Outcome
    series: tuple[Series, ...]
    notices: tuple[Notice, ...]
    reasons: tuple[str, ...]
    rerun: tuple[Series, ...]


def judge_night(
    nights: Iterable[CellNight], run: Sequence[CellNight], accepted: Sequence[Accepted] = ()
) -> NightVerdict:
    """Judge one run by the history before it.

    Args:
        nights: of the history; later ones than the run, and the run itself, are passed over.
        run: the cells of the run.
        accepted: changes that reseed a series.

    Raises:
        ValueError: the run has no cell.
    """
    if not run:
        raise ValueError("A run without cells has nothing to judge.")
    moment = (run[0].started_at, run[0].run)
    before = [night for night in nights if (night.started_at, night.run) < moment]
    together = in_order([*before, *run])
    stretches = [one for one in lay_out(together) if one.nights[-1].run == run[0].run]
    paging = paging_series(stretches, run[0].name)
    series = tuple(watch(one, paging, accepted) for one in stretches)
    notices = tuple(find_drift(together, {run[0].run}))
    alarms = [one for one in series if one.pages]
    if alarms:
        return NightVerdict(Outcome.FAIL, series, notices, tuple(map(alarm_text, alarms)), transient(series))
    unsure = _undecided(series)
    outcome = Outcome.INCONCLUSIVE if unsure else Outcome.PASS
    return NightVerdict(outcome, series, notices, unsure, transient(series))


def transient(series: Iterable[Series]) -> tuple[Series, ...]:
    """Series whose last night is one bad night."""
    return tuple(one for one in series if one.state is NightState.TRANSIENT)


def _undecided(series: Sequence[Series]) -> tuple[str, ...]:
    paging = [one for one in series if one.metric.pages]
    if any(one.state in (NightState.QUIET, NightState.TRANSIENT) for one in paging):
        return ()
    most = max((one.seed_nights for one in paging), default=0)
    breaks = dict.fromkeys(one.stretch.broken_by for one in paging if one.stretch.broken_by)
    return (
        f"no series that pages has a level yet: {most} of 20 seed nights; until then compare runs made in pairs",
        *(f"a new series began: {text}" for text in breaks),
    )


def alarm_text(series: Series) -> str:
    """One sentence on an alarm: what, by how much, since when, and how sure."""
    start = series.suspected_from
    since = "" if start is None else f" since {series.nights[start].run}"
    shift = series.shift or 0.0
    by = f"{shift:.1%}" if series.metric.is_log else f"{100 * shift:.1f} points"
    evidence = series.monitored.evidence or 0.0
    return f"{series.id} is worse by {by}{since} (evidence {evidence:,.0f}, pages from {series.threshold:,.0f})"
