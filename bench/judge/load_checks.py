"""Did the server meet the load that was asked for, and was it steady? What it did is true either way: warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.judge.client import NS_PER_S
from bench.judge.intervals import nearest_rank
from bench.judge.steady import LITTLE_LIMIT, TREND_LIMIT, backlog_trend, check_little, compare_halves, mser5
from bench.judge.watched import MANY, Finding, Standing, Watched, milliseconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: achieved rate over offered rate below which an open load was not served as offered
RATE_LIMIT = 0.95
#: share of arrivals held back that is worth a warning
HELD_SHARE = 0.01
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
        text = (
            f"{len(unsent):,} of {len(rows):,} requests that came due were never sent ({kinds}), so the server met "
            "less than the load says: raise the budget, or plan fewer requests"
        )
        yield Finding("dropped", Standing.WARNED, text, len(unsent) / len(rows))
    if held > HELD_SHARE * len(seen.sent):
        text = (
            f"{held:,} of {len(seen.sent):,} requests were sent more than {milliseconds(seen.limit_ms)} after they "
            f"were due, held back by {_all(seen)}: the server met a gentler load than was asked for; raise that, or "
            "read the due_* figures, which count the wait"
        )
        yield Finding("held_back", Standing.WARNED, text, held / len(seen.sent))


def check_rate(seen: Watched) -> Iterator[Finding]:
    """Whether requests ended as fast as they came due, by their middle 90% so that no straggler decides it."""
    import numpy as np

    n = len(seen.sent)
    if n < MANY:
        return
    low, high = nearest_rank(n, 0.05) - 1, nearest_rank(n, 0.95) - 1
    due, end = (np.sort(seen.sent[name].to_numpy(dtype=np.float64)) for name in ("due_ns", "end_ns"))
    due_s, end_s = ((marks[high] - marks[low]) / NS_PER_S for marks in (due, end))
    if min(due_s, end_s) <= 0:
        return
    offered, achieved = float((high - low) / due_s), float((high - low) / end_s)
    seen.figures.update({"offered_per_s": offered, "achieved_per_s": achieved})
    if achieved < RATE_LIMIT * offered:
        why = f"{_all(seen)} or the server held it back" if seen.restraints else "the server was saturated"
        text = (
            f"requests came due at {offered:.3g}/s and ended at {achieved:.3g}/s ({achieved / offered:.0%}, limit "
            f"{RATE_LIMIT:.0%}): {why}, and latencies grow with the length of the run; lower the rate, or let "
            "load=search find the highest one that holds"
        )
        yield Finding("rate", Standing.WARNED, text, offered / achieved)


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

    A latency counts in proportion to itself, as one that is met in flight: a few long ones make a window short.
    """
    begun = seen.sent[start]
    lasted = seen.sent["end_ns"] - begun
    total, span = float(lasted.sum()), float(begun.max() - begun.min())
    if total <= 0 or span <= 0:
        return None
    typical = float((lasted**2).sum()) / total
    low = float(begun.min()) + min(2 * typical, span / 4)
    needed = max(WINDOW_LATENCIES, EDGE_LATENCIES / math.sqrt(total / span)) * typical
    return (low, float(begun.max())) if float(begun.max()) - low >= needed else None


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
    import numpy as np

    start, rest = series[:cut], series[cut:]
    if min(rest.mean(), np.median(rest)) <= 0:
        return
    shift = float(series.mean() / rest.mean()) - 1
    differs = abs(float(np.median(start) / np.median(rest)) - 1) > 4 * TREND_LIMIT
    if abs(shift) > TREND_LIMIT and differs:
        warmup = int(seen.cell.param("load.warmup") or 0) + cut
        text = (
            f"the first {cut:,} requests are a warm-up that moves the mean latency by {shift:+.0%} (limit "
            f"{TREND_LIMIT:.0%}): warm up longer, load.warmup={warmup}"
        )
        yield Finding("steady", Standing.WARNED, text, abs(shift) / TREND_LIMIT)


def _all(seen: Watched) -> str:
    return " and ".join(seen.restraints)
