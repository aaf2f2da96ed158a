"""All nights of a results folder, by an index that is rebuilt wherever it does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.domain import ConfigError
from bench.judge.night import Asked, CellNight, nights_of
from bench.judge.night_answers import Answered
from bench.judge.rows import read_run
from bench.record import read_header
from bench.record.index import read_index, write_index
from bench.record.results import FoundRun, Results

#: of what :mod:`bench.judge.night` makes of a run; another one than an index has makes it be built anew
VERSION = "2"
#: runs that take a while to read
_LONG = 100
_ARRAYS = {"asked": Asked, "answered": Answered}
_PLAIN = [one.name for one in fields(CellNight) if one.name not in _ARRAYS]
_TUPLES = ("models", "fingerprints")


@dataclass(frozen=True)
class Skipped:
    """A run folder that is no finished run, or cannot be read."""

    run: str
    reason: str


@dataclass(frozen=True)
class History:
    """What a results folder says.

    Attributes:
        results: the folder.
        nights: every cell of every finished run, in order of time.
        skipped: run folders that were left out.
        read: runs that were read anew because the index did not hold them.
    """

    results: Results
    nights: tuple[CellNight, ...]
    skipped: tuple[Skipped, ...]
    read: int


def read_history(results: Results, rebuild: bool = False, tell: Callable[[str], None] = lambda _: None) -> History:
    """Every finished run. Only runs that are new or changed since the index was written are read.

    A damaged, half-written or unfinished run is left out and named; the index is a cache that may be deleted.

    Args:
        rebuild: read every run again, whatever the index says.
        tell: hears of long readings.

    Raises:
        ConfigError: the folder cannot be listed.
    """
    found = results.runs()
    known = {} if rebuild else _indexed(results.index)
    kept = {run.name: known[run.name] for run in found if run.mark and known.get(run.name, ("",))[0] == run.mark}
    new = [run for run in found if run.name not in kept]
    if len(new) >= _LONG:
        tell(f"reading {len(new):,} runs of {results.name} that are new or have changed")
    skipped: list[Skipped] = []
    read = 0
    for run in new:
        try:
            kept[run.name] = run.mark, _read(results, run)
        except ConfigError as error:
            skipped.append(Skipped(run.name, "; ".join(error.problems)))
            continue
        read += 1
        if read % _LONG == 0:
            # what has been read stays read if the rest is interrupted
            _index(results.index, kept)
    if read % _LONG or known.keys() - kept.keys():
        _index(results.index, kept)
    nights = [night for _, of_run in kept.values() for night in of_run]
    return History(results, in_order(nights), tuple(skipped), read)


def in_order(nights: Iterable[CellNight]) -> tuple[CellNight, ...]:
    """By time of start, runs of the same second by name."""
    return tuple(sorted(nights, key=lambda night: (night.started_at, night.run)))


def _read(results: Results, run: FoundRun) -> list[CellNight]:
    if not run.mark:
        raise ConfigError("it has no run.json: it was never begun in full, or is half copied")
    opened: AbstractContextManager[Path] = results.opened(run)
    with opened as path:
        state = read_header(path).get("state")
        if state != "finished":
            raise ConfigError(f"the run is {state}; finish it with `bench resume {run.name}`")
        try:
            return nights_of(read_run(path))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())[:200]
            raise ConfigError(f"its files do not hold what a run's do ({type(error).__name__}: {said})") from error


def _index(path: Path, runs: dict[str, tuple[str, list[CellNight]]]) -> None:
    rows = [(name, mark, night) for name, (mark, nights) in sorted(runs.items()) for night in nights]
    columns: dict[str, Sequence[Any]] = {
        "folder": [name for name, _, _ in rows],
        "mark": [mark for _, mark, _ in rows],
        "plain": [json.dumps({key: getattr(night, key) for key in _PLAIN}) for _, _, night in rows],
    }
    for group, kind in _ARRAYS.items():
        for one in fields(kind):
            columns[f"{group}.{one.name}"] = [getattr(getattr(night, group), one.name) for _, _, night in rows]
    if rows:
        write_index(path, VERSION, columns)


def _indexed(path: Path) -> dict[str, tuple[str, list[CellNight]]]:
    """Run -> mark and nights; empty where there is no index or it does not hold what it should."""
    columns = read_index(path, VERSION)
    if columns is None:
        return {}
    found: dict[str, tuple[str, list[CellNight]]] = {}
    try:
        for place, (name, mark, plain) in enumerate(
            zip(columns["folder"], columns["mark"], columns["plain"], strict=True)
        ):
            arrays = {
                group: kind(**{one.name: columns[f"{group}.{one.name}"][place] for one in fields(kind)})
                for group, kind in _ARRAYS.items()
            }
            told = json.loads(plain)
            told |= {key: tuple(told[key]) for key in _TUPLES}
            found.setdefault(name, (mark, []))[1].append(CellNight(**told, **arrays))
    except (KeyError, ValueError, TypeError):
        return {}
    return found
