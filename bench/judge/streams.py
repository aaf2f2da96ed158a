"""Chunk times per request, whatever the choice they belong to: how tools see a stream that keep no choices apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import record
from bench.judge.metrics.requests import NS_PER_MS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from bench.judge.rows import RunRows

    #: request of each choice (its place in the frame), how many events it has, and all their times
    Events = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Streams:
    """The requests that a server answered, with their streams.

    Attributes:
        requests: rows of outcome ``ok`` that were truly sent, with ``first_chunk_ns``, ``last_chunk_ns`` (null where
            nothing was streamed) and ``chunks`` beside the recorded columns.
        gaps_ms: pauses between consecutive chunks of one request, per ``cell_id``.
    """

    requests: pd.DataFrame
    gaps_ms: dict[str, NDArray[np.float64]]


def read_streams(rows: RunRows) -> Streams:
    """Read the event lists of a run, warm-up left out, and merge the choices of each request by time."""
    import numpy as np

    served = rows.requests[(rows.requests["outcome"] == "ok") & ~rows.requests["cached"].astype(bool)]
    served = served.reset_index(drop=True)
    first, last = np.full(len(served), np.nan), np.full(len(served), np.nan)
    chunks = np.zeros(len(served))
    cells, cell_of = np.unique(served["cell_id"].to_numpy(dtype=str), return_inverse=True)
    pooled: dict[str, list[NDArray[np.float64]]] = {}
    for owner, times in _merged(rows, served):
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        ends = np.append(starts[1:], owner.size) - 1
        here = owner[starts]
        first[here], last[here], chunks[here] = times[starts], times[ends], ends - starts + 1
        inside = np.flatnonzero(owner[1:] == owner[:-1])
        gaps, place = np.diff(times)[inside] / NS_PER_MS, cell_of[owner[inside]]
        for cell in np.unique(place):
            pooled.setdefault(str(cells[cell]), []).append(gaps[place == cell])
    return Streams(
        requests=served.assign(first_chunk_ns=first, last_chunk_ns=last, chunks=chunks),
        gaps_ms={cell_id: np.concatenate(parts) for cell_id, parts in pooled.items()},
    )


def _merged(rows: RunRows, served: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Owner and time of each event, ordered by both; all events of one request come in one piece."""
    import numpy as np

    for requests, lengths, times in _whole_requests(rows, served):
        owner = np.repeat(requests, lengths)
        order = np.lexsort((times, owner))
        order = order[np.searchsorted(owner[order], 0) :]  # requests that were not served have no place: -1
        if order.size:
            yield owner[order], times[order]


def _whole_requests(rows: RunRows, served: pd.DataFrame) -> Iterator[Events]:
    """Batches of choices, cut between requests: the choices of one exchange are written one after another."""
    import numpy as np

    held: Events | None = None
    for read in _choices(rows, served):
        requests, lengths, times = read if held is None else _joined(held, read)
        others = np.flatnonzero(requests != requests[-1])
        cut = int(others[-1]) + 1 if others.size else 0
        events = int(lengths[:cut].sum())
        if cut:
            yield requests[:cut], lengths[:cut], times[:events]
        held = requests[cut:], lengths[cut:], times[events:]
    if held is not None:
        yield held


def _joined(first: Events, second: Events) -> Events:
    import numpy as np

    requests, lengths, times = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    return requests, lengths, times


def _choices(rows: RunRows, served: pd.DataFrame) -> Iterator[Events]:
    import numpy as np
    import pandas as pd

    if not (rows.path / "choices.parquet").exists():
        return
    place = pd.Index(served["request_id"].to_numpy(dtype=object))
    batches: Iterator[Any] = record.iter_batches(rows.path, "choices", columns=["request_id", "event_ns"])
    for batch in batches:
        if batch.num_rows:
            events = batch.column("event_ns")
            lengths = events.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
            times = events.flatten().to_numpy(zero_copy_only=False)
            ids = batch.column("request_id").to_numpy(zero_copy_only=False)
            yield place.get_indexer(ids).astype(np.int64), lengths.astype(np.int64), times.astype(np.int64)
