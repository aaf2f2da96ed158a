"""Did the server meet the load that was asked for, and was it steady? What it did is true either way: warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.judge.client_checks import relief
from bench.judge.intervals import quantile
from bench.judge.metrics.requests import NS_PER_MS, NS_PER_S, given_up
from bench.judge.steady import LITTLE_LIMIT, TREND_LIMIT, backlog_trend, check_little, compare_halves, mser5
from bench.judge.watched import MANY, Finding, Standing, Watched, milliseconds

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: achieved rate over offered rate below which an open load was not served as offered
RATE_LIMIT = 0.95
#: checks whose findings blame the server
ABOUT_THE_SERVER = frozenset({"rate", "backlog", "little", "steady"})
#: share of arrivals held back that is worth a warning
HELD_SHARE = 0.01
#: a start differs from the rest where its ranks do by so many standard deviations; MSER-5 has picked its length
START_Z = 3.0
#: an open load that lasted less than so many latencies says nothing about whether the server keeps up
SHORT_LATENCIES = 5.0
#: a window says nothing about a queue when it is shorter than this many latencies
WINDOW_LATENCIES = 20.0
#: ... or, over the root of the requests in flight, than this many: then its two edges alone differ by the limit
EDGE_LATENCIES = 70.0


def check_load(seen: Watched) -> Iterator[Finding]:
    """Arrivals and rates of open loads; backlog, Little's law and steadiness where a load means to be steady."""
    if seen.cell.is_open:
        yield from check_arrivals(seen)
        yield from check_rate(seen)
    if len(seen.sent) >= MANY and seen.is_steady_load:
        if seen.cell.is_open:
            yield from check_backlog(seen)
        yield from check_littles_law(seen)
        yield from check_steady(seen)


def check_arrivals(seen: Watched) -> Iterator[Finding]:
    """Requests that were due and never sent, or held back on purpose."""
    rows = seen.rows[~seen.rows["warmup"].astype(bool)]
    unsent = rows[rows["outcome"].isin(["not_sent", "cancelled"]) & (rows["error_kind"] != "cancelled")]
    held = int((seen.sent["queue_ms"] > seen.limit_ms).sum()) if seen.restraints else 0
    seen.figures.update({"dropped": float(len(unsent)), "held_back": float(held)})
    if len(unsent):
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in unsent["error_kind"].value_counts().items())
        own = bool(given_up(unsent).any()) and not seen.restraints
        cure = relief(seen) if own else f"raise {_all(seen) or 'the budget'}, or lower the rate"
        text = (
            f"{len(unsent):,} of {len(rows):,} requests that came due were never sent ({kinds}), so the server met "
            f"less than the load says: {cure}"
        )
        yield Finding("dropped", Standing.INVALID if own else Standing.WARNED, text, len(unsent) / len(rows))
    if held > HELD_SHARE * len(seen.sent):
        text = (
            f"{held:,} of {len(seen.sent):,} requests were sent more than {milliseconds(seen.limit_ms)} after they "
            f"were due, held back by {_all(seen)}: the server met a gentler load than was asked for; raise that, or "
            "read the due_* figures, which count the wait"
        )
        yield Finding("held_back", Standing.WARNED, text, held / len(seen.sent))


def check_rate(seen: Watched) -> Iterator[Finding]:
    """Whether requests ended as fast as they came due, or ever later.

    The latency of the last fifth less that of the first, both medians, is what the ends fell behind while the due
    times went from the one to the other; it counts where their 95% intervals lie apart.
    """
    early, late = _fifths(seen, "due_ns")
    if len(early) < MANY // 5:
        return
    before, after = (quantile(_sorted(part["due_e2e_ms"]), 0.5) for part in (early, late))
    span_ms = float(late["due_ns"].median() - early["due_ns"].median()) / NS_PER_MS
    if before.value is None or after.value is None or span_ms <= SHORT_LATENCIES * before.value:
        yield Finding("short", Standing.VALID, f"too short to tell whether the server keeps up: {_long_enough(seen)}")
        return
    offered = NS_PER_S * (len(seen.sent) - 1) / float(seen.sent["due_ns"].max() - seen.sent["due_ns"].min())
    behind_ms = max(0.0, after.value - before.value)
    share = span_ms / (span_ms + behind_ms)
    seen.figures.update({"offered_per_s": offered, "achieved_per_s": offered * share})
    apart = after.low is not None and before.high is not None and after.low > before.high
    if share < RATE_LIMIT and apart:
        why = f"{_all(seen)} or the server held them back" if seen.restraints else "the server was saturated"
        text = (
            f"requests came due at {offered:.3g}/s and ended at {offered * share:.3g}/s ({share:.0%}, limit "
            f"{RATE_LIMIT:.0%}): {why}, and latencies grow with the length of the run; lower the rate, or let "
            "load=search find the highest one that holds"
        )
        yield Finding("rate", Standing.WARNED, text, 1 / share)


def _fifths(seen: Watched, start: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first and the last fifth of the requests by a mark."""
    ordered = seen.sent.sort_values(start)
    return ordered.iloc[: len(ordered) // 5], ordered.iloc[-(len(ordered) // 5 or 1) :]


def _long_enough(seen: Watched) -> str:
    e2e = float(seen.served["e2e_ms"].median()) if len(seen.served) else 0.0
    return f"let it last {SHORT_LATENCIES * e2e / 800:.0f} s or more ({SHORT_LATENCIES:g} latencies and its edges)"


def check_backlog(seen: Watched) -> Iterator[Finding]:
    """Whether requests pile up."""
    window = _window(seen, "due_ns")
    trend = window and backlog_trend(seen.rows["due_ns"].to_numpy(), seen.rows["end_ns"].to_numpy(), window)
    if not trend:
        return
    seen.figures["backlog_change"] = trend.change
    if trend.rises:
        text = (
            f"requests in flight grew by {trend.change:.0%} of their mean over the run [{trend.low:.0%}, "
            f"{trend.high:.0%}] (limit {TREND_LIMIT:.0%}): the server did not keep up; lower the rate, or raise "
            "load.warmup and lengthen the run if it was merely cold"
        )
        yield Finding("backlog", Standing.WARNED, text, trend.change / TREND_LIMIT)


def check_littles_law(seen: Watched) -> Iterator[Finding]:
    """Whether requests in flight are what completions and latencies make of them."""
    window = _window(seen, "sent_ns")
    law = window and check_little(seen.rows["sent_ns"].to_numpy(), seen.rows["end_ns"].to_numpy(), window)
    if not law:
        return
    seen.figures["little_error"] = law.error
    if not law.holds:
        text = (
            f"Little's law is off by {law.error:.0%} (limit {LITTLE_LIMIT:.0%}): {law.in_flight:.3g} requests were in "
            f"flight, rate x latency gives {law.per_time * law.latency:.3g}, so the load was not steady; raise "
            "load.warmup and lengthen the run"
        )
        yield Finding("little", Standing.WARNED, text, law.error / LITTLE_LIMIT)


def _window(seen: Watched, start: str) -> tuple[float, float] | None:
    """The measured part of a cell without the filling at its start; ``None`` when it is too short for its latencies.

    Those are the ones of the first fifth, so that a queue that grows does not make its own window too short. A latency
    counts in proportion to itself, as one that is met in flight.
    """
    early, _ = _fifths(seen, start)
    lasted = early["end_ns"] - early[start]
    first, last = float(seen.sent[start].min()), float(seen.sent[start].max())
    if lasted.sum() <= 0 or last <= first:
        return None
    typical = float((lasted**2).sum() / lasted.sum())
    in_flight = float((seen.sent["end_ns"] - seen.sent[start]).sum()) / (last - first)
    low = first + min(2 * typical, (last - first) / 4)
    needed = max(WINDOW_LATENCIES, EDGE_LATENCIES / math.sqrt(in_flight)) * typical
    return (low, last) if last - low >= needed else None


def check_steady(seen: Watched) -> Iterator[Finding]:
    """MSER-5, confirmed by a shift between the halves: alone it ends at its edge in 3% of steady series of 100."""
    series = seen.served["due_e2e_ms" if seen.cell.is_open else "e2e_ms"].dropna().to_numpy(dtype="float64")
    cut, halves = mser5(series), compare_halves(series)
    if cut is None or cut.steady is None or halves is None:
        return
    seen.figures["warmup_found"] = float(cut.truncate)
    if not cut.steady and halves.moves:
        text = (
            f"no steady state: latency moved by {halves.change:+.0%} from the first half to the second (limit "
            f"{TREND_LIMIT:.0%}) and had not settled; raise load.warmup and lengthen the run, or lower the load"
        )
        yield Finding("steady", Standing.WARNED, text, abs(halves.change) / TREND_LIMIT)
    elif cut.steady and cut.truncate:
        yield from _check_start(seen, series, cut.truncate)


def _check_start(seen: Watched, series: NDArray[np.float64], cut: int) -> Iterator[Finding]:
    """A start that differs from the rest as a whole, not by one straggler, and moves the mean."""
    rest = float(series[cut:].mean())
    shift = float(series.mean()) / rest - 1 if rest > 0 else 0.0
    if abs(shift) > TREND_LIMIT and abs(_rank_sum_z(series, cut)) > START_Z:
        warmup = int(seen.cell.param("load.warmup") or 0) + cut
        text = (
            f"the first {cut:,} requests are a warm-up that moves the mean latency by {shift:+.0%} (limit "
            f"{TREND_LIMIT:.0%}): warm up longer, load.warmup={warmup}"
        )
        yield Finding("steady", Standing.WARNED, text, abs(shift) / TREND_LIMIT)


def _rank_sum_z(series: NDArray[np.float64], cut: int) -> float:
    """How far the ranks of the first ``cut`` values lie from those of the rest, in standard deviations of chance.

    The rank-sum statistic (Wilcoxon 1945, Biometrics Bulletin 1:80) with mid-ranks and its normal approximation.
    """
    import numpy as np

    n, ordered = series.size, np.sort(series)
    ranks = (ordered.searchsorted(series) + ordered.searchsorted(series, side="right") + 1) / 2
    return float((ranks[:cut].sum() - cut * (n + 1) / 2) / math.sqrt(cut * (n - cut) * (n + 1) / 12))


def _all(seen: Watched) -> str:
    return " and ".join(seen.restraints)


def _sorted(values: pd.Series[Any]) -> NDArray[np.float64]:
    import numpy as np

    return np.sort(values.dropna().to_numpy(dtype=np.float64))
