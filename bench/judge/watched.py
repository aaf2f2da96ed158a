"""What a validity check sees of a cell, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.judge.client import LoopLag, ProcessVitals, loop_lag
from bench.judge.metrics.requests import NS_PER_MS, NS_PER_S
from bench.judge.rows import CellInfo

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: the client may be late by so much, or by this share of the median end-to-end time, whichever is larger
LATE_MS = 10.0
LATE_SHARE = 0.01
#: requests from which the slowest 1% are told from chance, and the least with which a late client can be proved
MANY, FEW = 100, 10
#: readings of the event loop's lag (about a second of them) below which a late client is not proved
FEW_READINGS = 50
#: lag beyond the limit counts once it is seen in so many readings
LEAST_READINGS = 3
#: loads whose rate is meant to be the same all the time
STATIONARY = frozenset({"closed", "constant", "poisson", "gamma"})

#: what the checks look at in the rows of a run
WATCHED_COLUMNS = (
    *("due_ns", "permit_ns", "sent_ns", "end_ns", "connect_ns"),
    *("outcome", "error_kind", "attempts", "cached", "warmup", "events"),
    *("queue_ms", "ttft_ms", "e2e_ms", "due_e2e_ms"),
)
RESTRAINTS = (
    "load.max_concurrency",
    "limits.concurrency",
    "limits.rpm",
    "limits.tpm",
    "budget.requests",
    "budget.tokens",
    "budget.cost",
)
#: refusals after which a lane sends less for a while
THROTTLES = ("http_429", "http_5xx")


class Standing(StrEnum):
    """What a measurement is worth."""

    VALID = "valid"
    WARNED = "valid with warnings"
    INVALID = "invalid"

    @property
    def rank(self) -> int:
        """Order from good to bad."""
        return list(Standing).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``text`` holds what was seen, the limit, and what to do.

    Attributes:
        check: name of the check.
        standing: what follows from it; ``valid`` for a mere remark.
        excess: how far beyond the limit, to find the worst of several cells.
    """

    check: str
    standing: Standing
    text: str
    excess: float = 1.0


@dataclass(frozen=True)
class Together:
    """The cells that were sent at the same time: one client, one event loop for all of them.

    Attributes:
        rows: every request of theirs, with the derived columns, warm-up included.
        vitals: of the processes in the stages that sent them.
    """

    rows: pd.DataFrame
    vitals: tuple[ProcessVitals, ...]

    @cached_property
    def sent(self) -> pd.DataFrame:
        """Requests that went out and came to an end; warm-up and replies from a cache are left out."""
        return went_out(self.rows)

    @cached_property
    def lag(self) -> LoopLag:
        """Lag of the event loops."""
        return loop_lag(self.vitals)

    @property
    def quantile(self) -> float:
        """The quantile of lag that so many requests and readings can show: never one or two readings alone."""
        share = 0.01 if len(self.sent) >= MANY else 0.1
        return 1 - max(share, LEAST_READINGS / max(LEAST_READINGS, self.lag.readings))

    @property
    def late_is(self) -> Standing:
        """What follows where the event loop was late: too short a look proves nothing."""
        enough = len(self.sent) >= FEW and self.lag.readings >= FEW_READINGS
        return Standing.INVALID if enough else Standing.WARNED

    @property
    def processes(self) -> int:
        """Worker processes."""
        return len({one.shard for one in self.vitals}) or 1

    @cached_property
    def streams(self) -> int:
        """Most requests in flight at the same time, warm-up included."""
        import numpy as np

        out = self.rows[["sent_ns", "end_ns"]].dropna()
        starts, ends = (np.sort(out[name].to_numpy(dtype=np.float64)) for name in ("sent_ns", "end_ns"))
        return int((np.arange(1, starts.size + 1) - ends.searchsorted(starts, side="right")).max(initial=0))

    @cached_property
    def events_per_s(self) -> float:
        """Events of all streams, on average from the first send to the last end."""
        span_s = float(self.sent["end_ns"].max() - self.sent["sent_ns"].min()) / NS_PER_S
        return float(self.sent["events"].sum()) / span_s if span_s > 0 else 0.0

    @cached_property
    def after_permit_ms(self) -> NDArray[np.float64]:
        """Lateness in sending, from the permit on; see :func:`late_ms`."""
        return late_ms(self.sent, "permit_ns")


@dataclass(frozen=True)
class Watched:
    """One cell and all that is known of how it was measured.

    Attributes:
        rows: its requests with their derived columns, warm-up included.
        together: what was sent at the same time, itself included.
        alone: whether that was nothing else.
        figures: what the checks computed, for the record.
    """

    cell: CellInfo
    rows: pd.DataFrame
    together: Together
    alone: bool
    figures: dict[str, float] = field(default_factory=dict)

    @cached_property
    def sent(self) -> pd.DataFrame:
        """Requests that went out and came to an end; warm-up and replies from a cache are left out."""
        return went_out(self.rows)

    @cached_property
    def served(self) -> pd.DataFrame:
        """Those with outcome ``ok``, in the order of their sending."""
        return self.sent[self.sent["outcome"] == "ok"].sort_values("sent_ns")

    @cached_property
    def limit_ms(self) -> float:
        """How late the client may be."""
        e2e = float(self.served["e2e_ms"].median()) if len(self.served) else math.nan
        return LATE_MS if math.isnan(e2e) else max(LATE_MS, LATE_SHARE * e2e)

    @property
    def is_steady_load(self) -> bool:
        """Whether the load itself means to be the same all the time, and nothing else ran beside it."""
        return self.alone and str(self.cell.param("load.kind") or "closed") in STATIONARY

    @cached_property
    def restraints(self) -> tuple[str, ...]:
        """What may have held a due request back on purpose."""
        found = [key for key in RESTRAINTS if self.cell.param(key) is not None]
        if bool((self.rows["attempts"] > 1).any() or self.rows["error_kind"].isin(THROTTLES).any()):
            found.append("back-off after refusals")
        return tuple(found)


def went_out(rows: pd.DataFrame) -> pd.DataFrame:
    """Measured requests that have a send and an end."""
    kept = rows["sent_ns"].notna() & rows["end_ns"].notna() & ~rows["warmup"].astype(bool)
    return rows[kept & ~rows["cached"].astype(bool)]


def late_ms(sent: pd.DataFrame, start: str) -> NDArray[np.float64]:
    """From a mark to the send without the opening of a connection, ascending.

    Only requests of one attempt: the permit of a retried one is its first, the send its last.
    """
    import numpy as np

    first = sent[sent["attempts"] <= 1]
    late = (first["sent_ns"] - first[start] - first["connect_ns"].fillna(0)) / NS_PER_MS
    return np.sort(late.dropna().to_numpy(dtype=np.float64))


def milliseconds(value: float) -> str:
    """``12 ms``, ``1.5 ms``."""
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.2g} ms"


def requests(count: int) -> str:
    """``1 request``, ``2,000 requests``."""
    return f"{count:,} request{'s' * (count != 1)}"


def rounded(figures: Mapping[str, float]) -> dict[str, Any]:
    """Figures as they are written down."""
    return {name: float(f"{value:.6g}") for name, value in figures.items() if math.isfinite(value)}
