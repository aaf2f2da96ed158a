"""``bench gate RUN --baseline history``: one night against the nights before it, by the nightly monitor."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from bench.domain import ConfigError
from bench.judge.gate import Verdict
from bench.judge.history.accepted import read_accepted
from bench.judge.history.reading import read_history
from bench.judge.history.series import Series
from bench.judge.history.verdict import NightVerdict, Outcome, judge_night
from bench.judge.monitor import SEED_NIGHTS, NightState
from bench.judge.night import nights_of
from bench.judge.rows import read_run
from bench.record.results import open_results
from bench.show.terminal import printable
from bench.show.verdict import Finding, Shown, percent, points

_OUTCOMES = {Outcome.PASS: Verdict.PASS, Outcome.FAIL: Verdict.REGRESSION, Outcome.INCONCLUSIVE: Verdict.INCONCLUSIVE}
#: nights before that the last one is set against in words
_LEVEL_NIGHTS = 30
READING = (
    "Worse by: positive is worse; the lasting shift where a series alarms, else this night against the median of up to "
    f"{_LEVEL_NIGHTS} before it. REGRESSION: evidence of a lasting change adds up to the threshold and the shift is at "
    "least the margin. PASS: nothing new."
)


def judge_latest(path: Path, results_dir: str) -> Shown:
    """The verdict of the nightly monitor on a run, with the history under ``results_dir`` before it.

    Raises:
        ConfigError: the run is unfinished, or nothing in the history was asked, scored and measured as it was: says
            which hash differs.
    """
    run = read_run(path)
    state = run.header.get("state")
    if state != "finished":
        raise ConfigError(f"{path.name}: the run is {state}; finish it with: bench resume {path.name}")
    results = open_results(results_dir)
    history = read_history(results, tell=lambda text: print(text, file=sys.stderr))
    for one in history.skipped:
        print(f"warning: {printable(one.run)} is left out of the history: {printable(one.reason)}", file=sys.stderr)
    tonight = nights_of(run)
    verdict = judge_night(history.nights, tonight, read_accepted(results))
    _refuse_strangers(verdict, path.name)
    shown = [_finding(series) for series in verdict.series]
    known = max((len(series.nights) for series in verdict.series), default=0)
    notes = [*verdict.reasons, *(f"{notice.sign}: {notice.text}" for notice in verdict.notices)]
    notes += [f"{series.id}: one bad night; run it again before anyone is woken" for series in verdict.rerun]
    return Shown(
        verdict=_OUTCOMES[verdict.outcome],
        findings=tuple(one for one in shown if one is not None),
        notes=tuple(notes),
        baseline=(f"{known - 1} {'night' if known == 2 else 'nights'} before it under {results_dir}",),
        candidate=(path.name,),
        about=f"the nightly monitor, {known} {'night' if known == 1 else 'nights'} with this one",
        reading=READING,
    )


def _refuse_strangers(verdict: NightVerdict, name: str) -> None:
    """A run that begins every series anew compares with nothing."""
    paging = [series.stretch for series in verdict.series if series.metric.pages]
    broken = [one for one in paging if len(one.nights) == 1 and one.broken_by]
    if paging and len(broken) == len(paging):
        texts = dict.fromkeys(text for one in broken for text in str(one.broken_by).split("; "))
        raise ConfigError(
            f"{name}: does not compare with the nights before it: {'; '.join(texts)}. It begins new series; put back "
            "what changed, or let the new series grow"
        )


def _finding(series: Series) -> Finding | None:
    """One series on its last night; ``None`` where it has never had a figure, as the cost of a free model has none."""
    if not any(figure is not None and (figure or not series.metric.is_log) for figure in series.figures):
        return None
    say = percent if series.metric.is_log else points
    change = series.shift if series.pages or series.state is NightState.ALARM else _step(series)
    since = series.suspected_from
    before = [
        figure for figure in series.figures[: len(series.figures) - 1 if since is None else since] if figure is not None
    ]
    verdict, reason = _standing(series)
    return Finding(
        model=":".join(part for part in (series.stretch.model, series.stretch.dataset, series.stretch.variant) if part),
        metric=series.metric.name,
        verdict=verdict,
        baseline=_median(before[-_LEVEL_NIGHTS:]),
        candidate=series.figures[-1],
        change=say(change),
        upper="-",
        margin=say(math.expm1(series.metric.gate) if series.metric.is_log else series.metric.gate),
        p=None,
        n=len(series.nights),
        reason=reason,
        values=tuple(math.nan if figure is None else figure for figure in series.figures),
        since=since,
        value_title=f"{series.metric.name}, {series.metric.unit}",
    )


def _standing(series: Series) -> tuple[Verdict, str]:
    evidence = series.monitored.evidence or 0.0
    if series.pages:
        since = series.suspected_from
        began = "" if since is None else f", since {series.nights[since].run}"
        return Verdict.REGRESSION, f"evidence {evidence:,.0f} of {series.threshold:,.0f}{began}"
    if series.state is NightState.ALARM:
        return Verdict.INCONCLUSIVE, "it alarms, but this metric is too noisy to page"
    if series.state is NightState.TRANSIENT:
        return Verdict.INCONCLUSIVE, "one bad night: run it again"
    if series.state is NightState.QUIET:
        return Verdict.PASS, f"evidence {evidence:,.1f} of {series.threshold:,.0f}"
    if series.state is NightState.MISSING:
        return Verdict.INCONCLUSIVE, "no figure tonight"
    broken = f"; begun anew: {series.stretch.broken_by}" if series.stretch.broken_by else ""
    return Verdict.INCONCLUSIVE, f"{series.seed_nights} of {SEED_NIGHTS} nights that its level needs{broken}"


def _step(series: Series) -> float | None:
    """The last night against the median of those before it, in the unit of the series."""
    known = [x for x in series.x[series.seeded_from : -1] if math.isfinite(x)][-_LEVEL_NIGHTS:]
    middle = _median(known)
    if middle is None or not math.isfinite(series.x[-1]):
        return None
    return math.expm1(series.x[-1] - middle) if series.metric.is_log else series.x[-1] - middle


def _median(values: list[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
