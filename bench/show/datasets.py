"""``bench datasets``: the configured datasets as a table, sample rows of one as they would be sent, and ``pull``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.cached import kept
from bench.catalogue import preset_files
from bench.datasets import Dataset
from bench.datasets.published import Published
from bench.domain import ConfigError, Sample
from bench.files import SHIPPED
from bench.registry import build, discover, plugins, unknown
from bench.samples import load_samples
from bench.show.pull import parser as pull_parser
from bench.show.pull import pull
from bench.show.terminal import printable

COLUMNS = ("dataset", "rows", "licence", "hash", "scorer", "state", "description")
HASH_CHARS = 12
MAX_LINES = 14
MAX_LINE_CHARS = 200


def main(argv: list[str]) -> int:
    """Run ``bench datasets [NAME]`` or ``bench datasets pull NAME...``; returns the exit code 0.

    Raises:
        ConfigError: there is no dataset NAME, or it cannot be read or pulled. In the table such a dataset is one line
            of words.
    """
    pulls = argv[:1] == ["pull"]
    options = pull_parser().parse_args(argv[1:]) if pulls else _parser().parse_args(argv)
    folders = _user_folders(options.config_dir)
    discover()
    for folder in folders:
        discover(folder)
    names = dataset_names(folders)
    if pulls:
        return pull(options, lambda name: _dataset(name, names))
    if options.name is None:
        _list(names, options.json)
    else:
        given = {"path": options.path, "variant": options.variant}
        dataset = _dataset(options.name, names, {key: value for key, value in given.items() if value is not None})
        print("\n".join(_details(dataset, options.rows)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench datasets",
        description="The configured datasets; with NAME one of them, and rows of it as they would be sent. "
        "`bench datasets pull NAME` fetches the files of a published one.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this dataset and sample rows")
    parser.add_argument("--rows", metavar="N", type=int, default=3, help="how many sample rows (default 3)")
    parser.add_argument("--path", metavar="FILE", help="read NAME from this file")
    parser.add_argument("--variant", metavar="V", help="this variant of NAME, or `all`")
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


def _dataset(name: str, names: Mapping[str, Path | None], changes: Mapping[str, Any] | None = None) -> Dataset:
    if name not in names:
        raise ConfigError(unknown("dataset", name, list(names)))
    dataset: Dataset = build("dataset", {**_settings(name, names), **(changes or {})})
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
    print(
        f"{len(rows)} datasets; any other file: bench run dataset=jsonl dataset.path=FILE (or csv, json, parquet); "
        "a published one: bench datasets pull NAME, or dataset.path=FILE"
    )


def _row(name: str, names: Mapping[str, Path | None]) -> tuple[Any, ...]:
    try:
        dataset = _dataset(name, names)
        state = _state(dataset)
        if state.startswith("not"):
            return (name, None, dataset.licence, None, _scorer(dataset), state, dataset.description)
        found = load_samples(dataset)
    except ConfigError as error:
        return (name, None, None, None, None, None, f"cannot be used: {error.problems[0]}")
    short = found.content_hash[:HASH_CHARS]
    return (name, found.rows_total, dataset.licence, short, _scorer(dataset), state, dataset.description)


def _state(dataset: Dataset) -> str:
    """Whether the rows are at hand, in one or two words."""
    if not dataset.path:
        if not isinstance(dataset, Published) or not dataset.url:
            return "made"
        here = [kept(url) is not None for url, _ in dataset.addresses()]
        return (
            "pulled" if all(here) else f"not pulled ({sum(here)} of {len(here)} files)" if any(here) else "not pulled"
        )
    return "shipped" if str(dataset.path).startswith(SHIPPED) else "file"


def _scorer(dataset: Dataset) -> str:
    scorer = dataset.scorer
    return str(scorer.get("kind")) if isinstance(scorer, Mapping) else str(scorer)


def _details(dataset: Dataset, rows: int) -> Iterator[str]:
    state = _state(dataset)
    facts = {
        "dataset": dataset.name,
        "description": dataset.description,
        "kind": dataset.kind,
        "path": dataset.path or "-",
        "state": state,
        "licence": dataset.licence or "-",
        "citation": dataset.citation or "-",
        "scorer": _scorer(dataset),
    }
    yield from _facts(facts)
    if isinstance(dataset, Published):
        yield from _facts({"variants": ", ".join(dataset.variants)} if dataset.variants else {})
        addresses = [] if dataset.path else dataset.addresses()
        yield from (line for url, sha256 in addresses for line in _file(url, sha256))
    if state.startswith("not"):
        yield f"\nTo use it: bench datasets pull {dataset.name}, or give dataset.path=FILE"
        return
    found = load_samples(dataset)
    repeated = f", {len(found.repeated)} ask the same as an earlier one" if found.repeated else ""
    taken = len(found.samples)
    yield from _facts(
        {
            "rows": f"{found.rows_total}" + (f", {taken} taken" if taken != found.rows_total else "") + repeated,
            "hash": found.content_hash,
        }
    )
    for sample in found.samples[: max(rows, 0)]:
        yield ""
        yield from _sample(sample)


def _facts(facts: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{key + ':' if key else '':<13}{printable(value, MAX_LINE_CHARS * 4)}" for key, value in facts.items())


def _file(url: str, sha256: str | None) -> Iterator[str]:
    """A file that a preset pulls: its address, and the hash it must have or had when it was pulled."""
    record = kept(url)
    wanted = f"SHA-256 {sha256}" if sha256 else "no SHA-256 known before it is pulled"
    have = f"pulled {record.fetched_at}, SHA-256 {record.sha256}" if record else f"not pulled, {wanted}"
    yield from _facts({"file": url, "": have})


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
