"""Finished run folders with replies of one's own, for what reads and judges them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measured import open_record
from setups import experiment

from bench.domain import Attempt, Choice, Exchange, Outcome, Reply, Request, Timeline
from bench.measure.plan import make_plan


def finished_run(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    replies: Mapping[str, Sequence[str]],
    finish_reason: str = "stop",
    **changes: Any,
) -> Path:
    """A run over ``rows`` that ``replies`` answered (texts by row id, one a choice), not yet scored."""
    dataset = folder / "rows.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plan = make_plan([experiment(dataset, **changes)])

    def answered(request: Request, at_ns: int) -> Exchange:
        texts = enumerate(replies[request.sample.sample_id])
        choices = tuple(Choice(index, text, finish_reason=finish_reason) for index, text in texts)
        sent = Attempt(1, at_ns, at_ns + 1, 200)
        timeline = Timeline(at_ns, sent_ns=at_ns, end_ns=at_ns + 1)
        return Exchange(request, Outcome.OK, timeline, Reply(choices), status=200, attempts=(sent,))

    with open_record(plan, folder / "results") as record:
        for number, request in enumerate(plan.requests()):
            record.append(answered(request, record.origin_ns + number))
        record.finish(state="finished")
    return record.path
