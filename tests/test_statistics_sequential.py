"""Sequential rules: crossing probabilities by integration and by simulation, savings, edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.judge.intervals import wilson
from bench.judge.statistics import sequential
from bench.judge.statistics.sequential import LookPlan, Stop


def test_boundaries_of_one_look_are_an_ordinary_test() -> None:
    assert sequential.obrien_fleming(1) == pytest.approx((stats.norm.ppf(0.975),))
    assert sequential.obrien_fleming(1, 0.2) == pytest.approx((stats.norm.ppf(0.9),))
    for wrong in ((0, 0.05), (3, 0.0), (3, 1.0)):
        with pytest.raises(ValueError, match="at least one look"):
            sequential.obrien_fleming(*wrong)


@pytest.mark.parametrize(("looks", "alpha"), [(2, 0.05), (3, 0.01), (2, 0.4)])
def test_boundaries_spend_their_alpha_exactly(looks: int, alpha: float) -> None:
    """Each side's probability not to have crossed any boundary, from the joint normal distribution of the looks."""
    z = sequential.obrien_fleming(looks, alpha)
    times = np.arange(1, looks + 1) / looks
    joint = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    inside = stats.multivariate_normal(cov=joint, abseps=1e-8, releps=1e-8, maxpts=200_000)
    stay = inside.cdf(z, lower_limit=[-bound for bound in z])
    assert 1 - stay == pytest.approx(alpha, abs=2e-5)


@pytest.mark.parametrize("looks", [5, 10, 30])
def test_boundaries_fall_and_keep_their_level_in_simulation(looks: int) -> None:
    z = np.array(sequential.obrien_fleming(looks))
    assert (np.diff(z) < 0).all()
    steps = np.random.default_rng(2).normal(size=(20_000, looks)).cumsum(axis=1) / np.sqrt(np.arange(1, looks + 1))
    assert (np.abs(steps) >= z).any(axis=1).mean() == pytest.approx(0.05, abs=0.006)


def test_published_boundaries() -> None:
    assert sequential.obrien_fleming(5) == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=2e-4)
    assert sequential.obrien_fleming(2) == pytest.approx((2.9626, 1.9686), abs=2e-4)


def test_mixture_bound_is_where_the_mixture_reaches_one_over_alpha() -> None:
    for v, alpha, v_opt in ((50.0, 0.05, 100.0), (400.0, 0.01, 30.0)):
        bound = sequential.normal_mixture_bound(v, alpha, v_opt)
        twice = 2 * math.log(1 / alpha)
        rho = v_opt / (twice + math.log(1 + twice))
        mixture = math.sqrt(rho / (v + rho)) * math.exp(bound**2 / (2 * (v + rho)))
        assert mixture == pytest.approx(1 / alpha)
    with pytest.raises(ValueError, match="v_opt"):
        sequential.normal_mixture_bound(1, 0.05, 0)


@settings(deadline=None)
@given(st.integers(0, 300), st.data(), st.sampled_from([0.01, 0.05, 0.3]), st.sampled_from([1.0, 20.0, 500.0]))
def test_a_bernoulli_sequence_holds_its_share_and_turns_with_it(
    n: int, data: st.DataObject, alpha: float, t_opt: float
) -> None:
    k = data.draw(st.integers(0, n))
    got, turned = (
        sequential.bernoulli_sequence(k, n, alpha, t_opt),
        sequential.bernoulli_sequence(n - k, n, alpha, t_opt),
    )
    assert (got.low, got.high) == pytest.approx((1 - turned.high, 1 - turned.low), abs=1e-9)
    if n == 0:
        assert (got.low, got.high) == (0, 1)
        return
    assert 0 <= got.low <= k / n <= got.high <= 1


def test_a_bernoulli_sequence_covers_at_every_time_at_once() -> None:
    random = np.random.default_rng(3)
    looks = [10, 20, 40, 80, 160, 320]
    edges = {n: [sequential.bernoulli_sequence(k, n, 0.05, 80) for k in range(n + 1)] for n in looks}
    missed = 0
    for _ in range(1000):
        sums = (random.random(320) < 0.8).cumsum()
        missed += any(not edges[n][sums[n - 1]].low <= 0.8 <= edges[n][sums[n - 1]].high for n in looks)
    assert missed / 1000 < 0.05
    with pytest.raises(ValueError, match="within 0"):
        sequential.bernoulli_sequence(3, 2)


def test_the_width_stops_where_it_is_looked_at() -> None:
    assert [n for n in range(100) if sequential.is_width_look(n)] == [50, 60, 70, 80, 90]
    right = [1.0] * 137
    assert not sequential.width_reached(right[:50], 0.03)
    assert sequential.width_reached(right, 0.03)
    assert not sequential.width_reached([], 0.5)
    assert not sequential.width_reached([0.5] * 50, 0.03, single_binary=False), "no spread is no certainty"
    assert sequential.width_reached([0.4, 0.6] * 50, 0.03, single_binary=False)


def test_looks_are_spaced_and_the_last_one_decides() -> None:
    plan = LookPlan(total=25, looks=10)
    assert plan.look_at == (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)
    random = np.random.default_rng(1)
    d = list(random.normal(5, 0.1, 25))
    assert plan.look(d[:4]) is Stop.GO_ON, "between looks"
    assert plan.look(d[:5]) is Stop.A_BETTER
    assert plan.look([-value for value in d[:5]]) is Stop.B_BETTER
    assert plan.look([]) is Stop.GO_ON
    assert plan.look([0.1] * 5) is Stop.GO_ON, "equal differences have no error"
    noise = list(random.normal(0, 1, 25))
    assert LookPlan(25, equal_within=None).look(noise) is Stop.UNDECIDED
    assert Stop.UNDECIDED.final
    assert not Stop.GO_ON.final
    small = list(random.normal(0, 0.001, 25))
    assert plan.look(small[:10]) is Stop.EQUAL
    lost = [math.nan] * 3 + d[:7]
    assert plan.look(lost) is Stop.A_BETTER, "lost replies do not shift the looks"
    clusters = [index // 5 for index in range(25)]
    assert plan.look(d, clusters) is Stop.A_BETTER


def test_an_open_ended_look_waits_for_a_hundred() -> None:
    d = list(np.random.default_rng(2).normal(1, 1, 100))
    assert sequential.open_ended_look(d[:99]) is Stop.GO_ON
    assert sequential.open_ended_look(d) is Stop.A_BETTER
    assert sequential.open_ended_look([-value for value in d]) is Stop.B_BETTER
    assert sequential.mean_sequence([1.0] * 200) is None


def made(random: np.random.Generator, n: int, drop: float, repeats: int) -> np.ndarray:
    """Question-level differences of two models on questions of very unlike difficulty."""
    chance = random.beta(2, 1, n)
    lower = np.clip(chance - drop, 0, 1)
    return random.binomial(repeats, chance, n) / repeats - random.binomial(repeats, lower, n) / repeats


def simulate(
    rule: Callable[[np.ndarray], Stop], looks: tuple[int, ...], drop: float, repeats: int
) -> tuple[float, float]:
    """Share of comparisons that found a difference, and share of questions saved."""
    random = np.random.default_rng(31)
    rejected = used = 0
    rounds = 300
    for _ in range(rounds):
        d = made(random, 1000, drop, repeats)
        n = 1000
        for n in looks:
            said = rule(d[:n])
            if said.final:
                rejected += said in (Stop.A_BETTER, Stop.B_BETTER)
                break
        used += n
    return rejected / rounds, 1 - used / rounds / 1000


@pytest.mark.slow
def test_group_sequential_looks_keep_the_level_and_save_questions() -> None:
    plan = LookPlan(1000)
    null, saved_null = simulate(plan.look, plan.look_at, 0.0, 1)
    some, saved_some = simulate(plan.look, plan.look_at, 0.05, 1)
    large, saved_large = simulate(plan.look, plan.look_at, 0.10, 1)
    assert 0.02 < null < 0.08, "the recipe measured 5.0%"
    assert saved_null < 0.06
    assert some > 0.65, "85% there, on its own questions"
    assert saved_some > 0.15
    assert large > 0.97
    assert saved_large > 0.45
    same, saved_same = simulate(plan.look, plan.look_at, 0.0, 4)
    assert same < 0.08
    assert saved_same > 0.05, "equality is found early with four samples each"

    def peek(d: np.ndarray) -> Stop:
        se = d.std(ddof=1) / math.sqrt(d.size)
        return Stop.A_BETTER if se > 0 and abs(d.mean()) >= 1.96 * se else Stop.GO_ON

    naive, _ = simulate(peek, tuple(range(50, 1001, 50)), 0.0, 1)
    assert naive > 0.15, "the level that looking without a rule costs: 22%"


@pytest.mark.slow
def test_an_open_ended_sequence_keeps_the_level_at_every_look() -> None:
    looks = tuple(range(100, 1001, 50))
    null, _ = simulate(sequential.open_ended_look, looks, 0.0, 1)
    large, saved = simulate(sequential.open_ended_look, looks, 0.10, 1)
    assert null < 0.045, "the recipe measured 1.7%"
    assert large > 0.97
    assert saved > 0.5


@pytest.mark.slow
def test_stopping_by_width_covers_and_saves() -> None:
    random = np.random.default_rng(17)
    used = {}
    for share in (0.5, 0.9, 0.97):
        covered, counts = 0, []
        for _ in range(250):
            asked = random.random(1200) < share
            for n in range(50, 1201, 10):
                if sequential.width_reached(asked[:n], 0.03):
                    break
            found = wilson(int(asked[:n].sum()), n)
            covered += (found.low or 0) <= share <= (found.high or 1)
            counts.append(n)
        assert covered / 250 > 0.92
        used[share] = np.mean(counts)
    assert used[0.5] == pytest.approx(1069, rel=0.02)
    assert used[0.9] == pytest.approx(384, rel=0.06)
    assert used[0.97] == pytest.approx(137, rel=0.12)
