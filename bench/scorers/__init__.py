"""Scorers: deterministic verdicts on recorded replies. One plug-in per file."""

from __future__ import annotations

from dataclasses import dataclass

from bench.domain import Choice, Sample, Score


@dataclass(frozen=True)
class Scorer:
    """What every scorer has; ``kind`` names the plug-in and ``version`` changes whenever its verdicts can.

    A scorer sees finished choices only: rows of failed requests, and choices cut by length before an answer could be
    extracted, are labelled by the scoring stage.
    """

    kind: str = ""
    version: str = ""

    def score(self, sample: Sample, choice: Choice) -> Score:
        """The verdict on one choice; never raises on model output, however strange."""
        raise TypeError(f"{type(self).__name__} is no scorer: it lacks score()")
