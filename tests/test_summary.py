"""The summary: what it says, that it fits, and that nothing from outside can steer a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.show.summary import SummaryTable, summarise, write_summary
from bench.show.table import render_terminal, short_labels
from bench.show.terminal import printable, shorten, width_of
from tests.made_run import MadeCell, make_run

MODELS = ("Qwen/Qwen3-235B-A22B-Instruct-2507", "deepseek-ai/DeepSeek-V3.1")


def sweep(**options: object) -> list[MadeCell]:
    """Two models at two temperatures."""
    return [
        MadeCell({"model.name": model, "sampling.temperature": heat}, **options)  # type: ignore[arg-type]  # free options
        for model in MODELS
        for heat in (0.0, 0.7)
    ]


def shown(path: Path, width: int = 200) -> str:
    """The summary as a terminal shows it."""
    return render_terminal(summarise(path), width)


def test_a_sweep_shows_a_column_per_swept_parameter_and_a_row_per_cell(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path / "run", sweep(questions=100)))
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["model", "temperature", "requests"]
    assert sum(line.startswith(MODELS) for line in lines) == 4
    assert "80.0%" in text or "81.0%" in text


@pytest.fixture(scope="module")
def full_table(tmp_path_factory: pytest.TempPathFactory) -> SummaryTable:
    """A summary with every column: long names, failures, streams cut off."""
    cells = sweep(questions=80, failures=["http_429"], truncated=1, jitter=0.4)
    return summarise(make_run(tmp_path_factory.mktemp("full") / "run", cells))


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal(full_table: SummaryTable, width: int) -> None:
    text = render_terminal(full_table, width)
    assert max(width_of(line) for line in text.splitlines()) <= width
    for figure in ("accuracy", "E2E", "failed", "tok/s", "cost"):
        assert figure in text, f"{figure} is lost at {width} columns"


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_tiny_terminal_is_cut_not_wrapped(full_table: SummaryTable, width: int) -> None:
    text = render_terminal(full_table, width)
    assert max(width_of(line) for line in text.splitlines()) <= width


def test_what_is_missing_is_said_plainly(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=20, skill=None, usage=False, price=None, stream=False)
    text = shown(make_run(tmp_path / "run", [cell]))
    for sentence in (
        "No accuracy:",
        "No tokens/s:",
        "No cost:",
        "No TTFT:",
        "p95 is withheld",
        "needs 72 served requests",
    ):
        assert sentence in text
    header = text.splitlines()[1]
    assert not any(name in header for name in ("accuracy", "TTFT", "tok/s", "cost"))


def test_nothing_is_said_to_be_missing_where_nothing_is(tmp_path: Path) -> None:
    assert summarise(make_run(tmp_path / "run", [MadeCell({}, questions=80)])).notes == ()


def test_failures_are_shown_by_kind_and_kept_out_of_accuracy(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=100, failures=["http_429", "http_429", "reset"], truncated=1, skill=1.0)
    table = summarise(make_run(tmp_path / "run", [cell]))
    assert table.failures[["outcome", "error_kind", "requests"]].to_numpy().tolist() == [
        ["failed", "http_429", 2],
        ["truncated", "stream_truncated", 1],
        ["failed", "reset", 1],
    ]
    assert table.failures.loc[0, "example"] == "http_429: no luck"
    text = render_terminal(table, 200)
    assert "4 of 100 requests failed (http_429 2" in text
    assert "4 (4.0%)" in text
    assert "100.0%" in text


def test_an_interrupted_run_says_how_to_finish(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, not_sent=5)], header={"state": "interrupted"})
    assert (
        "The run was interrupted: 15 of 20 planned requests were sent (75.0%), a random sample of the prompts. "
        f"`bench resume {path}` finishes it."
    ) in shown(path, 400)


def test_open_loads_are_headed_by_latency_from_the_due_time(tmp_path: Path) -> None:
    table = summarise(make_run(tmp_path / "run", [MadeCell({}, questions=80, load="poisson", ttft_ms=100)]))
    assert table.latency_from == "due"
    text = render_terminal(table, 200)
    assert "TTFT (due)" in text
    assert "103 [103, 103]" in text, "3 ms late in the sending, so 103 ms from the due time"


def test_costs_in_two_currencies_are_never_added(tmp_path: Path) -> None:
    cells = [MadeCell({"m": "a"}, price=0.01), MadeCell({"m": "b"}, price=0.02, currency="USD")]
    text = shown(make_run(tmp_path / "run", cells))
    assert "0.2 CNY" in text
    assert "0.4 USD" in text


def test_a_run_without_any_request_still_says_so(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path / "run", [MadeCell({}, questions=0)]))
    assert "there is no request to summarise" in text


def test_hostile_labels_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\n| a |"
    text = shown(make_run(tmp_path / "run", [MadeCell({"model.name": evil}), MadeCell({"model.name": "x"})]), 120)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\x1b[2J" in text


def test_the_summary_file_holds_every_figure_even_for_parameters_of_mixed_types(tmp_path: Path) -> None:
    cells = [MadeCell({"sampling.stop": value}, questions=10) for value in (None, "END", ["a", "b"])]
    path = make_run(tmp_path / "run", cells)
    written = pd.read_parquet(write_summary(summarise(path), path))
    assert written["sampling.stop"].tolist()[1:] == ["END", "['a', 'b']"]
    assert {"accuracy", "accuracy_low", "accuracy_high", "e2e_p95_ms", "e2e_p95_ms_needs", "cost"} <= set(
        written.columns
    )
    assert written["e2e_p95_ms_needs"].tolist() == [72, 72, 72]


def test_importing_the_summary_loads_nothing_heavy_and_making_it_no_plotting(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", sweep(questions=10))
    code = f"""
import sys
from pathlib import Path
from bench.show.summary import summarise
from bench.show.table import render_terminal

heavy = ("pandas", "numpy", "scipy", "matplotlib", "pyarrow", "tabulate")
print([name for name in heavy if name in sys.modules])
render_terminal(summarise(Path({str(path)!r})), 80)
print([name for name in ("matplotlib", "scipy.stats") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


@given(st.text(max_size=80), st.integers(1, 60))
def test_printable_text_is_one_bounded_visible_line(text: str, limit: int) -> None:
    got = printable(text, limit)
    assert len(got) <= limit
    assert got.isprintable()
    assert got.splitlines() in ([], [got])


@given(st.text(st.characters(codec="ascii", min_codepoint=32), max_size=80), st.integers(1, 60))
def test_shortened_text_keeps_its_ends(text: str, limit: int) -> None:
    got = shorten(text, limit)
    assert len(got) <= limit
    if len(text) <= limit:
        assert got == text
    elif limit >= 4:
        assert got[0] == text[0]
        assert got[-1] == text[-1]


@given(st.lists(st.text(st.sampled_from("ab/.-0"), min_size=1, max_size=40), min_size=1, max_size=12, unique=True))
def test_shortened_labels_stay_apart(labels: list[str]) -> None:
    short = short_labels(labels, 14)
    assert len(set(short)) == len(labels)
    assert max(map(len, short)) <= 14
