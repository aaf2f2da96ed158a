"""``report.md`` and ``bench report``: complete, honest, and safe whatever names and messages hold."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import ReportConfig
from bench.domain import ConfigError
from bench.judge.rows import read_run
from bench.show.markdown import code_block, escaped
from bench.show.report import DEFINED_BY, main, markdown, write_report
from bench.show.summary import summary_of
from tests.made_run import MadeCell, make_run

COMMAND = ["/home/me/.venv/bin/bench", "run", "model=a,b", "-m", "name=two words"]


def text_of(folder: Path, cells: list[MadeCell], **header: Any) -> str:
    """The report of a made run."""
    run = read_run(make_run(folder / "run", cells, header={"command": COMMAND, **header}))
    return markdown(run, summary_of(run))


def test_a_report_says_what_was_run_what_came_out_and_how_to_repeat_it(tmp_path: Path) -> None:
    cells = [MadeCell({"model.name": name}, questions=80, failures=["http_429"]) for name in ("a/b", "a/c")]
    text = text_of(tmp_path, cells)
    assert text.startswith("# made: 2 cells, 160 requests\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    measured = ["Results", "Outcomes", "Latency", "Failures"]
    assert headings == [*measured, "What was run", "How to repeat it", "What the columns mean"]
    for part in (
        "| a/b ",
        "http_429",
        "chatbench 0.1.0",
        "| seed ",
        "ab" * 32,
        "bench run model=a,b -m 'name=two words'",
    ):
        assert part in text, part
    assert "bench resume" not in text
    assert "/home/me" not in text


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    text = text_of(tmp_path, [MadeCell({}, not_sent=3)], state="interrupted")
    assert "```sh\nbench resume run\n```" in text


def test_every_column_shown_is_defined(tmp_path: Path) -> None:
    cells = [MadeCell({"m": "a"}, questions=90, failures=["reset"], truncated=1), MadeCell({"m": "b"}, questions=90)]
    text = text_of(tmp_path, cells)
    header = next(line for line in text.splitlines() if line.startswith("| m"))
    shown = {name.strip().replace(" p50", "").replace(" p95 ms", " ms") for name in header.strip("|").split("|")} - {
        "m"
    }
    defined = {name.replace(" p95 ms", " ms") for name in re.findall(r"^- \*\*(.*?)\*\*: .+", text, re.MULTILINE)}
    assert shown == defined
    assert len(defined) >= len(DEFINED_BY) - 2


def test_hostile_names_and_messages_open_nothing(tmp_path: Path) -> None:
    evil = "![x](http://evil.example/p.png) <img src=x> | `code` **b** \n# head \x1b[2J @all $a$ www.evil.example"
    cells = [MadeCell({"model.name": evil}, failures=["reset"]), MadeCell({"model.name": "b"})]
    run = read_run(make_run(tmp_path / "run", cells, header={"name": evil, "command": ["bench", "run", "x=```\n# no"]}))
    text = markdown(run, summary_of(run))
    outside_code = re.sub(r"^(`{3,})sh\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    for opened in ("![x]", "x](http", " <img", "http://evil", "\x1b", "\n# head", " @all", "www.evil"):
        assert opened not in outside_code, opened
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert any("| !" in one for one in tables)
    for one in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in one.splitlines()}) == 1, one


@pytest.mark.slow
def test_the_files_are_written_as_asked(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({"m": "a"}, questions=8)])
    assert write_report(path, ReportConfig(summary=False, markdown=False, plots=False)) == []
    written = write_report(path, ReportConfig(plots=False))
    assert [file.name for file in written] == ["summary.parquet", "report.md"]
    written = write_report(path, ReportConfig())
    assert {file.relative_to(path).as_posix() for file in written} == {
        "summary.parquet",
        "report.md",
        *(f"plots/{name}.{kind}" for name in ("latency_ecdf", "quality_latency") for kind in ("svg", "png")),
    }
    text = (path / "report.md").read_text(encoding="utf-8")
    for image in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (path / image).is_file()
    assert not list(path.rglob(".tmp-*"))


@pytest.mark.slow
def test_several_runs_are_printed_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("r1", "r2"):
        cells = [MadeCell({"model.name": model}, questions=10) for model in ("a", "b")]
        make_run(tmp_path / "demo" / name, cells, header={"run_id": name})
    make_run(tmp_path / "demo" / "r3", [MadeCell({"model.name": "only"}, questions=10)], header={"run_id": "r3"})
    assert main(["r1", "r2", "r3", "r1", "--results-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split()[:2] for line in printed.splitlines() if re.match(r"r\d ", line)]
    assert rows == [["r1", "a"], ["r1", "b"], ["r2", "a"], ["r2", "b"], ["r3", "only"]]
    assert "Best accuracy" not in printed
    for name in ("r1", "r2", "r3"):
        assert (tmp_path / "demo" / name / "report.md").is_file()
        assert len(pd.read_parquet(tmp_path / "demo" / name / "summary.parquet")) == (1 if name == "r3" else 2)


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run"):
        main(["nothing", "--results-dir", str(tmp_path)])


def test_a_folder_that_cannot_be_written_is_a_clear_message(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [MadeCell({}, questions=8)])
    (path / "plots").write_text("in the way")
    with pytest.raises(ConfigError, match="the report cannot be written"):
        write_report(path, ReportConfig())
    shutil.rmtree(path)
    with pytest.raises(ConfigError, match=r"run\.json"):
        write_report(path, ReportConfig())


@given(st.text(max_size=60))
def test_escaped_text_holds_no_live_markdown(text: str) -> None:
    got = escaped(text)
    assert "\n" not in got
    live = re.sub(r"\\[\\`*\[\]<>|~$&@:_]", "", got)
    assert not re.search(r"[`*\[\]<>|~$&@]|://", live)


@given(st.text("`\n a#", max_size=40))
def test_a_code_block_cannot_be_closed_from_inside(text: str) -> None:
    first, *inside, last = code_block(text).split("\n")
    assert first == f"{last}sh"
    assert set(last) == {"`"}
    assert all(last not in line for line in inside)


def test_the_report_says_how_many_connections_were_opened(tmp_path: Path) -> None:
    opened = text_of(tmp_path / "a", [MadeCell({}, questions=10, connect_ms=2.5)])
    assert "10 opened by a request (median 2.5 ms, in no latency), 0 used again" in opened
    kept = text_of(tmp_path / "b", [MadeCell({}, questions=10)])
    assert "all 10 requests went over connections that were open" in kept
