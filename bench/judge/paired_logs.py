"""Log ratios of a pair of runs on the same prompts: of the median, and of a tail at the prompts' own pace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def log_ratios(baseline: pd.Series[float], candidate: pd.Series[float]) -> float:
    """Median over the prompts of both runs of ``log(candidate / baseline)``, repeats of a prompt by their median.

    Args:
        baseline, candidate: a positive figure per request, indexed by prompt; NaN without a common prompt.
    """
    import numpy as np

    known = (_by_prompt(candidate) / _by_prompt(baseline)).dropna().to_numpy(dtype=np.float64)
    return float(np.median(np.log(known))) if known.size else float("nan")


def _by_prompt(values: pd.Series[float]) -> pd.Series[float]:
    medians: pd.Series[float] = values if values.index.is_unique else values.groupby(level=0).median()
    return medians


def references(pairs: Sequence[tuple[pd.Series[float], pd.Series[float]]]) -> pd.Series[float]:
    """What each prompt usually takes: the geometric mean of its medians over all runs of either arm.

    Both arms count alike. Were it the baseline's median alone, that arm's tail would look shorter than the other's for
    no other reason than that its own requests made the yardstick.
    """
    import pandas as pd

    arms = [_by_prompt(pd.concat([pair[side] for pair in pairs])) for side in (0, 1) if pairs]
    if not arms:
        return pd.Series(dtype="float64")
    mean: pd.Series[float] = ((arms[0] * arms[1]) ** 0.5).dropna()
    return mean


def tail_ratios(
    baseline: pd.Series[float], candidate: pd.Series[float], usual: pd.Series[float] | None, q: float
) -> float:
    """``log`` of candidate over baseline of the ``q`` quantile (nearest rank) of requests over their prompt's usual.

    Prompts that one of the arms never served are left out; NaN without any.

    Args:
        usual: of :func:`references`; ``None`` takes the requests as they are.
    """
    import numpy as np

    ends = []
    for side in (baseline, candidate):
        paced = side.to_numpy(dtype=np.float64)
        if usual is not None:
            paced = paced / usual.reindex(side.index).to_numpy(dtype=np.float64)
            paced = paced[np.isfinite(paced)]
        if not paced.size:
            return float("nan")
        ends.append(float(np.quantile(paced, q, method="inverted_cdf")))
    return float(np.log(ends[1]) - np.log(ends[0]))
