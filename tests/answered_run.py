"""Scored runs whose models answer as a test tells them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from measured import open_record
from setups import experiment

from bench.domain import Attempt, Choice, ErrorKind, Exchange, Failure, Outcome, Reply, Request, Timeline
from bench.judge.rows import RunRows, read_run
from bench.judge.score import score_run
from bench.measure.plan import make_plan

Say = Callable[[Request], Sequence[str] | None]
#: far from each other, so that no two questions are near duplicates
WORDS = "amber birch cedar delta ember fjord grove heath islet jetty knoll larch marsh north ocean pearl".split()  # noqa: SIM905  # reads better


def questions(count: int, **more: Any) -> list[dict[str, Any]]:
    """Rows with ids ``q000`` on, each its own number as target."""
    random = Random(5)
    return [
        {"id": f"q{i:03d}", "prompt": f"{' '.join(random.choices(WORDS, k=6))} {i}?", "target": str(i), **more}
        for i in range(count)
    ]


def recorded(
    folder: Path, rows: Sequence[Mapping[str, Any]], say: Mapping[str, Say], took_ms: float = 10.0, **changes: Any
) -> RunRows:
    """A scored run: a cell per model, each answering as told; ``None`` is a failed request."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = folder / "rows.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settled = {"scorer": {"kind": "exact"}, **changes}
    plan = make_plan([experiment(dataset, model__name=name, **settled) for name in say])

    def answered(request: Request, at_ns: int) -> Exchange:
        timeline = Timeline(at_ns, at_ns, at_ns, end_ns=at_ns + int(took_ms * 1e6))
        texts = say[request.cell.config.model.name](request)
        if texts is None:
            failure = Failure(ErrorKind.HTTP_5XX, "no luck")
            sent = Attempt(1, at_ns, at_ns + 1, 500, failure)
            return Exchange(request, Outcome.FAILED, timeline, None, failure, 500, (sent,))
        reply = Reply(tuple(_choice(index, text) for index, text in enumerate(texts)))
        return Exchange(request, Outcome.OK, timeline, reply, status=200, attempts=(Attempt(1, at_ns, at_ns + 1, 200),))

    with open_record(plan, folder / "results") as record:
        for number, request in enumerate(plan.requests()):
            record.append(answered(request, record.origin_ns + number))
        record.finish(state="finished")
    score_run(record.path)
    return read_run(record.path)


def _choice(index: int, text: str) -> Choice:
    cut = text.endswith("(cut)")
    return Choice(index, text.removesuffix("(cut)"), finish_reason="length" if cut else "stop")


def right_on(*good: int, otherwise: str = "nothing") -> Say:
    """The target on the questions of these numbers, something else on all others."""
    return lambda request: [str(request.sample.target) if int(request.sample.sample_id[1:]) in good else otherwise]
