"""A run folder, written and read back: every column, every table, and the errors a person meets."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_cases import CELL, ORIGIN, SAMPLE, full, plain, request

from bench.domain import (
    Cell,
    Choice,
    ConfigError,
    ErrorKind,
    EventKind,
    Exchange,
    Failure,
    Label,
    Outcome,
    Reply,
    Sample,
    Timeline,
    Usage,
)
from bench.record import (
    Record,
    ScoreRow,
    SegmentLimits,
    find_run,
    iter_batches,
    pack,
    read_choices,
    read_header,
    read_samples,
    read_table,
    write_scores,
)
from bench.record.rows import mended, storable, unpack

TABLES = ("requests", "choices", "attempts")


def start(folder: Path, **options: Any) -> Record:
    return Record.create(folder, "demo", {"origin_ns": ORIGIN, "seed": 7}, **options)


def finished(folder: Path, exchanges: list[Exchange], state: str = "finished", **options: Any) -> Path:
    with start(folder, **options) as record:
        for exchange in exchanges:
            record.append(exchange)
        record.finish(state=state)
    return record.path


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table(path, table).to_pylist()
    return found


def test_every_column_of_a_full_exchange_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = finished(tmp_path, [full()])
    assert rows(path, "requests") == [
        {
            "request_id": "req-000001", "cell_id": "cell-a", "sample_id": "s1", "repeat": 1, "order": 1,
            "provider": "sim", "model": "org/model-7b", "stream": True, "n": 2,
            "due_ns": 10, "permit_ns": 20, "sent_ns": 30, "headers_ns": 40, "first_byte_ns": 50,
            "first_reasoning_ns": 100, "first_answer_ns": 90, "last_token_ns": 350, "end_ns": 400,
            "outcome": "ok", "error_kind": None, "error_detail": None, "error_code": None, "status": 200, "attempts": 2,
            "prompt_tokens": 11, "completion_tokens": 12, "reasoning_tokens": 13, "cached_tokens": 14,
            "usage_source": "server", "cost": 0.25, "currency": "CNY",
            "response_id": "resp-1", "response_model": "org/model-7b-0711", "system_fingerprint": "fp",
            "trace_id": "trace-1", "extra": '{"timings": {"prompt_ms": 1.5}}',
            "connect_ns": 7, "bytes_in": 1234, "events": 5, "cached": True, "warmup": True, "loop_lag_ns": 9,
        }
    ]  # fmt: skip
    call = '[{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}]'
    assert rows(path, "choices") == [
        {
            "request_id": "req-000001", "choice": 0, "text": "two", "reasoning": "one and one", "tool_calls": None,
            "finish_reason": "stop", "first_reasoning_ns": 100, "first_answer_ns": 300, "last_token_ns": 300,
            "event_ns": [100, 200, 300], "event_kind": ["reasoning", "reasoning", "answer"],
        },
        {
            "request_id": "req-000001", "choice": 1, "text": "", "reasoning": "", "tool_calls": call,
            "finish_reason": "tool_calls", "first_reasoning_ns": None, "first_answer_ns": 90, "last_token_ns": 350,
            "event_ns": [90, 350], "event_kind": ["tool", "tool"],
        },
    ]  # fmt: skip
    assert rows(path, "attempts") == [
        {
            "request_id": "req-000001", "attempt": 1, "sent_ns": 1, "end_ns": 5, "status": 429,
            "error_kind": "http_429", "error_detail": "slow down", "error_code": "20015",
            "retry_after_s": 1.5, "waited_ns": 0,
        },
        {
            "request_id": "req-000001", "attempt": 2, "sent_ns": 30, "end_ns": 400, "status": 200,
            "error_kind": None, "error_detail": None, "error_code": None, "retry_after_s": None, "waited_ns": 15,
        },
    ]  # fmt: skip


def test_a_reply_that_was_not_streamed_has_no_event_marks(tmp_path: Path) -> None:
    path = finished(tmp_path, [plain(1)])
    (row,) = rows(path, "requests")
    marks = ("first_reasoning_ns", "first_answer_ns", "last_token_ns")
    assert [row[mark] for mark in marks] == [None, None, None]
    (choice,) = rows(path, "choices")
    assert [choice[mark] for mark in marks] == [None, None, None]
    assert (choice["event_ns"], choice["event_kind"]) == ([], [])


def test_a_failure_and_an_unsent_request_have_rows_and_no_invented_numbers(tmp_path: Path) -> None:
    record = start(tmp_path)
    record.append(plain(1, Outcome.FAILED, ErrorKind.RESET))
    record.finish(state="finished", unsent=[plain(2, Outcome.NOT_SENT, ErrorKind.BUDGET)])
    failed, unsent = rows(record.path, "requests")
    assert (failed["outcome"], failed["error_kind"], failed["error_detail"]) == ("failed", "reset", "detail 1")
    assert (unsent["outcome"], unsent["error_kind"], unsent["sent_ns"], unsent["attempts"]) == (
        "not_sent",
        "budget",
        None,
        0,
    )
    unknown = ("prompt_tokens", "completion_tokens", "usage_source", "cost", "currency", "end_ns", "response_id")
    assert all(row[name] is None for row in (failed, unsent) for name in unknown)
    assert rows(record.path, "choices") == []
    assert [row["request_id"] for row in rows(record.path, "attempts")] == ["req-000001"]


def test_pandas_reads_single_files_and_folders_of_parts_alike(tmp_path: Path) -> None:
    exchanges = [full(), *(plain(number) for number in range(2, 12))]
    single = finished(tmp_path / "a", exchanges)
    parts = finished(tmp_path / "b", exchanges, limits=SegmentLimits(rows=4))
    assert (single / "requests.parquet").is_file()
    assert len(list((parts / "requests.parquet").iterdir())) == 3
    for table in TABLES:
        left, right = (pd.read_parquet(path / f"{table}.parquet") for path in (single, parts))
        pd.testing.assert_frame_equal(left, right)
        assert read_table(single, table).equals(read_table(parts, table))
    event_kinds = pd.read_parquet(parts / "choices.parquet")["event_kind"]
    assert list(event_kinds[0]) == ["reasoning", "reasoning", "answer"]


def test_a_finished_run_leaves_only_what_the_contract_names(tmp_path: Path) -> None:
    with start(tmp_path, limits=SegmentLimits(rows=3)) as record:
        record.write_cells([CELL])
        record.write_samples({"sums": [SAMPLE]})
        for number in range(8):
            record.append(plain(number))
        record.finish(state="finished")
    expected = {"run.json", *(f"{t}.parquet" for t in (*TABLES, "cells", "samples"))}
    assert {p.name for p in record.path.iterdir()} == expected
    assert {p.name for p in (record.path / "requests.parquet").iterdir()} == {
        f"part-00000{n}.parquet" for n in (1, 2, 3)
    }


def test_the_header_tells_state_counts_and_clock(tmp_path: Path) -> None:
    record = start(tmp_path, moment=datetime(2026, 11, 22, 17, 17, 59, tzinfo=UTC), short_id=lambda: "abc123")
    assert read_header(record.path)["state"] == "running"
    assert record.path == tmp_path / "demo" / "20261122T171759Z-abc123"
    record.append(plain(1))
    record.append(plain(2, Outcome.FAILED, ErrorKind.TLS))
    record.update(note="\ud800 ok", verdict={"state": "valid"})
    record.finish(state="finished", unsent=[plain(3, Outcome.CANCELLED, ErrorKind.CANCELLED)])
    header = read_header(record.path)
    assert header == record.header | {"note": "� ok"}
    assert header["counts"] == {"ok": 1, "failed": 1, "cancelled": 1}
    assert (header["run_id"], header["name"], header["seed"]) == ("20261122T171759Z-abc123", "demo", 7)
    assert (header["origin_ns"], header["schema_version"], header["state"]) == (ORIGIN, 1, "finished")


def test_two_runs_of_the_same_second_and_the_same_short_id_get_folders_of_their_own(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ids = iter(["same", "same", "same", "next"])
    first = start(tmp_path, moment=moment, short_id=lambda: next(ids))
    second = start(tmp_path, moment=moment, short_id=lambda: next(ids))
    assert [p.path.name for p in (first, second)] == ["20260101T000000Z-same", "20260101T000000Z-next"]
    assert find_run("latest", tmp_path) == second.path
    first.close()
    second.close()


@pytest.mark.parametrize("bad", ["file", "/proc/none", "/dev/null/x"])
def test_a_results_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path, bad: str) -> None:
    folder = tmp_path / "file" if bad == "file" else Path(bad)
    if bad == "file":
        folder.write_text("in the way")
    with pytest.raises(ConfigError, match=str(folder)):
        start(folder)


def test_a_disk_that_is_full_at_the_start_is_refused_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.record.header.os.replace", no_space)
    with pytest.raises(ConfigError, match="the disk is full"):
        start(tmp_path)
    assert list((tmp_path / "demo").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\x00b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="folder name"):
        Record.create(tmp_path, name, {})


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    record = start(tmp_path)
    record.append(plain(1))
    script = (
        "import sys; from pathlib import Path; from bench.domain import ConfigError; from bench.record import Record\n"
        "try: Record.reopen(Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(record.path)], capture_output=True, text=True, check=True)
    assert f"pid {os.getpid()}" in done.stdout
    record.append(plain(2))
    record.finish(state="finished")
    assert len(rows(record.path, "requests")) == 2


def test_a_finished_run_is_not_reopened_and_takes_no_more(tmp_path: Path) -> None:
    record = start(tmp_path)
    record.finish(state="finished")
    with pytest.raises(ConfigError, match="finished"):
        Record.reopen(record.path)
    with pytest.raises(ValueError, match="closed"):
        record.append(plain(1))


@pytest.mark.parametrize("limits", [SegmentLimits(), SegmentLimits(rows=4)], ids=["single", "parts"])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, limits: SegmentLimits) -> None:
    record = start(tmp_path, limits=limits)
    record.write_cells([CELL])
    for number in range(6):
        record.append(plain(number))
    record.append(plain(6, Outcome.CANCELLED, ErrorKind.CANCELLED))
    unsent = [plain(7, Outcome.NOT_SENT, ErrorKind.CANCELLED), plain(8, Outcome.NOT_SENT, ErrorKind.MODEL_OFFLINE)]
    record.finish(state="interrupted", unsent=unsent)
    assert len(rows(record.path, "requests")) == 9
    assert read_header(record.path)["counts"] == {"ok": 6, "cancelled": 1, "not_sent": 2}

    again = Record.reopen(record.path, limits=limits)
    assert again.done() == {f"req-{n:06d}" for n in (0, 1, 2, 3, 4, 5, 8)}
    assert again.origin_ns == ORIGIN
    again.append(plain(6))
    again.append(plain(7))
    again.finish(state="finished")
    outcomes = {row["request_id"]: row["outcome"] for row in rows(again.path, "requests")}
    assert outcomes == {f"req-{n:06d}": "not_sent" if n == 8 else "ok" for n in range(9)}
    assert len(rows(again.path, "requests")) == 9
    assert len(read_header(again.path)["sessions"]) == 1
    assert rows(again.path, "cells")[0]["cell_id"] == "cell-a"


def test_a_request_cancelled_in_flight_and_reported_unsent_has_one_row(tmp_path: Path) -> None:
    record = start(tmp_path)
    record.append(plain(1, Outcome.CANCELLED, ErrorKind.CANCELLED))
    unsent = (plain(n, Outcome.NOT_SENT) for n in range(4) if f"req-{n:06d}" not in record.done())
    record.finish(state="interrupted", unsent=unsent)
    found = {row["order"]: row["outcome"] for row in rows(record.path, "requests")}
    assert found == {0: "not_sent", 1: "cancelled", 2: "not_sent", 3: "not_sent"}
    assert len(rows(record.path, "requests")) == 4


def test_after_a_reboot_times_go_on_by_the_wall_clock(tmp_path: Path) -> None:
    record = start(tmp_path)
    record.append(plain(1))
    record.update(boot_id="another boot")
    record.close()
    again = Record.reopen(record.path)
    assert again.origin_ns != ORIGIN
    late = again.origin_ns + 3_600_000_000_000
    again.append(replace(plain(2), timeline=Timeline(late)))
    again.finish(state="finished")
    assert [row["due_ns"] for row in rows(again.path, "requests")] == [1, 3_600_000_000_000]


def test_cells_are_flat_columns_that_keep_their_type_where_they_have_one(tmp_path: Path) -> None:
    other = replace(
        CELL,
        cell_id="cell-b",
        index=1,
        params={
            "sampling.stream": False,
            "sampling.temperature": 0.5,
            "sampling.stop": ["a", "\ud800"],
            "sampling.extra.k": 2**70,
            "label": "x",
        },
    )
    record = start(tmp_path)
    record.write_cells([CELL, other])
    record.finish(state="finished")
    table = pd.read_parquet(record.path / "cells.parquet")
    assert list(table["cell_id"]) == ["cell-a", "cell-b"]
    assert list(table["label"]) == ["t=0", "t=0"]
    assert list(table["params.label"])[1] == "x"
    assert list(table["sampling.stream"]) == [True, False]
    assert list(table["sampling.temperature"]) == [0.0, 0.5]
    assert table["sampling.stop"][1] == '["a", "�"]'
    assert list(table["sampling.extra.k"]) == ['"v"', str(2**70)]
    assert [list(swept) for swept in table["swept"]] == [["sampling.temperature"]] * 2


def test_samples_are_read_back_as_they_were(tmp_path: Path) -> None:
    rich = Sample(
        sample_id="二",
        messages=({"role": "system", "content": "是"}, {"role": "user", "content": [{"type": "text", "text": "\x00"}]}),
        target={"a": [1, 2.5, None]},
        tags=("x", "y"),
        fields={"level": 3, "nested": {"k": [True]}},
        tools=({"type": "function", "function": {"name": "f"}},),
        response_format={"type": "json_object"},
        place="set.jsonl:2",
    )
    record = start(tmp_path)
    record.write_samples({"sums": [SAMPLE, rich], "more": [SAMPLE]})
    record.finish(state="finished")
    assert read_samples(record.path) == {"sums": {"s1": SAMPLE, "二": rich}, "more": {"s1": SAMPLE}}


@pytest.mark.parametrize("limits", [SegmentLimits(), SegmentLimits(rows=2)], ids=["single", "parts"])
def test_choices_come_back_as_nouns_with_their_owners(tmp_path: Path, limits: SegmentLimits) -> None:
    exchanges = [plain(0, Outcome.FAILED, ErrorKind.TLS), full(), plain(2), plain(3, Outcome.NOT_SENT), plain(4)]
    path = finished(tmp_path, exchanges, limits=limits)
    batches = list(read_choices(path, events=True, batch_rows=2))
    assert all(len(batch) <= 2 for batch in batches)
    found = [row for batch in batches for row in batch]
    owners = [(row.request_id, row.cell_id, row.sample_id, row.outcome, row.choice.index) for row in found]
    assert owners == [
        (f"req-00000{number}", "cell-a", "s1", Outcome.OK, index) for number, index in [(1, 0), (1, 1), (2, 0), (4, 0)]
    ]
    reply = full().reply
    assert reply is not None
    moved = [replace(c, event_ns=tuple(t - ORIGIN for t in c.event_ns)) for c in reply.choices]
    assert [row.choice for row in found[:2]] == moved
    without = [row.choice for batch in read_choices(path) for row in batch]
    assert without == [replace(row.choice, event_ns=(), event_kind=()) for row in found]


def test_scores_replace_the_scores_before(tmp_path: Path) -> None:
    path = finished(tmp_path, [plain(1)])
    write_scores(path, [ScoreRow("old", 0, "exact", 1.0, Label.CORRECT)])
    scores = (ScoreRow(f"r{n}", 0, "exact", None, Label.UNSCORED, "\ud800", "why", "1") for n in range(5000))
    write_scores(path, scores)
    table = read_table(path, "scores")
    assert table.num_rows == 5000
    assert table.slice(0, 1).to_pylist() == [
        {"request_id": "r0", "choice": 0, "scorer": "exact", "value": None, "label": "unscored",
         "extracted": "�", "detail": "why", "scorer_version": "1"}
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="not a run folder"):
        write_scores(tmp_path, [])


def test_a_scorer_that_fails_half_way_leaves_the_old_scores(tmp_path: Path) -> None:
    path = finished(tmp_path, [plain(1)])
    write_scores(path, [ScoreRow("old", 0, "exact", 1.0, Label.CORRECT)])
    before = {p.name for p in path.iterdir()}
    with pytest.raises(ZeroDivisionError):
        write_scores(path, (ScoreRow("r", 0, "exact", 1 / (1 - n), Label.CORRECT) for n in range(3)))
    assert {p.name for p in path.iterdir()} == before
    assert [row["request_id"] for row in rows(path, "scores")] == ["old"]


def test_batches_are_bounded_and_complete(tmp_path: Path) -> None:
    path = finished(tmp_path, [plain(number) for number in range(10)], limits=SegmentLimits(rows=4))
    batches = list(iter_batches(path, "requests", ["order"], batch_rows=3))
    assert max(batch.num_rows for batch in batches) == 3
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == list(range(10))


def test_reading_what_is_not_there_or_damaged_says_what_and_where(tmp_path: Path) -> None:
    path = finished(tmp_path, [plain(1)])
    with pytest.raises(ConfigError, match=r"not a run folder.*run\.json"):
        read_table(tmp_path, "requests")
    with pytest.raises(ConfigError, match="bench score"):
        read_table(path, "scores")
    with pytest.raises(ConfigError, match="has no column colour"):
        read_table(path, "requests", ["colour"])
    damaged = path / "choices.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=str(damaged)):
        read_table(path, "choices")
    (path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        read_header(path)
    (path / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(ConfigError, match="newer"):
        read_header(path)
    (path / "run.json").write_text("[]")
    with pytest.raises(ConfigError, match="schema_version"):
        read_header(path)


def test_choices_that_belong_to_no_request_are_noticed(tmp_path: Path) -> None:
    path = finished(tmp_path / "a", [plain(1)])
    other = finished(tmp_path / "b", [plain(2)])
    (path / "choices.parquet").write_bytes((other / "choices.parquet").read_bytes())
    with pytest.raises(ConfigError, match="req-000002"):
        list(read_choices(path))


def test_a_run_is_found_by_folder_part_of_its_name_or_latest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no runs"):
        find_run("latest", tmp_path)
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3, 2)]
    paths = []
    for moment, name in zip(moments, ["ab", "cd", "ab"], strict=True):
        record = Record.create(tmp_path, name, {}, moment=moment, short_id=lambda: "f00")
        record.close()
        paths.append(record.path)
    assert find_run("latest", tmp_path) == paths[1]
    assert find_run(str(paths[0]), tmp_path / "elsewhere") == paths[0]
    assert find_run("20260102", tmp_path) == paths[2]
    assert find_run("cd", tmp_path) == paths[1]
    assert find_run(paths[0].name, tmp_path) == paths[0]
    with pytest.raises(ConfigError, match=r"matches 2 runs(.|\n)*ab/20260101(.|\n)*ab/20260102"):
        find_run("ab", tmp_path)
    with pytest.raises(ConfigError, match=r"no run matches 'zz'(.|\n)*cd/20260103"):
        find_run("zz", tmp_path)


texts = st.text(st.characters(exclude_categories=()), max_size=30)
counts = st.none() | st.integers(-(2**70), 2**70)


@st.composite
def hostile_exchanges(draw: st.DrawFn) -> Exchange:
    marks = sorted(draw(st.lists(st.integers(ORIGIN, ORIGIN + 10**15), max_size=5)))
    kinds = draw(st.lists(st.sampled_from(EventKind), min_size=len(marks), max_size=len(marks)))
    call = {"id": draw(texts), "type": "function", "function": {"name": draw(texts), "arguments": draw(texts)}}
    choice = Choice(0, draw(texts), draw(texts), (call,), draw(st.none() | texts), tuple(marks), tuple(kinds))
    reply = Reply(
        (choice,), Usage(draw(counts), draw(counts)), draw(texts), draw(texts), draw(texts), extra={draw(texts): 1}
    )
    failure = Failure(ErrorKind.STREAM_ERROR, draw(texts), draw(texts), draw(st.none() | st.floats()))
    cell = replace(CELL, cell_id=draw(texts))
    return Exchange(request(1, cell), Outcome.OK, Timeline(ORIGIN), reply, failure, trace_id=draw(texts))


@given(hostile_exchanges())
def test_whatever_a_server_says_can_be_stored_and_is_read_back(exchange: Exchange) -> None:
    from bench.record.seal import Batch

    batch = Batch(ORIGIN)
    batch.add(pack(exchange))
    tables = {name: table.to_pylist() for name, table in batch.tables().items()}
    assert exchange.reply is not None
    assert exchange.reply.usage is not None
    (choice,) = exchange.reply.choices
    (row,), (said,) = tables["requests"], tables["choices"]
    assert said["text"] == mended(choice.text)
    assert json.loads(said["tool_calls"]) == storable(choice.tool_calls)
    assert (said["event_ns"], said["event_kind"]) == ([t - ORIGIN for t in choice.event_ns], list(choice.event_kind))
    for mark in ("first_reasoning_ns", "first_answer_ns", "last_token_ns"):
        expected = getattr(choice, mark)
        assert said[mark] == row[mark] == (None if expected is None else expected - ORIGIN)
    tokens = exchange.reply.usage.prompt_tokens
    assert row["prompt_tokens"] == (tokens if tokens is not None and abs(tokens) < 2**63 else None)


@given(texts)
def test_mended_text_is_utf8_and_good_text_is_left_alone(text: str) -> None:
    whole = mended(text).encode().decode()
    surrogates = [c for c in text if "\ud800" <= c <= "\udfff"]
    assert whole == mended(whole)
    if not surrogates:
        assert whole == text


def test_error_texts_are_cut(tmp_path: Path) -> None:
    exchange = replace(plain(1), failure=Failure(ErrorKind.HTTP_5XX, "x" * 10**6, "y" * 10**6), trace_id="z" * 10**6)
    row = unpack(pack(exchange))[0]
    assert max(len(value) for value in row if isinstance(value, str)) == 2000


def test_packing_and_the_writer_need_no_pyarrow() -> None:
    script = "import sys, bench.record; print('pyarrow' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_cells_of_one_kind_of_value() -> None:
    from bench.record.tables import _flat

    assert str(_flat([1, None]).type) == "int64"
    assert str(_flat([1, True]).type) == "string"
    assert _flat([2**63]).to_pylist() == [str(2**63)]
    assert _flat([None, None]).to_pylist() == [None, None]


def test_a_cell_is_any_mapping(tmp_path: Path) -> None:
    cell = Cell("c", 0, "l", {"sampling.stop": [1]}, (), None, "d")
    path = finished(tmp_path, [replace(plain(1), request=request(1, cell))])
    (row,) = rows(path, "requests")
    assert (row["model"], row["provider"], row["n"], row["stream"]) == (None, None, None, None)
