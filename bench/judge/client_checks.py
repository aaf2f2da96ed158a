"""Was the client late? Then it reports its own queue as the server's latency, and the measurement is invalid."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.judge.intervals import nearest_rank
from bench.judge.watched import FEW, MANY, Finding, Standing, Watched, late_ms, milliseconds, requests

#: lag beyond this share of the median time to first token is worth a warning; less than the floor never is
TTFT_SHARE = 0.1
TTFT_FLOOR_MS = 2.0
#: a single stand-still this many times the limit is worth a warning
WORST_TIMES = 10.0
CPU_WARN = 0.80
CPU_FULL = 0.95
GC_PAUSE_MS = 50.0
#: a stage shorter than this says nothing about the use of a processor
CPU_LEAST_S = 1.0
#: processor time below which a late process was not late from its own work
IDLE = 0.5


def check_client(seen: Watched) -> Iterator[Finding]:
    """Event-loop lag, lateness in sending, processor time and garbage collection."""
    yield from check_loop_lag(seen)
    yield from check_send_lag(seen)
    yield from check_cpu(seen)
    yield from check_gc(seen)


def check_loop_lag(seen: Watched) -> Iterator[Finding]:
    """The event loop stamps what arrives only when it runs: its lag is the error of every time."""
    lag = seen.together.lag
    if not lag.readings:
        text = "nothing is recorded of how the client itself did (no vitals), so its own lateness is not known"
        yield Finding("loop_lag", Standing.WARNED, text)
        return
    q, limit = seen.together.quantile, seen.limit_ms
    late = lag.quantile_ms(q)
    seen.figures.update({"limit_ms": limit, "loop_lag_ms": late, "loop_lag_quantile": q, "loop_lag_max_ms": lag.max_ms})
    said = f"for {1 - q:.0%} of the time the client's event loop was {milliseconds(late)} or more behind"
    ttft = float(seen.served["ttft_ms"].median()) if len(seen.served) else math.nan
    if late > limit:
        text = f"{said} (limit {milliseconds(limit)}), and times are off by that: {relief(seen)}"
        yield Finding("loop_lag", seen.together.late_is, text, late / limit)
    elif not math.isnan(ttft) and late > max(TTFT_FLOOR_MS, TTFT_SHARE * ttft):
        text = (
            f"{said}, over {TTFT_SHARE:.0%} of the median time to first token ({milliseconds(ttft)}), whose high "
            f"percentiles are off by that: {relief(seen)}"
        )
        yield Finding("loop_lag", Standing.WARNED, text, late / limit)
    elif lag.max_ms > WORST_TIMES * limit:
        text = (
            f"the client stood still once for {milliseconds(lag.max_ms)} (limit {milliseconds(WORST_TIMES * limit)}): "
            f"requests in flight then look slower by up to that; {relief(seen)}"
        )
        yield Finding("loop_lag", Standing.WARNED, text, lag.max_ms / limit)


def check_send_lag(seen: Watched) -> Iterator[Finding]:
    """From the permit to the send, or from the due time where nothing but the client could hold a request back."""
    free = seen.cell.is_open and not seen.restraints
    late = late_ms(seen.sent, "due_ns") if free else seen.together.after_permit_ms
    if late.size == 0:
        return
    q = 0.99 if late.size >= MANY else 0.9
    value, limit = float(late[nearest_rank(late.size, q) - 1]), seen.limit_ms
    seen.figures.update({"send_lag_ms": value, "send_lag_quantile": q})
    if value <= limit:
        return
    text = (
        f"the client sent {1 - q:.0%} of the requests {milliseconds(value)} or more late (limit {milliseconds(limit)})"
    )
    if late.size < MANY:
        text += f", but {requests(int(late.size))} are too few to tell that from chance"
        yield Finding("send_lag", Standing.WARNED, f"{text}: {relief(seen)}, or send more requests", value / limit)
    else:
        yield Finding("send_lag", Standing.INVALID, f"{text}: {relief(seen)}", value / limit)


def check_cpu(seen: Watched) -> Iterator[Finding]:
    """A full core is a queue in the client."""
    together = seen.together
    judged = [one.cpu_share for one in together.vitals if one.wall_s >= CPU_LEAST_S]
    if not judged:
        return
    share = max(judged)
    seen.figures["cpu_share"] = share
    if share < CPU_WARN:
        return
    late = together.lag.quantile_ms(together.quantile) > seen.limit_ms
    standing = together.late_is if late and share >= CPU_FULL else Standing.WARNED
    text = f"a client process used {share:.0%} of a core (limit {CPU_WARN:.0%}): {relief(seen)}"
    yield Finding("cpu", standing, text, share / CPU_WARN)


def check_gc(seen: Watched) -> Iterator[Finding]:
    """Garbage collection stops the whole process."""
    if not seen.together.vitals:
        return
    worst = max(one.gc_pause_max_ms for one in seen.together.vitals)
    seen.figures["gc_pause_max_ms"] = worst
    if worst > GC_PAUSE_MS:
        text = (
            f"garbage collection stopped the client for {milliseconds(worst)} (limit {milliseconds(GC_PAUSE_MS)}), and "
            f"requests in flight then look slower by up to that: raise engine.processes (was "
            f"{seen.together.processes}), so that each process holds less"
        )
        yield Finding("gc", Standing.WARNED, text, worst / GC_PAUSE_MS)


def relief(seen: Watched) -> str:
    """What makes a late client timely."""
    busiest = max((one.cpu_share for one in seen.together.vitals), default=1.0)
    if busiest < IDLE:
        return (
            f"free the machine (the client used only {busiest:.0%} of a core, so another program held it or a plug-in "
            f"blocked the event loop), or raise engine.processes (was {seen.together.processes})"
        )
    lower = "load.rate" if seen.cell.is_open else "load.concurrency"
    return f"raise engine.processes (was {seen.together.processes}) where processors are free, or lower {lower}"


def check_amount(seen: Watched) -> Iterator[Finding]:
    """Says what so few requests cannot show; it is no fault."""
    count = len(seen.together.sent)
    if count < MANY:
        least = f", and fewer than {FEW} prove nothing" if count < FEW else ""
        text = f"{requests(count)}: too few to tell how late the slowest 1% were sent (from {MANY} on{least})"
        yield Finding("few", Standing.VALID, text)
