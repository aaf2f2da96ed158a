"""Check a run folder from outside, with pandas alone: ``check_run.py results/NAME``.

Takes the newest run of the name. Exits non-zero with a sentence when something a user relies on is not there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

TABLES = ("cells", "requests", "choices", "attempts", "scores")
PNG = b"\x89PNG\r\n\x1a\n"


def demand(holds: bool, sentence: str) -> None:
    """End with a sentence unless something holds."""
    if not holds:
        sys.exit(f"check_run: {sentence}")


def check(run: Path) -> None:
    """Every planned request has one row, every served one its choices, and the report is there."""
    header = json.loads((run / "run.json").read_text(encoding="utf-8"))
    demand(header["state"] == "finished", f"{run} is {header['state']}, not finished")
    demand(not (run / "journal").exists(), f"{run} is finished and still has a journal")

    tables = {name: pd.read_parquet(run / f"{name}.parquet") for name in TABLES}
    requests, choices = tables["requests"], tables["choices"]
    planned = sum(cell["planned"] for cell in header["cells"])
    demand(planned > 0, "nothing was planned")
    demand(len(requests) == planned, f"{len(requests)} rows for {planned} planned requests")
    demand(requests["request_id"].is_unique, "a request has more than one row")
    demand(len(tables["cells"]) == len(header["cells"]), "cells.parquet and run.json differ")

    served = requests[requests["outcome"] == "ok"]
    demand(len(served) >= 0.95 * planned, f"only {len(served)} of {planned} requests ended ok")
    returned = choices[choices["request_id"].isin(served["request_id"])].groupby("request_id").size()
    expected = served.set_index("request_id")["n"]
    demand(returned.reindex(expected.index).eq(expected).all(), "an answered request has not its n choices")
    demand(served["sent_ns"].le(served["end_ns"]).all(), "a request ended before it was sent")
    streamed = served[served["stream"]]
    demand(streamed["last_token_ns"].notna().all(), "a streamed reply has no event marks")
    demand(tables["scores"]["value"].notna().any(), "nothing was scored")
    demand(set(tables["attempts"]["request_id"]) >= set(served["request_id"]), "an answered request has no attempt")

    demand((run / "report.md").stat().st_size > 0, "report.md is empty")
    plots = sorted((run / "plots").glob("*.png"))
    demand(len(plots) >= 2, f"{len(plots)} plots instead of two")
    demand(all(plot.read_bytes().startswith(PNG) for plot in plots), "a plot is no picture")
    print(f"check_run: {run}: {planned} requests, {len(choices)} choices, {len(plots)} plots: all there")


def main(folder: str) -> None:
    """Check the newest run under ``results/<name>``."""
    runs = sorted((path.parent for path in Path(folder).glob("*/run.json")), key=lambda run: run.name)
    demand(bool(runs), f"there is no run under {folder}")
    check(runs[-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
