"""What one run says of each of its cells on one night: figures, latencies by prompt, answers, what must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.domain import ConfigError
from bench.judge.metrics import CELL_METRICS, CellRows
from bench.judge.metrics.quality import shares_of
from bench.judge.night_answers import KEPT_REQUESTS, Answered, answers_by_cell, hashes_of
from bench.judge.rows import CellInfo, RunRows
from bench.judge.sides import Side
from bench.names import same_model

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Values = NDArray[np.float32]

#: latency figures of a night, in ms; of open loads they count from when the request was due
LATENCIES = tuple(f"{time}_{q}_ms" for time in ("ttft", "e2e") for q in ("p50", "p95", "p99"))
#: further figures of the summary that nights are compared by
FIGURES = ("planned", "ok", "scored", "throughput_tok_per_s", "accuracy", "failure_rate")
#: outcomes whose shares nights are compared by, as ``NAME_rate``
RATES = ("unparsed", "truncated", "refused")
#: names of :attr:`CellNight.hashes`
PROMPTS, DEFINITIONS, SCORER, SAMPLING, LOAD, PROVIDER, REFERENCE = (
    "prompt set",
    "definitions",
    "scorer",
    "sampling",
    "load",
    "provider",
    "reference",
)


@dataclass(frozen=True)
class Asked:
    """Served requests, measured in this run (warm-up and cache left out), one place each in every array.

    Attributes:
        question: :func:`short_hash` of the sample id.
        ttft_ms, e2e_ms: from the send, of open loads from when the request was due; NaN where it has none.
        prompt_tokens: -1 where the server did not count.
    """

    question: Ids
    ttft_ms: Values
    e2e_ms: Values
    prompt_tokens: Ids


@dataclass(frozen=True)
class CellNight:
    """One cell of one run: what a night contributes to every series of a model on a prompt set.

    Attributes:
        run: ``name/folder`` below the results folder; ``started_at``: UTC, ISO 8601.
        variant: values of the swept parameters besides model and prompt set, as text; empty without any.
        reference: name of the pinned model that latencies are set against; ``None`` without one.
        hashes: what must be equal for two nights to compare, by the names above; ``None`` where the run does not say.
        figures: those of :data:`LATENCIES`, :data:`FIGURES` and :data:`RATES`, ``error_rate``, and ``cost`` of one
            served request in ``currency``; ``None`` where the night cannot say.
        invalid: why the times of the run support no claim; ``None`` where they do.
        models, fingerprints: what the server named itself.
    """

    run: str
    run_id: str
    name: str
    started_at: str
    cell_id: str
    label: str
    model: str
    dataset: str
    variant: str
    reference: str | None
    hashes: Mapping[str, str | None]
    figures: Mapping[str, float | None]
    currency: str | None
    invalid: str | None
    models: tuple[str, ...]
    fingerprints: tuple[str, ...]
    asked: Asked
    answered: Answered

    def latency_ms(self, time: str) -> Values:
        """``ttft`` or ``e2e`` of each request of ``asked``."""
        return self.asked.ttft_ms if time == "ttft" else self.asked.e2e_ms

    @cached_property
    def is_reference(self) -> bool:
        """Whether this is the pinned model itself."""
        return self.reference is not None and same_model(self.reference, self.model)


def nights_of(run: RunRows) -> list[CellNight]:
    """Every cell of a run.

    Raises:
        ConfigError: the run has no requests (yet), or a table is damaged; names it.
    """
    answers = answers_by_cell(run)
    return [_night(run, cell, answers[cell.cell_id]) for cell in run.cells]


def _started_at(run: RunRows) -> str:
    """In UTC, so that texts are in order of time wherever a run was made.

    Raises:
        ConfigError: the run does not say.
    """
    said = run.header.get("started_at")
    try:
        moment = datetime.fromisoformat(str(said))
    except ValueError:
        raise ConfigError(f"{run.path.name}: run.json: started_at is {said!r}, which is no time") from None
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat()


def settings_hash(value: Any) -> str:
    """Twelve hex digits that stand for a setting, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _night(run: RunRows, cell: CellInfo, answered: Answered) -> CellNight:
    import numpy as np

    side = Side(run, cell, cell.label)
    scores = run.scores_of(cell)
    rows = CellRows(
        requests=run.requests[run.requests["cell_id"] == cell.cell_id],
        scores=scores,
        gaps_ms=np.empty(0, np.float32),
        replies=scores.iloc[:0],
    )
    validity = run.header.get("validity") or {}
    identities = run.identities[run.identities["cell_id"] == cell.cell_id]
    figures, currency = _figures(rows, cell.is_open)
    reference = cell.config.get("reference")
    return CellNight(
        run=f"{run.path.parent.name}/{run.path.name}",
        run_id=side.run_id,
        name=str(run.header.get("name", run.path.parent.name)),
        started_at=_started_at(run),
        cell_id=cell.cell_id,
        label=cell.label,
        model=str(cell.param("model.name") or ""),
        dataset=str((cell.config.get("dataset") or {}).get("name") or cell.dataset_key),
        variant=_variant(cell, run.cells),
        reference=None if reference is None else str(reference),
        hashes=_hashes(side, scores),
        figures=figures,
        currency=currency,
        invalid="; ".join(map(str, validity.get("reasons") or ["invalid"]))
        if validity.get("standing") == "invalid"
        else None,
        models=_said(identities["response_model"]),
        fingerprints=_said(identities["system_fingerprint"]),
        asked=_asked(rows, cell.is_open),
        answered=answered,
    )


def _variant(cell: CellInfo, cells: Sequence[CellInfo]) -> str:
    """What tells a cell from the others of its model and prompt set: cells that differ there are different series."""
    alike = [one for one in cells if _place(one) == _place(cell)]
    keys = [key for key in cell.swept if len({str(one.param(key)) for one in alike}) > 1]
    return " ".join(f"{key}={cell.param(key)}" for key in keys)


def _place(cell: CellInfo) -> tuple[str, str]:
    return str(cell.param("model.name")), str(cell.param("dataset.name") or cell.dataset_key)


def _hashes(side: Side, scores: pd.DataFrame) -> dict[str, str | None]:
    config = side.cell.config
    provider = config.get("provider") or {}
    scorer = dict(config.get("scorer") or {})
    versions = sorted(map(str, scores["scorer_version"].dropna().unique()))
    sampling = {"sampling": config.get("sampling"), "repeats": config.get("repeats")}
    return {
        PROMPTS: side.prompt_hash,
        DEFINITIONS: f"schema {side.run.header.get('schema_version')}",
        SCORER: f"{side.cell.scorer} {'+'.join(versions) or '-'} {settings_hash(scorer)}",
        SAMPLING: settings_hash(sampling),
        LOAD: settings_hash(config.get("load")),
        # not the simulator's knobs: they play what a service does behind one address
        PROVIDER: settings_hash([provider.get("kind"), provider.get("name"), provider.get("base_url")]),
        REFERENCE: None if config.get("reference") is None else str(config["reference"]),
    }


def _figures(rows: CellRows, is_open: bool) -> tuple[dict[str, float | None], str | None]:
    due = "due_" if is_open else ""
    of = {f"{due}{name}": name for name in LATENCIES} | {name: name for name in FIGURES}
    found = {of[metric.name]: metric.of(rows).value for metric in CELL_METRICS if metric.name in of}
    shares = shares_of(rows, RATES) or {}
    found |= {f"{name}_rate": shares.get(name) for name in (*RATES, "error")}
    priced = rows.answered[rows.answered["cost"].notna()]
    units = sorted(map(str, priced["currency"].dropna().unique()))
    # a sum over two currencies is no cost
    found["cost"] = float(priced["cost"].mean()) if len(units) == 1 else None
    return found, units[0] if len(units) == 1 else None


def _said(values: pd.Series[Any]) -> tuple[str, ...]:
    return tuple(sorted(str(value) for value in values.dropna().unique()))


def _asked(rows: CellRows, is_open: bool) -> Asked:
    import numpy as np

    answered = rows.answered
    step = -(-len(answered) // KEPT_REQUESTS) or 1
    kept = answered.iloc[::step]
    due = "due_" if is_open else ""
    return Asked(
        hashes_of(kept["sample_id"]),
        kept[f"{due}ttft_ms"].to_numpy(dtype=np.float32),
        kept[f"{due}e2e_ms"].to_numpy(dtype=np.float32),
        kept["prompt_tokens"].fillna(-1).to_numpy(dtype=np.int64),
    )
