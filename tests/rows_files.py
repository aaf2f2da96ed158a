"""Files of rows, loaded as samples or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.domain import ConfigError
from bench.registry import build
from bench.samples import SampleSet, load_samples


def written(path: Path, *rows: Any) -> str:
    """Write rows as JSON Lines; gives the path as a configuration names it."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(path: Path | str, kind: str = "jsonl", **options: Any) -> SampleSet:
    """The samples of a file."""
    return load_samples(build("dataset", {"kind": kind, "path": str(path), **options}))


def refused(path: Path | str, kind: str = "jsonl", **options: Any) -> tuple[str, ...]:
    """What is said against a file."""
    with pytest.raises(ConfigError) as caught:
        load(path, kind, **options)
    return caught.value.problems


def texts(found: SampleSet) -> list[str]:
    """The last message of each sample."""
    return [sample.messages[-1]["content"] for sample in found.samples]
