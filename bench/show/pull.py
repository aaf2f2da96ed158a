"""``bench datasets pull``: fetch the files of published sets into the cache, with their hashes checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.cached import Kept, cache_folder, kept, name_of
from bench.datasets import Dataset
from bench.datasets.published import Published
from bench.domain import ConfigError
from bench.samples import load_samples, repeats_told
from bench.show.terminal import printable


def parser() -> argparse.ArgumentParser:
    """The arguments of ``bench datasets pull``."""
    made = argparse.ArgumentParser(
        prog="bench datasets pull",
        description="Fetch the files of published datasets, check their SHA-256 and keep them in the cache "
        "($XDG_CACHE_HOME/chatbench/datasets, else ~/.cache/chatbench/datasets).",
        allow_abbrev=False,
    )
    made.add_argument("names", metavar="NAME", nargs="+", help="a dataset whose preset has a url")
    made.add_argument("--variant", metavar="V", help="one variant only, or `all` (default: the preset's own choice)")
    made.add_argument("--refresh", action="store_true", help="fetch again what is in the cache")
    made.add_argument("--config-dir", metavar="DIR", help="a conf folder of your own, besides ./conf")
    return made


def pull(options: Any, dataset_of: Callable[[str], Dataset]) -> int:
    """Fetch every file of every named dataset and say what came; returns the exit code 0.

    Raises:
        ConfigError: each dataset that has no address, and each file that could not be fetched or has a wrong hash;
            what could be fetched is kept.
    """
    problems: list[str] = []
    for name in options.names:
        dataset = dataset_of(name)
        if not isinstance(dataset, Published) or not dataset.url:
            problems.append(
                f"{name}: its preset has no url to pull from; it is shipped, made, or given by dataset.path"
            )
            continue
        if options.variant is not None:
            dataset = replace(dataset, variant=options.variant)
        found = [_pulled(url, sha256, options.refresh, problems) for url, sha256 in dataset.addresses()]
        if all(found):
            print(_summary(replace(dataset, path=None), sum(one.size for one in found if one is not None)))
    print(f"kept under {cache_folder()}")
    if problems:
        raise ConfigError(*problems)
    return 0


def _pulled(url: str, sha256: str | None, refresh: bool, problems: list[str]) -> Kept | None:
    from bench.download import download  # imported late: http and tls take time to import

    before = _good(url, None)
    try:
        here = None if refresh else _good(url, sha256)
        record = here or download(url, sha256)
    except ConfigError as error:
        problems += error.problems
        return None
    state = "was here" if here else "fetched"
    known = "as the preset says" if sha256 else "recorded; the preset knows none"
    print(f"{name_of(url)}: {state}, {record.size:,} bytes, SHA-256 {record.sha256} ({known})")
    if before is not None and before.sha256 != record.sha256:
        print(f"{name_of(url)}: has changed: what was pulled {before.fetched_at} had the SHA-256 {before.sha256}")
    return record


def _good(url: str, sha256: str | None) -> Kept | None:
    try:
        record = kept(url)
    except ConfigError:  # damaged: the new one takes its place
        return None
    return record if record is not None and sha256 in (None, record.sha256) else None


def _summary(dataset: Published, size: int) -> str:
    found = load_samples(dataset)
    told = repeats_told(dataset.name, found)
    lines = [
        f"{dataset.name}: {found.rows_total:,} rows, {size:,} bytes; use it with: bench run dataset={dataset.name}"
    ]
    return "\n".join(printable(line, 500) for line in [*lines, *([told] if told else [])])
