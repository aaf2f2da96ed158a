"""The summary of a run: one row per cell, the notes that keep it honest, and the sentence that answers it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.judge.disagreement import disagreement_lines
from bench.judge.figures import figure_lines
from bench.judge.intervals import needed_for_quantile
from bench.judge.judged import judged_lines
from bench.judge.metrics import CELL_METRICS
from bench.judge.metrics.requests import given_up
from bench.judge.ranking import verdict
from bench.judge.rows import CellInfo, RunRows, read_run
from bench.judge.stopping import saved_by_rule
from bench.judge.validity import RunValidity, judge_validity
from bench.show.coverage import coverage_note, held_note
from bench.show.objectives import slo_note
from bench.show.offline import offline_notes
from bench.show.outcomes import outcome_notes
from bench.show.search import claims
from bench.show.stopping import stopping_notes
from bench.show.table import render_terminal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SummaryTable", "render_terminal", "summarise", "summary_of", "write_summary"]


@dataclass(frozen=True)
class SummaryTable:
    """What the terminal, ``report.md`` and ``summary.parquet`` show of a run.

    Attributes:
        run_id: the run's own name.
        frame: one row per cell: ``cell_id index label``, the swept parameters, ``scorer currency latency_from slo
            slo_standing``, and every metric of ``CELL_METRICS`` (with ``_low``, ``_high``, ``_needs`` where it has an
            interval).
        swept: the columns of ``frame`` that are swept parameters.
        failures: ``label outcome error_kind requests example``, one row per cell and kind.
        notes: what a reader must know to read the figures.
        verdict: which cell is best, where the data can tell; for a search, what it found.
        latency_from: ``due`` when every cell's load is open, else ``sent``.
        validity: whether the measurement can be believed, by run.
    """

    run_id: str
    frame: pd.DataFrame
    swept: tuple[str, ...]
    failures: pd.DataFrame
    notes: tuple[str, ...]
    verdict: tuple[str, ...]
    latency_from: str
    validity: Mapping[str, RunValidity] = field(default_factory=dict)


def summarise(path: Path) -> SummaryTable:
    """Read a run folder into its summary.

    Raises:
        ConfigError: the folder holds no recorded run.
    """
    return summary_of(read_run(path))


def summary_of(run: RunRows) -> SummaryTable:
    """The summary of rows already opened."""
    import pandas as pd

    swept = tuple(dict.fromkeys(key for cell in run.cells for key in cell.swept))
    frame = pd.DataFrame([_row(run, cell, swept) for cell in run.cells])
    latency_from = "due" if run.cells and all(cell.is_open for cell in run.cells) else "sent"
    validity, run_id = judge_validity(run), str(run.header.get("run_id", run.path.name))
    return SummaryTable(
        run_id=run_id,
        frame=frame,
        swept=swept,
        failures=_failures(run),
        notes=tuple(_notes(run, frame)),
        verdict=tuple(claims(run.header, validity) or verdict(run, validity.why_invalid)),
        latency_from=latency_from,
        validity={run_id: validity},
    )


def _row(run: RunRows, cell: CellInfo, swept: Sequence[str]) -> dict[str, Any]:
    rows = run.rows_of(cell)
    row: dict[str, Any] = {"cell_id": cell.cell_id, "index": cell.index, "label": cell.label}
    row |= {key: cell.param(key) for key in swept}
    row["scorer"] = cell.scorer if cell.scorer in run.scorers_of(cell) else None
    currencies = rows.requests["currency"].dropna().unique()
    row["currency"] = " ".join(sorted(map(str, currencies))) or None
    row["latency_from"] = "due" if cell.is_open else "sent"
    row["slo"] = None if cell.slo is None else str(cell.slo)
    row["slo_standing"] = None if rows.slo_verdict is None else str(rows.slo_verdict.standing)
    for metric in CELL_METRICS:
        estimate = metric.of(rows)
        row[metric.name] = estimate.value
        if metric.interval:
            row[f"{metric.name}_low"], row[f"{metric.name}_high"] = estimate.low, estimate.high
            row[f"{metric.name}_needs"] = estimate.needs
    return row


def _failures(run: RunRows) -> pd.DataFrame:
    """Requests that are not ``ok``, by cell, outcome and kind, with the first error text of each; saved ones apart."""
    rows = run.requests[(run.requests["outcome"] != "ok") & ~saved_by_rule(run.requests)]
    labels = {cell.cell_id: cell.label for cell in run.cells}
    keys = ["cell_id", "outcome", "error_kind"]
    grouped = rows.groupby(keys, dropna=False, sort=False, observed=True)
    counted = grouped.agg(requests=("request_id", "size"), example=("error_detail", "first")).reset_index()
    counted.insert(0, "label", counted["cell_id"].map(labels))
    return counted.sort_values(["requests", "label"], ascending=[False, True], ignore_index=True)


def _notes(run: RunRows, frame: pd.DataFrame) -> list[str]:
    """Plain sentences on what is missing, withheld or needs care."""
    if frame.empty or run.requests.empty:
        return ["Nothing was recorded: there is no request to summarise."]
    found = [
        slo_note(frame),
        *stopping_notes(run.header),
        coverage_note(run),
        _failed(run),
        _cached(run),
        *offline_notes(run),
        _late(run),
        held_note(run),
        *_quality(run, frame),
        *outcome_notes(frame),
        *figure_lines(run),
        *disagreement_lines(run),
        *_latency(run, frame),
        *_amounts(run, frame),
        *judged_lines(run.header),
    ]
    return [note for note in found if note]


def _late(run: RunRows) -> str | None:
    late = int(given_up(run.requests).sum())
    if not late:
        return None
    return (
        f"{late:,} of {len(run.requests):,} requests could not be sent within load.drop_after_s of their due time and "
        "were given up. Percentiles over all requests count them as infinitely slow; those over served ones hide them."
    )


def _failed(run: RunRows) -> str | None:
    rows = run.requests[run.requests["outcome"].isin(["failed", "truncated"])]
    if rows.empty:
        return None
    kinds = rows["error_kind"].fillna(rows["outcome"]).value_counts()
    listed = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
    return (
        f"{len(rows):,} of {len(run.requests):,} requests failed ({listed}). They are no wrong answers: accuracy and "
        "latency stand on the served ones."
    )


def _cached(run: RunRows) -> str | None:
    # of replies from a file, the run's own notes say more
    count = int((run.requests["cached"].astype(bool) & (run.requests["provider"] != "recorded")).sum())
    if not count:
        return None
    return (
        f"{count:,} of {len(run.requests):,} replies came from the cache: scored like the others, in no figure of time "
        "or rate, and nothing was paid for them."
    )


def _quality(run: RunRows, frame: pd.DataFrame) -> list[str | None]:
    if not len(run.scores):
        return ["No accuracy: no reply was scored (no scorer, or rows without a target)."]
    unscored = frame.loc[frame["questions"] == 0, "label"]
    others = {name for cell in run.cells for name in run.scorers_of(cell) if name != cell.scorer}
    unparsed, cut = frame["unparsed"].sum(), frame["cut_by_length"].sum()
    return [
        f"No accuracy for {len(unscored)} of {len(frame)} cells: none of their replies was scored."
        if len(unscored)
        else None,
        f"Further scorers ({', '.join(sorted(others))}) are in scores.parquet; the table shows each cell's own."
        if others
        else None,
        f"In {unparsed:,.0f} of {frame['scored'].sum():,.0f} scored replies no answer was found; they score 0."
        if unparsed
        else None,
        f"{cut:,.0f} replies stopped at the token limit (finish reason `length`)." if cut else None,
    ]


def _latency(run: RunRows, frame: pd.DataFrame) -> list[str | None]:
    prefix = "due_" if (frame["latency_from"] == "due").all() else ""
    notes: list[str | None] = []
    asked = (run.requests["outcome"] == "ok") & ~run.requests["cached"].astype(bool)
    measured = frame["cell_id"].map(run.requests.loc[asked, "cell_id"].value_counts()).fillna(0)
    for q, name in ((0.5, "p50"), (0.95, "p95")):
        short = measured[frame[f"{prefix}e2e_{name}_ms"].isna() & (measured > 0)]
        if len(short):
            cells = f"{len(short)} of {len(frame)} cells served" if len(frame) > 1 else "this run served"
            low, high = short.min(), short.max()
            span = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
            notes.append(
                f"{name} is withheld where its 95% interval does not exist: it needs {needed_for_quantile(q)} served "
                f"requests per cell; {cells} {span}."
            )
    streamed = run.requests["stream"].astype(bool)
    if not streamed.all():
        notes.append("No TTFT where replies were not streamed." if streamed.any() else "No TTFT: nothing was streamed.")
    if prefix:
        notes.append("Latencies count from the time a request was due (open load).")
    elif (frame["latency_from"] == "due").any():
        notes.append("Open and closed loads are mixed: latencies count from the send; `due_*` is in summary.parquet.")
    return notes


def _amounts(run: RunRows, frame: pd.DataFrame) -> list[str | None]:
    served = run.requests[run.requests["outcome"] == "ok"]
    counted, priced = served["completion_tokens"].notna(), served["cost"].notna()
    warmup = run.every_request[run.every_request["warmup"].astype(bool)]
    notes: list[str | None] = []
    if len(served) and not counted.any():
        notes.append("No tokens/s: the server reported no token usage.")
    elif not counted.all():
        notes.append(
            f"{(~counted).sum():,} of {len(served):,} served replies came without token usage; "
            "tokens/s and cost leave them out."
        )
    if len(served) and not priced.any():
        notes.append("No cost: there is no price for the model, or no token usage.")
    elif (~priced & counted).any():
        notes.append(f"{(~priced).sum():,} of {len(served):,} served replies have no price; cost leaves them out.")
    if len(warmup):
        spent = warmup["cost"].sum()
        unit = " ".join(sorted(map(str, warmup["currency"].dropna().unique())))
        paid = f" (they cost {spent:.3g} {unit})" if spent else ""
        notes.append(f"{len(warmup):,} warm-up requests are left out{paid}.")
    if len(frame) > 1 and _interleaved(served):
        notes.append("The cells ran interleaved: a cell's own throughput is its share of the whole.")
    return notes


def _interleaved(served: pd.DataFrame) -> bool:
    spans = (
        served.groupby("cell_id", observed=True)
        .agg(start=("sent_ns", "min"), end=("end_ns", "max"))
        .sort_values("start")
    )
    return bool((spans["start"].iloc[1:].to_numpy() < spans["end"].cummax().iloc[:-1].to_numpy()).any())


def write_summary(table: SummaryTable, folder: Path) -> Path:
    """``summary.parquet`` in a run folder, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    frame = table.frame.copy()
    for name in table.swept:
        # a parameter can be a number in one cell and a text or list in another; Parquet columns have one type
        if frame[name].map(type).nunique() > 1 or frame[name].map(lambda value: isinstance(value, list | dict)).any():
            frame[name] = frame[name].map(lambda value: None if value is None else str(value))
    path = folder / "summary.parquet"
    part = path.with_name(f".tmp-{path.name}")
    frame.to_parquet(part, index=False)
    os.replace(part, path)
    return path
