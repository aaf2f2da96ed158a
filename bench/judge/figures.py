"""What the verdicts of a run say together where their mean does not: corpus scores, published rates."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping
from itertools import chain
from typing import Any

from bench import record
from bench.domain import ConfigError
from bench.judge.rows import RunRows
from bench.registry import discover
from bench.scorers import Scorer

#: a JSON object, or figures by name; not the words on a reply that was cut or has no answer
_TELLING = re.compile(r"\{|\w+=\d")


def figure_lines(run: RunRows) -> list[str]:
    """A sentence for each cell and scorer that has such figures; replies without what they are made of are counted.

    Verdicts are taken in the order of the dataset, for a bootstrap with a seed depends on it, and so do the standard
    errors that others publish.
    """
    if not record.is_scored(run.path):
        return []
    discover()
    makers = {(cell.cell_id, one.title): one for cell in run.cells for one in _tellers(cell.config)}
    if not makers:
        return []
    details = _details(run, makers)
    lines = []
    for cell in run.cells:
        for (cell_id, title), scorer in makers.items():
            own = details[cell_id, title] if cell_id == cell.cell_id else []
            used = [detail for detail in own if _TELLING.match(detail)]
            if used:
                left = f" ({len(own) - len(used):,} replies say nothing to it)" if len(used) < len(own) else ""
                lines.append(f"{cell.label}: {title} of {len(used):,} replies: {scorer.together(used)}{left}")
    return lines


def _tellers(config: Mapping[str, Any]) -> list[Scorer]:
    """The scorers of a cell that have figures of their own; none where it names none, or one not installed here."""
    from bench.judge.score import scorers_of  # it writes tables: the summary is to load without what that takes

    if "scorer" not in config:
        return []
    try:
        scorers = scorers_of(config)
    except ConfigError:
        return []
    return [scorer for scorer in scorers if type(scorer).together is not Scorer.together]


def _details(run: RunRows, wanted: Container[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The details of a cell's scored replies by scorer, in the order of the dataset, then of repeats and choices."""
    asked = run.requests[["request_id", "cell_id", "sample_id", "repeat"]].to_dict("records")
    of_request = {
        str(row["request_id"]): (str(row["cell_id"]), str(row["sample_id"]), int(row["repeat"])) for row in asked
    }
    rank_in = {key: {sample_id: n for n, sample_id in enumerate(kept)} for key, kept in run.samples.items()}
    dataset_of = {cell.cell_id: cell.dataset_key for cell in run.cells}
    found: defaultdict[tuple[str, str], list[tuple[int, int, int, str]]] = defaultdict(list)
    table = record.read_table(run.path, "scores", ["request_id", "choice", "scorer", "label", "detail"])
    for row in chain.from_iterable(batch.to_pylist() for batch in table.to_batches()):
        cell_id, sample_id, repeat = of_request.get(row["request_id"], ("", "", 0))
        key = (cell_id, str(row["scorer"]))
        if key in wanted and row["label"] != "unscored":
            rank = rank_in.get(dataset_of[cell_id], {}).get(sample_id, 0)
            found[key].append((rank, repeat, int(row["choice"]), str(row["detail"] or "")))
    return defaultdict(list, {key: [row[-1] for row in sorted(rows)] for key, rows in found.items()})
