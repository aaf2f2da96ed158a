"""How far a record is from what the simulator says it sent: pure functions over both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure.vitals import LAG_EDGES_MS, Vitals


@dataclass(frozen=True)
class Stream:
    """One streamed reply as both sides saw it, in nanoseconds of the same clock.

    ``reported_ns`` and ``true_ns`` are the events' stamps, ``sent_ns`` the client's and ``accepted_ns`` the server's
    mark of the request.
    """

    sent_ns: int
    accepted_ns: int
    reported_ns: tuple[int, ...]
    true_ns: tuple[int, ...]

    @property
    def ttft_error_ms(self) -> float:
        """Reported minus true time to first token."""
        return ((self.reported_ns[0] - self.sent_ns) - (self.true_ns[0] - self.accepted_ns)) / 1e6

    @property
    def delays_ms(self) -> list[float]:
        """From each event's write to its stamp at the client."""
        return [(got - sent) / 1e6 for got, sent in zip(self.reported_ns, self.true_ns, strict=True)]

    @property
    def tpot_error(self) -> float | None:
        """Relative error of the time per token; ``None`` where the true one is 0."""
        true = self.true_ns[-1] - self.true_ns[0]
        return None if true == 0 else (self.reported_ns[-1] - self.reported_ns[0]) / true - 1


def matched(
    requests: Iterable[Mapping[str, Any]],
    choices: Iterable[Mapping[str, Any]],
    truth: Iterable[Mapping[str, Any]],
    origin_ns: int,
) -> list[Stream]:
    """The replies that both sides have in full.

    Args:
        requests: rows with ``request_id``, ``response_id``, ``sent_ns`` and ``outcome``.
        choices: rows with ``request_id`` and ``event_ns``.
        truth: rows of the simulator's log.
        origin_ns: what the record's times count from.
    """
    events = {row["request_id"]: row["event_ns"] for row in choices}
    true = {row["id"]: row for row in truth if row["id"]}
    streams = []
    for row in requests:
        log, reported = true.get(row["response_id"]), events.get(row["request_id"])
        if row["outcome"] != "ok" or log is None or not reported or row["sent_ns"] is None:
            continue
        (choice,) = log["choices"]
        if len(choice["event_ns"]) != len(reported):
            continue
        stamps = tuple(origin_ns + ns for ns in reported)
        streams.append(Stream(origin_ns + row["sent_ns"], log["accept_ns"], stamps, tuple(choice["event_ns"])))
    return streams


def most_held(streams: Iterable[Stream]) -> int:
    """The most streams that were open at the server at once, from a request's arrival to its last event."""
    steps = sorted(step for one in streams for step in ((one.accepted_ns, 1), (one.true_ns[-1], -1)))
    held = most = 0
    for _, step in steps:
        held += step
        most = max(most, held)
    return most


def bunched_share(streams: Iterable[Stream]) -> float:
    """Share of events that left with the one before: a server that sends apart what is due apart has none."""
    together = gaps = 0
    for one in streams:
        gaps += len(one.true_ns) - 1
        together += sum(a == b for a, b in zip(one.true_ns, one.true_ns[1:], strict=False))
    return together / gaps if gaps else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def cpu_share(vitals: Iterable[Vitals]) -> float:
    """Processor time over wall time of the busiest process."""
    return max(one.cpu_s / one.wall_s for one in vitals)


def lag_p99_ms(vitals: Sequence[Vitals]) -> float:
    """The 99th percentile of loop lag, as the upper edge of its bin (of the last, open bin: the worst reading)."""
    counts = [sum(column) for column in zip(*(one.lag_counts for one in vitals), strict=True)]
    seen, total = 0, sum(counts)
    for edge, count in zip(LAG_EDGES_MS, counts, strict=False):
        seen += count
        if seen >= 0.99 * total:
            return edge
    return max(one.lag_max_ms for one in vitals)
