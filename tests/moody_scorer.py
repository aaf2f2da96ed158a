"""A scorer that hangs, dies or raises as the reply asks for."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from bench.domain import Choice, Label, Sample, Score
from bench.scorers import Scorer


@dataclass(frozen=True)
class Moody(Scorer):
    """Hangs on some replies, ends its process on others, raises on others again."""

    kind: str = "moody"
    version: str = "1"
    time_limit_s: float | None = 1.0

    def score(self, sample: Sample, choice: Choice) -> Score:
        """As the reply says."""
        while "hang" in choice.text:
            pass
        if "die" in choice.text:
            sys.exit(3)
        if "raise" in choice.text:
            raise LookupError(choice.text)
        return Score(1.0, Label.CORRECT, str(time.monotonic_ns()))
