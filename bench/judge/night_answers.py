"""What the replies of a night answered, as hashes: enough to tell whether another night answers alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench import record
from bench.judge.rows import CellInfo, RunRows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Values = NDArray[np.float32]

#: request, choice and scorer
Key = tuple[str, int, str]
#: requests and replies of one cell that are kept one by one; of more requests, evenly spaced ones
KEPT_REQUESTS = 20_000


@dataclass(frozen=True)
class Answered:
    """Scored replies by the cell's own scorer, one place each in every array, in order of question and repeat.

    Attributes:
        question: :func:`short_hash` of the sample id.
        answer: of what the scorer read from the reply, of its label where it read nothing.
        text: of the raw text; 0 unless the cell asks at temperature 0.
        value: the score, 0..1.
    """

    question: Ids
    answer: Ids
    text: Ids
    value: Values


def answers_by_cell(run: RunRows) -> dict[str, Answered]:
    """The scored replies of each cell, by ``cell_id``.

    Raises:
        ConfigError: a table is missing or damaged; names it.
    """
    kept = {cell.cell_id: _kept_scores(run, cell) for cell in run.cells}
    said = _said_by(run, [kept[cell.cell_id] for cell in run.cells if _repeats_itself(cell)])
    read = _read_by(run, list(kept.values()))
    return {name: _answered(rows, read, said) for name, rows in kept.items()}


@lru_cache(maxsize=65_536)
def short_hash(text: str) -> int:
    """64 bits that stand for a text, positive or negative, never 0; the same on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def hashes_of(texts: Iterable[Any]) -> Ids:
    """:func:`short_hash` of each."""
    import numpy as np

    return np.fromiter((short_hash(str(text)) for text in texts), np.int64)


def _kept_scores(run: RunRows, cell: CellInfo) -> pd.DataFrame:
    rows = run.scores_of(cell).sort_values(["sample_id", "repeat", "choice"], kind="stable")
    return rows.iloc[:KEPT_REQUESTS]


def _repeats_itself(cell: CellInfo) -> bool:
    """Whether the replies to a prompt are meant to be alike, so that their texts tell something."""
    return bool(cell.param("sampling.temperature") == 0)


def _answered(rows: pd.DataFrame, read: Mapping[Key, str], said: Mapping[Key, str]) -> Answered:
    import numpy as np

    keys = _keys(rows)
    answers = [read.get(key, label) for key, label in zip(keys, rows["label"], strict=True)]
    texts = np.fromiter((short_hash(said[key]) if key in said else 0 for key in keys), np.int64)
    return Answered(hashes_of(rows["sample_id"]), hashes_of(answers), texts, rows["value"].to_numpy(dtype=np.float32))


def _keys(rows: pd.DataFrame) -> list[Key]:
    return list(
        zip(rows["request_id"].astype(str), rows["choice"].astype(int), rows["scorer"].astype(str), strict=True)
    )


def _said_by(run: RunRows, kept: Sequence[pd.DataFrame]) -> dict[Key, str]:
    """The raw texts of some replies."""
    wanted = {(key[0], key[1]): key for rows in kept for key in _keys(rows)}
    found = {}
    columns = ["request_id", "choice", "text"]
    for batch in record.iter_batches(run.path, "choices", columns) if wanted else ():
        for name, choice, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if (name, choice) in wanted:
                found[wanted[name, choice]] = text or ""
    return found


def _read_by(run: RunRows, kept: Sequence[pd.DataFrame]) -> dict[Key, str]:
    """What the scorers read from some replies; nothing of those in which they found no answer."""
    wanted = {key for rows in kept for key in _keys(rows)}
    found = {}
    columns = ["request_id", "choice", "scorer", "extracted"]
    for batch in record.iter_batches(run.path, "scores", columns) if wanted else ():
        for *key, answer in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if answer is not None and tuple(key) in wanted:
                found[key[0], key[1], key[2]] = str(answer)
    return found
