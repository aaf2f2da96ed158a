"""Times and tokens of two sides prompt by prompt: how many times as much the second takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.judge.intervals import Estimate, quantile
from bench.judge.sides import Side
from bench.judge.statistics.pairs import mcnemar

if TYPE_CHECKING:
    import pandas as pd

#: columns of served requests that are compared, with the words for them
_TIMES = {"ttft_ms": "time to first token, ms", "e2e_ms": "end to end, ms", "tpot_ms": "time per output token, ms"}
_DUE = {"due_ttft_ms": "time to first token from when due, ms", "due_e2e_ms": "end to end from when due, ms"}
_TOKENS = {"completion_tokens": "completion tokens", "prompt_tokens": "prompt tokens"}
_COST = {"cost": "cost"}


@dataclass(frozen=True)
class Ratio:
    """A figure of each prompt on both sides.

    Attributes:
        column: of the requests; ``said``: in words.
        a, b: medians over the prompts that both sides served; for tokens and cost the mean.
        ratio: median over prompts of B over A, with its order-statistic interval.
        p: sign test of whether B is as often above A as below; ``None`` for tokens and cost.
    """

    column: str
    said: str
    a: float
    b: float
    ratio: Estimate
    p: float | None


def paired_ratios(a: Side, b: Side) -> list[Ratio]:
    """Ratios of served requests, repeats of a prompt taken by their median; columns that a side lacks are left out.

    The interval speaks for the prompts of these two runs, not for other hours of the service.
    """
    due = _DUE if a.cell.is_open and b.cell.is_open else {}
    found = []
    for column, said in {**due, **_TIMES, **_TOKENS, **_cost(a, b)}.items():
        left, right = _per_prompt(a, column), _per_prompt(b, column)
        both = left.index.intersection(right.index)
        if len(both):
            found.append(_ratio(column, said, left[both], right[both]))
    return found


def _cost(a: Side, b: Side) -> dict[str, str]:
    """Cost compares in one currency alone."""
    units = {unit for side in (a, b) for unit in _rows(side)["currency"].dropna().unique()}
    return {"cost": f"cost per request, {units.pop()}"} if len(units) == 1 else {}


def _rows(side: Side) -> pd.DataFrame:
    rows = side.run.requests
    return rows[(rows["cell_id"] == side.cell.cell_id) & (rows["outcome"] == "ok") & ~rows["cached"].astype(bool)]


def _per_prompt(side: Side, column: str) -> pd.Series[float]:
    rows = _rows(side)
    return rows[rows[column].notna()].groupby("sample_id", observed=True)[column].median()


def _ratio(column: str, said: str, a: pd.Series[float], b: pd.Series[float]) -> Ratio:
    import numpy as np

    left, right = a.to_numpy(dtype=np.float64), b.to_numpy(dtype=np.float64)
    is_time = column not in (*_TOKENS, *_COST)
    summary = np.median if is_time else np.mean
    positive = (left > 0) & (right > 0)
    ordered = np.sort(np.log(right[positive] / left[positive]))
    middle = quantile(ordered, 0.5) if ordered.size else Estimate(None, method="order statistics")
    ratio = Estimate(
        _power(middle.value), _power(middle.low), _power(middle.high), middle.n, middle.method, middle.needs
    )
    above, below = int((right > left).sum()), int((right < left).sum())
    return Ratio(
        column, said, float(summary(left)), float(summary(right)), ratio, mcnemar(above, below).p if is_time else None
    )


def _power(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
