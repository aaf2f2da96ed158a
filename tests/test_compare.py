"""``bench compare``: skill gaps found and no others, what does not compare refused or blocked, flips as they were."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import bench_process
import pandas as pd
import pytest
from answered_run import Say, questions, recorded, right_on
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import cli
from bench.domain import ConfigError, Request
from bench.judge.comparing import PairComparison, Standing, compare, points
from bench.judge.flips import find_flips
from bench.judge.intervals import Estimate
from bench.judge.rows import RunRows
from bench.judge.sides import pairs_by, pairs_of_runs
from bench.judge.statistics.comparison import Estimand, PairTest
from bench.show.compare import main
from bench.show.comparison import difference
from bench.show.summary import summary_of


def only_pair(run: RunRows, estimand: Estimand = Estimand.KIND_OF_TASK) -> PairComparison:
    (found,) = compare(pairs_by(run, None), estimand)
    return found


def test_a_gap_is_found_by_the_test_that_fits_with_hand_computed_figures(tmp_path: Path) -> None:
    run = recorded(tmp_path, questions(40), {"a": right_on(*range(20)), "b": right_on(*range(5, 38))})
    found = only_pair(run)
    # 15 right on both; 5 on A alone, 18 on B alone: mid-p of 5 in 23 is 2·P(X<=4) + P(X=5) = 0.0066
    assert (found.accuracy_a.value, found.accuracy_b.value) == (0.5, 33 / 40)
    assert found.compared.estimate.value == pytest.approx(13 / 40)
    assert found.compared.test is PairTest.MCNEMAR
    assert (found.compared.b_ahead, found.compared.a_ahead) == (5, 18)
    assert found.p == pytest.approx(0.0066, abs=1e-4)
    assert found.standing is Standing.B_BETTER
    assert found.verdict.startswith("b answers better than a: B - A +32.5 [")


def test_an_equal_pair_shows_no_difference_and_says_what_it_could_not_see(tmp_path: Path) -> None:
    found = only_pair(recorded(tmp_path, questions(40), {"a": right_on(*range(20)), "b": right_on(*range(1, 21))}))
    assert found.standing is Standing.NO_DIFFERENCE
    assert found.p == pytest.approx(0.5), "one question each way: mid-p of 1 in 2"
    assert "would most likely stay unseen" in found.verdict


@settings(max_examples=6, deadline=None)
@given(good=st.sets(st.integers(0, 29)), lost=st.sets(st.integers(0, 29), max_size=12))
def test_errors_never_change_what_the_other_replies_say(
    tmp_path_factory: pytest.TempPathFactory, good: set[int], lost: set[int]
) -> None:
    def flaky(request: Request) -> Sequence[str] | None:
        return None if int(request.sample.sample_id[1:]) in lost else right_on(*good)(request)

    run = recorded(tmp_path_factory.mktemp("run"), questions(30), {"a": flaky})
    row = summary_of(run).frame.iloc[0]
    kept = good - lost
    assert row["accuracy"] == pytest.approx(len(kept) / (30 - len(lost)))
    assert row["strict_accuracy"] == row["accuracy"]
    assert (row["correct"], row["wrong"] + row["unparsed"], row["errors"]) == (
        len(kept),
        30 - len(lost) - len(kept),
        len(lost),
    )
    assert row["error_rate"] == pytest.approx(len(lost) / 30)
    if lost:
        assert row["worst_accuracy"] == pytest.approx(len(kept) / 30)
        assert row["best_accuracy"] == pytest.approx((len(kept) + len(lost)) / 30)
    else:
        assert pd.isna(row["worst_accuracy"])


def test_more_truncated_replies_on_one_side_block_the_comparison(tmp_path: Path) -> None:
    a, cut = right_on(*range(40)), right_on(*range(37), otherwise="hm(cut)")
    found = only_pair(recorded(tmp_path, questions(40), {"a": a, "b": cut}))
    assert found.standing is Standing.NOT_COMPARABLE
    assert found.p is None
    assert "Replies truncated: 0.0% against 7.5%" in found.verdict
    assert "better" not in found.verdict


def test_more_than_one_percent_of_errors_is_no_basis(tmp_path: Path) -> None:
    good = right_on(*range(40))
    flaky: Say = lambda request: None if request.sample.sample_id == "q000" else good(request)  # noqa: E731  # one use
    run = recorded(tmp_path, questions(40), {"a": good, "b": flaky})
    found = only_pair(run)
    assert found.standing is Standing.NOT_COMPARABLE
    assert "from 97.5% to 100.0%" in found.verdict
    assert found.compared.dropped == 1
    assert any("do not compare" in sentence for sentence in summary_of(run).verdict)


def test_other_prompts_are_refused_by_their_hashes_and_other_scorers_by_name(tmp_path: Path) -> None:
    first = recorded(tmp_path / "1", questions(10), {"a": right_on(1)})
    longer = recorded(tmp_path / "2", questions(11), {"a": right_on(1)})
    hashes = [next(iter(run.header["datasets"].values()))["content_hash"][:12] for run in (first, longer)]
    with pytest.raises(ConfigError, match=f"{hashes[0]}.*{hashes[1]}"):
        pairs_of_runs(first, longer)
    read = recorded(tmp_path / "3", questions(10), {"a": right_on(1)}, scorer={"kind": "numeric"})
    with pytest.raises(ConfigError, match=r"by exact version .* by numeric version .* bench score"):
        pairs_of_runs(first, read)
    assert cli.main(["compare", str(first.path), str(longer.path)]) == cli.REFUSED
    assert not (longer.path / f"compare-{first.path.name}").exists()


def test_two_runs_pair_by_label_and_a_mismatch_is_asked_about(tmp_path: Path) -> None:
    two = {"a": right_on(*range(9)), "b": right_on(1)}
    first, second = (recorded(tmp_path / name, questions(12), two) for name in ("1", "2"))
    names = [(a.cell.label, b.cell.label) for a, b in pairs_of_runs(first, second)]
    assert names == [("a", "a"), ("b", "b")]
    other = recorded(tmp_path / "3", questions(12), {"c": right_on(1), "d": right_on(2)})
    with pytest.raises(ConfigError, match="--cell-a LABEL --cell-b LABEL"):
        pairs_of_runs(first, other)
    ((left, right),) = pairs_of_runs(first, other, "b", "c")
    assert (left.name, right.name) == ("b", "c")


def test_pairs_of_a_sweep_hold_the_other_parameters_and_are_adjusted_together(tmp_path: Path) -> None:
    names = {name: right_on(*range(skill)) for name, skill in (("a", 30), ("b", 30), ("c", 4))}
    run = recorded(tmp_path, questions(40), names)
    found = compare(pairs_by(run, "model.name"))
    assert [(one.a.name, one.b.name) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[1].correction == "Holm"
    assert found[1].p == pytest.approx(3 * (found[1].compared.p or 0))
    based = compare(pairs_by(run, "model.name", baseline="c"))
    assert [(one.a.name, one.b.name) for one in based] == [("c", "a"), ("c", "b")]
    with pytest.raises(ConfigError, match="was not swept"):
        pairs_by(run, "sampling.top_p")
    with pytest.raises(ConfigError, match="there are: a, b, c"):
        pairs_by(run, "model.name", baseline="zzz")


def test_questions_of_one_passage_are_one_cluster(tmp_path: Path) -> None:
    rows = [{**row, "passage": f"passage {i // 8}"} for i, row in enumerate(questions(40))]
    run = recorded(tmp_path, rows, {"a": right_on(*range(16)), "b": right_on(*range(24))})
    found = only_pair(run)
    assert found.compared.test is PairTest.CLUSTERED_T
    assert (found.compared.clusters, found.compared.estimate.n) == (5, 40)
    assert summary_of(run).frame["clusters"].tolist() == [5.0, 5.0]


def test_a_frozen_set_needs_several_replies_of_each_question(tmp_path: Path) -> None:
    def coin(good: int) -> Say:
        return lambda request: [str(request.sample.target) if one < good else "no" for one in range(4)]

    once = recorded(tmp_path / "1", questions(10), {"a": right_on(1), "b": right_on(2)})
    assert only_pair(once, Estimand.FROZEN_SET).standing is Standing.UNKNOWN
    run = recorded(tmp_path / "4", questions(10), {"a": coin(1), "b": coin(3)}, sampling={"n": 4})
    found = only_pair(run, Estimand.FROZEN_SET)
    # each question: variance 1/4 on both sides, so SE = sqrt(10·(1/16 + 1/16))/10
    assert found.compared.se == pytest.approx((10 * 2 / 16) ** 0.5 / 10)
    assert found.standing is Standing.B_BETTER


def test_tags_are_compared_apart_and_marked_exploratory(tmp_path: Path) -> None:
    rows = [{**row, "tags": ["all", "easy" if i < 10 else "hard"]} for i, row in enumerate(questions(40))]
    run = recorded(tmp_path, rows, {"a": right_on(*range(10)), "b": right_on(*range(40))})
    tags = {one.tag: one for one in only_pair(run).tags}
    assert set(tags) == {"easy", "hard"}, "a tag of every question says nothing new"
    assert (tags["easy"].a.value, tags["easy"].b.value, tags["easy"].p) == (1.0, 1.0, 1.0)
    assert tags["hard"].compared.estimate.value == 1.0
    assert tags["hard"].p == pytest.approx(2 * (tags["hard"].compared.p or 0))


def test_no_difference_has_no_sign_of_its_rounding() -> None:
    none = Estimate(-1.1e-17, -0.054, 0.054, 40, "t")
    assert points(none) == "+0.0 [-5.4, +5.4] points"
    assert difference(none) == "+0.0 [-5.4, +5.4]"


def test_flips_hold_both_answers_and_survive_hostile_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J<img src=x> [x](http://evil.example) | @all\n# head"
    run = recorded(tmp_path, questions(30), {"a": right_on(*range(20), otherwise=evil), "b": right_on(*range(2, 30))})
    ((left, right),) = pairs_by(run, None)
    flips = find_flips(left, right)
    assert [flip.sample_id for flip in flips if not flip.gained] == ["q000", "q001"]
    assert [flip.sample_id for flip in flips if flip.gained] == [f"q{i:03d}" for i in range(20, 30)]
    assert (flips[0].a.text, flips[0].b.text, flips[0].target) == ("0", "nothing", "0")
    assert flips[-1].a.text == evil
    assert main([str(run.path), "--flips", "3", "--out", str(tmp_path / "out")]) == 0
    said, text = capsys.readouterr().out, (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert "\x1b" not in said + text
    assert "  q000 lost, target 0" in said
    assert "and 9 more in compare.md" in said
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    for opened in (" <img", "x](http", "\n# head", " @all", "nothing\n"):
        assert opened not in outside, opened
    frame = pd.read_parquet(tmp_path / "out" / "flips.parquet")
    assert (len(frame), frame["text_a"].iloc[-1]) == (12, evil)
    row = pd.read_parquet(tmp_path / "out" / "compare.parquet").iloc[0]
    told = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))[0]
    assert told["standing"] == row["standing"] == "B better"
    assert told["lost"] == ["q000", "q001"]
    assert row["difference"] == pytest.approx(8 / 30)


def test_times_are_paired_by_prompt(tmp_path: Path) -> None:
    slow = recorded(tmp_path / "1", questions(12), {"a": right_on(1)}, took_ms=10)
    slower = recorded(tmp_path / "2", questions(12), {"a": right_on(1)}, took_ms=20)
    (found,) = compare(pairs_of_runs(slow, slower))
    (e2e,) = [one for one in found.ratios if one.column == "e2e_ms"]
    assert (e2e.a, e2e.b) == (10.0, 20.0)
    assert e2e.ratio.value == pytest.approx(2.0)
    assert (e2e.p or 1) < 0.001
    assert any("different times" in note for note in found.notes)


KNOBS = """
defaults: [sim, _self_]
knobs:
  speed: 50
  models:
    Qwen/Qwen3-8B: {skill: 0.6}
    Qwen/Qwen3-14B: {skill: 0.9}
    Qwen/Qwen3-32B: {skill: 0.9}
"""


@pytest.mark.slow
def test_a_known_gap_of_the_simulator_is_found_and_equal_skill_is_not_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "provider"
    folder.mkdir(parents=True)
    (folder / "skilled.yaml").write_text(KNOBS, encoding="utf-8")
    sweep = ["model=qwen3-8b,qwen3-14b,qwen3-32b", "provider=skilled", "dataset=arithmetic", "sampling.temperature=0"]
    done = bench_process.run(["run", *sweep, "report.plots=false", "-m"], tmp_path)
    assert done.returncode == 0, done.stderr
    done = bench_process.run(["compare", "latest", "--by", "model.name"], tmp_path)
    assert done.returncode == 0, done.stderr
    (out,) = tmp_path.glob("results/*/*/compare-by-model.name")
    frame = pd.read_parquet(out / "compare.parquet").set_index(["name_a", "name_b"])["standing"]
    small, middle, large = (f"Qwen/Qwen3-{size}B" for size in (8, 14, 32))
    assert frame.to_dict() == {
        (small, middle): "B better",
        (small, large): "B better",
        (middle, large): "no difference shown",
    }
    mixed = bench_process.run(["compare", "latest", "latest"], tmp_path)
    assert mixed.returncode == 2
    assert "same run twice" in mixed.stderr
