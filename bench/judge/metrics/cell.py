"""What a figure of a cell is made from, and how one is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.judge.intervals import Estimate
from bench.judge.metrics.requests import NS_PER_S, never_served

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from bench.judge.attainment import SloVerdict
    from bench.slo import Slo


@dataclass(frozen=True)
class CellMetric:
    """A figure per cell; ``interval`` tells whether it has ends and can be withheld."""

    name: str
    unit: str
    definition: str
    of: Callable[[CellRows], Estimate]
    interval: bool = False


@dataclass(frozen=True)
class CellRows:
    """The measured (not warm-up) rows of one cell.

    Attributes:
        requests: one row per planned request with the derived columns.
        scores: one row per scored choice of served requests, with ``sample_id``; empty where nothing was scored.
        gaps_ms: pauses between consecutive events, pooled over the choices of served requests.
        replies: one row per choice of served requests, with ``finish_reason``.
        slo: what the cell is held against; ``None`` without one.
        clusters: of the questions, by sample id; empty where every question stands alone.
    """

    requests: pd.DataFrame
    scores: pd.DataFrame
    gaps_ms: NDArray[np.float32]
    replies: pd.DataFrame
    slo: Slo | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def served(self) -> pd.DataFrame:
        """Rows of requests whose outcome is ``ok``."""
        return self.requests[self.requests["outcome"] == "ok"]

    @cached_property
    def answered(self) -> pd.DataFrame:
        """The served rows that a server answered in this run: those from the cache left out."""
        return self.served[~self.served["cached"].astype(bool)]

    @cached_property
    def failed(self) -> int:
        """Requests that failed or were given up as too late: what counts as infinitely slow.

        Those that a stop or a budget kept from being sent, and cancelled ones, do not.
        """
        return int(never_served(self.requests).sum())

    @cached_property
    def window_s(self) -> float | None:
        """Seconds from the first send to the last end; ``None`` when nothing was sent."""
        seconds = (self.requests["end_ns"].max() - self.requests["sent_ns"].min()) / NS_PER_S
        return float(seconds) if seconds > 0 else None

    @cached_property
    def slo_verdict(self) -> SloVerdict | None:
        """The requests held against the SLO, over the window of the throughput."""
        from bench.judge.attainment import judge_slo  # it stands on this package

        return None if self.slo is None else judge_slo(self.slo, self.requests, self.window_s)
