"""Which models went offline during a run."""

from __future__ import annotations

from bench.judge.rows import RunRows


def offline_notes(run: RunRows) -> list[str]:
    """One sentence per model that was taken off its service: since when, and what that left unsent."""
    rows = run.requests[run.requests["error_kind"] == "model_offline"]
    notes = []
    for (provider, model), unsent in rows.groupby(["provider", "model"], observed=True, sort=True):
        planned = int(((run.requests["provider"] == provider) & (run.requests["model"] == model)).sum())
        told = str(unsent["error_detail"].dropna().min())
        notes.append(f"{model} ({provider}) was {told}: {len(unsent):,} of its {planned:,} requests were not sent.")
    return notes
