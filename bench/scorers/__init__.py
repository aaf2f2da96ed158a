"""Scorers: deterministic verdicts on recorded replies. One plug-in per file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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
        needs_target: whether a row without a target has nothing to be held against.
        is_sandboxed: whether each verdict waits for a sandbox of its own, so that several are asked side by side.
    """

    needs_target: ClassVar[bool] = True
    is_sandboxed: ClassVar[bool] = False

    kind: str = ""
    version: str = ""
    name: str = ""
    time_limit_s: float | None = None

    @property
    def title(self) -> str:
        """The name of its rows: ``name``, else its kind."""
        return self.name or self.kind

    def ready(self) -> None:
        """Look for what the verdicts need beyond the replies, before anything is sent.

        Raises:
            ConfigError: it is missing or not allowed; says what to do.
        """

    def warm(self) -> None:
        """Import what the first verdict would; a process that can be killed does so before its clock runs."""

    def together(self, details: Sequence[str]) -> str:
        """What verdicts say together where their mean does not, in words, from their details."""
        return f"{len(details)} verdicts"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """The verdict on one choice; never raises on model output, however strange."""
        raise TypeError(f"{type(self).__name__} is no scorer: it lacks score()")
