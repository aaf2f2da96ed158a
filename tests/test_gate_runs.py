"""``bench gate`` on made runs: verdicts, exit codes, refusals, and every output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from gate_rates import gates
from made_run import MadeCell, make_run

from bench.cli import main
from bench.domain import ConfigError
from bench.judge.gate import Verdict
from bench.judge.gate_arms import read_arms
from bench.judge.gate_plan import pairs_needed, plan_gate
from bench.judge.gating import Gate, judge_arms
from bench.judge.paired_logs import log_ratios, references, tail_ratios
from bench.judge.statistics.comparison import Estimand
from bench.show.gate_text import render
from bench.show.notify import notify, read_command
from bench.show.verdict import Finding, Shown

#: 80 questions prove no less than this
FEW = {"accuracy": 0.06, "unparsed": 0.06, "truncated": 0.06}
CELL = MadeCell({"model.name": "m"}, questions=80, jitter=0.1, tokens=4, skill=0.9)


def made(folder: Path, cell: MadeCell, order: int, seed: int = 0, **header: Any) -> Path:
    """One finished run with a prompt set; ``order`` is its place in time."""
    path = make_run(folder, [cell], seed)
    head = json.loads((path / "run.json").read_text())
    head["run_id"] = folder.name
    head["started_at"] = f"2026-11-22T12:{order:02d}:00Z"
    head["datasets"] = {"d": {"content_hash": "ab" * 32}}
    head["cells"] = [one | {"dataset_key": "d"} for one in head["cells"]]
    (path / "run.json").write_text(json.dumps(head | header))
    return path


def arms(
    root: Path, pairs: int, candidate: MadeCell, baseline: MadeCell = CELL, noise: float = 0.01
) -> tuple[list[Path], list[Path]]:
    """Runs in the order ABBA; a pair shares its hour, and each run has a pace of its own."""
    random = Random(3)
    old, new = [], []
    for pair in range(pairs):
        hour = random.lognormvariate(0, 0.05)
        for arm, cell, found in (("a", baseline, old), ("b", candidate, new)):
            pace = hour * random.lognormvariate(0, noise)
            place = 2 * pair + ((arm == "b") != (pair % 2 == 1))
            slowed = replace(cell, ttft_ms=cell.ttft_ms * pace, token_ms=cell.token_ms * pace)
            slowed = replace(slowed, spacing_ms=cell.spacing_ms * pace)
            found.append(made(root / "ab" / f"{arm}{pair}", slowed, place, seed=100 + 2 * pair + (arm == "b")))
    return old, new


def judged(old: Sequence[Path], new: Sequence[Path], **options: Any) -> Gate:
    return judge_arms(read_arms(old, new), **options)


def verdicts(gate: Gate) -> dict[str, Verdict]:
    return {row.metric: row.verdict for row in gate.rows}


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_an_unchanged_candidate_passes_and_a_slower_one_does_not(tmp_path: Path) -> None:
    old, new = arms(tmp_path / "same", 8, CELL)
    same = judged(old, new, margins=FEW)
    assert same.verdict is Verdict.PASS, same.rows
    assert (same.look, same.pairs) == (1, 8)
    assert set(verdicts(same)) == {
        *(f"{time}_{q}_ms" for time in ("ttft", "e2e") for q in ("p50", "p95")),
        *("throughput_tok_per_s", "cost_per_request", "accuracy", "unparsed_rate", "truncated_rate", "failure_rate"),
    }
    old, new = arms(tmp_path / "slow", 8, replace(CELL, ttft_ms=CELL.ttft_ms * 1.15))
    slow = judged(old, new, margins=FEW)
    assert slow.verdict is Verdict.REGRESSION
    found = {row.metric: row for row in slow.rows}
    assert found["ttft_p50_ms"].verdict is found["ttft_p95_ms"].verdict is Verdict.REGRESSION
    assert found["ttft_p50_ms"].change == pytest.approx(0.15, abs=0.03)
    assert found["throughput_tok_per_s"].verdict is found["accuracy"].verdict is Verdict.PASS
    turned = [replace(one, pairs=tuple((b, a) for a, b in one.pairs)) for one in slow.arms.matched]
    faster = judge_arms(replace(slow.arms, matched=tuple(turned)), FEW)
    assert faster.verdict is Verdict.PASS, "better is no regression"


def test_one_pair_judges_what_is_paired_by_question_alone(tmp_path: Path) -> None:
    worse = replace(CELL, skill=0.6, ttft_ms=400)
    gate = judged(*arms(tmp_path, 1, worse))
    found = verdicts(gate)
    assert found["accuracy"] is Verdict.REGRESSION
    assert found["ttft_p50_ms"] is Verdict.INCONCLUSIVE
    assert any("8 pairs" in note for note in gate.notes)
    few = judged(*arms(tmp_path / "few", 1, replace(CELL, questions=30), replace(CELL, questions=30)))
    assert "72 served" in {row.metric: row.reason for row in few.rows}["ttft_p95_ms"]


def test_errors_make_it_inconclusive_not_a_regression(tmp_path: Path) -> None:
    broken = replace(CELL, skill=0.1, ttft_ms=900, failures=("http_5xx",) * 2)
    gate = judged(*arms(tmp_path, 2, broken))
    assert gate.verdict is Verdict.INCONCLUSIVE
    assert set(verdicts(gate).values()) == {Verdict.INCONCLUSIVE}
    assert "b0 2.5%, b1 2.5%" in gate.rows[0].reason
    allowed = judged(*arms(tmp_path / "more", 2, broken), margins={"errors": 0.03})
    assert verdicts(allowed)["accuracy"] is Verdict.REGRESSION


def test_a_price_that_rose_without_noise_is_a_regression(tmp_path: Path) -> None:
    gate = judged(*arms(tmp_path, 2, replace(CELL, price=0.0012)))
    (row,) = (row for row in gate.rows if row.metric == "cost_per_request")
    assert (row.verdict, row.p) == (Verdict.REGRESSION, 0.0)
    assert row.change == pytest.approx(0.2)


def test_a_cost_that_has_no_ratio_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    old, new = arms(tmp_path, 2, replace(CELL, price=0.01), replace(CELL, price=0.0))
    gate = judged(old, new)
    assert "cost_per_request" not in verdicts(gate)
    (said,) = (note for note in gate.notes if "cost is not judged" in note)
    assert "the baseline is free or without a price and the candidate costs something" in said
    assert not any("cost is" in note for note in judged(*arms(tmp_path / "paid", 2, CELL)).notes)


def test_runs_that_were_not_made_in_turn_are_pointed_out(tmp_path: Path) -> None:
    paths = [made(tmp_path / "ab" / f"r{place}", replace(CELL, questions=10), place) for place in range(6)]
    notes = " ".join(read_arms(paths[:3], paths[3:]).notes)
    assert "AAABBB" in notes
    inturn = read_arms([paths[3], paths[0], paths[4]], [paths[2], paths[1], paths[5]])
    assert inturn.notes == ()
    assert inturn.runs == (("r0", "r3", "r4"), ("r1", "r2", "r5")), "in order of time, whatever the order given"


def test_looks_and_skips(tmp_path: Path) -> None:
    read = read_arms(*arms(tmp_path, 2, CELL))
    assert [judge_arms(read, look=look).limit for look in (None, 2, 0)] == [0.0056, 0.048, 0.05]
    (one,) = read.matched
    many = replace(read, matched=(replace(one, pairs=one.pairs * 8),))
    assert (judge_arms(many).look, judge_arms(many).limit) == (2, 0.048), "16 pairs are the second look"
    with pytest.raises(ConfigError, match="ttft_p50_ms"):
        judge_arms(read, skip=["p59"])
    found = verdicts(judge_arms(read, skip=["accuracy", "p95"]))
    assert not any("p95" in name or name == "accuracy" for name in found)


def test_runs_that_do_not_compare_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = made(tmp_path / "ab" / "base", CELL, 0)

    def refused(name: str, cell: MadeCell = CELL, **header: Any) -> str:
        other = made(tmp_path / "ab" / name, cell, 1, **header)
        code, _, error = run(capsys, "gate", other, "--baseline", base)
        assert code == 2
        return error

    prompts = refused("prompts", datasets={"d": {"content_hash": "cd" * 32}})
    assert "abababababab" in prompts
    assert "cdcdcdcdcdcd" in prompts
    assert "contains" in refused("scorer", replace(CELL, scorer="contains"))
    assert "load.kind" in refused("load", replace(CELL, load="poisson"))
    assert "bench resume" in refused("unfinished", state="interrupted")
    assert "schema_version" in refused("older", schema_version=0)
    for words in ([base, "--baseline", base], [base, base, "--baseline", base], [base, "--baseline", "nowhere"]):
        assert run(capsys, "gate", *words, "--results-dir", tmp_path)[0] == 2
    assert "there are: p50" in run(capsys, "gate", base, "--baseline", base, "--margin", "p51=0.1")[2]
    assert "between 0 and 1" in run(capsys, "gate", base, "--baseline", base, "--margin", "p50=5")[2]


def test_the_command_line_writes_every_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = replace(CELL, params={"model.name": "<m> & 'co' | x"}, ttft_ms=300)
    old, new = arms(tmp_path, 6, slow, replace(CELL, params=slow.params))
    code_file = tmp_path / "hook.py"
    code_file.write_text("import sys\nopen(sys.argv[1], 'wb').write(sys.stdin.buffer.read())\n")
    hook = f"{sys.executable} {code_file} {tmp_path / 'told.json'}"
    files = {kind: tmp_path / "out" / f"gate.{kind}" for kind in ("xml", "md", "json")}
    code, out, _ = run(
        capsys, "gate", *new, "--baseline", *old, "--junit", files["xml"], "--markdown", files["md"],
        "--json", files["json"], "--plots", tmp_path / "plots", "--notify", hook,
    )  # fmt: skip
    assert code == 4
    assert out.startswith("REGRESSION: worse: <m> & 'co' | x ttft_p")
    suite = ElementTree.parse(files["xml"]).getroot()
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert {case.get("classname") for case in cases.values()} == {"<m> & 'co' | x"}
    assert cases["ttft_p50_ms"].find("failure") is not None
    assert int(suite.get("failures") or 0) == sum(case.find("failure") is not None for case in cases.values())
    assert int(suite.get("tests") or 0) == len(cases)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == json.loads(files["json"].read_text())
    assert told["verdict"] == "REGRESSION"
    text = files["md"].read_text()
    assert "REGRESSION" in text
    assert "<m>" not in text
    drawn = " ".join(path.name for path in (tmp_path / "plots").glob("*.svg"))
    assert "ttft_p50" in drawn
    assert "accuracy" in drawn


def test_exit_codes_and_settings_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = arms(tmp_path, 2, CELL)
    assert run(capsys, "gate", *new, "--baseline", *old)[0] == 5
    loose = tmp_path / "gate.yaml"
    times = ["p50", "p95", "throughput"]
    loose.write_text(
        json.dumps({"margins": FEW, "skip": times, "notify": {"command": [sys.executable, "-c", "exit(3)"]}})
    )
    code, _, error = run(capsys, "gate", *new, "--baseline", *old, "--config", loose)
    assert code == 0
    assert "ended with code 3" in error, "a hook that fails is a warning"
    for wrong in ("[1]", "margins: 3", "margin: {}", "notify: {command: x, shell: true}", "margins: {p50: much}"):
        loose.write_text(wrong)
        assert run(capsys, "gate", *new, "--baseline", *old, "--config", loose)[0] == 2


def test_replies_that_never_differ_prove_more_of_these_questions_than_of_others(tmp_path: Path) -> None:
    read = read_arms(*arms(tmp_path, 4, CELL))
    others, these = (judge_arms(read, estimand=one) for one in (Estimand.KIND_OF_TASK, Estimand.FROZEN_SET))
    assert {verdicts(others)[name] for name in ("accuracy", "unparsed_rate")} == {Verdict.INCONCLUSIVE}
    assert {verdicts(these)[name] for name in ("accuracy", "unparsed_rate")} == {Verdict.PASS}
    (row,) = (row for row in these.rows if row.metric == "accuracy")
    assert row.upper == pytest.approx(1 - 0.05 ** (1 / 320)), "0 of 4 x 80 replies"


def test_repeats_of_one_interleaved_run_are_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [
        replace(CELL, params={"model.name": "fast"}, repeats=8),
        replace(CELL, params={"model.name": "slow"}, repeats=8, ttft_ms=400.0),
    ]
    path = make_run(tmp_path / "ab" / "one", cells)
    head = json.loads((path / "run.json").read_text())
    head["datasets"] = {"d": {"content_hash": "ab" * 32}}
    head["cells"] = [one | {"dataset_key": "d"} for one in head["cells"]]
    (path / "run.json").write_text(json.dumps(head))
    code, out, _ = run(capsys, "gate", path, "--by", "model.name", "--baseline", "fast")
    assert code == 4
    assert "slow against fast" in out
    assert "8 pairs" in out
    assert "throughput_tok" not in out


def test_the_plan_says_what_a_verdict_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = arms(tmp_path, 5, replace(CELL, skill=0.85), noise=0.03)
    plan = plan_gate(read_arms(old, new))
    rows = {row.metric: row for row in plan.rows}
    p50 = rows["ttft_p50_ms"]
    assert not p50.assumed
    assert p50.pairs == pairs_needed(p50.spread or 0, 0.05, 0.8, 10)
    assert p50.requests == (p50.pairs or 0) * 160
    assert p50.cost == pytest.approx((p50.requests or 0) * 0.001)
    questions = rows["accuracy"].questions or 0
    assert questions > 500
    assert plan_gate(read_arms(old[:1], new[:1])).rows[0].assumed
    alike = {row.metric: row for row in plan_gate(read_arms(old[:1], old[1:2])).rows}
    assert alike["accuracy"].questions == 299, "none differs so far: ln(.05) / ln(.99)"
    code, out, _ = run(capsys, "gate", *new, "--baseline", *old, "--plan")
    assert code == 0
    assert f"{questions:,} questions x 5" in out
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run(capsys, "gate", *new, "--baseline", *old, "--plan")[1]
    assert max(map(len, narrow.splitlines())) <= 80
    assert f"{questions:,} questions x 5" in narrow, "the column that is asked for is never cut"
    assert "not shown at 80 columns: varies by" in narrow
    fewer = run(capsys, "gate", *new, "--baseline", *old, "--plan", "--skip", "accuracy", "--skip", "p95")[1]
    assert "questions" not in fewer
    assert "p95" not in fewer
    for useless in (["--plan", "--look", "1"], ["--power", "0.9"], ["--plan", "--by", "model.name"]):
        assert run(capsys, "gate", *new, "--baseline", *old, *useless)[0] == 2


def test_pairs_needed_give_the_power_that_was_asked_for() -> None:
    """By simulation of the t test itself: a spread of 5% at a margin of 5%."""
    from scipy.special import stdtrit

    pairs = pairs_needed(0.05, 0.05, 0.8, 1) or 0
    d = np.random.default_rng(1).normal(0, 0.05, (4000, pairs))
    upper = d.mean(axis=1) + stdtrit(pairs - 1, 0.95) * d.std(axis=1, ddof=1) / np.sqrt(pairs)
    assert 0.77 < (np.expm1(upper) < 0.05).mean() < 0.9
    assert pairs_needed(5.0, 0.05) is None
    assert (pairs_needed(0.001, 0.05) or 0) <= 3


def test_tails_are_taken_at_the_prompts_own_pace() -> None:
    """Prompts differ tenfold and one arm is 20% slower in its tail alone; the yardstick favours neither arm."""
    random = np.random.default_rng(2)
    names = [f"q{place}" for place in range(400)]
    pace = np.exp(random.normal(0, 1, 400))

    def arm(tail: float) -> pd.Series[float]:
        noise = np.exp(random.normal(0, 0.1, 400))
        return pd.Series(pace * noise * np.where(random.random(400) < 0.1, 2 * tail, 1), index=names)

    same = [(arm(1), arm(1)) for _ in range(60)]
    usual = references(same)
    null = [tail_ratios(a, b, usual, 0.95) for a, b in same]
    assert abs(np.mean(null)) < 0.03
    slower = [(arm(1), arm(1.2)) for _ in range(60)]
    usual = references(slower)
    assert np.mean([tail_ratios(a, b, usual, 0.95) for a, b in slower]) == pytest.approx(np.log(1.2), abs=0.04)
    assert abs(log_ratios(*slower[0])) < 0.03, "the median knows nothing of it"
    empty = pd.Series(dtype="float64")
    assert np.isnan(log_ratios(empty, slower[0][0]))
    assert np.isnan(tail_ratios(empty, slower[0][0], usual, 0.95))


@pytest.mark.slow
def test_gates_err_as_seldom_as_they_are_said_to() -> None:
    """Of p50: none among equals, all at twice the margin; `python tests/gate_rates.py` gives the whole table."""
    null, slower = (
        gates(np.random.default_rng([7, place]), 12, 200, shift, ("p50",)) for place, shift in enumerate((0, 0.1))
    )
    assert (null.regressions["p50"], null.passes["p50"]) == (0, 1)
    assert slower.regressions["p50"] == 1


def test_a_table_that_does_not_fit_leaves_out_columns_and_cuts_no_figure() -> None:
    found = [
        Finding("m", f"{name}_p50_ms", Verdict.INCONCLUSIVE, 1234.5, 9876.5, "+12.00 points", "+13.00 points",
                "+1.00 points", 0.123, 8)
        for name in ("ttft", "a_longer_metric")
    ]  # fmt: skip
    shown = Shown(Verdict.INCONCLUSIVE, tuple(found), (), ("a",), ("b",), "")
    table = render(shown, 80).splitlines()
    assert max(map(len, table)) <= 80
    assert sum("+12.00 points  +13.00 points  +1.00 points" in line for line in table) == 2
    assert any(line.startswith("not shown at 80 columns: baseline") for line in table)
    assert "9,876" in render(shown, 120)


def test_hooks_are_bounded_and_run_no_shell(tmp_path: Path) -> None:
    assert read_command("send 'two words' $HOME", "x") == ("send", "two words", "$HOME")
    assert "stopped after" in (notify((sys.executable, "-c", "while True: pass"), "{}", 0.2) or "")
    assert "did not start" in (notify((str(tmp_path / "none"),), "{}", 5) or "")
    assert notify((sys.executable, "-c", "import sys; sys.stdin.read()"), "{}", 30) is None


def test_a_night_is_judged_by_the_nights_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(5)
    slow = [1.0] * 24 + [1.4] * 4
    nights = []
    for night, factor in enumerate(slow):
        pace = factor * random.lognormvariate(0, 0.01)
        cell = replace(CELL, questions=30, ttft_ms=200 * pace, token_ms=20 * pace, params={"model.name": "m"})
        folder = tmp_path / "nightly" / f"202611{night + 1:02d}T010000Z-{night:06x}"
        nights.append(
            made(folder, cell, 0, seed=night, name="nightly", started_at=f"2026-11-{night + 1:02d}T01:00:00Z")
        )
    at = ("--baseline", "history", "--results-dir", tmp_path)
    code, out, _ = run(capsys, "gate", nights[23], *at)
    assert code == 0, out
    told = tmp_path / "gate.json"
    code, out, _ = run(capsys, "gate", nights[27], *at, "--json", told, "--plots", tmp_path / "plots")
    assert code == 4, out
    assert "Benjamini" not in out, "the monitor has no p-values"
    assert "at most" not in out, "and no bound: such a column is empty"
    found = {one["metric"]: one for one in json.loads(told.read_text())["findings"]}
    assert found["e2e_p50"]["verdict"] == "REGRESSION"
    assert 20 <= found["e2e_p50"]["since"] <= 24, "a sum of scores may have left 0 a few nights early"
    assert list((tmp_path / "plots").glob("*e2e_p50.svg"))
    assert run(capsys, "gate", nights[10], *at)[0] == 5, "10 nights are no level"
    assert run(capsys, "gate", nights[27], *at, "--look", "1")[0] == 2
    settings = tmp_path / "gate.yaml"
    settings.write_text("margins: {p50: 0.5}\nskip: [cost]\n")
    code, _, error = run(capsys, "gate", nights[27], *at, "--config", settings)
    assert code == 2
    assert "margins and skip would do nothing" in error
    head = json.loads((nights[27] / "run.json").read_text())
    (nights[27] / "run.json").write_text(json.dumps(head | {"datasets": {"d": {"content_hash": "cd" * 32}}}))
    code, _, error = run(capsys, "gate", nights[27], *at)
    assert code == 2
    assert "another prompt set: cdcdcdcdcdcd" in error
    (nights[3] / "run.json").write_text('{"schema')
    assert f"{nights[3].name} is left out" in run(capsys, "gate", nights[23], *at)[2]
