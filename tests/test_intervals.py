"""Intervals against published known answers and their own definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge import intervals
from bench.judge.statistics.score_means import score_mean

GIVEN = Path(__file__).resolve().parents[2] / "shared" / "stats" / "give.json"


def known(name: str) -> dict[str, Any]:
    """One known-answer case of the reference material."""
    if not GIVEN.exists():
        pytest.skip("the reference cases are not beside this checkout")
    cases = json.loads(GIVEN.read_text(encoding="utf-8"))["cases"]
    return next(case for case in cases if case["name"] == name)


def agrees(case: dict[str, Any], key: str, got: float | None) -> None:
    """Within the case's own tolerance."""
    assert got is not None
    assert got == pytest.approx(case["expected"][key], abs=case["tolerance"]["abs"], rel=case["tolerance"]["rel"])


def test_mean_t_agrees_with_the_reference() -> None:
    case = known("mean_ci_t")
    got = intervals.mean_t(case["inputs"]["scores"], case["inputs"]["confidence"])
    agrees(case, "lo", got.low)
    agrees(case, "hi", got.high)


@pytest.mark.parametrize("name", ["wilson_ci_main", "wilson_ci_edge"])
def test_wilson_agrees_with_the_reference(name: str) -> None:
    case = known(name)
    got = intervals.wilson(case["inputs"]["k"], case["inputs"]["n"])
    agrees(case, "lo", got.low)
    agrees(case, "hi", got.high)


@pytest.mark.parametrize("name", ["clopper_pearson_ci_main", "clopper_pearson_ci_edge"])
def test_clopper_pearson_agrees_with_the_reference(name: str) -> None:
    case = known(name)
    got = intervals.clopper_pearson(case["inputs"]["k"], case["inputs"]["n"])
    agrees(case, "lo", got.low)
    agrees(case, "hi", got.high)


@pytest.mark.parametrize(
    "name", ["quantile_ci_ranks_n100_q500", "quantile_ci_ranks_n1000_q950", "quantile_ci_ranks_n500_q990"]
)
def test_quantile_ranks_agree_with_the_reference(name: str) -> None:
    case = known(name)
    ranks = intervals.quantile_ranks(case["inputs"]["n"], case["inputs"]["q"])
    assert ranks == (case["expected"]["l"], case["expected"]["u"])


def test_smallest_sample_for_a_quantile_agrees_with_the_reference() -> None:
    case = known("quantile_ci_none")
    quantiles = [q for q, _ in case["inputs"]["cases"]]
    assert [intervals.needed_for_quantile(q) for q in quantiles] == case["expected"]["min_n"]


def test_nearest_rank_agrees_with_the_reference() -> None:
    case = known("percentiles")
    x = sorted(case["inputs"]["x"])
    got = [x[intervals.nearest_rank(len(x), q) - 1] for q in (0.5, 0.9, 0.95, 0.99)]
    assert got == case["expected"]["nearest_rank"]


def test_repeats_of_a_question_are_one_unit() -> None:
    case = known("resampled_mean_se")
    means = [sum(row) / len(row) for row in case["inputs"]["scores"]]
    got = score_mean(means, single_binary=False)
    agrees(case, "mean", got.value)
    half = 2.7764451051977987 * case["expected"]["se"]  # t quantile 0.975 at 4 degrees of freedom, from tables
    assert got.low == pytest.approx(case["expected"]["mean"] - half, rel=1e-9)
    assert got.high == 1.0, "0.533 + 0.472 is cut to the range of a score"


def test_nothing_gives_no_figure_and_one_value_no_interval() -> None:
    assert intervals.mean_t([]).value is None
    assert (intervals.mean_t([3.0]).value, intervals.mean_t([3.0]).low) == (3.0, None)
    assert intervals.wilson(0, 0).value is None
    assert intervals.clopper_pearson(0, 0).value is None
    assert score_mean([], single_binary=True).value is None


def test_identical_questions_never_get_an_interval_without_width() -> None:
    got = score_mean([1.0] * 20, single_binary=False)
    assert got.value == 1.0
    assert got.low == pytest.approx(intervals.wilson(20, 20).low)
    half = score_mean([0.5] * 10, single_binary=False)
    assert half.low is not None
    assert half.high is not None
    assert half.low < 0.3 < 0.7 < half.high


def test_a_quantile_is_withheld_below_its_sample_and_given_from_there_on() -> None:
    values = np.arange(1.0, 73.0)
    short = intervals.quantile(values[:71], 0.95)
    assert (short.value, short.needs, short.n) == (None, 72, 71)
    enough = intervals.quantile(values, 0.95)
    assert (enough.value, enough.high, enough.needs) == (69.0, 72.0, None)
    assert intervals.quantile(values[:5], 0.5).needs == 6
    assert intervals.quantile(values[:6], 0.5).value == 3.0
    assert intervals.quantile(values[:0], 0.5).value is None


def test_a_quantile_that_falls_on_failures_is_infinite() -> None:
    values = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    assert intervals.quantile(values, 0.5).value == 49.0
    assert math.isinf(intervals.quantile(values, 0.95).value or 0.0)


@given(st.integers(1, 400), st.sampled_from([0.05, 0.5, 0.9, 0.95, 0.99]))
def test_quantile_ranks_are_the_tightest_that_the_binomial_tails_allow(n: int, q: float) -> None:
    lower, upper = intervals.quantile_ranks(n, q)
    pmf = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]

    def at_most(k: int) -> float:
        return math.fsum(pmf[: k + 1])

    def at_least(k: int) -> float:
        return math.fsum(pmf[k:])

    if lower is None:
        assert at_most(0) > 0.025
    else:
        assert at_most(lower - 1) <= 0.025 < at_most(lower)
    if upper is None:
        assert at_least(n) > 0.025
    else:
        assert at_least(upper) <= 0.025 < at_least(upper - 1)
    exist = lower is not None and upper is not None
    assert exist == (n >= intervals.needed_for_quantile(q))


@given(st.integers(1, 500), st.data())
def test_shares_lie_inside_their_intervals(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    wilson, exact = intervals.wilson(k, n), intervals.clopper_pearson(k, n)
    for got in (wilson, exact):
        assert got.low is not None
        assert got.high is not None
        assert 0.0 <= got.low <= k / n <= got.high <= 1.0
    mirrored = intervals.wilson(n - k, n)
    assert wilson.low == pytest.approx(1 - (mirrored.high or 0.0), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_a_score_interval_holds_its_mean_and_stays_in_range(scores: list[float]) -> None:
    got = score_mean(scores, single_binary=False)
    assert got.low is not None
    assert got.high is not None
    assert -1e-12 <= got.low <= (got.value or 0.0) + 1e-9
    assert (got.value or 0.0) - 1e-9 <= got.high <= 1 + 1e-12
