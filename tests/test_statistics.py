"""Means, pairs and resampling against scipy, closed forms and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.judge.statistics import means, pairs, resampling
from bench.judge.statistics.comparison import Estimand, PairTest, compare_pairs, compare_samples
from bench.judge.statistics.floats import known_floats

SCORES = st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=2, max_size=40)


# means


@given(SCORES)
def test_the_standard_error_is_scipys_and_gaps_are_left_out(scores: list[float]) -> None:
    got = means.standard_error([*scores, None, math.nan])
    assert got == pytest.approx(stats.sem(scores), abs=1e-12)


def test_one_score_has_no_standard_error() -> None:
    assert means.standard_error([0.5]) is None
    assert means.standard_error([]) is None
    assert means.variance_components([]).mean is None
    assert means.variance_components([[0.3]]) == means.Components(0.3, None, None, None, None, 1.0, 1)
    assert means.clustered_error([], []).mean is None


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_clustered_errors_follow_their_formula(rows: list[tuple[float, int]]) -> None:
    scores, clusters = [score for score, _ in rows], [cluster for _, cluster in rows]
    got = means.clustered_error(scores, clusters)
    groups = set(clusters)
    assert got.clusters == len(groups)
    if len(groups) < 2:
        assert (got.cr0, got.cr1, got.interval().low) == (None, None, None)
        return
    mean = sum(scores) / len(scores)
    parts = [sum(score - mean for score, cluster in rows if cluster == group) for group in groups]
    cr0 = math.sqrt(sum(part**2 for part in parts)) / len(scores)
    assert got.cr0 == pytest.approx(cr0, abs=1e-12)
    assert got.cr1 == pytest.approx(cr0 * math.sqrt(len(groups) / (len(groups) - 1)), abs=1e-12)


@given(SCORES)
def test_clusters_of_one_question_are_as_none(scores: list[float]) -> None:
    got = means.clustered_error(scores, range(len(scores)))
    assert got.cr1 == pytest.approx(got.naive, abs=1e-12)
    if got.naive and got.naive > 1e-9:
        assert got.effective_n == pytest.approx(len(scores))


def test_copies_of_questions_are_worth_the_questions() -> None:
    scores = list(np.random.default_rng(3).random(30))
    got = means.clustered_error(scores * 4, list(range(30)) * 4)
    assert got.effective_n == pytest.approx(30, rel=0.03)
    assert means.effective_size([4] * 30) == pytest.approx(30)
    assert means.effective_size([1, 1, 1, 97]) == pytest.approx(100**2 / (97**2 + 3))
    assert means.effective_size([]) == 0
    assert means.clustered_error([0.5, 0.5], "ab").design_effect is None, "nothing varies, so nothing is known"


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 10**6))
def test_components_are_the_mean_squares_of_one_way_anova(repeats: int, questions: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random((questions, repeats)).round(1)
    got = means.variance_components(scores.tolist())
    assert got.within is not None
    assert got.within == pytest.approx(scores.var(axis=1, ddof=1).mean(), abs=1e-12)
    between = scores.mean(axis=1).var(ddof=1) - got.within / repeats
    assert got.between == pytest.approx(max(0.0, between), abs=1e-12)
    assert got.fixed_se == pytest.approx(math.sqrt((scores.var(axis=1, ddof=1) / repeats).sum()) / questions, abs=1e-12)
    if got.within > 1e-9:
        f, _ = stats.f_oneway(*scores)
        assert f == pytest.approx(repeats * scores.mean(axis=1).var(ddof=1) / got.within)


def test_uneven_repeats_weigh_by_question() -> None:
    got = means.variance_components([[1, 0, None], [1, 1, 1, 1], [], [0]])
    assert (got.mean, got.n) == (0.5, 3)
    assert got.within == pytest.approx(0.25)
    assert got.repeats == pytest.approx(3 / (1 / 2 + 1 / 4 + 1))
    assert got.fixed_se is None, "one sample says nothing of its own spread"


def test_the_two_estimands_differ() -> None:
    random = np.random.default_rng(1)
    chance = random.random(400)
    a, b = ((random.random((400, 4)) < chance[:, None]).astype(float) for _ in range(2))
    frozen = means.fixed_set_error(a.tolist(), b.tolist())
    assert frozen is not None
    assert frozen == pytest.approx(math.sqrt(sum((s.var(axis=1, ddof=1) / 4).sum() for s in (a, b))) / 400)
    assert frozen == pytest.approx(pairs.paired_difference(a.mean(axis=1), b.mean(axis=1)).se or 0, rel=0.1)
    assert frozen < 0.8 * (means.standard_error(a.mean(axis=1)) or 0) * math.sqrt(2)
    assert means.fixed_set_error([[1]], [[0]]) is None
    with pytest.raises(ValueError, match="same questions"):
        means.fixed_set_error([[1, 0]], [])


def test_repeats_are_advised_until_the_questions_matter_more() -> None:
    assert means.advise_repeats(None, None) == 4
    assert means.advise_repeats(1 / 6, 1 / 12) == 4, "p uniform on 0..1"
    assert means.advise_repeats(0.0, 0.1) == 1
    assert means.advise_repeats(0.2, 0.0) == 64
    for within, between in ((0.3, 0.1), (0.1, 0.3), (0.25, 0.02)):
        k = means.advise_repeats(within, between)
        assert within / k <= between / 2 + 1e-9
        assert k == 1 or within / (k - 1) > between / 2


def test_groups_of_subtasks() -> None:
    random = np.random.default_rng(2)
    tasks = [random.random(n) for n in (20, 50, 8)]
    got = means.group_error([stats.sem(task) for task in tasks], [len(task) for task in tasks])
    n = sum(map(len, tasks))
    pooled = sum((len(task) - 1) * task.var(ddof=1) for task in tasks) / (n - 3)
    assert got.pooled == pytest.approx(math.sqrt(pooled / n))
    assert got.weighted == pytest.approx(math.sqrt(sum((len(task) * stats.sem(task)) ** 2 for task in tasks)) / n)
    assert means.group_error([0.1, None], [10, 10]) == means.GroupError(None, None, None)
    assert means.group_error([], []) == means.GroupError(None, None, None)
    with pytest.raises(ValueError, match="one size"):
        means.group_error([0.1], [0])


# pairs


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=30), st.sampled_from([0.8, 0.95]))
def test_paired_differences_are_scipys(rows: list[tuple[float, float]], confidence: float) -> None:
    a, b = (np.round(column, 2) for column in zip(*rows, strict=True))
    assume(np.ptp(a - b) > 0.005)
    got = pairs.paired_difference(a, b, confidence=confidence)
    expected = stats.ttest_rel(a, b)
    ends = expected.confidence_interval(confidence)
    assert (got.t, got.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9, abs=1e-12)
    assert (got.low, got.high) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-12)
    if np.ptp(a) > 0 and np.ptp(b) > 0:
        assert got.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    else:
        assert got.correlation is None


def test_pairs_without_both_scores_are_left_out_and_clusters_follow() -> None:
    a, b = [1, 0.5, None, 0.25, 1, 0], [0.25, 0.5, 1, None, 0, 0.5]
    got = pairs.paired_difference(a, b, "xxyyzz")
    assert (got.n, got.clusters) == (4, 2)
    d = np.array([0.75, 0, 1, -0.5])
    clustered = means.clustered_error(d, "xxzz")
    assert got.se == pytest.approx(clustered.cr1)
    assert got.p == pytest.approx(2 * stats.t.sf(abs(d.mean() / clustered.cr1), 1))
    assert pairs.paired_difference([1], [0]).se is None
    assert pairs.paired_difference([], []).diff is None
    same = pairs.paired_difference([0.1, 0.7, 0.3], [0.4, 1.0, 0.6])
    assert (same.t, same.p) == (None, None), "differences that are all alike have no t"
    with pytest.raises(ValueError, match="one score on each side"):
        pairs.paired_difference([1], [])


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    got = pairs.mcnemar(b, c)
    if b + c == 0:
        assert (got.p, got.p_exact, got.p_mid, got.chi2) == (1.0, 1.0, None, None)
        return
    assert got.p_exact == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)
    assert got.p == pytest.approx(got.p_exact - stats.binom.pmf(min(b, c), b + c, 0.5), rel=1e-8)
    assert got == pairs.mcnemar(c, b)
    assert got.p_chi2 == pytest.approx(stats.chi2.sf(got.chi2, 1), rel=1e-9)


def test_mcnemar_of_many_pairs_keeps_its_digits() -> None:
    assert pairs.mcnemar(4, 0).p == 0.0625, "a few questions pointing one way are no proof"
    assert pairs.mcnemar(50_300, 49_700).p == pytest.approx(0.0578, abs=2e-4), "z = 1.897"
    with pytest.raises(ValueError, match="negative"):
        pairs.mcnemar(-1, 2)


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_newcombe_holds_the_difference_and_turns_with_it(n1: int, n2: int, data: st.DataObject) -> None:
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    got, turned = pairs.newcombe(k1, n1, k2, n2), pairs.newcombe(k2, n2, k1, n1)
    assert got.low is not None
    assert got.high is not None
    assert -1 <= got.low <= k1 / n1 - k2 / n2 <= got.high <= 1
    assert (got.low, got.high) == pytest.approx((-(turned.high or 0), -(turned.low or 0)))
    assert pairs.newcombe(0, 0, k2, n2).value is None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_paired_score_interval_always_has_a_width(both: int, a: int, b: int, neither: int) -> None:
    assume(both + a + b + neither)
    got = pairs.newcombe_paired(both, a, b, neither)
    assert got.low is not None
    assert got.high is not None
    assert got.low <= (got.value or 0) + 1e-12
    assert got.high >= (got.value or 0) - 1e-12
    assert got.high - got.low > 0
    turned = pairs.newcombe_paired(both, b, a, neither)
    assert (got.low, got.high) == pytest.approx((-(turned.high or 0), -(turned.low or 0)))


def test_the_paired_score_interval_agrees_with_its_publication() -> None:
    """Newcombe 1998, table III, method 10."""
    got = pairs.newcombe_paired(36, 12, 2, 0)
    assert (got.low, got.high) == pytest.approx((0.0569, 0.3404), abs=6e-5)


def test_power_sample_size_and_detectable_effect_are_one_equation() -> None:
    n = pairs.sample_size(1 / 9, 0.03, 1 / 6, 1 / 6, 4, 2, alpha=0.01, power=0.9, sides=1)
    delta = pairs.minimum_detectable(1 / 9, n, 1 / 6, 1 / 6, 4, 2, alpha=0.01, power=0.9, sides=1)
    assert delta is not None
    assert delta <= 0.03 < delta * math.sqrt(n / (n - 1))
    se = math.sqrt((1 / 9 + 1 / 24 + 1 / 12) / n)
    assert pairs.power_of(delta, se, alpha=0.01, sides=1) == pytest.approx(0.9)
    assert pairs.minimum_detectable(1 / 9, 0) is None
    assert pairs.power_of(0.1, 0.0) is None
    assert pairs.sample_size(0.0, 0.03) == 0
    with pytest.raises(ValueError, match="difference of 0"):
        pairs.sample_size(1 / 9, 0)
    with pytest.raises(ValueError, match="one or two sides"):
        pairs.sample_size(1 / 9, 0.1, sides=3)


# resampling


@settings(deadline=None)
@given(st.lists(st.integers(-4, 4).map(lambda value: value / 8), min_size=1, max_size=9))
def test_sign_flips_are_enumerated_with_ties(d: list[float]) -> None:
    means_of = [
        sum(s * x for s, x in zip(signs, d, strict=True)) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    got = resampling.sign_flip(d)
    assert got.exact
    assert got.p == pytest.approx(np.mean(np.abs(means_of) >= abs(sum(d)) - 1e-12))
    assert got.p_greater == pytest.approx(np.mean(np.array(means_of) >= sum(d) - 1e-12))


def test_drawn_signs_agree_with_all_of_them_and_repeat_by_their_seed() -> None:
    d = np.random.default_rng(8).normal(0.3, 1, 16)
    exact = resampling.sign_flip(d, exact_up_to=16)
    drawn = resampling.sign_flip(d, seed=4)
    assert (drawn.exact, drawn.draws, drawn.seed) == (False, 100_000, 4)
    assert drawn.p == pytest.approx(exact.p, abs=0.006)
    assert drawn.p_greater == pytest.approx(exact.p_greater, abs=0.006)
    assert drawn == resampling.sign_flip(d, seed=4) != resampling.sign_flip(d, seed=5)
    assert resampling.sign_flip([1.0] * 40).p == pytest.approx(1 / 100_001), "never 0"
    assert resampling.sign_flip([]).p is None
    assert resampling.sign_flip([0.0] * 20).p == 1.0


def test_the_bootstrap_is_scipys() -> None:
    x = np.random.default_rng(5).lognormal(0, 1, 40)
    for statistic in (None, np.mean, np.median):
        got = resampling.bootstrap(x, statistic=statistic and (lambda v, of=statistic: float(of(v))), draws=4000)
        expected = stats.bootstrap(
            (x,), statistic or np.mean, n_resamples=4000, method="BCa", rng=1
        ).confidence_interval
        assert got.low == pytest.approx(expected.low, rel=0.05)
        assert got.high == pytest.approx(expected.high, rel=0.06)
    assert resampling.bootstrap(x) == resampling.bootstrap(x)


def test_a_clustered_bootstrap_is_as_wide_as_its_clusters_ask() -> None:
    random = np.random.default_rng(6)
    effect = random.normal(0, 1, 40)
    x = np.repeat(effect, 25) + random.normal(0, 0.1, 1000)
    got = resampling.bootstrap(x, np.repeat(np.arange(40), 25))
    assert got.units == 40
    clustered = means.clustered_error(x, list(np.repeat(np.arange(40), 25))).interval()
    assert (got.high or 0) - (got.low or 0) == pytest.approx((clustered.high or 0) - (clustered.low or 0), rel=0.1)
    assert (resampling.bootstrap([1, 1, 1]).low, resampling.bootstrap([2]).value) == (None, 2)
    assert resampling.bootstrap([]).value is None
    assert resampling.bootstrap([1, 2, 3], "aaa").low is None, "one cluster is one unit"
    with pytest.raises(ValueError, match="one cluster"):
        resampling.bootstrap([1, 2], "a")


# comparison


def test_the_test_follows_the_data() -> None:
    random = np.random.default_rng(7)
    binary = (random.random(200) < 0.7).astype(float), (random.random(200) < 0.5).astype(float)
    got = compare_pairs(*binary)
    assert got.test is PairTest.MCNEMAR
    assert got.p == pairs.mcnemar(got.a_ahead, got.b_ahead).p
    assert got.estimate.method == "Newcombe, paired"
    graded = random.random(20), random.random(20)
    small = compare_pairs(*graded)
    assert (small.test, small.seed) == (PairTest.PERMUTATION, resampling.SEED)
    assert compare_pairs(graded[0][:15], graded[1][:15]).seed is None, "exact"
    long = compare_pairs(random.random(30), random.random(30))
    assert long.test is PairTest.T
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert long.mde == pytest.approx(z * (long.se or 0))
    clusters = list(np.repeat(np.arange(50), 4))
    clustered = compare_pairs(*binary, clusters)
    assert (clustered.test, clustered.clusters) == (PairTest.CLUSTERED_T, 50)
    assert compare_pairs(*binary, range(200)).test is PairTest.MCNEMAR, "each its own cluster is as none"


def test_the_estimand_decides_the_error() -> None:
    random = np.random.default_rng(13)
    chance = random.random(300)
    a, b = (
        (random.random((300, 4)) < np.clip(chance + gain, 0, 1)[:, None]).astype(float).tolist() for gain in (0.05, 0)
    )
    usual, frozen = compare_samples(a, b), compare_samples(a, b, Estimand.FROZEN_SET)
    assert usual == compare_pairs(np.mean(a, axis=1), np.mean(b, axis=1))
    assert (usual.estimand, frozen.estimand) == (Estimand.KIND_OF_TASK, Estimand.FROZEN_SET)
    assert frozen.se == means.fixed_set_error(a, b)
    assert frozen.p == pytest.approx(2 * stats.norm.sf(abs((frozen.estimate.value or 0) / (frozen.se or 1))))
    gaps = compare_samples([*a, [], [1, 0]], [*b, [1, 0], [None]], Estimand.FROZEN_SET)
    assert (gaps.se, gaps.dropped, gaps.estimate.n) == (frozen.se, 2, 300)
    single = compare_samples([[1], [0]], [[0], [0]], Estimand.FROZEN_SET)
    assert (single.p, single.estimate.low, single.test) == (None, None, PairTest.NONE)


def test_a_comparison_never_reads_as_certain_where_nothing_varies() -> None:
    same = compare_pairs([1, 0, 1, 1] * 5, [1, 0, 1, 1] * 5)
    assert (same.p, same.estimate.value) == (1.0, 0.0)
    assert same.estimate.low == pytest.approx(-(same.estimate.high or 0))
    assert (same.estimate.high or 0) > 0.05
    assert same.mde == pytest.approx(5 / 20), "five questions must go one way before the test can speak"
    graded = compare_pairs([0.5, 0.25] * 20, [0.5, 0.25] * 20)
    assert (graded.p, graded.estimate.low) == (1.0, None)
    shifted = compare_pairs([0.5, 0.25] * 20, [0.4, 0.15] * 20)
    assert (shifted.p, shifted.test, shifted.estimate.low) == (None, PairTest.NONE, None)
    empty = compare_pairs([None, 1], [1, None])
    assert (empty.estimate.value, empty.p, empty.test, empty.dropped) == (None, None, PairTest.NONE, 2)
    alone = compare_pairs([1, 0, 1], [0, 0, 1], "aaa")
    assert (alone.p, alone.test) == (None, PairTest.NONE)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=50), st.integers(1, 4))
def test_swapping_the_sides_swaps_the_sign_alone(rows: list[tuple[int, int]], levels: int) -> None:
    a, b = ([min(row[side], levels) / levels for row in rows] for side in (0, 1))
    one, two = compare_pairs(a, b), compare_pairs(b, a)
    assert one.p == pytest.approx(two.p) if one.p is not None else two.p is None
    assert (one.test, one.mde, one.a_ahead) == (two.test, pytest.approx(two.mde) if two.mde else None, two.b_ahead)
    if one.estimate.low is not None:
        assert one.estimate.low == pytest.approx(-(two.estimate.high or 0), abs=1e-12)


def test_intervals_cover_and_tests_keep_their_level() -> None:
    """Coverage of 95% intervals of accuracy differences, and rejections of equal sides, on made data."""
    random = np.random.default_rng(11)
    covered = rejected = 0
    rounds = 600
    for _ in range(rounds):
        chance = random.beta(2, 1, 60)
        a, b = ((random.random(60) < chance).astype(float) for _ in range(2))
        got = compare_pairs(a, b)
        assert got.estimate.low is not None
        assert got.estimate.high is not None
        covered += got.estimate.low <= 0 <= got.estimate.high
        rejected += (got.p or 0) <= 0.05
    assert covered / rounds > 0.93
    assert 0.015 < rejected / rounds < 0.07
    ten = naive = 0
    for _ in range(rounds):
        x = np.repeat(random.normal(0, math.sqrt(0.3), 10), 10) + random.normal(0, math.sqrt(0.7), 100)
        error = means.clustered_error(x, list(np.repeat(np.arange(10), 10)))
        ends = error.interval()
        ten += (ends.low or 0) <= 0 <= (ends.high or 0)
        naive += abs(error.mean or 0) <= 1.96 * (error.naive or 0)
    assert ten / rounds > 0.92, "ten clusters of ten, correlation 0.3: about 95%"
    assert 0.6 < naive / rounds < 0.78, "and 69% without clusters"


def test_gaps_are_dropped_by_the_first_step_of_all() -> None:
    assert known_floats([1, None, float("nan"), float("inf"), True]).tolist() == [1, 1]
