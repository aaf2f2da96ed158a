"""A real engine on this machine: llama.cpp with the small bundled model, started and ended by the run."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from bench_process import await_gone, children
from measured import Measured, run_measured
from setups import experiment, rows_file
from test_dispatch import good

from bench import engine
from bench.cli import main
from bench.domain import ConfigError, Usage
from bench.measure.servers import Servers
from bench.measure.spending import spent_tokens, without_partial_usage
from bench.record import read_header, read_table

installed = importlib.util.find_spec("xllamacpp") is not None and engine.find_weights() is not None
real_engine = pytest.mark.skipif(not installed, reason=f"no engine: {engine.INSTALL}")

MS = 1e6


def local_run(folder: Path, rows: int, **sampling: Any) -> Measured:
    point = experiment(
        rows_file(folder, rows),
        model={"name": "SmolLM2-135M-Instruct", "provider": "local", "context_tokens": 2048},
        provider={"kind": "local"},
        sampling={"temperature": 0.0, **sampling},
        load={"kind": "closed", "concurrency": 1},
    )
    return run_measured([point], folder / "results")


@pytest.mark.local
@pytest.mark.slow
@real_engine
def test_the_demo_on_a_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped experiment, streaming and with two choices, cut to two questions."""
    monkeypatch.chdir(tmp_path)
    before = children(os.getpid())
    arguments = ["experiment=demo_local", "dataset.limit=2", "sampling.max_tokens=8", "report=none"]
    assert main(["run", *arguments]) == 0
    assert children(os.getpid()) == before
    (path,) = (tmp_path / "results" / "demo-local").iterdir()
    assert read_header(path)["counts"] == {"ok": 2}
    for row in read_table(path, "requests").to_pylist():
        assert (row["n"], row["stream"], row["status"], row["events"] > 0) == (2, True, 200, True)
        assert "/" not in row["response_model"]
        # llama.cpp counts the tokens of one choice alone: no number is better than half of one
        assert row["prompt_tokens"] > 0
        assert row["completion_tokens"] is None
    choices = read_table(path, "choices").to_pylist()
    assert sorted(choice["choice"] for choice in choices) == [0, 0, 1, 1]
    for choice in choices:
        assert choice["finish_reason"] in ("stop", "length")
        assert choice["text"]
        assert len(choice["event_ns"]) > 0
    assert read_table(path, "scores").num_rows == 4


@pytest.mark.local
@pytest.mark.slow
@real_engine
def test_the_engine_measures_what_we_measure(tmp_path: Path) -> None:
    """llama.cpp tells its own times of one request after the other; ours contain them.

    Its ``prompt_ms`` is the time to read the prompt; our TTFT adds HTTP, templating, sampling the first token and two
    process switches, so it is never shorter, and longer by 100 ms at most. ``predicted_ms / predicted_n`` is its time
    per token; ours comes from the stamps of the tokens after the first. Some tokens leave without text (parts of a
    character) and the first costs more than the others, so a tenth plus two milliseconds is allowed. A busy machine
    delays our reading and not its clock, so the closest of four requests counts.
    """
    run = local_run(tmp_path, 4, max_tokens=24)
    late_ms, apart_ms = [], []
    for row in run.rows("requests"):
        assert row["outcome"] == "ok"
        timings = json.loads(row["extra"])["timings"]
        assert timings["prompt_n"] == row["prompt_tokens"]
        assert timings["predicted_n"] == row["completion_tokens"]
        late_ms.append((row["first_answer_ns"] - row["sent_ns"]) / MS - timings["prompt_ms"])
        tpot_ms = (row["last_token_ns"] - row["first_answer_ns"]) / (row["completion_tokens"] - 1) / MS
        apart_ms.append(abs(tpot_ms - timings["predicted_per_token_ms"]) - timings["predicted_per_token_ms"] / 10)
    assert 0 <= min(late_ms) <= 100
    assert min(apart_ms) <= 2


@pytest.mark.local
@pytest.mark.slow
@real_engine
def test_the_engine_ends_with_its_standard_input(tmp_path: Path) -> None:
    point = experiment(rows_file(tmp_path, 1), provider={"kind": "local"})
    with Servers([point]) as servers:
        assert servers.base_url(point.provider).startswith("http://127.0.0.1:")
        started = children(os.getpid())
        assert started
    await_gone(started)


@pytest.mark.parametrize(("n", "kept"), [(1, 20), (2, None)])
def test_usage_of_one_choice_does_not_pass_for_all(tmp_path: Path, n: int, kept: int | None) -> None:
    config = experiment(rows_file(tmp_path, 1), provider={"kind": "local"}, sampling={"n": n})
    counted = without_partial_usage(good(0, 0, tokens=30), config)
    assert counted.reply is not None
    assert counted.reply.usage == Usage(10, kept)
    assert spent_tokens(counted.reply) == (None if kept is None else 30)


def test_weights_that_are_not_there_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not installed:
        pytest.skip(f"no engine: {engine.INSTALL}")
    point = experiment(rows_file(tmp_path, 1), provider={"kind": "local", "weights": str(tmp_path / "no.gguf")})
    with pytest.raises(ConfigError, match="provider local did not start"):
        run_measured([point], tmp_path / "results")
    assert f"provider.weights={tmp_path / 'no.gguf'}: there is no such file" in capfd.readouterr().err
    assert not (tmp_path / "results").exists()


def test_more_choices_than_slots_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    point = experiment(rows_file(tmp_path, 1), provider={"kind": "local", "slots": 2}, sampling={"n": 3})
    with pytest.raises(ConfigError, match=r"sampling\.n=3: provider local has 2 slots; raise provider\.slots to 3"):
        run_measured([point], tmp_path / "results")
