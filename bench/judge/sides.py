"""What a comparison compares: pairs of cells that answered the same questions under the same scorer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bench.domain import ConfigError
from bench.judge.rows import CellInfo, RunRows


@dataclass(frozen=True)
class Side:
    """One cell of one run under the name that the comparison gives it."""

    run: RunRows
    cell: CellInfo
    name: str

    @property
    def run_id(self) -> str:
        """The run's own name."""
        return str(self.run.header.get("run_id", self.run.path.name))

    @property
    def prompt_hash(self) -> str | None:
        """SHA-256 of the prompt set that the cell was asked; ``None`` where the run does not say."""
        known = (self.run.header.get("datasets") or {}).get(self.cell.dataset_key) or {}
        found = known.get("content_hash")
        return None if found is None else str(found)


Pair = tuple[Side, Side]


def pairs_of_runs(a: RunRows, b: RunRows, cell_a: str | None = None, cell_b: str | None = None) -> list[Pair]:
    """Cells of two runs that belong together: the only ones, or those of the same label.

    Args:
        cell_a, cell_b: part of the label of the one cell to take of a run.

    Raises:
        ConfigError: it is not plain which cells belong together, or a pair cannot be compared.
    """
    left = [_picked(a, cell_a)] if cell_a else list(a.cells)
    right = [_picked(b, cell_b)] if cell_b else list(b.cells)
    if len(left) == 1 and len(right) == 1:
        same = left[0].label == right[0].label
        names = [
            _run_name(run, other) if same else cell.label for run, other, cell in ((a, b, left[0]), (b, a, right[0]))
        ]
        return _checked([(Side(a, left[0], names[0]), Side(b, right[0], names[1]))])
    by_label = {cell.label: cell for cell in right}
    common = [cell for cell in left if cell.label in by_label]
    if not common or len(by_label) < len(right):
        raise ConfigError(
            f"it is not plain which cells of {a.path.name} ({_labels(left)}) belong to which of {b.path.name} "
            f"({_labels(right)}); name one of each: --cell-a LABEL --cell-b LABEL"
        )
    return _checked(
        [
            (
                Side(a, cell, f"{cell.label} ({_run_name(a, b)})"),
                Side(b, by_label[cell.label], f"{cell.label} ({_run_name(b, a)})"),
            )
            for cell in common
        ]
    )


def pairs_by(run: RunRows, key: str | None, baseline: str | None = None) -> list[Pair]:
    """Cells of one run that differ in one swept parameter alone.

    Args:
        key: the swept parameter; may be left out where there is only one.
        baseline: its value that every other one is compared with; all pairs without it.

    Raises:
        ConfigError: the run has no such parameter or value, or a pair cannot be compared.
    """
    swept = list(dict.fromkeys(name for cell in run.cells for name in cell.swept))
    if not swept:
        raise ConfigError(f"{run.path.name}: it has one cell; name a second run to compare it with")
    if key is None and len(swept) > 1:
        raise ConfigError(f"{run.path.name}: several parameters were swept; name one: --by {' | --by '.join(swept)}")
    key = key or swept[0]
    if key not in swept:
        raise ConfigError(f"--by {key}: was not swept in {run.path.name}; swept were: {', '.join(swept)}")
    values = list(dict.fromkeys(_text(cell.param(key)) for cell in run.cells))
    chosen = None if baseline is None else _value(baseline, values, key)
    rest = [name for name in swept if name != key]
    groups: dict[str, list[CellInfo]] = {}
    for cell in run.cells:
        groups.setdefault(json.dumps([cell.param(name) for name in rest], default=str), []).append(cell)
    pairs = []
    for group in groups.values():
        ordered = sorted(group, key=lambda cell: _text(cell.param(key)) != chosen)
        for a, b in combinations(ordered, 2):
            if chosen is None or _text(a.param(key)) == chosen:
                where = " ".join(_text(a.param(name)) for name in rest)
                pairs.append((_side(run, a, key, where), _side(run, b, key, where)))
    if not pairs:
        raise ConfigError(f"--by {key}: no two cells of {run.path.name} differ in that alone")
    return _checked(pairs)


def _side(run: RunRows, cell: CellInfo, key: str, where: str) -> Side:
    value, (group, _, last) = _text(cell.param(key)), key.rpartition(".")
    said = value if group and last in ("name", "kind") else f"{last}={value}"
    return Side(run, cell, f"{said} ({where})" if where else said)


def _checked(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, each of which can be compared.

    Raises:
        ConfigError: one sentence per reason.
    """
    reasons = [text for pair in pairs for refuse in (_prompts_differ, _scorers_differ) if (text := refuse(*pair))]
    if reasons:
        raise ConfigError(*dict.fromkeys(reasons))
    return list(pairs)


def _prompts_differ(a: Side, b: Side) -> str | None:
    left, right = a.prompt_hash, b.prompt_hash
    if left is not None and left == right:
        return None
    return (
        f"{a.name} and {b.name} were not asked the same prompts (prompt-set hash {_short(left)} of {_dataset(a)}, "
        f"{_short(right)} of {_dataset(b)}): accuracies on different prompts do not compare; run both on one dataset "
        "with the same limit, seed and templates"
    )


def _scorers_differ(a: Side, b: Side) -> str | None:
    left, right = _scorer(a), _scorer(b)
    versions = [_versions(side) for side in (a, b)]
    if left == right and versions[0] == versions[1]:
        return None
    said = [
        f"{side.cell.scorer} version {', '.join(found) or 'none'}" for side, found in zip((a, b), versions, strict=True)
    ]
    differ = (
        f"by {said[0]}, {b.name} by {said[1]}"
        if said[0] != said[1]
        else f"by {said[0]} with other options than {b.name}"
    )
    return (
        f"{a.name} was scored {differ}: score both alike first, which sends nothing: "
        f"bench score {a.run.path.name} scorer=NAME"
        + ("" if a.run.path == b.run.path else f", and the same for {b.run.path.name}")
    )


def _scorer(side: Side) -> dict[str, Any]:
    return dict(side.cell.config.get("scorer") or {})


def _versions(side: Side) -> list[str]:
    rows = side.run.scores_of(side.cell)
    return sorted(map(str, rows["scorer_version"].dropna().unique()))


def _picked(run: RunRows, part: str) -> CellInfo:
    exact = [cell for cell in run.cells if part in (cell.label, cell.cell_id)]
    found = exact or [cell for cell in run.cells if part in cell.label]
    if len(found) != 1:
        raise ConfigError(
            f"{part!r} is part of {len(found) or 'no'} labels of the cells of {run.path.name}: {_labels(run.cells)}"
        )
    return found[0]


def _value(given: str, values: Sequence[str], key: str) -> str:
    """The value that ``given`` names: itself, or the only one that it is a part of."""
    alike: list[Callable[[str], bool]] = [lambda one: one == given, lambda one: given.lower() in one.lower()]
    for matches in alike:
        found = [one for one in values if matches(one)]
        if len(found) == 1:
            return found[0]
    raise ConfigError(f"--baseline {given}: is no value of {key}; there are: {', '.join(values)}")


def _run_name(run: RunRows, other: RunRows) -> str:
    """The run's id, or its folder where both have the same."""
    ids = [str(one.header.get("run_id", one.path.name)) for one in (run, other)]
    return ids[0] if ids[0] != ids[1] else f"{run.path.parent.name}/{run.path.name}"


def _labels(cells: Sequence[CellInfo]) -> str:
    named = [cell.label or cell.cell_id for cell in cells[:8]]
    return ", ".join(named) + (f" and {len(cells) - len(named)} more" if len(cells) > len(named) else "")


def _dataset(side: Side) -> str:
    return str((side.cell.config.get("dataset") or {}).get("name") or side.cell.dataset_key or "its dataset")


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
