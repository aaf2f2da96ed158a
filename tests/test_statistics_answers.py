"""Repeats, outcomes, judges, families of claims and two samples, against enumeration, scipy and published figures."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from bench.judge.statistics import agreement, bradley_terry, change_points, multiplicity, outcomes, repeats, two_samples

# repeats


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_pass_at_k_and_pass_hat_k_are_shares_of_subsets(n: int, k: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    at, hat = repeats.pass_at_k([n], [c], k), repeats.pass_hat_k([n], [c], k)
    if k > n:
        assert at.per_task == hat.per_task == (None,)
        assert at.mean is hat.mean is None
        return
    subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert at.per_task[0] == pytest.approx(np.mean([any(subset) for subset in subsets]))
    assert hat.per_task[0] == pytest.approx(np.mean([all(subset) for subset in subsets]))


def test_tasks_of_unlike_samples() -> None:
    got = repeats.pass_at_k([10, 200, 1], [1, 13, 1], 1)
    assert got.per_task == pytest.approx((0.1, 0.065, 1.0))
    assert got.se == pytest.approx(stats.sem([0.1, 0.065, 1.0]))
    short = repeats.pass_at_k([10, 3], [5, 3], 5)
    assert (short.per_task[1], short.mean, short.se) == (None, None, None)
    assert repeats.pass_at_k([], [], 1).mean is None
    assert repeats.pass_at_k([2000], [1000], 100).mean == pytest.approx(1.0)
    for wrong in (([1], [2], 1), ([1], [], 1), ([1], [1], 0)):
        with pytest.raises(ValueError, match=r"task|Each"):
            repeats.pass_at_k(*wrong)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["A", "B", "C", "D", None]), min_size=1, max_size=8), st.integers(1, 8))
def test_majority_is_a_mean_over_subsets(answers: list[str | None], k: int) -> None:
    got = repeats.majority_at_k(answers, "A", k)
    if k > len(answers):
        assert got is None
        return
    wins = []
    for subset in itertools.combinations(answers, k):
        votes = Counter(answer for answer in subset if answer is not None)
        lead = [answer for answer, count in votes.items() if count == max(votes.values())]
        wins.append(1 / len(lead) if "A" in lead else 0.0)
    assert got == pytest.approx(np.mean(wins))


def test_majority_of_many_samples() -> None:
    answers = ["A"] * 40 + ["B"] * 35 + [f"x{number}" for number in range(25)]
    got = repeats.majority_at_k(answers, "A", 100)
    assert got == 1.0
    middle = repeats.majority_at_k(answers, "A", 32)
    assert middle is not None
    assert 0.5 < middle < 0.9
    assert repeats.majority_at_k(answers, "none of them", 32) == 0.0


def test_determinism_by_prompt() -> None:
    got = repeats.determinism([["a"] * 10, ["a"] * 9 + ["b"], [None, None], ["alone"]])
    assert (got.tar, got.prompts) == (pytest.approx(1 / 3), 3)
    assert got.pairwise == pytest.approx((1 + 36 / 45 + 0) / 3)
    assert repeats.determinism([["a"]]) == repeats.Determinism(None, None, 0)


def test_copies_among_samples_are_counted_and_valued() -> None:
    assert repeats.distinct_samples(["x", "x", "x", "y"]) == (2, pytest.approx(16 / 10))
    assert repeats.distinct_samples([]) == (0, 0.0)


# outcomes


def test_errors_leave_the_denominator_and_widen_the_bounds() -> None:
    got = outcomes.outcome_rates({"correct": 60, "wrong": 20, "partial": 4, "truncated": 6, "error": 10}, 2.5)
    assert got.strict.value == pytest.approx(62.5 / 90)
    assert got.answered.value == pytest.approx(62.5 / 84)
    assert (got.worst, got.best) == (pytest.approx(0.625), pytest.approx(0.725))
    assert got.rates["truncated"].n == 90
    nothing = outcomes.outcome_rates({"error": 3})
    assert (nothing.strict.value, nothing.error_rate.value) == (None, 1.0)
    assert outcomes.outcome_rates({}).worst is None
    for wrong in ({"right": 1}, {"correct": -1}):
        with pytest.raises(ValueError, match="Outcomes are"):
            outcomes.outcome_rates(wrong)
    with pytest.raises(ValueError, match="Partial credit"):
        outcomes.outcome_rates({"correct": 1}, partial_credit=1)


def test_a_gap_in_unparsed_or_truncated_replies_blocks_a_comparison() -> None:
    def side(unparsed: int, truncated: int) -> outcomes.OutcomeRates:
        return outcomes.outcome_rates(
            {"correct": 100 - unparsed - truncated, "unparsed": unparsed, "truncated": truncated}
        )

    assert outcomes.why_incomparable(side(2, 0), side(0, 2)) == [], "two points are not more than two"
    reasons = outcomes.why_incomparable(side(5, 0), side(2, 3))
    assert len(reasons) == 2
    assert "unparsed: 5.0% against 2.0%" in reasons[0]


# judges


def test_strengths_are_the_likelihoods_maximum() -> None:
    battles = [
        ("a", "b", 12.0, 8.5),
        ("b", "c", 9.0, 11.0),
        ("d", "a", 3.0, 14.0),
        ("c", "d", 7.0, 2.0),
        ("b", "a", 1, 2),
    ]
    got = bradley_terry.bradley_terry(battles, "c")
    names = ["a", "b", "d"]

    def loss(beta: np.ndarray) -> float:
        at = dict(zip(names, beta, strict=True)) | {"c": 0.0}
        terms = [
            w * math.log1p(math.exp(at[y] - at[x])) + v * math.log1p(math.exp(at[x] - at[y])) for x, y, w, v in battles
        ]
        return sum(terms)

    found = optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    for name, value in zip(names, found.x, strict=True):
        assert got.beta[name] == pytest.approx(value, abs=1e-5)
        assert got.elo[name] == pytest.approx(400 / math.log(10) * value, abs=2e-3)
    step = 1e-3
    hessian = np.array(
        [
            [
                sum(
                    s * t * loss(found.x + step * (s * np.eye(3)[i] + t * np.eye(3)[j]))
                    for s in (1, -1)
                    for t in (1, -1)
                )
                / (4 * step * step)
                for j in range(3)
            ]
            for i in range(3)
        ]
    )
    for name, variance in zip(names, np.diag(np.linalg.inv(hessian)), strict=True):
        assert got.se[name] == pytest.approx(math.sqrt(variance), rel=1e-4)
    assert (got.beta["c"], "c" in got.se, got.pseudo_wins) == (0.0, False, False)


def test_two_models_have_a_closed_form() -> None:
    got = bradley_terry.bradley_terry([("a", "b", 30, 10)])
    assert (got.anchor, got.beta["b"]) == ("a", pytest.approx(-math.log(3)))
    assert got.se["b"] == pytest.approx(math.sqrt(1 / 30 + 1 / 10))


def test_an_undefeated_model_gets_half_wins_and_a_stranger_no_strength() -> None:
    got = bradley_terry.bradley_terry([("a", "b", 9, 0)])
    assert (got.pseudo_wins, got.beta["b"]) == (True, pytest.approx(-math.log(19)))
    groups = bradley_terry.bradley_terry([("a", "b", 5, 5), ("c", "d", 5, 5), ("a", "c", 4, 0)])
    assert groups.pseudo_wins, "nobody is undefeated, yet nobody of c and d ever beat a or b"
    apart = bradley_terry.bradley_terry([("a", "b", 5, 5), ("c", "d", 5, 5)])
    assert (apart.beta["b"], apart.beta["c"], apart.se["d"]) == (pytest.approx(0), None, None)
    many = bradley_terry.bradley_terry([("a", "b", 1e6, 1), ("b", "c", 1e6, 1)], "c")
    assert many.beta["a"] == pytest.approx(2 * math.log(1e6), rel=1e-3)
    for wrong in ([], [("a", "a", 1, 1)], [("a", "b", -1, 1)]):
        with pytest.raises(ValueError, match="battle"):
            bradley_terry.bradley_terry(wrong)
    with pytest.raises(ValueError, match="anchor"):
        bradley_terry.bradley_terry([("a", "b", 1, 1)], "z")


def test_rankings_resample_prompts_not_battles() -> None:
    random = np.random.default_rng(9)
    once = [bradley_terry.Battle(prompt, "a", "b", float(random.random() < 0.6)) for prompt in range(60)]
    got = bradley_terry.rank_battles(once, draws=300)
    copied = bradley_terry.rank_battles(once * 5, draws=300)
    one, many = got.elo["b"], copied.elo["b"]
    assert one.low is not None
    assert one.high is not None
    assert (many.low, many.high) == (pytest.approx(one.low), pytest.approx(one.high)), (
        "copies of a prompt say nothing new"
    )
    assert one.high - one.low == pytest.approx(2 * 1.96 * bradley_terry.ELO * (got.strengths.se["b"] or 0), rel=0.25)
    assert (got.prompts, got.elo["a"].low) == (60, None)
    assert bradley_terry.rank_battles(once[:1]).elo["b"].low is None
    assert got == bradley_terry.rank_battles(once, draws=300)


def test_orders_that_disagree_are_a_tie() -> None:
    assert bradley_terry.merge_orders(1, 1) == (1, False)
    assert bradley_terry.merge_orders(0, 0) == (0, False)
    assert bradley_terry.merge_orders(0.5, 0.5) == (0.5, False)
    assert bradley_terry.merge_orders(1, 0) == (0.5, True)
    assert bradley_terry.merge_orders(1, 0.5) == (0.5, True)


def test_kappa_of_two_raters() -> None:
    """Fleiss, Cohen, Everitt 1969: the table of 200 cases of their example gives 0.429 with an error of 0.054."""
    table = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
    got = agreement.cohen_kappa(table)
    assert (got.kappa, got.se, got.observed, got.n) == (
        pytest.approx(0.429, abs=5e-4),
        pytest.approx(0.054, abs=5e-4),
        pytest.approx(0.7),
        200,
    )
    assert agreement.cohen_kappa([[5, 0], [0, 7]]).kappa == 1.0
    assert agreement.cohen_kappa([[5, 0], [0, 0]]).kappa is None, "chance alone agrees fully"
    assert agreement.cohen_kappa([]).kappa is None
    assert agreement.cohen_kappa([[0, 0], [0, 0]]).n == 0
    with pytest.raises(ValueError, match="square"):
        agreement.cohen_kappa([[1, 2]])
    assert agreement.cross_table(["x", "y", None, "x"], ["x", "x", "y", "y"]) == [[1, 1], [1, 0]]
    with pytest.raises(ValueError, match="one label each"):
        agreement.cross_table(["x"], [])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40))
def test_kappa_of_many_raters_is_scotts_pi_for_two(labels: list[tuple[int, int]]) -> None:
    rows = [[pair.count(category) for category in range(3)] for pair in labels]
    shares = np.sum(rows, axis=0) / (2 * len(rows))
    chance = float((shares**2).sum())
    got = agreement.fleiss_kappa(rows)
    if math.isclose(chance, 1):
        assert got.kappa is None
        return
    observed = np.mean([first == second for first, second in labels])
    assert got.kappa == pytest.approx((observed - chance) / (1 - chance))


def test_raters_may_be_missing() -> None:
    full = agreement.fleiss_kappa([[3, 0], [1, 2], [0, 3]])
    assert agreement.fleiss_kappa([[3, 0], [1, 2], [0, 3], [1, 0], [0, 0]]) == full
    assert agreement.fleiss_kappa([[2, 0], [1, 2]]).observed == pytest.approx((1 + 1 / 3) / 2)
    assert agreement.fleiss_kappa([]).kappa is None
    with pytest.raises(ValueError, match="each category"):
        agreement.fleiss_kappa([[1, 1], [2]])


# families of claims


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_adjusted_p_reject_what_the_step_rules_reject(p: list[float], alpha: float) -> None:
    m, ordered = len(p), sorted(p)
    holm = 0
    while holm < m and ordered[holm] * (m - holm) <= alpha:
        holm += 1
    assert sum((value or 0) <= alpha for value in multiplicity.holm(p)) == holm
    bh = max((k for k in range(1, m + 1) if m * ordered[k - 1] / k <= alpha), default=0)
    assert sum((value or 0) <= alpha for value in multiplicity.benjamini_hochberg(p)) == bh
    assert multiplicity.benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))
    assert multiplicity.benjamini_yekutieli(p) == pytest.approx(list(stats.false_discovery_control(p, method="by")))


def test_what_was_not_tested_is_no_part_of_the_family() -> None:
    assert multiplicity.holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert multiplicity.benjamini_hochberg([]) == []
    assert multiplicity.adjust_claims([0.01, None])[1] == "Holm"
    assert multiplicity.adjust_claims([0.01] * 6)[1] == "Benjamini-Hochberg"
    with pytest.raises(ValueError, match="between 0 and 1"):
        multiplicity.holm([1.2])


@given(st.lists(st.floats(0, 1000), max_size=12), st.sampled_from([0.05, 0.1, 0.5]))
def test_e_values_are_rejected_from_the_largest(e: list[float], q: float) -> None:
    got = multiplicity.e_bh(e, q)
    ordered = sorted(e, reverse=True)
    most = max((k for k in range(1, len(e) + 1) if ordered[k - 1] >= len(e) / (q * k)), default=0)
    assert len(got) == most
    assert sorted((e[index] for index in got), reverse=True) == ordered[:most]


# two samples


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_ranks_and_shift_are_counts_over_pairs(old: list[int], new: list[int]) -> None:
    got = two_samples.rank_shift(old, new)
    pairs = [(b > a) + 0.5 * (a == b) for a in old for b in new]
    assert got.u == sum(pairs)
    assert got.superiority == pytest.approx(np.mean(pairs))
    assert got.shift == np.median([b - a for a in old for b in new])
    if len({*old, *new}) > 1:
        assert got.p_asymptotic == pytest.approx(stats.mannwhitneyu(new, old, method="asymptotic").pvalue)
    else:
        assert got.p_asymptotic is None


def test_large_samples_find_the_same_shift_without_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    old, new = random.lognormal(0, 1, 301), random.lognormal(0.3, 1, 201)
    monkeypatch.setattr(two_samples, "_FORMED_PAIRS", 1000)
    got = two_samples.hodges_lehmann(old, new)
    assert got == pytest.approx(float(np.median(np.subtract.outer(new, old))), abs=1e-9)
    assert two_samples.rank_shift([], [1.0]) == two_samples.RankShift(*[None] * 7)


def test_perfherders_t_weighs_the_nearest_most() -> None:
    assert two_samples.perfherder_t([1, 1], [2, 2]) == math.inf
    assert two_samples.perfherder_t([1, 1], [1, 1]) == 0
    assert two_samples.perfherder_t([], [1]) is None
    got = two_samples.perfherder_t([10, 12], [14, 14, 11])
    before, after = (10 * 1 + 12 * 0.5) / 1.5, (14 + 14 * 2 / 3 + 11 / 3) / 2
    spread = ((10 - before) ** 2 + (12 - before) ** 2) / 2 + (2 * (14 - after) ** 2 + (11 - after) ** 2) / 2 / 3
    assert got == pytest.approx((after - before) / math.sqrt(spread))


# change points


def energy(x: list[float], y: list[float]) -> float:
    """Scaled energy distance of two stretches by its double sums (Matteson and James 2014, equations 5 and 6)."""
    n, m = len(x), len(y)
    between = sum(abs(a - b) for a in x for b in y) * 2 / (n * m)
    left = sum(abs(a - b) for a in x for b in x) / (n * (n - 1)) if n > 1 else 0
    right = sum(abs(a - b) for a in y for b in y) / (m * (m - 1)) if m > 1 else 0
    return n * m / (n + m) * (between - left - right)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=12))
def test_the_best_split_is_that_of_the_double_sums(values: list[int]) -> None:
    x = [float(value) for value in values]
    q, place = change_points._best_split(np.array(x))
    everywhere = {(t, k): energy(x[:t], x[t:k]) for k in range(2, len(x) + 1) for t in range(1, k)}
    assert q == pytest.approx(max(everywhere.values()), abs=1e-9)
    assert any(value == pytest.approx(q, abs=1e-9) for (t, _), value in everywhere.items() if t == place)


def test_changes_are_found_in_long_series_and_small_ones_dropped() -> None:
    random = np.random.default_rng(12)
    levels = np.repeat([1.0, 1.2, 1.2, 0.6], 40)
    series = levels * (1 + random.normal(0, 0.02, 160))
    got = change_points.change_points(series)
    assert [point.index for point in got] == [40, 120]
    assert (got[1].mean_before, got[1].mean_after) == (pytest.approx(1.2, abs=0.02), pytest.approx(0.6, abs=0.02))
    assert [point.index for point in change_points.change_points(series, min_magnitude=0.5)] == [120]
    assert change_points.change_points([1.0] * 60) == []
    assert change_points.change_points([]) == change_points.change_points([1.0]) == []
    flat = change_points.change_points([1.0] * 30 + [2.0] * 30)
    assert [point.index for point in flat] == [30], "no noise at all is the clearest change"
    with pytest.raises(ValueError, match="window"):
        change_points.change_points([1, 2, 3], window=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([10, 30, 50]))
def test_points_that_remain_all_pass(seed: int, window: int) -> None:
    random = np.random.default_rng(seed)
    series = np.repeat(random.normal(10, 1, 6), 12) + random.normal(0, 0.3, 72)
    got = change_points.change_points(series, window, 0.01, 0.02)
    assume(got)
    places = [0, *(point.index for point in got), 72]
    for nth, point in enumerate(got, start=1):
        assert point.mean_before == pytest.approx(series[places[nth - 1] : places[nth]].mean())
        ends = range(places[nth] + 1, places[nth + 1] + 1)
        assert any(point.mean_after == pytest.approx(series[places[nth] : end].mean()) for end in ends)
        assert point.p < 0.01
        assert point.magnitude > 0.02
