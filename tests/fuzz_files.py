"""What any file must hold for: oracles of the readers of journals, datasets, traces, objectives and settings."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from record_cases import ORIGIN, full, plain

from bench.config import Experiment, parse
from bench.datasets import Dataset
from bench.datasets.columnar import Parquet
from bench.datasets.delimited import Csv
from bench.datasets.jsonl import JsonLines
from bench.depth import too_deep
from bench.domain import ConfigError
from bench.record.journal import SegmentHead, frame, read_segment, recover
from bench.record.rows import pack, pack_row, unpack
from bench.registry import discover
from bench.samples import load_samples
from bench.slo import parse_slo
from bench.traces import _read

READERS: dict[str, type[Dataset]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}
ROWS: tuple[dict[str, Any], ...] = (
    {"id": "a", "prompt": "1 + 1?", "target": "2", "tags": ["sum", "easy"], "kind": 3},
    {"id": 7, "messages": [{"role": "user", "content": "hé"}], "tools": [{"type": "function"}]},
    {"prompt": "x", "response_format": {"type": "json_object"}, "tags": "a, b", "target": None},
)
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CSV = (
    b'id,prompt,target,tags,messages\r\n1,"a, ""b""",2,"x,y",\r\n2,,3,,"[{""role"": ""user"", ""content"": ""c""}]"\r\n'
)
TRACES = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16T18:15:50Z,396,109\n",
    b'{"timestamp": 0, "input_length": 675, "output_length": 5, "hash_ids": [0, 1]}\n\n{"timestamp": 1.5}\n',
    b"timestamp,input_tokens,output_tokens\n0.5,3,4\n-1e3,5,6\n",
    b"Timestamp,Request tokens,Response tokens\n9,1,2\n",
)


@cache
def folder() -> Path:
    """Where inputs are written."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def written(name: str, content: bytes) -> Path:
    """A file with this content."""
    path = folder() / f"{os.getpid()}-{name}"
    path.write_bytes(content)
    return path


def refusal(attempt: Callable[[], Any]) -> tuple[Any, tuple[str, ...]]:
    """What an attempt gives, or the sentences with which it is refused."""
    try:
        return attempt(), ()
    except ConfigError as error:
        return None, error.problems or ("a refusal without a reason",)


@cache
def parquet_bytes() -> bytes:
    """A small Parquet file with texts, numbers, times, lists and nulls."""
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "prompt": ["1 + 1?", "hé", "x"],
            "target": [2, None, 3],
            "tags": [["s"], [], None],
            "when": pa.array([1, 2, 3], pa.timestamp("us")),
            "day": pa.array([1, 2, 3], pa.date32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none")
    return sink.getvalue()


def edited(content: bytes, edits: bytes, in_place: bool = False) -> bytes:
    """``content`` with small damage: four bytes an edit (place, what, value); later ones see the earlier ones' work.

    ``in_place`` leaves to it what a crash or a disk can do: other bytes, an end too early, a hole of zeros.
    """
    for at in range(0, len(edits) - 3, 4):
        place, what, value = int.from_bytes(edits[at : at + 2], "little"), edits[at + 2] % 6, edits[at + 3]
        what = (0, 1, 4)[what % 3] if in_place else what
        place %= len(content) + 1
        head, tail = content[:place], content[place:]
        if what == 0:
            content = head + bytes([value]) + tail[1:]
        elif what == 1:
            content = head
        elif what == 2:
            content = head + bytes([value]) * (1 + value % 9) + tail
        elif what == 3:
            content = head + tail[1 + value :]
        elif what == 4:
            content = head + bytes(1 + value) + tail[1 + value :]
        else:
            content = head + tail[value:] + tail[:value]
    return content


def check_journal(data: bytes) -> None:
    """What is recovered is what was written before the first damage, row for row, and never anything else."""
    count = data[0] % 5 if data else 0
    rows = [pack(full() if number == 2 else plain(number, text="x" * (7 * number))) for number in range(count)]
    head = frame(pack_row(SegmentHead(1, ORIGIN)))
    records = [head, *map(frame, rows)]
    content = b"".join(records)
    damaged = edited(content, data[1:17], in_place=True)
    path = written("000001.seg", damaged)
    same = next(
        (at for at, (a, b) in enumerate(zip(content, damaged, strict=False)) if a != b),
        min(map(len, (content, damaged))),
    )
    whole = sum(end <= same for end in accumulate(map(len, records)))
    found = read_segment(path)
    kept = [] if found is None else list(found[1])
    assert kept == rows[: len(kept)], "a row that was never written"
    assert len(kept) >= whole - 1, "a row before the damage is lost"
    recovered = recover(path)
    assert recovered.rows == len(kept)
    assert path.stat().st_size == recovered.size == len(damaged) - recovered.dropped_bytes
    assert recover(path).dropped_bytes == 0
    for row in kept:
        unpack(row)
    with suppress(ValueError):
        unpack(data)


def check_datasets(data: bytes) -> None:
    """JSON Lines or CSV, gzipped or not: samples of the right types, or sentences that name the file."""
    choice, content = (data[0] if data else 0), data[1:]
    kind = "csv" if choice & 1 else "jsonl"
    if choice & 2:
        content = edited(CSV if kind == "csv" else JSONL, content)
    name = f"rows.{kind}"
    if choice & 4:
        content = gzip.compress(content, 1, mtime=0) if choice & 8 else edited(gzip.compress(JSONL, mtime=0), content)
        name += ".gz"
    _check_dataset(kind, written(name, content))


def check_parquet(data: bytes) -> None:
    """A Parquet file with damage."""
    _check_dataset("parquet", written("rows.parquet", edited(parquet_bytes(), data)))


def _check_dataset(kind: str, path: Path) -> None:
    dataset = READERS[kind](path=str(path), name="made")
    found, problems = refusal(lambda: load_samples(dataset))
    assert all("made" in problem or path.name in problem for problem in problems[:20]), problems
    if problems:
        return
    assert len({sample.sample_id for sample in found.samples}) == len(found.samples) > 0
    for sample in found.samples:
        assert isinstance(sample.sample_id, str)
        assert all(isinstance(turn, dict) for turn in sample.messages)
        assert all(isinstance(tag, str) for tag in sample.tags)
        assert sample.place.startswith(str(path))


def check_traces(data: bytes) -> None:
    """Arrivals in order from 0 and sane lengths, or sentences that name the file."""
    choice, content = (data[0] if data else 0), data[1:]
    if choice & 1:
        content = edited(TRACES[choice // 2 % len(TRACES)], content)
    path = written("trace.csv", content)
    trace, problems = refusal(lambda: _read.__wrapped__("trace.csv", path, 0, 0))
    assert all("trace.csv" in problem for problem in problems[:20]), problems
    if problems:
        return
    assert trace.arrival_ns[0] == 0
    assert all(a <= b for a, b in pairwise(trace.arrival_ns))
    assert all(tokens >= 0 for tokens in (*trace.input_tokens, *trace.output_tokens))
    assert len(trace.arrival_ns) == len(trace.input_tokens) == len(trace.output_tokens) == len(trace.lines)
    assert [list(trace.blocks_of(row)) for row in range(len(trace))]


def check_slo(data: bytes) -> None:
    """An expression is refused, or reads back from its own spelling as itself."""
    text = data.decode("utf-8", "replace")
    slo, problems = refusal(lambda: parse_slo(text))
    assert all(problem.startswith("slo: ") for problem in problems)
    if problems:
        return
    assert str(parse_slo(str(slo))) == str(slo)
    assert all(isinstance(bool(term.met_by(1.0)), bool) for term in slo.terms)


@cache
def base_settings() -> dict[str, Any]:
    """A small configuration that is sound."""
    discover()
    return {
        "model": {"name": "m"},
        "provider": {"kind": "compatible", "base_url": "http://127.0.0.1:8/v1"},
        "dataset": {"kind": "jsonl", "path": "rows.jsonl"},
        "load": {"kind": "closed"},
    }


def check_settings(data: bytes) -> None:
    """A configuration with any JSON values in it is an experiment, or is refused in sentences."""
    try:
        changes = json.loads(data)
    except (ValueError, RecursionError):
        return
    # nobody composes a configuration from JSON as it comes: Hydra's own reader ends long before such a depth
    if not isinstance(changes, dict) or too_deep(data):
        return
    config = {key: dict(value) for key, value in base_settings().items()}
    for key, value in changes.items():
        group, _, name = key.partition(".")
        if name and isinstance(config.setdefault(group, {}), dict):
            config[group][name] = value
        else:
            config[key] = value
    found, problems = refusal(lambda: parse(config))
    assert problems or isinstance(found, Experiment)
