"""From run folders to frames: derived columns, nulls, warm-up, scores, pauses."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ConfigError
from bench.judge.rows import pauses, read_run
from tests.made_run import MS, SCHEMAS, MadeCell, make_run


def test_derived_columns_are_the_contract_s_definitions(tmp_path: Path) -> None:
    cell = MadeCell({"model.name": "m"}, questions=3, ttft_ms=500, tokens=10, token_ms=50, reasoning_events=3)
    row = read_run(make_run(tmp_path / "run", [cell])).requests.iloc[1]
    assert row["ttft_ms"] == 500
    assert row["ttfa_ms"] == 650
    assert row["e2e_ms"] == 951
    assert row["tpot_ms"] == 50
    assert row["output_tok_per_s"] == pytest.approx(10 / 0.951)
    assert row["queue_ms"] == 99, "due at 0, permit a millisecond before the send at 100 ms"
    assert row["send_lag_ms"] == 1
    assert row["due_ttft_ms"] == 600
    assert row["due_e2e_ms"] == 1051


@pytest.mark.parametrize(
    ("cell", "null", "there"),
    [
        (MadeCell({}, stream=False), ["ttft_ms", "ttfa_ms", "tpot_ms", "due_ttft_ms"], ["e2e_ms", "output_tok_per_s"]),
        (MadeCell({}, n=3), ["tpot_ms"], ["ttft_ms", "output_tok_per_s"]),
        (MadeCell({}, usage=False), ["tpot_ms", "output_tok_per_s"], ["ttft_ms", "e2e_ms"]),
        (MadeCell({}, tokens=1), ["tpot_ms"], ["ttft_ms", "output_tok_per_s"]),
    ],
    ids=["not streamed", "several choices", "no usage", "one token"],
)
def test_what_is_undefined_is_null(tmp_path: Path, cell: MadeCell, null: list[str], there: list[str]) -> None:
    rows = read_run(make_run(tmp_path / "run", [cell])).requests
    assert rows[null].isna().all().all()
    assert rows[there].notna().all().all()


def test_replies_from_the_cache_measure_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [MadeCell({}, questions=4)])
    table = pq.read_table(run / "requests.parquet")
    cached = pa.array([True, False, False, False])
    place = table.schema.get_field_index("cached")
    pq.write_table(table.set_column(place, "cached", cached), run / "requests.parquet")
    assert read_run(run).requests["e2e_ms"].isna().tolist() == [True, False, False, False]


def test_warm_up_is_left_out_of_figures_and_kept_in_the_rows(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", [MadeCell({}, questions=5, warmup=2)]))
    assert len(run.every_request) == 7
    assert len(run.requests) == 5
    assert len(run.rows_of(run.cells[0]).replies) == 5


def test_failed_requests_have_no_score_whatever_the_file_says(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=10, failures=["http_429"], truncated=2, skill=1.0)
    run = read_run(make_run(tmp_path / "run", [cell]))
    assert len(run.scores) == 7
    assert len(run.replies) == 7
    assert set(run.scores["sample_id"]) == {f"q{i}" for i in range(7)}


def test_unparsed_refused_and_cut_replies_score_zero_and_unscored_ones_nothing(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, questions=5)])
    labels = ["unparsed", "refused", "truncated", "unscored", "partial"]
    values = [None, None, 0.0, None, 0.25]
    rows = pq.read_table(path / "scores.parquet").to_pylist()
    changed = [row | {"label": label, "value": value} for row, label, value in zip(rows, labels, values, strict=True)]
    pq.write_table(pa.Table.from_pylist(changed, schema=SCHEMAS["scores"]), path / "scores.parquet")
    assert read_run(path).scores["value"].tolist() == [0.0, 0.0, 0.0, 0.25]


def test_two_scorers_never_share_a_mean(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, questions=4, skill=1.0, scorer="numeric")])
    rows = pq.read_table(path / "scores.parquet").to_pylist()
    other = [row | {"scorer": "contains", "value": 0.0, "label": "wrong"} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows + other, schema=SCHEMAS["scores"]), path / "scores.parquet")
    run = read_run(path)
    assert run.scorers_of(run.cells[0]) == ["numeric", "contains"]
    assert run.scores_of(run.cells[0])["value"].tolist() == [1.0] * 4


def test_parts_and_single_files_read_the_same(tmp_path: Path) -> None:
    cells = [MadeCell({"model.name": name}, jitter=0.5) for name in "ab"]
    whole, parts = read_run(make_run(tmp_path / "a", cells)), read_run(make_run(tmp_path / "b", cells, parts=3))
    key = "request_id"
    assert whole.requests.sort_values(key, ignore_index=True).equals(parts.requests.sort_values(key, ignore_index=True))


def test_a_run_without_choices_and_scores_still_reads(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({})])
    (path / "scores.parquet").unlink()
    (path / "choices.parquet").unlink()
    rows = read_run(path).rows_of(read_run(path).cells[0])
    assert rows.scores.empty
    assert rows.replies.empty
    assert rows.gaps_ms.size == 0


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.json"):
        read_run(tmp_path)
    path = make_run(tmp_path / "run", [MadeCell({})])
    (path / "requests.parquet").unlink()
    run = read_run(path)
    with pytest.raises(ConfigError, match="requests"):
        _ = run.requests


def test_pauses_are_pooled_per_cell(tmp_path: Path) -> None:
    cells = [MadeCell({"a": 1}, tokens=4, token_ms=10, n=2, questions=3), MadeCell({"a": 2}, tokens=1, questions=3)]
    run = read_run(make_run(tmp_path / "run", cells))
    assert run.rows_of(run.cells[0]).gaps_ms.tolist() == [10.0] * 18
    assert run.rows_of(run.cells[1]).gaps_ms.size == 0


@given(st.lists(st.lists(st.integers(0, 10**12), max_size=6) | st.none(), max_size=8))
def test_pauses_never_cross_from_one_list_to_the_next(lists: list[list[int] | None]) -> None:
    gaps, counts = pauses(pa.array(lists, pa.list_(pa.int64())))
    expected = [(b - a) / MS for events in lists if events for a, b in pairwise(events)]
    np.testing.assert_allclose(gaps, expected)
    assert counts.tolist() == [max(len(events or []) - 1, 0) for events in lists]
