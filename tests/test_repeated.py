"""Several replies to a question: figures worked out by hand, short and copied replies told, and intervals that fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from answered_run import questions, recorded, right_on

from bench.domain import Request, Sample
from bench.judge.clusters import find_clusters
from bench.judge.repeated import Repeated, repeated_cells
from bench.judge.rows import RunRows
from bench.judge.statistics.score_means import score_mean
from bench.show.repeated import repeated_section, told
from bench.show.report import markdown
from bench.show.summary import summary_of

#: replies to four questions whose targets are 0 to 3, three of each
REPLIES = {"q000": ["0", "0", "0"], "q001": ["1", "7", "7"], "q002": ["2", "8", "9"], "q003": ["no", "no", "no"]}


def run_of(folder: Path, replies: dict[str, list[str]], repeats: int = 1, temperature: float = 1.0) -> RunRows:
    def say(request: Request) -> Sequence[str]:
        mine = replies[request.sample.sample_id]
        return mine if repeats == 1 else mine[request.repeat : request.repeat + 1]

    sampling = {"n": 3 if repeats == 1 else 1, "temperature": temperature}
    return recorded(folder, questions(len(replies)), {"a": say}, sampling=sampling, repeats=repeats)


def only(run: RunRows) -> Repeated:
    (found,) = repeated_cells(run)
    return found


@pytest.mark.parametrize("repeats", [1, 3])
def test_pass_at_k_and_its_kin_are_those_worked_out_by_hand(tmp_path: Path, repeats: int) -> None:
    found = only(run_of(tmp_path, REPLIES, repeats))
    # right of three: 3, 1, 1, 0
    assert [at.k for at in found.at_k] == [1, 2, 3]
    assert [at.pass_at.value for at in found.at_k] == pytest.approx([5 / 12, (1 + 2 / 3 + 2 / 3) / 4, 3 / 4])
    assert [at.pass_hat.value for at in found.at_k] == pytest.approx([5 / 12, 1 / 4, 1 / 4])
    # of two: q001 wins half of its ties (2 of 3 pairs), as q002 does; of three: q001 is outvoted, q002 ties three ways
    majority = [at.majority.value for at in found.at_k if at.majority is not None]
    assert majority == pytest.approx([5 / 12, (1 + 1 / 3 + 1 / 3) / 4, (1 + 0 + 1 / 3) / 4])
    assert (found.questions, found.fewest, found.short) == (4, 3, 0)
    assert found.components.mean == pytest.approx(5 / 12)
    assert found.components.within == pytest.approx((0 + 1 / 3 + 1 / 3 + 0) / 4)
    means = np.array([1, 1 / 3, 1 / 3, 0])
    assert found.components.between == pytest.approx(means.var(ddof=1) - (1 / 6) / 3)


def test_copies_are_told_with_what_they_are_worth(tmp_path: Path) -> None:
    found = only(run_of(tmp_path, REPLIES))
    # copies of each: 3; 1 and 2; 1, 1 and 1; 3
    assert found.duplicated == 3
    assert found.effective == pytest.approx((1 + 9 / 5 + 3 + 1) / 4)
    assert any("3 of 4 questions got the same text more than once" in sentence for sentence in told(found))


def test_replies_that_agree_are_counted_at_temperature_0_alone(tmp_path: Path) -> None:
    warm, cold = (only(run_of(tmp_path / str(t), REPLIES, temperature=t)) for t in (1.0, 0.0))
    assert warm.raw is None
    assert cold.raw is not None
    assert cold.parsed is not None
    assert (cold.raw.tar, cold.raw.prompts) == (0.5, 4)
    assert cold.raw.pairwise == pytest.approx((1 + 1 / 3 + 0 + 1) / 4)


def test_questions_with_fewer_replies_bound_k_and_are_told(tmp_path: Path) -> None:
    found = only(run_of(tmp_path, REPLIES | {"q001": ["1", "7"]}))
    assert (found.fewest, found.most, found.short) == (2, 3, 1)
    assert [at.k for at in found.at_k] == [1, 2]
    assert any("1 of 4 questions have fewer than the 3 replies asked for" in sentence for sentence in told(found))


def test_the_report_has_the_section_where_there_is_something_to_tell(tmp_path: Path) -> None:
    run = run_of(tmp_path / "3", REPLIES)
    text = markdown(run, summary_of(run))
    assert "## Several replies to a question" in text
    assert "| 2   | 58.3%" in text
    once = recorded(tmp_path / "1", questions(4), {"a": right_on(1)})
    assert repeated_section(repeated_cells(once)) == ""


def test_an_accuracy_takes_the_interval_that_its_data_asks_for() -> None:
    random = Random(3)
    binary = [float(random.random() < 0.8) for _ in range(60)]
    assert score_mean(binary, True).method == "Wilson"
    assert score_mean(binary, True, list(range(60))).method == "Wilson"
    clustered = score_mean(binary, True, [i // 6 for i in range(60)])
    sums = [sum(x - sum(binary) / 60 for x in binary[i : i + 6]) for i in range(0, 60, 6)]
    half = 2.2621571628540993 * (sum(s * s for s in sums) * 10 / 9) ** 0.5 / 60  # t quantile 0.975 at 9, from tables
    assert clustered.method == "clustered t"
    assert (clustered.high or 0) - (clustered.value or 0) == pytest.approx(min(half, 1 - (clustered.value or 0)))
    assert score_mean([0.25, 0.5, 0.75, 1.0], False).method == "t over questions"
    skewed = score_mean([1.0] * 57 + [0.5, 0.25, 0.0], False)
    assert skewed.method == "BCa over questions"
    assert skewed == score_mean([1.0] * 57 + [0.5, 0.25, 0.0], False), "the seed is fixed"
    assert (skewed.value or 0) - (skewed.low or 0) > (skewed.high or 0) - (skewed.value or 0)
    one = score_mean([0.0, 1.0, 1.0], True, ["all"] * 3)
    assert (one.low, one.high) == (None, None), "one cluster says nothing of others"
    alike = score_mean([1.0] * 20, True, [i // 2 for i in range(20)])
    assert alike.low == pytest.approx(score_mean([1.0] * 10, True).low), "ten clusters, not twenty questions"


def made(number: int, prompt: str, **fields: object) -> Sample:
    return Sample(str(number), ({"role": "user", "content": prompt},), fields=fields)


def test_clusters_are_repeats_or_passages_and_never_instructions() -> None:
    frame = "You are a careful person who thinks about each and every word. {} Answer with one word on the last line."
    asked = ["How many legs has a common house spider in all?", "How many legs has a  COMMON house spider in all?"]
    alone = ["Which river runs through the old town of Prague?", "Who wrote the novel about the white whale at sea?"]
    samples = [made(i, frame.format(text)) for i, text in enumerate([*asked, *alone])]
    found = find_clusters(samples)
    assert found["0"] == found["1"]
    assert len(set(found.values())) == 3
    assert find_clusters(samples[1:]) == {}
    same = [made(i, "p", question="Which is true?", options=[f"red {i}", f"blue {i}"]) for i in range(3)]
    assert find_clusters(same) == {}, "the options are part of a question"
    read = [made(i, f"question {i}", passage=f"text {i // 2}") for i in range(4)]
    assert len(set(find_clusters(read).values())) == 2
    named = [made(i, f"question {i}", cluster=None if i == 3 else i // 2) for i in range(4)]
    assert len(set(find_clusters(named).values())) == 3


def test_errors_bound_the_accuracy_over_questions_whatever_came_of_the_rest(tmp_path: Path) -> None:
    def say(request: Request) -> Sequence[str] | None:
        if (request.sample.sample_id, request.repeat) in {("q000", 1), ("q001", 0), ("q001", 1), ("q001", 2)}:
            return None
        return [REPLIES[request.sample.sample_id][request.repeat]]

    run = recorded(tmp_path, questions(4), {"a": say}, repeats=3)
    row = summary_of(run).frame.iloc[0]
    # q000 two of two, q001 nothing came, q002 one of three, q003 none of three
    assert row["accuracy"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert row["correct_rate"] == pytest.approx(row["strict_accuracy"])
    assert row["worst_accuracy"] == pytest.approx((2 / 3 + 0 + 1 / 3 + 0) / 4)
    assert row["best_accuracy"] == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert (row["errors"], row["error_rate"]) == (4, pytest.approx(4 / 12))
