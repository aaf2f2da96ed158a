"""The oracles of the fuzzer on random inputs, and every input that ever broke one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import fuzz
import fuzz_files
import fuzz_streams
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets.columnar import Parquet
from bench.depth import MOST_LEVELS, too_deep
from bench.domain import ConfigError, ErrorKind, Outcome
from bench.measure.codings import dechunk_whole
from bench.measure.decode import decode
from bench.measure.errors import classify
from bench.samples import load_samples

CHECKS = fuzz.checks()
#: those that read files take milliseconds an input
SLOW = ("datasets", "parquet", "traces", "journal", "settings")


@pytest.fixture(scope="module", autouse=True)
def swept() -> Iterator[None]:
    yield
    shutil.rmtree(fuzz_files.folder())
    fuzz_files.folder.cache_clear()


def inputs(target: str) -> st.SearchStrategy[bytes]:
    """Bytes, seeds, and seeds with something else in the middle."""
    seeds = st.sampled_from(fuzz.seeds(target))
    middle = st.binary(max_size=12) | st.sampled_from(
        [token.encode("latin-1") for token in fuzz.TOKENS[target]] or [b""]
    )

    def damaged(seed: bytes, at: int, length: int, new: bytes) -> bytes:
        at %= len(seed) + 1
        return seed[:at] + new + seed[at + length :]

    return st.binary(max_size=60) | seeds | st.builds(damaged, seeds, st.integers(0, 400), st.integers(0, 9), middle)


@pytest.mark.parametrize("target", CHECKS)
def test_the_oracle_of_each_target_holds(target: str) -> None:
    @settings(max_examples=25 if target in SLOW else 100)
    @given(inputs(target))
    def holds(data: bytes) -> None:
        CHECKS[target](data)

    holds()


def nested(depth: int, opened: str, closed: str, inner: str = "1") -> str:
    return opened * depth + inner + closed * depth


#: inputs that broke an oracle once
FOUND: tuple[tuple[str, bytes], ...] = (
    ("decode", b'\x00data: {"id": "\xd3\xd3", "choices": []}\n\ndata: [DONE]\n\n'),
    ("payloads", b'{"id": "\xd3"}'),
    ("sse", b"\x02\x14\x00\x14\x00error: x\ndataretry: 5retry: 5data: a"),
    ("sse", b"\x01\x09\x00error: x\ndata: y\n\n"),
    ("errors", b"\x81\x00Wed, 21" + b"6" * 90 + b" Oct 2026 07:28:00 GMT\n"),
    ("errors", b"\x81\x00Mon, 01 Jan 2026 00:00:00 +999999999999999999\n"),
    ("codings", b"\x000\r\n"),
    ("codings", b"\x005\r\nhello\r\n0\r\n"),
    ("journal", b"\x93\x01\x02\x03"),
    ("journal", b"\x00\xff\xff\xff"),
    ("traces", b"\x00TIMESTAMP,ContextTokens,GeneratedTokens\n1011-11-16 18:15:46,374,44\n"),
    ("traces", b"\x00timestamp,input_tokens,output_tokens\n-1e9,1,1\n9e9,1,1\n"),
)


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_what_was_found_stays_fixed(target: str, data: bytes) -> None:
    CHECKS[target](data)


def test_bytes_that_are_no_text_in_a_usual_stream_are_replaced() -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "a\xd3b"}, "finish_reason": "stop"}]}\n\n'
    decoded = decode([(1, chunk + b"data: [DONE]\n\n")])
    assert decoded.outcome is Outcome.OK
    assert decoded.reply is not None
    assert decoded.reply.choices[0].text == "a\ufffdb"


def test_a_date_that_no_calendar_has_is_no_wait() -> None:
    failure = classify(429, {"retry-after": f"Wed, {'9' * 40} Oct 2026 07:28:00 GMT"}, b"slow down")
    assert (failure.kind, failure.retry_after_s) == (ErrorKind.HTTP_429, None)


def test_a_last_chunk_without_its_last_line_has_not_ended() -> None:
    assert dechunk_whole([(1, b"5\r\nhello\r\n0\r\n")]) is None
    assert dechunk_whole([(1, b"5\r\nhello\r\n0\r\n\r\n")]) == ([(1, b"hello")], True)


NESTS = (("[", "]", 1), ('{"text":', "}", 1), ('[{"content":', "}]", 2), ('[{"type":"thinking","thinking":', "}]", 2))


@pytest.mark.parametrize("levels", [90, 96, 101, 480, 900, 960, 974, 978, 980, 982, 984, 5000])
@pytest.mark.parametrize("nest", NESTS, ids=lambda nest: nest[0])
def test_depth_is_no_way_to_break_a_reader(nest: tuple[str, str, int], levels: int) -> None:
    opened, closed, each = nest
    value = nested(levels // each, opened, closed)
    bodies = [f'{{"choices": [{{"delta": {{"{field}": {value}}}}}]}}' for field in ("content", "tool_calls", "usage")]
    arguments = f'{{"function": {{"name": 1, "arguments": {value}}}}}'
    bodies += [f'{{"choices": [{{"delta": {{"tool_calls": [{arguments}]}}}}]}}']
    bodies += [f'{{"id": 5, "choices": [], "{field}": {value}}}' for field in ("usage", "timings", "x_groq", "error")]
    for body in (*bodies, value):
        CHECKS["payloads"](body.encode())
        CHECKS["errors"](b"\x81\x00\n" + body.encode())
        for wire in (body, f"data: {body}\n\ndata: [DONE]\n\n"):
            assert_decodes(wire.encode())
    CHECKS["datasets"](b"\x00" + f'{{"prompt": "x", "id": 1, "more": {value}}}\n'.encode())
    CHECKS["traces"](b'\x00{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": %b}\n' % value.encode())


def assert_decodes(wire: bytes) -> None:
    """Without the splits of the oracle, which take long on long wires."""
    reads = [(1, wire)]
    assert decode(reads) == fuzz_streams.thoroughly(reads) or not wire.startswith(b"data")


@given(
    st.recursive(st.integers(0, 9), lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({'a"[\\': inner}))
)
def test_depth_is_counted_outside_of_texts(value: Any) -> None:
    def depth(value: Any) -> int:
        if isinstance(value, dict | list):
            return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
        return 0

    assert not too_deep(json.dumps([value, "[" * 300, '"{' * 300]))
    for wrapped in (MOST_LEVELS - 1, MOST_LEVELS + 1):
        text = json.dumps(value)
        levels = wrapped - depth(value)
        text = nested(levels, "[", "]", text)
        assert too_deep(text) == too_deep(text.encode()) == (wrapped > MOST_LEVELS)


def test_a_header_of_very_many_columns_is_read_at_once() -> None:
    """To compare each name with each other would take minutes."""
    wide = ",".join(f"c{number}" for number in range(60_000))
    CHECKS["datasets"](b"\x01" + f"id,prompt,{wide},c7\n".encode())


@pytest.mark.parametrize(
    ("kind", "value"), [(pa.date32(), 2**31 - 1), (pa.timestamp("us"), 2**62), (pa.timestamp("ms"), 2**62)], ids=str
)
def test_a_date_in_a_parquet_file_that_no_calendar_has_is_refused(
    kind: pa.DataType, value: int, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "day": pa.array([1, value], kind)}), path)
    with pytest.raises(ConfigError, match=r"rows\.parquet: not a readable Parquet file"):
        load_samples(Parquet(path=str(path)))


def test_a_text_in_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "rows.parquet", fuzz_files.parquet_bytes()
    path.write_bytes(content.replace("hé".encode(), b"h\xff\xff"))
    with pytest.raises(ConfigError, match=r"rows\.parquet: not a readable Parquet file"):
        load_samples(Parquet(path=str(path)))


def test_edits_reach_every_kind_of_damage() -> None:
    content = bytes(range(20))
    places = chain.from_iterable(repeat(place, 6) for place in range(20))
    seen = {
        fuzz_files.edited(content, bytes([place, 0, what, 3]))
        for place, what in zip(places, [*range(6)] * 20, strict=True)
    }
    assert content[:7] in seen
    assert len(seen) > 80


def test_without_atheris_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda _: None)
    assert fuzz.main(["--target", "slo"]) == 2
    assert "pip install atheris" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_fuzzes_and_counts(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    assert fuzz.main(["--target", "slo", "--runs", "300", "--seconds", "20", "--keep", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[0] == "slo"
    assert int(row[1].replace(",", "")) >= 300
    assert int(row[2].replace(",", "")) > 10
