"""What a run that stopped early covers, and what held a run back: plain sentences for the summary."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.judge.rows import RunRows
from bench.judge.stopping import saved_by_rule
from bench.show.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

#: what held requests back for less of the time than this is not worth a sentence
LEAST_SHARE = 0.05

_WORDS = {"adaptive": "fewer at a time after 429 and 503", "backoff": "pauses after 429 and 503"}


def coverage_note(run: RunRows) -> str | None:
    """How much of its plan a stopped run has sent, and of what that is a sample; ``None`` for a whole run."""
    rows, state = run.requests, str(run.header.get("state", "finished"))
    stopped = rows["outcome"].isin(["not_sent", "cancelled"]) & rows["error_kind"].isin(["budget", "cancelled"])
    if state == "finished" and not stopped.any():
        return None
    warmups = len(run.every_request) - len(rows)
    planned = max(len(rows), int(run.header.get("planned") or 0) - warmups)
    reached = rows[~rows["outcome"].isin(["not_sent", "cancelled"])]
    if len(rows) and (rows["provider"] == "recorded").all():  # a file of replies: nothing was to be sent
        said = (
            f"The file has replies to {reached['sample_id'].nunique():,} of {rows['sample_id'].nunique():,} questions"
        )
        return f"{said}; the others stand under `failed`, and which they are need not be chance."
    sentence = f"{_why(rows[stopped], state)}: {len(reached):,} of {planned:,} planned requests were sent"
    sentence += f" ({len(reached) / planned:.1%}{_per_cell(run, reached)}), {_sample(run, reached)}"
    if cut := int((rows["outcome"] == "cancelled").sum()):
        sentence += f"; {cut:,} more were cut off in flight, so long replies are under-represented"
    if state != "finished":
        return f"{sentence}. `bench resume {run.path}` finishes it."
    if not (stopped & (rows["error_kind"] == "budget") & ~saved_by_rule(rows)).any():
        return f"{sentence}."
    return f"{sentence}. Those that the budget kept back stand under `failed`, but not against tolerance.failure_rate."


def _why(stopped: pd.DataFrame, state: str) -> str:
    details = stopped.loc[stopped["error_kind"] == "budget", "error_detail"].dropna()
    if len(details):
        return f"Stopped by {printable(str(details.iloc[0]).split(' ')[0], 40)}"
    return "The run has not ended" if state == "running" else "The run was interrupted"


def _counts(run: RunRows, reached: pd.DataFrame) -> list[int]:
    sent = Counter(reached["cell_id"].astype(str))
    return [sent[cell.cell_id] for cell in run.cells]


def _per_cell(run: RunRows, reached: pd.DataFrame) -> str:
    counts = _counts(run, reached)
    if len(counts) < 2:
        return ""
    span = f"{counts[0]:,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return f"; {span} per cell"


def _sample(run: RunRows, reached: pd.DataFrame) -> str:
    loads, counts = {str(cell.config.get("load")) for cell in run.cells}, _counts(run, reached)
    in_turn = len(counts) > 1 and (len(loads) > 1 or any(cell.is_open for cell in run.cells))
    if in_turn and max(counts) > min(counts) + 1:
        return "for cells of different or open loads run one after another, and the later ones are missing"
    if any(cell.param("load.kind") == "trace" for cell in run.cells):
        return "the first part of the trace"
    if any(cell.is_open for cell in run.cells):
        return "the first part of each schedule, on a random sample of the prompts"
    return "a random sample of the prompts"


def held_note(run: RunRows) -> str | None:
    """Which limits held requests back, and for how much of the run's time; ``None`` where hardly any did."""
    total_s = sum(one["wall_s"] for one in run.header.get("vitals", []) if one.get("shard") == 0)
    if not total_s:
        return None
    shares = {
        (reason, key.partition(" ")[2]): held_s / total_s
        for key, held in dict(run.header.get("held_s", {})).items()
        for reason, held_s in held.items()
    }
    found = [
        f"{_WORDS.get(reason, f'limits.{reason}')} for {min(share, 1.0):.0%} of the time ({model})"
        for (reason, model), share in sorted(shares.items(), key=lambda item: -item[1])
        if share >= LEAST_SHARE
    ]
    return f"Requests were held back by {', '.join(found)}; no latency includes that wait." if found else None
