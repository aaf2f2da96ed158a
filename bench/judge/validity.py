"""The verdict on a measurement, from its record alone: can its figures be believed, and if not, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.judge.calibrated import Calibrated
from bench.judge.client import ProcessVitals, read_vitals
from bench.judge.client_checks import check_amount, check_client
from bench.judge.load_checks import ABOUT_THE_SERVER, check_load
from bench.judge.rows import CellInfo, RunRows
from bench.judge.watched import WATCHED_COLUMNS, Finding, Standing, Together, Watched, rounded
from bench.record import amend_header, read_header

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["CellValidity", "RunValidity", "Standing", "judge_validity", "keep_validity"]


@dataclass(frozen=True)
class CellValidity:
    """What the checks say of one cell.

    Attributes:
        findings: what was found, the worst first; remarks have the standing ``valid``.
        figures: what the checks computed, by name; quantities end in their units.
    """

    label: str
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]

    @property
    def standing(self) -> Standing:
        """The worst finding's."""
        return worst(self.findings)

    def row(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "standing": str(self.standing),
            "reasons": [one.text for one in self.findings if one.standing is not Standing.VALID],
            "notes": [one.text for one in self.findings if one.standing is Standing.VALID],
            "figures": dict(self.figures),
        }


@dataclass(frozen=True)
class RunValidity:
    """The verdict on a run: the worst of its cells.

    Attributes:
        findings: one per check, of the cell where it is worst, naming how many cells it concerns.
        cells: by cell id.
    """

    findings: tuple[Finding, ...]
    cells: Mapping[str, CellValidity]

    @property
    def standing(self) -> Standing:
        """The worst finding's."""
        return worst(self.findings)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not simply valid, the worst first."""
        return tuple(one.text for one in self.findings if one.standing is not Standing.VALID)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that change nothing."""
        return tuple(one.text for one in self.findings if one.standing is Standing.VALID)

    @property
    def why_invalid(self) -> str | None:
        """The first reason for which the measurement is invalid; ``None`` when it is not."""
        return next((one.text for one in self.findings if one.standing is Standing.INVALID), None)

    def row(self) -> dict[str, Any]:
        """What ``run.json`` keeps."""
        return {
            "standing": str(self.standing),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "cells": {cell_id: cell.row() for cell_id, cell in self.cells.items()},
        }


def worst(findings: Iterable[Finding]) -> Standing:
    """The worst standing among findings; ``valid`` for none."""
    return max((one.standing for one in findings), key=lambda standing: standing.rank, default=Standing.VALID)


def judge_validity(run: RunRows) -> RunValidity:
    """The verdict on a recorded run.

    Raises:
        ConfigError: the run's tables are absent or damaged.
    """
    known = Calibrated.of(run)
    cells = {one.cell.cell_id: _judged(one, known) for one in watch_cells(run)}
    return RunValidity(tuple(_merged(list(cells.values()))), cells)


def keep_validity(path: Path, validity: RunValidity) -> None:
    """Write the verdict into ``run.json``, if the run is finished: until then the file is its record's own.

    Raises:
        ConfigError: the folder holds no recorded run.
        OSError: the folder cannot be written.
    """
    if read_header(path).get("state") == "finished":
        amend_header(path, validity=validity.row())


def _judged(seen: Watched, known: Calibrated) -> CellValidity:
    if seen.sent.empty:
        findings = [Finding("nothing", Standing.WARNED, "no measured request was sent, so there is nothing to judge")]
    else:
        client, load = list(check_client(seen)), list(check_load(seen))
        if worst(client) is Standing.INVALID:  # what a late client saw of the server's pace may be its own
            load = [one for one in load if one.check not in ABOUT_THE_SERVER]
        findings = [*client, *known.check(seen), *load, *check_amount(seen)]
    findings.sort(key=lambda one: -one.standing.rank)
    return CellValidity(seen.cell.label, tuple(findings), rounded(seen.figures))


def _merged(cells: Sequence[CellValidity]) -> list[Finding]:
    """One finding per check and standing, the worst cell's."""
    found: dict[tuple[Standing, str], list[tuple[Finding, str]]] = {}
    for cell in cells:
        for one in cell.findings:
            found.setdefault((one.standing, one.check), []).append((one, cell.label))
    merged = []
    for (standing, check), all_of in found.items():
        top, label = max(all_of, key=lambda pair: pair[0].excess)
        told_apart = len(all_of) < len(cells) or len({one.text for one, _ in all_of}) > 1
        text = f"{_where(len(all_of), len(cells), label)}: {top.text}" if told_apart else top.text
        merged.append(Finding(check, standing, text, top.excess))
    return sorted(merged, key=lambda one: -one.standing.rank)


def _where(count: int, of: int, label: str) -> str:
    if count == 1:
        return f"cell {label}"
    return f"all {of} cells, worst in {label}" if count == of else f"{count} of {of} cells, worst {label}"


def watch_cells(run: RunRows) -> list[Watched]:
    """Every cell with its requests and with what was sent at the same time.

    Which process vitals belong to a cell is told by time: those of the stages in which its requests were sent. Cells
    with the same vitals were sent together.
    """
    import numpy as np

    vitals = read_vitals(run.header)
    every = run.every_request
    rows = {cell.cell_id: every.loc[every["cell_id"] == cell.cell_id, list(WATCHED_COLUMNS)] for cell in run.cells}
    during = {
        cell_id: _during(vitals, np.sort(one["sent_ns"].dropna().to_numpy(dtype=np.float64)))
        for cell_id, one in rows.items()
    }
    groups: dict[tuple[int, ...], list[CellInfo]] = {}
    for cell in run.cells:
        groups.setdefault(during[cell.cell_id], []).append(cell)
    users = Counter(place for places in during.values() for place in places)
    together = {
        stages: Together(_stacked([rows[cell.cell_id] for cell in cells]), tuple(vitals[place] for place in stages))
        for stages, cells in groups.items()
    }
    return [
        Watched(
            cell,
            rows[cell.cell_id],
            together[stages],
            alone=all(users[place] == 1 for place in stages) and len(groups[stages]) == 1,
        )
        for cell in run.cells
        for stages in [during[cell.cell_id]]
    ]


def _during(vitals: Sequence[ProcessVitals], sent_ns: NDArray[np.float64]) -> tuple[int, ...]:
    """The places of the vitals in whose time anything was sent."""
    return tuple(
        place
        for place, one in enumerate(vitals)
        if sent_ns.searchsorted(one.end_ns, side="right") > sent_ns.searchsorted(one.start_ns)
    )


def _stacked(rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return rows[0] if len(rows) == 1 else pd.concat(rows, ignore_index=True)
