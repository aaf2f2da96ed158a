"""What a definition of another tool is made of: a cell as the tool would have seen it, quantities, rates, quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.judge.metrics.requests import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    #: ascending values, their weights or ``None``, and a share in 0..1
    Quantile = Callable[[Floats, Floats | None, float], float]


@dataclass(frozen=True)
class ServedCell:
    """What a tool would have seen of one cell.

    Attributes:
        served: answered requests with the columns of :class:`bench.judge.streams.Streams`.
        gaps_ms: pauses between consecutive chunks of one request, pooled.
        planned: every request of the cell, failed ones included.
    """

    served: pd.DataFrame
    gaps_ms: Floats
    planned: pd.DataFrame

    def since_start(self, mark: str) -> Floats:
        """Milliseconds from the send to a mark, one per served request; NaN where the mark is missing."""
        import numpy as np

        span: Floats = ((self.served[mark] - self.served["sent_ns"]) / NS_PER_MS).to_numpy(dtype=np.float64)
        return span

    def column(self, name: str) -> Floats:
        """A column of the served requests."""
        import numpy as np

        values: Floats = self.served[name].to_numpy(dtype=np.float64)
        return values

    @cached_property
    def decode_ms(self) -> Floats:
        """Milliseconds from the first chunk to the last."""
        return self.since_start("last_chunk_ns") - self.since_start("first_chunk_ns")

    @cached_property
    def content_end_ns(self) -> pd.Series[Any]:
        """The last chunk; the end of the body of a reply that was not streamed."""
        return self.served["last_chunk_ns"].where(self.served["stream"].astype(bool), self.served["end_ns"])

    @property
    def to_content_end_ms(self) -> Floats:
        """Milliseconds from the send to the end of the content."""
        import numpy as np

        span: Floats = ((self.content_end_ns - self.served["sent_ns"]) / NS_PER_MS).to_numpy(dtype=np.float64)
        return span


@dataclass(frozen=True)
class Quantity:
    """A latency of which a tool reports mean, median and p99.

    Attributes:
        stem: of the column names, ``ttft`` gives ``ttft_mean_ms ttft_p50_ms ttft_p99_ms``. Spelt alike in all profiles.
        label: the name that the tool prints.
        definition, differs: one line each; ``differs`` is from our metric of the same name.
        of: values in ms, and weights where the tool weighs them.
        ours: stem of our nearest metric, the one that ``differs`` speaks of.
    """

    stem: str
    label: str
    definition: str
    differs: str
    of: Callable[[ServedCell], tuple[Floats, Floats | None]]
    ours: str


@dataclass(frozen=True)
class Rate:
    """A figure per second of a whole cell; fields as in :class:`Quantity`, ``ours`` the whole name or ``None``."""

    name: str
    label: str
    unit: str
    definition: str
    differs: str
    of: Callable[[ServedCell], float | None]
    ours: str | None


@dataclass(frozen=True)
class ProfileColumn:
    """A column of :func:`recompute`, for headings and footnotes."""

    name: str
    label: str
    unit: str
    definition: str
    differs: str


@dataclass(frozen=True)
class Profile:
    """One tool's definitions; ``percentiles`` says in words what ``quantile`` does."""

    name: str
    tool: str
    quantities: tuple[Quantity, ...]
    rates: tuple[Rate, ...]
    quantile: Quantile
    percentiles: str

    @property
    def columns(self) -> tuple[ProfileColumn, ...]:
        """Every column in order."""
        statistics = (("mean", "Mean"), ("p50", "Median"), ("p99", "P99"))
        found = [
            ProfileColumn(
                f"{quantity.stem}_{short}_ms", f"{word} {quantity.label}", "ms", quantity.definition, quantity.differs
            )
            for quantity in self.quantities
            for short, word in statistics
        ]
        found += [ProfileColumn(rate.name, rate.label, rate.unit, rate.definition, rate.differs) for rate in self.rates]
        return tuple(found)


def interpolated(values: Floats, weights: Floats | None, q: float) -> float:
    """Quantile between the two nearest values (Hyndman-Fan type 7, numpy's default); takes no weights."""
    import numpy as np

    return float(np.quantile(values, q))


def nearest_weighted(values: Floats, weights: Floats | None, q: float) -> float:
    """First value at which the cumulated weight reaches the share ``q`` (the inverted distribution function)."""
    import numpy as np

    reached = np.cumsum(np.ones_like(values) if weights is None else weights)
    # A share of float noise must not skip a value: 0.9 of ten values is nine of them.
    wanted = q * float(reached[-1]) * (1 - 1e-12)
    return float(values[int(np.searchsorted(reached, wanted, side="left"))])


def per_second(amount: float, seconds: float) -> float | None:
    """A rate; ``None`` over no time."""
    return amount / seconds if seconds > 0 else None


def span_s(start: pd.Series[Any], end: pd.Series[Any]) -> float:
    """Seconds from the earliest start to the latest end; NaN when there is none."""
    return float(end.max() - start.min()) / NS_PER_S
