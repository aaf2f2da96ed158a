"""What requests say of a service level objective: goodput, attainment, and a verdict with its confidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.judge.intervals import Estimate, clopper_pearson, quantile
from bench.judge.metrics.requests import NS_PER_S, never_served
from bench.slo import FAILURE_RATE, Slo, Term

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: share of the requests that must meet the terms without a percentile
TARGET = 0.99


class Standing(StrEnum):
    """What the requests say of a term: its interval lies within the bound, beyond it, or holds it."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class TermVerdict:
    """One term, or all terms without a percentile together.

    Attributes:
        term: as text.
        estimate: the figure that is compared with the bound, with its 95% interval.
        late: requests that do not meet the bound, failed ones included; ``n``: requests it was judged on.
        reason: one sentence.
    """

    term: str
    standing: Standing
    estimate: Estimate
    late: int
    n: int
    reason: str


@dataclass(frozen=True, slots=True)
class Goodput:
    """Requests that were served and met every term that bounds a latency, with or without a percentile.

    Attributes:
        good, sent: counts; ``sent`` holds the failed ones and leaves out what was never tried.
        per_s: good requests per second; ``None`` without a window.
        attainment: ``good / sent`` with Clopper and Pearson's two-sided 95% interval.
        lower95: its one-sided 95% lower bound.
    """

    good: int
    sent: int
    per_s: float | None
    attainment: Estimate
    lower95: float | None


@dataclass(frozen=True, slots=True)
class SloVerdict:
    """The verdict on every term and on all: met when every term is, missed when any is.

    Each term is shown with its own 95% interval; the claim that all hold needs no correction for their number
    (intersection-union test: Berger 1982, Technometrics 24:295).
    """

    slo: Slo
    terms: tuple[TermVerdict, ...]
    goodput: Goodput

    @property
    def standing(self) -> Standing:
        """Of all terms together."""
        found = {term.standing for term in self.terms}
        worst = (Standing.MISSED, Standing.UNDECIDED, Standing.MET)
        return next(standing for standing in worst if standing in found)


def judge_slo(slo: Slo, requests: pd.DataFrame, window_s: float | None = None, target: float = TARGET) -> SloVerdict:
    """Hold the measured requests of one cell against an SLO.

    Args:
        requests: one row per planned request with ``outcome``, ``cached``, the marks and the derived columns, warm-up
            left out (:attr:`bench.judge.rows.RunRows.requests`).
        window_s: length of the window for goodput; first send to last end when ``None``.
        target: share of the requests that must meet the terms without a percentile.
    """
    tried = _tried(requests)
    verdicts = [_judge_percentile(term, tried) for term in slo.terms if term.percentile is not None]
    verdicts += [_judge_failures(term, tried) for term in slo.terms if term.metric == FAILURE_RATE]
    plain = Slo(tuple(term for term in slo.terms if term.percentile is None and term.metric != FAILURE_RATE))
    if plain.terms:
        verdicts.append(_judge_share(plain, tried, target))
    return SloVerdict(slo, tuple(verdicts), measure_goodput(slo, requests, window_s))


def measure_goodput(slo: Slo, requests: pd.DataFrame, window_s: float | None = None) -> Goodput:
    """Goodput and attainment of one cell; arguments as in :func:`judge_slo`."""
    tried = _tried(requests)
    good, sent = int(meets(slo, tried).sum()), len(tried)
    if window_s is None and sent:
        # The window of the summary's throughput, so that the two rates can be compared.
        window_s = float(requests["end_ns"].max() - requests["sent_ns"].min()) / NS_PER_S
    return count_goodput(good, sent, window_s)


def count_goodput(good: int, sent: int, window_s: float | None) -> Goodput:
    """Goodput from counts: ``good / window``, ``good / sent``."""
    per_s = good / window_s if window_s and window_s > 0 else None
    # A one-sided 95% bound is the end of a two-sided 90% interval.
    return Goodput(good, sent, per_s, clopper_pearson(good, sent), clopper_pearson(good, sent, 0.9).low)


def meets(slo: Slo, requests: pd.DataFrame) -> NDArray[np.bool_]:
    """Which requests are ``ok`` and meet every term's bound, whatever its percentile.

    A reply of fewer than two tokens has no pause to be slow in and meets ``tpot_ms``; any other undefined metric is
    not met. ``failure_rate`` is no bound on a request.
    """
    import numpy as np

    good: NDArray[np.bool_] = (requests["outcome"] == "ok").to_numpy(dtype=np.bool_)
    for term in slo.terms:
        if term.metric != FAILURE_RATE:
            met = term.met_by(requests[term.metric].to_numpy(dtype=np.float64))
            good = good & (met | _too_short(term, requests))
    return good


def _too_short(term: Term, requests: pd.DataFrame) -> NDArray[np.bool_]:
    import numpy as np

    short = (requests["completion_tokens"] < 2).to_numpy(dtype=np.bool_)
    return short & (term.metric == "tpot_ms")


def _tried(requests: pd.DataFrame) -> pd.DataFrame:
    """Requests that were answered, failed or given up as too late; no other unsent ones, nor replies from the cache."""
    tried = (requests["outcome"] == "ok") | never_served(requests)
    return requests[tried & ~requests["cached"].astype(bool)]


def _judge_percentile(term: Term, tried: pd.DataFrame) -> TermVerdict:
    import numpy as np

    served = tried.loc[tried["outcome"] == "ok", term.metric].to_numpy(dtype=np.float64)
    known = served[~np.isnan(served)]
    values = np.sort(np.concatenate([known, np.full(int((tried["outcome"] != "ok").sum()), term.worst)]))
    late, n = int(values.size - np.count_nonzero(term.met_by(values))), int(values.size)
    estimate = quantile(values, float(term.percentile or 0.0))
    if known.size == 0 and served.size > 0:
        return _undecided(str(term), estimate, late, n, f"no served request has a {term.metric}")
    if n == 0:
        return _undecided(str(term), estimate, late, n, "nothing was sent")
    if estimate.value is None:
        return _undecided(str(term), estimate, late, n, f"{n} requests are too few, it takes {estimate.needs}")
    return _decided(term, str(term), estimate, late, n)


def _judge_failures(term: Term, tried: pd.DataFrame) -> TermVerdict:
    failed, n = int((tried["outcome"] != "ok").sum()), len(tried)
    estimate = clopper_pearson(failed, n)
    if n == 0:
        return _undecided(str(term), estimate, 0, 0, "nothing was sent")
    return _decided(term, str(term), estimate, failed, n)


def _judge_share(slo: Slo, tried: pd.DataFrame, target: float) -> TermVerdict:
    good, n = int(meets(slo, tried).sum()), len(tried)
    estimate, name = clopper_pearson(good, n), f"{100 * target:g}% of requests with {slo}"
    if n == 0:
        return _undecided(name, estimate, 0, 0, "nothing was sent")
    return _decided(Term("share", None, ">=", target), name, estimate, n - good, n)


def _decided(term: Term, name: str, estimate: Estimate, late: int, n: int) -> TermVerdict:
    """Met or missed when both ends of the interval say so, undecided in between."""
    ends = [bool(term.met_by(end)) for end in (estimate.low, estimate.high)]
    standing = Standing.UNDECIDED if ends[0] != ends[1] else Standing.MET if ends[0] else Standing.MISSED
    figure = f"{estimate.value:.6g} (95% interval {estimate.low:.6g} to {estimate.high:.6g}, n = {n})"
    return TermVerdict(name, standing, estimate, late, n, f"{name}: {standing}, {figure}.")


def _undecided(name: str, estimate: Estimate, late: int, n: int, why: str) -> TermVerdict:
    return TermVerdict(name, Standing.UNDECIDED, estimate, late, n, f"{name}: undecided, {why}.")
