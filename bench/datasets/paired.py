"""Replies of two models to the same question side by side, in both orders: what a judge of pairs is asked about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.datasets import Dataset
from bench.datasets.judged import asked, fenced, replies_of, said
from bench.domain import Choice, ConfigError, JsonObject, Sample
from bench.registry import plugin


@dataclass(frozen=True)
class _Reply:
    key: str
    cell_id: str
    sample: Sample
    choice: Choice
    run: str | None = None


@plugin("dataset", "paired")
@dataclass(frozen=True)
class Paired(Dataset):
    """Two rows for each pair of replies to one question, one in each order.

    Replies of two cells to a question are paired in the order of their repeats and choices. Rows have ``question
    conversation reference item first second origin``.

    Attributes:
        path: the folder of the judged run.
        cells: cell ids whose replies are paired; empty is all.
        baseline: what every other cell is paired with: the label, model name or id of a cell of the run, or the folder
            of another run over the same questions; ``None`` pairs every cell with every other one.
        skip: ids of rows that are judged already.
        reply_chars: longest part of a reply that is shown; of a longer one the middle is left out.
    """

    kind: str = "paired"
    cells: list[str] = field(default_factory=list)
    baseline: str | None = None
    skip: list[str] = field(default_factory=list)
    reply_chars: int = 20_000

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """The pairs, question by question.

        Raises:
            ConfigError: a folder is no run, a baseline does not exist, or no two replies answer the same question.
        """
        skip, any_pair = set(self.skip), False
        for one, other in self._pairs():
            any_pair = True
            for order, (first, second) in (("ab", (one, other)), ("ba", (other, one))):
                row_id = f"{one.key}|{other.key}|{order}"
                if row_id not in skip:
                    yield f"{self.path}:{row_id}", self._row(row_id, order, one, other, first, second)
        if not any_pair:
            raise ConfigError(
                f"{self.path}: there are no two replies to one question to compare; judge a run of several models, or "
                "name another run over the same questions in scorer.baseline"
            )

    def _row(self, row_id: str, order: str, one: _Reply, other: _Reply, first: _Reply, second: _Reply) -> JsonObject:
        return {
            "id": row_id,
            "origin": {"a": _place(one), "b": _place(other), "order": order},
            **asked(one.sample),
            "first": fenced("first", said(first.choice), self.reply_chars, row_id),
            "second": fenced("second", said(second.choice), self.reply_chars, row_id),
        }

    def _pairs(self) -> Iterator[tuple[_Reply, _Reply]]:
        path = Path(str(self.path or ""))
        mine = _by_question(path, self.cells)
        if self.baseline is None:
            for cells in mine.values():
                for one, other in combinations(sorted(cells), 2):
                    yield from zip(cells[one], cells[other], strict=False)
            return
        cell_id = _cell_of(path, self.baseline)
        other_run = None if cell_id is not None else _run_of(self.baseline, path)
        theirs = mine if other_run is None else _by_question(other_run, [], str(other_run))
        for question, cells in mine.items():
            against = theirs.get(question, {})
            if cell_id is None and len(against) > 1:
                raise ConfigError(f"scorer.baseline={self.baseline}: that run has several cells; name a run of one")
            standard = against.get(cell_id, []) if cell_id is not None else next(iter(against.values()), [])
            for one, replies in cells.items():
                if one != cell_id:
                    yield from zip(replies, standard, strict=False)


def _place(reply: _Reply) -> JsonObject:
    request_id, _, index = reply.key.rpartition("#")
    place = {"request_id": request_id, "choice": int(index), "cell_id": reply.cell_id}
    return place if reply.run is None else {**place, "run": reply.run}


def _by_question(path: Path, cells: list[str], run: str | None = None) -> dict[str, dict[str, list[_Reply]]]:
    """Replies by what was asked (the very messages, so that two runs are paired on equal prompts alone) and cell."""
    found: dict[str, dict[str, list[_Reply]]] = defaultdict(lambda: defaultdict(list))
    for key, sample, choice, cell_id in replies_of(path, cells):
        found[f"{sample.sample_id}\0{sample.messages}"][cell_id].append(_Reply(key, cell_id, sample, choice, run))
    for of_cells in found.values():
        for replies in of_cells.values():
            replies.sort(key=_turn)
    return found


def _turn(reply: _Reply) -> tuple[int, int]:
    request_id, _, index = reply.key.rpartition("#")
    return int(request_id.rpartition(":")[2]), int(index)


def _cell_of(path: Path, name: str) -> str | None:
    """The cell of a run that a baseline names, if it is one.

    Raises:
        ConfigError: several cells go by that name.
    """
    from bench.record import read_header

    cells: list[dict[str, Any]] = read_header(path)["cells"]
    named = [
        str(cell["cell_id"])
        for cell in cells
        if name in (cell["cell_id"], cell["label"], cell["config"]["model"]["name"])
    ]
    if len(named) > 1:
        labels = ", ".join(str(cell["label"]) for cell in cells if cell["cell_id"] in named)
        raise ConfigError(f"scorer.baseline={name}: several cells go by that name; give one label of: {labels}")
    return named[0] if named else None


def _run_of(name: str, path: Path) -> Path:
    from bench.record import find_run, read_header

    try:
        found = find_run(name, path.parent.parent)
    except ConfigError as error:
        labels = ", ".join(str(cell["label"]) for cell in read_header(path)["cells"])
        raise ConfigError(
            f"scorer.baseline={name}: is neither a cell of this run ({labels}) nor a run: {error.problems[0]}"
        ) from error
    if found == path.absolute():
        raise ConfigError(f"scorer.baseline={name}: is the judged run itself; name one of its cells, or another run")
    return found
