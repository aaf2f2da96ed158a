"""Cells: the points of a sweep, with stable content hashes and labels that tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.config import Experiment, plain
from bench.domain import Cell
from bench.measure.canonical import canonical, short_hash
from bench.measure.check import Checked

#: what says how long and how often, not what: it does not change a cell's meaning
_EXTENT = ("requests", "duration_s", "warmup", "isolate", "max_concurrency")
_NOT_MEANING = ("api_key_env", "name", "verify_tls")
_LABEL_NAMES = {"model.name": "model", "provider.name": "provider", "dataset.name": "dataset"}


def cell_id(experiment: Experiment, dataset_hash: str, dropped: frozenset[str] = frozenset()) -> str:
    """A stable hash of all that can change an answer or a measurement.

    In: model name, provider (kind, address, body additions, simulator knobs), the content of the samples, the sampling
    parameters that are set, the load's shape. Out: prices and other facts, names of presets, limits, repeats, seeds of
    the order, results folder, and how long a load runs.
    """
    provider = {k: v for k, v in plain(experiment.provider).items() if k not in _NOT_MEANING}
    sampling = {k: v for k, v in plain(experiment.sampling).items() if v is not None and v != {}}
    load = {k: v for k, v in plain(experiment.load).items() if k not in _EXTENT and v is not None}
    load |= experiment.load.identity()
    return short_hash(
        {
            "model": experiment.model.name,
            "provider": provider,
            "dataset": dataset_hash,
            "sampling": sampling,
            "load": load,
            "dropped": sorted(dropped - set(plain(experiment.sampling))),
        }
    )


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"a": {"b": 1}}`` as ``("a.b", 1)``; lists stay whole; an empty mapping gives nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def make_cells(checked: Sequence[Checked], keys: Sequence[tuple[str, str]]) -> tuple[Cell, ...]:
    """One cell per experiment; ``keys`` holds each experiment's ``(dataset key, dataset content hash)``."""
    columns = [dict(flat(plain(one.experiment))) for one in checked]
    swept = _swept(columns)
    return tuple(
        Cell(
            cell_id=cell_id(one.experiment, keys[i][1], one.dropped),
            index=i,
            label=_label(columns[i], swept),
            params=columns[i],
            swept=swept,
            config=one.experiment,
            dataset_key=keys[i][0],
            dropped=one.dropped,
        )
        for i, one in enumerate(checked)
    )


def _swept(columns: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys that tell the cells apart, names first; a key that follows from the name of its preset is left out."""
    keys = list(dict.fromkeys(key for column in columns for key in column))
    differing = [key for key in keys if len({canonical(column.get(key)) for column in columns}) > 1]
    names = [key for key in differing if key in _LABEL_NAMES]
    return tuple(names + [key for key in differing if key not in names and not _follows(key, names, columns)])


def _follows(key: str, names: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the key's value is the same wherever its group's name is the same; scorers come with their dataset."""
    group = key.split(".")[0]
    name = f"{'dataset' if group in ('scorer', 'also') else group}.name"
    if name not in names:
        return False
    pairs = {(str(column.get(name)), canonical(column.get(key))) for column in columns}
    return len(pairs) == len({first for first, _ in pairs})


def _label(column: Mapping[str, Any], swept: Sequence[str]) -> str:
    return " ".join(_part(key, column.get(key)) for key in swept or ["model.name"])


def _part(name: str, value: Any) -> str:
    if name == "model.name":
        short = str(value).rsplit("/", 1)[-1]
        return f"Pro/{short}" if str(value).startswith("Pro/") else short
    text = value if isinstance(value, str) else canonical(value)
    return f"{_LABEL_NAMES.get(name, name.rsplit('.', 1)[-1])}={text[:40]}"
