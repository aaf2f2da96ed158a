"""``bench datasets``: the configured datasets as a table, and sample rows of one as they would be sent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.catalogue import preset_files
from bench.datasets import Dataset
from bench.domain import ConfigError, Sample
from bench.registry import build, discover, plugins, unknown
from bench.samples import load_samples
from bench.show.terminal import printable

COLUMNS = ("dataset", "rows", "licence", "hash", "scorer", "description")
HASH_CHARS = 12
MAX_LINES = 14
MAX_LINE_CHARS = 200


def main(argv: list[str]) -> int:
    """Run ``bench datasets [NAME]``; returns the exit code 0.

    Raises:
        ConfigError: there is no dataset NAME, or it cannot be read. In the table such a dataset is one line of words.
    """
    options = _parser().parse_args(argv)
    folders = _user_folders(options.config_dir)
    discover()
    for folder in folders:
        discover(folder)
    names = dataset_names(folders)
    if options.name is None:
        _list(names, options.json)
    elif options.name in names:
        print("\n".join(_details(_dataset(options.name, names), options.rows)))
    else:
        raise ConfigError(unknown("dataset", options.name, list(names)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench datasets",
        description="The configured datasets; with NAME one of them, and rows of it as they would be sent.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this dataset and sample rows")
    parser.add_argument("--rows", metavar="N", type=int, default=3, help="how many sample rows (default 3)")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--config-dir", metavar="DIR", help="a conf folder of your own, besides ./conf")
    return parser


def _user_folders(config_dir: str | None) -> tuple[Path, ...]:
    # Imported here: it loads Hydra, which `bench datasets --help` does not need.
    from bench.compose import user_folders

    return user_folders(config_dir)


def dataset_names(folders: tuple[Path, ...]) -> dict[str, Path | None]:
    """Every dataset that can be loaded by its name alone: presets, and plug-ins that make their rows."""
    made = {kind: None for kind, plugin in plugins("dataset").items() if getattr(plugin, "name", "")}
    return dict(sorted({**made, **preset_files("dataset", *folders)}.items()))


def dataset_settings(name: str, folders: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a preset, those of the presets it extends included.

    Raises:
        ConfigError: a file that cannot be read, or that extends what does not exist.
    """
    return _settings(name, dataset_names(folders))


def _dataset(name: str, names: Mapping[str, Path | None]) -> Dataset:
    dataset: Dataset = build("dataset", _settings(name, names))
    return dataset


def _settings(name: str, names: Mapping[str, Path | None], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A preset's mapping over those its ``defaults`` list names: presets of this group, or kinds of plug-ins."""
    path = names.get(name)
    if path is None:
        return {"kind": name}
    try:
        own = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: must hold a mapping of names to values")
    below: dict[str, Any] = {}
    parts = own.pop("defaults", [])
    if not isinstance(parts, list):
        raise ConfigError(f"{path}: defaults must be a list")
    known = {*names, *plugins("dataset")} - {*above, name}
    for part in parts:
        if part == "_self_":
            continue
        if not isinstance(part, str) or part not in known:
            raise ConfigError(f"{path}: defaults names {part!r}, which is no other dataset")
        below |= _settings(part, names, (*above, name))
    return {**below, **own}


def _list(names: Mapping[str, Path | None], as_json: bool) -> None:
    rows = [_row(name, names) for name in names]
    if as_json:
        print(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=1, ensure_ascii=False))
        return
    from tabulate import tabulate

    cells = [[printable("-" if cell is None else cell) for cell in row] for row in rows]
    alignment = ["right" if column == "rows" else "left" for column in COLUMNS]
    print(tabulate(cells, headers=COLUMNS, disable_numparse=True, colalign=alignment))
    print(f"{len(rows)} datasets; any other file: bench run dataset=jsonl dataset.path=FILE (or csv, parquet)")


def _row(name: str, names: Mapping[str, Path | None]) -> tuple[Any, ...]:
    try:
        dataset = _dataset(name, names)
        found = load_samples(dataset)
    except ConfigError as error:
        return (name, None, None, None, None, f"cannot be used: {error.problems[0]}")
    short = found.content_hash[:HASH_CHARS]
    return (name, found.rows_total, dataset.licence, short, _scorer(dataset), dataset.description)


def _scorer(dataset: Dataset) -> str:
    scorer = dataset.scorer
    return str(scorer.get("kind")) if isinstance(scorer, Mapping) else str(scorer)


def _details(dataset: Dataset, rows: int) -> Iterator[str]:
    found = load_samples(dataset)
    facts = {
        "dataset": dataset.name,
        "description": dataset.description,
        "kind": dataset.kind,
        "path": dataset.path or "-",
        "rows": f"{found.rows_total}" + (f", {len(found.samples)} taken" if dataset.limit else ""),
        "licence": dataset.licence or "-",
        "hash": found.content_hash,
        "scorer": _scorer(dataset),
    }
    yield from (f"{key + ':':<13}{printable(value)}" for key, value in facts.items())
    for sample in found.samples[: max(rows, 0)]:
        yield ""
        yield from _sample(sample)


def _sample(sample: Sample) -> Iterator[str]:
    tags = f"  [{', '.join(sample.tags)}]" if sample.tags else ""
    yield printable(f"--- {sample.sample_id}{tags}  ({sample.place})")
    for message in sample.messages:
        yield printable(f"{message['role']}:")
        content = message.get("content")
        yield from _bounded(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
    if sample.tools:
        names = [str(tool.get("function", {}).get("name")) for tool in sample.tools]
        yield printable(f"tools: {', '.join(names)}")
    if sample.response_format is not None:
        yield printable(f"response_format: {json.dumps(sample.response_format)}")
    target = sample.target if isinstance(sample.target, str) else json.dumps(sample.target, ensure_ascii=False)
    yield printable(f"target: {'none, left unscored' if sample.target is None else target}", MAX_LINE_CHARS * 2)


def _bounded(text: str) -> Iterator[str]:
    """The text's first lines, indented; each safe to print and cut."""
    lines = text[: MAX_LINES * MAX_LINE_CHARS * 2].splitlines()
    yield from (f"  {printable(line, MAX_LINE_CHARS)}" for line in lines[:MAX_LINES])
    if len(lines) > MAX_LINES or len(text) > MAX_LINES * MAX_LINE_CHARS * 2:
        yield f"  ... ({len(text)} characters)"
