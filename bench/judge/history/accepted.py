"""Changes that someone has accepted: lines of a file beside the runs, only ever added to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from bench.domain import ConfigError
from bench.record.results import Results

#: beside the runs
FILE = "history-accepted.jsonl"


@dataclass(frozen=True)
class Accepted:
    """One accepted change.

    Attributes:
        series: :attr:`bench.judge.history.series.Series.id`.
        since: the run that the new level begins with, ``name/folder``.
        at: UTC, ISO 8601; by: who; why: in their words.
    """

    series: str
    since: str
    at: str
    by: str
    why: str


def read_accepted(results: Results) -> list[Accepted]:
    """Every accepted change in the order they were written.

    Raises:
        ConfigError: a line cannot be read; names it. A lost acceptance would page again and again.
    """
    found = []
    for number, line in enumerate(results.read(FILE).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(Accepted(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{results.name}/{FILE}: line {number} is not an accepted change ({error}); mend or remove the line"
            ) from error
    return found


def accept(results: Results, change: Accepted) -> None:
    """Add a change to the file.

    Raises:
        ConfigError: the file cannot be written.
    """
    results.append(FILE, json.dumps(asdict(change), ensure_ascii=False).encode() + b"\n")
