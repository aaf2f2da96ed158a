"""JSONL, CSV and Parquet files as rows; what cannot be read is named by file and line."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_files import load, refused, written

from bench.datasets.delimited import Csv
from bench.datasets.jsonl import JsonLines
from bench.domain import ConfigError
from bench.registry import discover
from bench.samples import load_samples

discover()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# Readers


def test_the_same_rows_from_every_format_give_the_same_samples(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": "a", "prompt": "One, two?\nThree", "target": "x"}, {"id": "b", "prompt": "“四”", "target": "y"}]
    written(folder / "rows.jsonl", *rows)
    (folder / "rows.csv").write_text('id,prompt,target\na,"One, two?\nThree",x\nb,“四”,y\n', encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    for name in ("rows.jsonl", "rows.csv", "rows.parquet"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    found = [load(folder / f"rows.{kind}{gz}", kind) for kind in ("jsonl", "csv", "parquet") for gz in ("", ".gz")]
    assert len({one.content_hash for one in found}) == 1
    assert [sample.messages for sample in found[0].samples] == [
        ({"role": "user", "content": r["prompt"]},) for r in rows
    ]


def test_places_count_lines_of_the_file(folder: Path) -> None:
    (folder / "rows.jsonl").write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b"}\n', encoding="utf-8")
    assert [s.place for s in load(folder / "rows.jsonl").samples] == [f"{folder}/rows.jsonl:{n}" for n in (1, 3)]
    (folder / "rows.csv").write_text('prompt\n"a\na"\nb\n', encoding="utf-8")
    assert [s.place for s in load(folder / "rows.csv", "csv").samples] == [f"{folder}/rows.csv:{n}" for n in (2, 4)]


def test_csv_cells_become_what_the_fields_are(folder: Path) -> None:
    (folder / "rows.tsv").write_text(
        'messages\ttarget\ttags\ttools\n"[{""role"": ""user"", ""content"": ""Hi""}]"\t\ta, b\t[]\n', encoding="utf-8"
    )
    (sample,) = load(folder / "rows.tsv", "csv", delimiter="\t").samples
    assert sample.messages == ({"role": "user", "content": "Hi"},)
    assert (sample.target, sample.tags, sample.tools) == (None, ("a", "b"), ())


def test_parquet_types_without_a_json_form_become_text(folder: Path) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"prompt": "p", "day": datetime.date(2027, 1, 2), "raw": b"ab", "none": None, "many": [1, 2]}
    pq.write_table(pa.Table.from_pylist([row]), folder / "rows.parquet")
    (sample,) = load(folder / "rows.parquet", "parquet").samples
    assert sample.fields == {"prompt": "p", "day": "2027-01-02", "raw": "ab", "many": [1, 2]}


# Bad input


def test_a_missing_file_is_named(folder: Path) -> None:
    (problem,) = refused(folder / "none.jsonl")
    assert str(folder / "none.jsonl") in problem


def test_a_missing_shipped_file_lists_those_that_exist() -> None:
    (problem,) = refused("shipped://arithmetik.jsonl")
    assert "arithmetic.jsonl" in problem
    assert "chinese.jsonl" in problem


@pytest.mark.parametrize(
    "path", ["ftp://example.org/x.jsonl", "http://example.org/x.jsonl", "shipped://../pyproject.toml", ""]
)
def test_paths_that_are_no_files_are_refused(path: str) -> None:
    assert "dataset.path" in refused(path)[0]


@pytest.mark.parametrize(("kind", "content"), [("jsonl", b""), ("jsonl", b"\n \n"), ("csv", b"prompt\n"), ("csv", b"")])
def test_an_empty_dataset_is_refused(folder: Path, kind: str, content: bytes) -> None:
    (folder / "rows").write_bytes(content)
    assert "no rows" in refused(folder / "rows", kind)[0]


def test_every_unreadable_line_is_named(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(
        b'{"prompt": "a"}\n{"prompt": "\xff"}\n{"prompt": \n[1]\n{"prompt": NaN}\n' + b"[" * 100_000 + b"\n"
    )
    problems = refused(path)
    expected = ("2: invalid UTF-8", "3: invalid JSON", "4: a row must be", "5: invalid JSON", "6: invalid JSON")
    assert len(problems) == len(expected)
    for problem, words in zip(problems, expected, strict=True):
        assert problem.startswith(f"{path}:{words}")


def test_csv_faults_are_named_by_line(folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_bytes(b'id,prompt\n1,a\n2,\xff\n3\n4,"b\nc",d\n')
    assert [p.removeprefix(f"{path}:")[:2] for p in refused(path, "csv")] == ["3:", "4:", "5:"]
    path.write_text("id,prompt,id\n1,a,2\n")
    assert "more than once" in refused(path, "csv")[0]
    path.write_text('id,prompt\n1,"never closed\n')
    assert "not valid CSV" in refused(path, "csv")[0]
    assert "delimiter" in refused(path, "csv", delimiter="ab")[0]


@pytest.mark.parametrize(("name", "kind"), [("rows.jsonl.gz", "jsonl"), ("rows.parquet", "parquet")])
def test_damaged_files_are_named(folder: Path, name: str, kind: str) -> None:
    (folder / name).write_bytes(b"this is neither gzip nor Parquet")
    assert str(folder / name) in refused(folder / name, kind)[0]
    (folder / name).write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 1000)[:-20])
    assert str(folder / name) in refused(folder / name, kind)[0]


@given(data=st.binary(max_size=300), gz=st.booleans())
def test_any_bytes_are_read_or_refused_never_crash(
    data: bytes, gz: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.gz" if gz else "any.txt")
    path.write_bytes(data)
    for reader in (JsonLines(path=str(path)), Csv(path=str(path))):
        with contextlib.suppress(ConfigError):
            assert load_samples(reader).samples
