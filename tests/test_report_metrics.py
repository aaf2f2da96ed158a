"""Goodput, percentiles with failures, the SLO's section, and other tools' definitions through the whole verb."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.domain import ConfigError
from bench.judge.intervals import Estimate, clopper_pearson
from bench.judge.metrics import CELL_METRICS
from bench.judge.rows import read_run
from bench.judge.tools import PROFILES
from bench.show.objectives import slo_note
from bench.show.report import main, markdown
from bench.show.summary import summary_of
from tests.made_run import MS, MadeCell, make_run
from tests.test_profiles import S, request, run_of


def figures(folder: Path, cell: MadeCell) -> dict[str, Estimate]:
    """Every figure of a cell, made and read again."""
    run = read_run(make_run(folder / "run", [cell]))
    rows = run.rows_of(run.cells[0])
    return {metric.name: metric.of(rows) for metric in CELL_METRICS}


def test_goodput_counts_what_was_served_in_time_over_the_window_of_the_throughput(tmp_path: Path) -> None:
    cell = MadeCell({}, questions=100, failures=["reset"] * 10, not_sent=5, slo="ttft_ms <= 500 and tpot_ms <= 50")
    got = figures(tmp_path, cell)
    assert got["goodput_req_per_s"].value == got["throughput_req_per_s"].value
    assert got["goodput_req_per_s"].n == 85
    assert got["attainment"] == clopper_pearson(85, 95), "what was never sent is neither good nor bad"


@pytest.mark.parametrize(("slo", "good"), [(None, None), ("ttft_ms <= 199", 0.0), ("e2e_ms_p50 <= 5000", 1.0)])
def test_attainment_is_null_without_an_slo(tmp_path: Path, slo: str | None, good: float | None) -> None:
    got = figures(tmp_path, MadeCell({}, slo=slo))
    assert got["attainment"].value == good
    assert (got["goodput_req_per_s"].value is None) == (good is None)


def test_the_summary_says_how_each_cell_stands(tmp_path: Path) -> None:
    cells = [MadeCell({"ms": ms}, questions=200, ttft_ms=ms, slo="ttft_ms_p95<=500") for ms in (100, 900)]
    frame = summary_of(read_run(make_run(tmp_path / "run", cells))).frame
    assert list(frame["slo_standing"]) == ["met", "missed"]
    assert set(frame["slo"]) == {"ttft_ms_p95 <= 500"}


def test_failures_count_as_infinitely_slow_in_every_latency(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, questions=100, failures=["reset"] * 60))
    for name in ("ttft", "ttfa", "e2e", "due_ttft", "due_e2e", "tpot"):
        assert got[f"{name}_p50_all_ms"].value == math.inf
        assert (got[f"{name}_p50_ms"].value or 0) > 0
    assert got["output_tok_per_s_p50_all"].value == 0, "a failure writes no tokens"


def test_a_cell_that_served_nothing_is_infinitely_slow_not_unknown(tmp_path: Path) -> None:
    got = figures(tmp_path, MadeCell({}, failures=["reset"] * 20))
    assert got["e2e_p50_ms"].value is None
    assert got["e2e_p50_all_ms"].value == math.inf


def section(text: str, title: str) -> str:
    """One section of a report."""
    return text.split(f"\n## {title}")[1].split("\n## ")[0]


def rows_of(text: str) -> list[list[str]]:
    """The rows of the Markdown tables in a text, headings included, rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|:-]+", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_report_gives_percentiles_twice_where_requests_failed(tmp_path: Path) -> None:
    cells = [MadeCell({"m": "a"}, questions=400, failures=["reset"] * 40), MadeCell({"m": "b"}, questions=100)]
    run = read_run(make_run(tmp_path / "run", cells))
    latency = section(markdown(run, summary_of(run)), "Latency")
    e2e = rows_of(latency.split("**End to end, ms**")[1].split("**")[0])
    assert e2e == [
        ["cell", "requests", "p50", "p95", "p99"],
        ["a", "360", "401 \\[401, 401\\]", "401 \\[401, 401\\]", "needs 368"],
        ["a, with 40 failed", "400", "401 \\[401, 401\\]", "inf \\[inf, inf\\]", "inf \\[inf, inf\\]"],
        ["b", "100", "401 \\[401, 401\\]", "401 \\[401, 401\\]", "needs 368"],
    ]
    assert "Time per output token" in latency
    assert "Time to first answer" not in latency, "nothing reasons, so it is the time to first token"


def test_the_report_says_which_terms_are_met_and_what_is_proved(tmp_path: Path) -> None:
    slo = "ttft_ms_p95 <= 500 and ttft_ms_p99 <= 150 and failure_rate <= 0.02"
    cells = [MadeCell({"m": n}, questions=n, ttft_ms=100, failures=["reset"] * (n // 100), slo=slo) for n in (40, 1000)]
    run = read_run(make_run(tmp_path / "run", cells))
    summary = summary_of(run)
    goodput, terms = section(markdown(run, summary), "Service level").split("\n\n")[1:3]
    assert [row[1] for row in rows_of(goodput)] == ["verdict", "undecided", "undecided"]
    assert [row[1:3] + row[4:] for row in rows_of(terms)[1:]] == [
        ["ttft_ms_p95 \\<= 500", "undecided", "0 of 40", "from 90 on"],
        ["ttft_ms_p99 \\<= 150", "undecided", "0 of 40", "from 459 on"],
        ["failure_rate \\<= 0.02", "undecided", "0 of 40", "-"],
        ["ttft_ms_p95 \\<= 500", "met", "10 of 1000", "proved"],
        ["ttft_ms_p99 \\<= 150", "undecided", "10 of 1000", "from 2,010 on"],
        ["failure_rate \\<= 0.02", "met", "10 of 1000", "-"],
    ]
    assert slo_note(summary.frame) in summary.notes


def test_without_an_slo_nothing_is_said_of_one(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", [MadeCell({})]))
    summary = summary_of(run)
    assert "Service level" not in markdown(run, summary)
    assert slo_note(summary.frame) is None


@pytest.mark.parametrize(
    ("tool", "theirs"),
    [
        ("vllm", {"TPOT (ms)": ("30.3", "30.3"), "ITL (ms)": ("125", "125"), "TTFT (ms)": ("2,000", "2,000")}),
        ("guidellm", {"TPOT (ms)": ("50.0", "30.3"), "ITL (ms)": ("30.3", "30.3")}),
        ("aiperf", {"Inter Token Latency (ms)": ("30.3", "30.3"), "Inter Chunk Latency (ms)": ("125", "125")}),
    ],
)
def test_one_stream_many_definitions_through_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: str, theirs: dict[str, tuple[str, str]]
) -> None:
    """First token at 2 s, 100 tokens in 25 equal chunks, the last at 5 s; six times, so that a median is given."""
    chunks = [2 * S + k * 125 * MS for k in range(25)]
    starts = [(1 + 7 * i) * S for i in range(6)]
    sent = [request(f"r{start}", start, [chunks], 100, last_token_ns=start + 5 * S) for start in starts]
    folder = run_of(tmp_path / "demo" / "r", sent)
    assert main(["r", f"metrics={tool}", "--results-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    text = section((folder / "report.md").read_text(encoding="utf-8"), f"As {PROFILES[tool].tool} counts")
    told = {row[0]: row for row in rows_of(text)}
    for figure, (median, ours) in theirs.items():
        assert (told[figure][2], told[figure][5]) == (median, ours)
        assert re.search(rf"^{re.escape(figure)} +{median} +{median} +{median} +\w+ +{ours} ", printed, re.MULTILINE)
        assert re.search(rf"^\* {re.escape(figure)}: .*(As ours|Against ours)", printed, re.MULTILINE)
    assert main(["r", "metrics=ours", "--results-dir", str(tmp_path)]) == 0
    assert "counts" not in (folder / "report.md").read_text(encoding="utf-8")


def test_every_figure_of_a_profile_names_one_of_ours_that_exists() -> None:
    known = {metric.name for metric in CELL_METRICS}
    for tool in PROFILES.values():
        assert {f"{quantity.ours}_p50_ms" for quantity in tool.quantities} <= known
        assert {rate.ours for rate in tool.rates if rate.ours} <= known


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["metrics=genai"], "no such definitions; there are ours, vllm, guidellm, aiperf"),
        (["metric=vllm"], "there are metrics= and slo="),
        (["slo=ttft <= 5"], "unknown metric 'ttft'"),
    ],
)
def test_an_unknown_option_says_what_exists(tmp_path: Path, words: list[str], says: str) -> None:
    make_run(tmp_path / "demo" / "r", [MadeCell({})])
    with pytest.raises(ConfigError, match=says):
        main(["r", *words, "--results-dir", str(tmp_path)])
    with pytest.raises(ConfigError, match="name a run"):
        main(["metrics=vllm"])


def test_a_run_can_be_held_against_another_slo_afterwards(tmp_path: Path) -> None:
    path = make_run(tmp_path / "demo" / "r", [MadeCell({}, slo="ttft_ms <= 1")])
    assert main(["r", "slo=ttft_ms_p50 <= 1000", "--results-dir", str(tmp_path)]) == 0
    (row,) = pd.read_parquet(path / "summary.parquet").to_dict("records")
    assert (row["slo"], row["slo_standing"], row["attainment"]) == ("ttft_ms_p50 <= 1000", "met", 1.0)
