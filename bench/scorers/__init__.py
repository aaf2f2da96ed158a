"""Scorers: deterministic verdicts on recorded replies. One plug-in per file."""

from __future__ import annotations

from dataclasses import dataclass

from bench.domain import Choice, Sample, Score


@dataclass(frozen=True)
class Scorer:
    """What every scorer has; ``kind`` names the plug-in and ``version`` changes whenever its verdicts can.

    A scorer sees finished choices only: rows of failed requests, and choices cut by length before an answer could be
    extracted, are labelled by the scoring stage.

    Attributes:
        name: what its rows in the scores table are called, so that two of one kind can stand side by side; empty is
            its kind.
        time_limit_s: longest time for one verdict; the scoring stage then asks it in a process that can be killed.
            ``None`` promises that no reply makes it slow, and it is asked in place.
    """

    kind: str = ""
    version: str = ""
    name: str = ""
    time_limit_s: float | None = None

    @property
    def title(self) -> str:
        """The name of its rows: ``name``, else its kind."""
        return self.name or self.kind

    def score(self, sample: Sample, choice: Choice) -> Score:
        """The verdict on one choice; never raises on model output, however strange."""
        raise TypeError(f"{type(self).__name__} is no scorer: it lacks score()")
