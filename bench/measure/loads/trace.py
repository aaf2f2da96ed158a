"""An open load that happened before: the arrival times of a recorded trace."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from random import Random
from typing import Any

from omegaconf import MISSING

from bench.files import resolve
from bench.measure.arrivals import require_positive
from bench.measure.loads import Load
from bench.registry import plugin
from bench.traces import read_trace

SECOND_NS = 1_000_000_000


class Prompts(Enum):
    """What a replayed request asks."""

    synthetic = "synthetic"
    dataset = "dataset"


@plugin("load", "trace")
@dataclass(frozen=True)
class Trace(Load):
    """Replays a trace: row ``i`` is due at its own time after the first row's, divided by ``speed``.

    The trace ends the load; ``requests`` and ``duration_s`` cut it short.

    Attributes:
        path: CSV or JSON Lines, ``.gz`` or not. Its columns tell its format: Azure LLM inference (``TIMESTAMP,
            ContextTokens, GeneratedTokens``), Mooncake (``timestamp`` in ms, ``input_length, output_length,
            hash_ids``), BurstGPT (``Timestamp`` in s, ``Request tokens, Response tokens``), or plain (``timestamp`` in
            s, ``input_tokens, output_tokens``). Times may be dates with times of day as well.
        speed: 2 replays in half the time.
        prompts: ``synthetic`` asks with meaningless words of the traced length and caps each answer at the traced one
            (see the ``synthetic`` dataset, which then replaces the chosen one; ``seed`` varies the words); ``dataset``
            takes the arrival times alone and asks what the chosen dataset holds.
    """

    kind: str = "trace"
    path: str = MISSING
    speed: float = 1.0
    prompts: Prompts = Prompts.synthetic

    is_open = True
    is_finite = True

    def __post_init__(self) -> None:
        require_positive(speed=self.speed)

    @property
    def keeps_order(self) -> bool:
        """Synthetic prompts belong to the rows whose times they are sent at."""
        return self.prompts is Prompts.synthetic

    @property
    def peak_rate(self) -> float | None:
        """Most requests that come due within one second."""
        most = first = 0
        dues = list(self.due_ns(Random(0)))
        for last, due_ns in enumerate(dues):
            while dues[first] <= due_ns - SECOND_NS:
                first += 1
            most = max(most, last - first + 1)
        return float(most)

    def due_ns(self, random: Random) -> Iterator[int]:
        """The times of all rows; no randomness."""
        return (round(ns / self.speed) for ns in read_trace(self.path).arrival_ns)

    def planned(self) -> int:
        """The rows that come due within ``duration_s``, ``requests`` at most."""
        arrivals = read_trace(self.path).arrival_ns
        rows = len(arrivals)
        if self.duration_s is not None:
            rows = bisect_right(arrivals, int(self.duration_s * 1e9), key=lambda ns: round(ns / self.speed))
        return rows if self.requests is None else min(rows, self.requests)

    def identity(self) -> Mapping[str, Any]:
        """The file by its content: a trace that was moved is the same load, and one that was changed is another."""
        return {"path": read_trace(self.path).content_hash}

    def own_dataset(self, seed: int) -> Mapping[str, Any] | None:
        """Prompts made to the trace's lengths, unless the chosen dataset is to be asked.

        Raises:
            ConfigError: there is no such file.
        """
        if self.prompts is Prompts.dataset:
            return None
        resolve(self.path, key="load.path")
        name = PurePath(self.path).name.split(".")[0]
        return {"kind": "synthetic", "name": name, "path": self.path, "seed": seed}
