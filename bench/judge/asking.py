"""How a scorer is asked: in place, side by side while sandboxes run, or in processes that can be killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b

from bench.domain import Choice, Sample, Score
from bench.judge.arena import Arena
from bench.scorers import Scorer

Pending = Score | Future[Score]


def parallel() -> int:
    """How many verdicts are made side by side: at least two, so that one that hangs never stands alone."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, count)


class Asking:
    """One scorer, asked in the way that suits it. Close it when done.

    A cheap scorer answers at once. Of the others the same reply to the same sample is asked once only, and the verdict
    may come later.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._arena: Arena | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._asked: dict[bytes, Future[Score]] = {}
        ask: Callable[[Sample, Choice], Score] = scorer.score
        if scorer.time_limit_s is not None and not scorer.is_sandboxed:
            self._arena = Arena(scorer, parallel())
            ask = self._arena.ask
        if self._arena is not None or scorer.is_sandboxed:
            self._pool = ThreadPoolExecutor(parallel(), thread_name_prefix=f"score-{scorer.title}")
        self._ask = ask

    def verdict(self, dataset_key: str, sample: Sample, choice: Choice) -> Pending:
        """The verdict, or the promise of one."""
        if self._pool is None:
            return self._ask(sample, choice)
        key = _digest(dataset_key, sample.sample_id, choice)
        if key not in self._asked:
            self._asked[key] = self._pool.submit(self._ask, sample, choice)
        return self._asked[key]

    def close(self) -> None:
        """Drop what was not yet asked, and end the processes."""
        if self._arena is not None:
            self._arena.stop()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._arena is not None:
            self._arena.close()


def _digest(dataset_key: str, sample_id: str, choice: Choice) -> bytes:
    said = [dataset_key, sample_id, choice.text, choice.tool_calls]
    return blake2b(json.dumps(said, default=str).encode(), digest_size=16).digest()
