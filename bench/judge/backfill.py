"""Correction of coordinated omission after the fact: an estimate, and labelled as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.judge.intervals import Estimate, nearest_rank

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABEL = "estimate: back-filled for coordinated omission"


@dataclass(frozen=True, slots=True)
class BackFilled:
    """Latencies with the ones that a waiting client never measured put in.

    Attributes:
        values: measured and added latencies, ascending, in the unit of the input.
        added: how many of them were never measured.
    """

    values: NDArray[np.float64]
    added: int

    def quantile(self, q: float) -> Estimate:
        """Nearest-rank quantile, without an interval: the added values are not observations. Labelled."""
        n = int(self.values.size)
        if n == 0:
            return Estimate(None, method=LABEL)
        return Estimate(float(self.values[nearest_rank(n, q) - 1]), n=n, method=LABEL)


def back_fill(latencies: Sequence[float] | NDArray[Any], expected_interval: float) -> BackFilled:
    """For each latency ``v`` above the expected interval ``i``, also ``v-i, v-2i, ...`` while they are at least ``i``.

    HdrHistogram's ``recordValueWithExpectedInterval`` (Tene, "How NOT to Measure Latency", 2015; class
    ``AbstractHistogram``), in exact values instead of buckets. It pretends that requests would have come every ``i``
    while the client waited. An open load measures what this guesses: prefer ``due_ttft_ms`` and ``due_e2e_ms``.

    Args:
        latencies: of one closed-loop worker each; null values are left out, infinite ones kept as they are.
        expected_interval: time between a worker's requests when nothing stalls, in the unit of the latencies.

    Raises:
        ValueError: the interval is not positive.
    """
    import numpy as np

    if not expected_interval > 0:
        raise ValueError("The expected interval must be positive.")
    measured = np.asarray(latencies, dtype=np.float64)
    measured = measured[~np.isnan(measured)]
    stalls = measured[np.isfinite(measured) & (measured > expected_interval)]
    # One ulp of slack, so that 3·i counts as three intervals in floats too.
    missing = np.floor(stalls / expected_interval * (1 + 1e-12)).astype(np.int64) - 1
    step = np.arange(int(missing.sum())) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    added = np.repeat(stalls, missing) - step * expected_interval
    return BackFilled(np.sort(np.concatenate([measured, added])), int(added.size))
