"""Per-request figures: raw columns of ``requests.parquet`` to derived columns, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NS_PER_MS = 1e6
NS_PER_S = 1e9


@dataclass(frozen=True)
class RequestMetric:
    """A column derived per request; ``of`` maps the raw columns to it, null where undefined."""

    name: str
    unit: str
    definition: str
    of: Callable[[pd.DataFrame], pd.Series[Any]]


def _first_event_ns(rows: pd.DataFrame) -> pd.Series[Any]:
    return rows[["first_reasoning_ns", "first_answer_ns"]].min(axis=1)


def given_up(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests an open load gave up because they could not be sent within ``load.drop_after_s``.

    Nobody was served, so they count among the failed ones; what a stop or a budget kept from being sent says nothing.
    Rows without an ``error_kind`` column have none.
    """
    unsent = rows["outcome"] == "not_sent"
    return unsent & (rows["error_kind"] == "timeout_total") if "error_kind" in rows.columns else unsent & False


def never_served(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests count as infinitely slow: failed, cut short or given up as too late."""
    return rows["outcome"].isin(["failed", "truncated"]) | given_up(rows)


def _span(rows: pd.DataFrame, start: str, end: str) -> pd.Series[Any]:
    return (rows[end] - rows[start]) / NS_PER_MS


def _tpot(rows: pd.DataFrame) -> pd.Series[Any]:
    tokens = rows["completion_tokens"]
    pauses = (tokens - 1).where((tokens >= 2) & (rows["n"] <= 1))
    return (rows["last_token_ns"] - _first_event_ns(rows)) / NS_PER_MS / pauses


def _output_rate(rows: pd.DataFrame) -> pd.Series[Any]:
    tokens = rows["completion_tokens"]
    if "attempts" in rows.columns:
        tokens = tokens.mask((rows["n"] > 1) & (rows["attempts"] > 1))
    return tokens / (rows["end_ns"] - rows["sent_ns"]).where(lambda ns: ns > 0) * NS_PER_S


REQUEST_METRICS: tuple[RequestMetric, ...] = (
    RequestMetric(
        "ttft_ms",
        "ms",
        "Time to first token: first event (reasoning or answer) minus send. Streamed requests only.",
        lambda rows: (_first_event_ns(rows) - rows["sent_ns"]) / NS_PER_MS,
    ),
    RequestMetric(
        "ttfa_ms",
        "ms",
        "Time to first answer: first answer event (text or tool call) minus send; later than TTFT if it reasons.",
        lambda rows: _span(rows, "sent_ns", "first_answer_ns"),
    ),
    RequestMetric(
        "e2e_ms",
        "ms",
        "End to end: end of the body minus send, streamed or not.",
        lambda rows: _span(rows, "sent_ns", "end_ns"),
    ),
    RequestMetric(
        "due_ttft_ms",
        "ms",
        "First event minus the time the request was due: what a user who arrived on time saw.",
        lambda rows: (_first_event_ns(rows) - rows["due_ns"]) / NS_PER_MS,
    ),
    RequestMetric(
        "due_e2e_ms",
        "ms",
        "End of the body minus the time the request was due.",
        lambda rows: _span(rows, "due_ns", "end_ns"),
    ),
    RequestMetric(
        "tpot_ms",
        "ms",
        "Time per output token: (last event - first event) / (completion tokens - 1), tokens from the server's usage. "
        "Undefined without usage, below 2 tokens, and for n > 1.",
        _tpot,
    ),
    RequestMetric(
        "queue_ms",
        "ms",
        "Permit minus due: waiting for concurrency, rate or budget.",
        lambda rows: _span(rows, "due_ns", "permit_ns"),
    ),
    RequestMetric(
        "send_lag_ms",
        "ms",
        "Send minus permit: the client's own lateness.",
        lambda rows: _span(rows, "permit_ns", "sent_ns"),
    ),
    RequestMetric(
        "output_tok_per_s",
        "tokens/s",
        "Completion tokens of one request over its end-to-end time; null where a request for several choices took more "
        "than one attempt, for its tokens may then be those of several replies.",
        _output_rate,
    ),
)
