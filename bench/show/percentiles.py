"""The latency section of the report: p50, p95 and p99 of each latency with their intervals, failures counted too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.show.markdown import folded, table
from bench.show.table import number, short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from bench.show.summary import SummaryTable

QUANTILES = ("p50", "p95", "p99")
TITLES = {
    "due_ttft": "Time to first token, ms from when it was due",
    "due_e2e": "End to end, ms from when it was due",
    "ttft": "Time to first token, ms",
    "ttfa": "Time to first answer, ms",
    "e2e": "End to end, ms",
    "tpot": "Time per output token, ms",
}
#: from this many cells on a table is folded
MANY = 13


def latency_section(summary: SummaryTable) -> str:
    """One table per latency that was measured, a row per cell and a second one where requests failed."""
    frame = summary.frame
    if frame.empty or not (frame["ok"] > 0).any():
        return ""
    tables = []
    for stem, title in TITLES.items():
        if _is_shown(summary, stem):
            rows = _rows(frame, stem)
            body = table(["cell", "requests", *QUANTILES], rows, 1)
            tables.append(folded(title, body) if len(frame) >= MANY else f"**{title}**\n\n{body}")
    failed = " Where requests failed, a second row counts each failure as infinitely slow." if _failed(frame) else ""
    return "\n\n".join(["## Latency", f"Percentiles with their 95% intervals.{failed}", *tables])


def _failed(frame: pd.DataFrame) -> bool:
    return bool((frame["failed"] > 0).any())


def _is_shown(summary: SummaryTable, stem: str) -> bool:
    frame = summary.frame
    column = f"{stem}_p50_ms"
    if stem.startswith("due_") and not (frame["latency_from"] == "due").any():
        return False
    known = frame[[column, f"{column}_needs"]].notna().any(axis=1)
    if stem == "ttfa":  # the same as TTFT where nothing reasons
        return bool((known & (frame[column] != frame["ttft_p50_ms"]) & frame[column].notna()).any())
    return bool(known.any())


def _rows(frame: pd.DataFrame, stem: str) -> list[list[str]]:
    labels = short_labels([printable(label, 200) for label in frame["label"]], 60)
    rows = []
    for label, row in zip(labels, frame.to_dict("records"), strict=True):
        rows.append([label, f"{row['ok']:.0f}", *(percentile(row, f"{stem}_{q}_ms") for q in QUANTILES)])
        failed = row["failed"]
        if failed > 0:
            every = [percentile(row, f"{stem}_{q}_all_ms") for q in QUANTILES]
            rows.append([f"{label}, with {failed:.0f} failed", f"{row['ok'] + failed:.0f}", *every])
    return rows


def percentile(row: Mapping[Any, Any], column: str) -> str:
    """``402 [390, 415]``; the number of requests that a withheld percentile needs; ``-`` where there is none."""
    value, low, high, needs = (row[f"{column}{end}"] for end in ("", "_low", "_high", "_needs"))
    if value is None or value != value:
        return f"needs {needs:.0f}" if needs is not None and needs == needs else number(None)
    return f"{number(value)} [{number(low)}, {number(high)}]"
