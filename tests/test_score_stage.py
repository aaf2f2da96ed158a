"""The scoring stage: several scorers, hung ones, and a finished run that is judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moody_scorer import Moody
from scored_run import finished_run
from setups import experiment

from bench import registry
from bench.cli import main
from bench.domain import Choice, ConfigError, Sample
from bench.judge.arena import Arena, ScorerBrokeError
from bench.judge.asking import Asking
from bench.judge.disagreement import disagreement_lines, disagreements
from bench.judge.rows import read_run
from bench.judge.score import score_run
from bench.measure.plan import make_plan
from bench.record import read_header, read_table
from bench.registry import discover

ROWS = [{"id": f"r{n}", "prompt": f"{n} + {n}?", "target": 2 * n} for n in range(4)]
REPLIES = {f"r{n}": [f"It is {2 * n}", str(2 * n + (n == 3))] for n in range(4)}


def scores(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(path, "scores").to_pylist()
    return rows


def test_every_choice_has_a_row_by_every_scorer_and_the_mean_is_of_its_own(tmp_path: Path) -> None:
    also = ["exact", {"kind": "numeric", "abs_tol": 1.5, "name": "near"}]
    path = finished_run(tmp_path, ROWS, REPLIES, scorer={"kind": "numeric"}, also=also, sampling__n=2)
    assert list(score_run(path).values()) == [7 / 8]
    found = scores(path)
    assert [row["scorer"] for row in found] == ["numeric", "exact", "near"] * 8
    assert sum(row["label"] == "correct" for row in found if row["scorer"] == "near") == 8
    run = read_run(path)
    assert set(run.scores_of(run.cells[0])["scorer"]) == {"numeric"}
    pairs = {(one.first, one.second): one for one in disagreements(run, run.cells[0])}
    assert (pairs["numeric", "near"].differing, pairs["numeric", "near"].only_first) == (1, 0)
    assert pairs["numeric", "exact"].only_first == 4
    assert any("numeric and near disagree on 1 of 8" in line for line in disagreement_lines(run))


def test_another_scorer_never_stands_in_for_a_cells_own(tmp_path: Path) -> None:
    path = finished_run(tmp_path, ROWS, REPLIES, scorer={"kind": "none"}, also=["numeric"], sampling__n=2)
    assert score_run(path) == {}
    run = read_run(path)
    assert run.scores_of(run.cells[0]).empty


@pytest.mark.parametrize(
    ("also", "said"),
    [(["numbers"], "numeric"), ([{"kind": "exact", "zz": 1}], "zz"), ([3], "no scorer"), (["exact"], "another `name`")],
)
def test_further_scorers_are_checked_before_anything_is_sent(tmp_path: Path, also: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(tmp_path / "rows.jsonl", scorer={"kind": "exact"}, also=also)


def test_code_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "x"}\n')
    for changes in ({"scorer": {"kind": "humaneval"}}, {"scorer": {"kind": "exact"}, "also": ["mbpp"]}):
        with pytest.raises(ConfigError, match=r"scorer\.allow_code=true"):
            make_plan([experiment(tmp_path / "rows.jsonl", **changes)])


def test_the_permission_reaches_a_datasets_own_scorer(tmp_path: Path) -> None:
    own = {"kind": "mbpp", "cpu_s": 2.0}
    made = experiment(tmp_path / "x.jsonl", dataset__scorer=own, scorer={"kind": "auto", "allow_code": True})
    assert vars(made.scorer) | {"allow_code": True, "cpu_s": 2.0, "kind": "mbpp"} == vars(made.scorer)


@pytest.mark.slow
def test_a_hung_reply_is_unscored_and_the_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.setitem(registry._classes["scorer"], "moody", Moody)  # for this test alone: others try every scorer
    texts = {"r0": ["good", "hang"], "r1": ["good", "die"], "r2": ["good", "good"], "r3": ["hang a", "good"]}
    path = finished_run(tmp_path, ROWS, texts, scorer={"kind": "moody"}, sampling__n=2)
    assert list(score_run(path).values()) == [1.0]
    found = {(row["request_id"].split(":")[1], row["choice"]): row for row in scores(path)}
    unscored = {key for key, row in found.items() if row["label"] == "unscored"}
    assert unscored == {("r0", 1), ("r1", 1), ("r3", 0)}
    assert "took more than 1 s" in found["r0", 1]["detail"]


@pytest.mark.slow
def test_a_scorer_that_always_hangs_costs_its_limit_about_once() -> None:
    arena, sample = Arena(Moody(time_limit_s=0.1), 1), Sample("s", (), target="x")
    try:
        details = [arena.ask(sample, Choice(0, f"hang {number}")).detail for number in range(40)]
    finally:
        arena.close()
    # twice the limit, ten times the least of it, and then never again
    assert [detail.split(" s,")[0] for detail in details[:12]] == (["the scorer took more than 0.1"] * 12)
    assert all("not tried" in detail for detail in details[12:])


def test_equal_replies_to_a_sample_are_asked_once() -> None:
    asking, sample = Asking(Moody()), Sample("s", (), target="x")
    try:
        one, two, other = (asking.verdict("d", sample, Choice(i, text)) for i, text in enumerate(["a", "a", "b"]))
        assert one is two
        assert one is not other
    finally:
        asking.close()


def test_a_scorer_that_raises_is_a_bug_and_says_where() -> None:
    arena = Arena(Moody(), 1)
    try:
        with pytest.raises(ScorerBrokeError, match="LookupError: raise this"):
            arena.ask(Sample("s", ()), Choice(0, "raise this"))
    finally:
        arena.close()


def test_a_reply_cut_by_length_is_truncated_under_every_scorer(tmp_path: Path) -> None:
    path = finished_run(tmp_path, ROWS, REPLIES, "length", scorer={"kind": "numeric"}, also=["exact"], sampling__n=2)
    score_run(path)
    labels = [(row["scorer"], row["label"]) for row in scores(path)]
    assert labels.count(("numeric", "truncated")) == 1
    assert labels.count(("exact", "truncated")) == 5


def command(path: Path, *words: str) -> int:
    return main(["score", str(path), *words])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    report = {"summary": True, "markdown": True, "plots": False}
    path = finished_run(tmp_path, ROWS, REPLIES, scorer={"kind": "exact"}, report=report, sampling__n=2)
    score_run(path)
    return path


def test_a_finished_run_is_scored_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(run, "scorer=numeric", "scorer.abs_tol=1.5", "also=[exact]") == 0
    assert [row["label"] for row in scores(run) if row["scorer"] == "numeric"] == ["correct"] * 8
    header = read_header(run)
    assert (
        header["cells"][0]["config"]["scorer"] | {"kind": "numeric", "abs_tol": 1.5}
        == (header["cells"][0]["config"]["scorer"])
    )
    assert next(iter(header["rescored"][0]["before"].values()))["scorer"]["kind"] == "exact"
    assert "numeric and exact disagree" in capsys.readouterr().out
    assert (run / "report.md").exists()
    # what is not said again stays as it was
    assert command(run, "scorer.abs_tol=0", "also=[]") == 0
    assert {row["scorer"] for row in scores(run)} == {"numeric"}
    assert [row["label"] for row in scores(run)].count("correct") == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scorer=numbers"], "did you mean numeric"),
        (["scorer.zz=1"], "zz"),
        (["scorer=regex", "scorer.pattern='['"], "not a regular expression"),
        (["model=qwen3-8b"], "only scorer=NAME"),
        (["scorer=exact,numeric"], "only scorer=NAME"),
        (["nonsense"], "nonsense"),
        (["scorer=humaneval"], "scorer.allow_code=true"),
        (["also=[exact]"], "another `name`"),
    ],
)
def test_a_refused_rescoring_changes_nothing(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "scores.parquet").read_bytes(), (run / "run.json").read_bytes()
    assert command(run, *words) == 2
    assert said in capsys.readouterr().err
    assert before == ((run / "scores.parquet").read_bytes(), (run / "run.json").read_bytes())


def test_only_a_finished_run_is_scored_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(header | {"state": "interrupted"}))
    assert command(run, "scorer=numeric") == 2
    assert "bench resume" in capsys.readouterr().err


def test_a_key_of_the_datasets_own_scorer_is_refused_with_the_way_to_set_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "dataset=arithmetic", "scorer.abs_tol=0.1", "dry_run=true"]) == 2
    assert "name the scorer to set keys of its own: scorer=NAME scorer.abs_tol=..." in capsys.readouterr().err
