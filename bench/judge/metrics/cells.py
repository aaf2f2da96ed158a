"""Per-cell figures: columns of the summary, each declared once with its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.judge.intervals import Estimate, quantile, wilson
from bench.judge.metrics.cell import CellMetric, CellRows
from bench.judge.metrics.quality import QUALITY_METRICS
from bench.judge.metrics.requests import REQUEST_METRICS
from bench.judge.stopping import saved_by_rule

if TYPE_CHECKING:
    import pandas as pd


def quantile_of(values: pd.Series[Any], q: float, failed: int = 0, worst: float = math.inf) -> Estimate:
    """Quantile of the values that are not null, and of ``failed`` more that count as ``worst``."""
    import numpy as np

    known = values.to_numpy(dtype=np.float64, na_value=np.nan)
    known = known[~np.isnan(known)]
    if known.size == 0 and (len(values) or not failed):
        return Estimate(None)
    return quantile(np.sort(np.concatenate([known, np.full(failed, worst)])), q)


def _count(number: Any) -> Estimate:
    return Estimate(float(number), n=int(number))


def _outcomes(cell: CellRows, *outcomes: str) -> Estimate:
    return _count(cell.requests["outcome"].isin(outcomes).sum())


def _failure_rate(cell: CellRows) -> Estimate:
    planned = cell.requests[~saved_by_rule(cell.requests)]
    return wilson(float((planned["outcome"] != "ok").sum()), len(planned))


def _cut_by_length(cell: CellRows) -> Estimate:
    return Estimate(None) if cell.replies.empty else _count((cell.replies["finish_reason"] == "length").sum())


def _total(column: str, answered_only: bool = False) -> Callable[[CellRows], Estimate]:
    def total(cell: CellRows) -> Estimate:
        known = (cell.answered if answered_only else cell.requests)[column].dropna()
        return Estimate(float(known.sum()) if len(known) else None, n=len(known))

    return total


def _per_second(total: Callable[[CellRows], Estimate]) -> Callable[[CellRows], Estimate]:
    def rate(cell: CellRows) -> Estimate:
        amount = total(cell)
        if amount.value is None or cell.window_s is None:
            return Estimate(None)
        return Estimate(amount.value / cell.window_s, n=amount.n)

    return rate


def _gap_quantile(q: float) -> Callable[[CellRows], Estimate]:
    def pooled(cell: CellRows) -> Estimate:
        import numpy as np

        gaps = cell.gaps_ms
        if gaps.size == 0:
            return Estimate(None)
        return Estimate(float(np.quantile(gaps, q, method="inverted_cdf")), n=int(gaps.size))

    return pooled


def _goodput(cell: CellRows) -> Estimate:
    found = cell.slo_verdict
    return Estimate(None) if found is None else Estimate(found.goodput.per_s, n=found.goodput.good)


def _attainment(cell: CellRows) -> Estimate:
    found = cell.slo_verdict
    return Estimate(None) if found is None else found.goodput.attainment


_QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))


def _quantile_metrics(column: str, with_failures: bool = True) -> list[CellMetric]:
    """p50 to p99 of a request metric over served requests, and over all with a failure as infinitely slow."""
    source = next(metric for metric in REQUEST_METRICS if metric.name == column)
    stem, unit = (column[:-3], "_ms") if column.endswith("_ms") else (column, "")
    worst, slow = (math.inf, "infinitely slow") if unit else (0.0, "0")
    found = []
    for q, name in _QUANTILES:

        def served(cell: CellRows, q: float = q) -> Estimate:
            return quantile_of(cell.served[column], q)

        def every(cell: CellRows, q: float = q) -> Estimate:
            return quantile_of(cell.served[column], q, cell.failed, worst)

        text = f"{name} of `{column}` over served requests, nearest rank."
        found.append(CellMetric(f"{stem}_{name}{unit}", source.unit, text, served, interval=True))
        if with_failures:
            text = f"{name} of `{column}` over served and failed requests, a failure counted as {slow}."
            found.append(CellMetric(f"{stem}_{name}_all{unit}", source.unit, text, every, interval=True))
    return found


CELL_METRICS: tuple[CellMetric, ...] = (
    CellMetric("planned", "requests", "Planned requests, warm-up left out.", lambda cell: _count(len(cell.requests))),
    CellMetric("ok", "requests", "Requests served: outcome `ok`.", lambda cell: _outcomes(cell, "ok")),
    CellMetric(
        "failure_rate",
        "share",
        "Requests that are not `ok`, over planned ones; Wilson's 95% interval. What a rule for stopping saved is left "
        "out of both.",
        _failure_rate,
        interval=True,
    ),
    CellMetric(
        "truncated",
        "requests",
        "Streams that ended with neither a finish reason nor `[DONE]`; they count as failures.",
        lambda cell: _outcomes(cell, "truncated"),
    ),
    CellMetric(
        "not_sent",
        "requests",
        "Planned requests that were never answered: the run stopped first (interrupted, budget, model offline), or "
        "`load.drop_after_s` gave them up.",
        lambda cell: _outcomes(cell, "not_sent", "cancelled"),
    ),
    CellMetric(
        "saved",
        "requests",
        "Those of them that a rule for stopping (`stop`) saved: enough was known without them.",
        lambda cell: _count(saved_by_rule(cell.requests).sum()),
    ),
    CellMetric(
        "failed",
        "requests",
        "Requests that count as infinitely slow: failed, truncated, or given up as too late to send.",
        lambda cell: _count(cell.failed),
    ),
    CellMetric(
        "retried",
        "requests",
        "Requests of more than one HTTP attempt.",
        lambda c: _count((c.requests.attempts > 1).sum()),
    ),
    CellMetric(
        "cut_by_length",
        "replies",
        "Replies that stopped at the token limit (finish reason `length`).",
        _cut_by_length,
    ),
    *QUALITY_METRICS,
    *_quantile_metrics("ttft_ms"),
    *_quantile_metrics("ttfa_ms"),
    *_quantile_metrics("e2e_ms"),
    *_quantile_metrics("due_ttft_ms"),
    *_quantile_metrics("due_e2e_ms"),
    *_quantile_metrics("tpot_ms"),
    *_quantile_metrics("queue_ms", with_failures=False),
    *_quantile_metrics("send_lag_ms", with_failures=False),
    *_quantile_metrics("output_tok_per_s"),
    *(
        CellMetric(
            f"gap_{name}_ms",
            "ms",
            f"{name} of the pauses between consecutive events of one choice, all pauses pooled (so no interval).",
            _gap_quantile(q),
        )
        for q, name in _QUANTILES
    ),
    CellMetric(
        "throughput_tok_per_s",
        "tokens/s",
        "Completion tokens of served requests over the cell's window (first send to last end); none from the cache.",
        _per_second(_total("completion_tokens", answered_only=True)),
    ),
    CellMetric(
        "throughput_req_per_s",
        "requests/s",
        "Served requests over the cell's window; none from the cache.",
        _per_second(lambda cell: _count(len(cell.answered))),
    ),
    CellMetric(
        "goodput_req_per_s",
        "requests/s",
        "Requests that were served and meet every bound of the SLO, over the cell's window; null without an SLO.",
        _goodput,
    ),
    CellMetric(
        "attainment",
        "share",
        "The same requests over all that were tried, failed ones included; Clopper and Pearson's 95% interval.",
        _attainment,
        interval=True,
    ),
    CellMetric(
        "prompt_tokens", "tokens", "Prompt tokens of every reply, as the server counted them.", _total("prompt_tokens")
    ),
    CellMetric("completion_tokens", "tokens", "Completion tokens, likewise.", _total("completion_tokens")),
    CellMetric(
        "reasoning_tokens", "tokens", "Reasoning tokens among them, where reported.", _total("reasoning_tokens")
    ),
    CellMetric(
        "cost",
        "currency",
        "Sum over requests with a price and usage, by the dated list price of the model; warm-up left out. Replies "
        "from the cache cost nothing.",
        _total("cost"),
    ),
)
