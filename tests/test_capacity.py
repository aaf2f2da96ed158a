"""Capacity figures against published known answers, hand-made curves and their own properties."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judge.backfill import LABEL, back_fill
from bench.judge.capacity import Saturation, Usl, find_knee, find_saturation, fit_usl, is_saturated
from tests.test_intervals import agrees, known

LOADS = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])


def usl(n: np.ndarray, alpha: float, beta: float, gamma: float) -> np.ndarray:
    return gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1))


def test_usl_agrees_with_the_reference() -> None:
    case = known("usl_fit")
    got = fit_usl(case["inputs"]["n"], case["inputs"]["x"])
    assert got is not None
    for key in ("alpha", "beta", "gamma", "n_peak", "x_peak"):
        agrees(case, key, getattr(got, key))
    assert got.r_squared == pytest.approx(1.0)
    assert not got.beyond


@settings(max_examples=40, deadline=None)
@given(
    alpha=st.floats(0.005, 0.3),
    beta=st.floats(1e-5, 5e-3),
    gamma=st.floats(0.01, 1e5),
    seed=st.integers(0, 2**32 - 1),
)
def test_usl_recovers_known_parameters_from_noisy_throughput(
    alpha: float, beta: float, gamma: float, seed: int
) -> None:
    noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal(LOADS.size).clip(-2, 2)
    got = fit_usl(LOADS, usl(LOADS, alpha, beta, gamma) * noise)
    assert got is not None
    assert got.r_squared > 0.98
    assert np.array([got.at(n) for n in LOADS]) == pytest.approx(usl(LOADS, alpha, beta, gamma), rel=0.05)
    assert got.gamma == pytest.approx(gamma, rel=0.1)


def test_usl_of_a_perfect_service_has_no_peak() -> None:
    got = fit_usl(LOADS, 7 * LOADS)
    assert got is not None
    assert (got.alpha, got.beta) == (0, 0)
    assert got.gamma == pytest.approx(7, rel=1e-4)
    assert (got.n_peak, got.x_peak, got.beyond) == (None, None, True)


def test_usl_peaks_are_marked_when_no_load_came_near() -> None:
    got = fit_usl(LOADS[:5], usl(LOADS[:5], 0.03, 0.0005, 20))
    assert got is not None
    assert got.n_peak == pytest.approx(44, rel=0.01)
    assert got.beyond


def test_a_peak_lies_at_one_user_or_above() -> None:
    worse = fit_usl(LOADS, usl(LOADS, 1.5, 0.1, 10))
    assert worse is not None
    assert worse.n_peak == 1
    assert worse.x_peak == pytest.approx(10, rel=0.01)


def test_an_amdahl_ceiling_stands_in_for_a_peak() -> None:
    got = fit_usl(LOADS, usl(LOADS, 0.25, 0.0, 10))
    assert got is not None
    assert (got.n_peak, got.beyond) == (None, True)
    assert got.x_peak == pytest.approx(40, rel=0.01)


@pytest.mark.parametrize(
    ("n", "x"),
    [([], []), ([1, 2, 4], [1, 2, 3]), ([1, 1, 2, 2, 4, 4], [1, 1, 2, 2, 3, 3]), ([1, 2, 4, 8], [1, 2, 3, math.nan])],
    ids=["nothing", "three points", "three different loads", "one point unknown"],
)
def test_too_few_points_fit_nothing(n: list[float], x: list[float]) -> None:
    assert fit_usl(n, x) is None


def test_a_curve_needs_pairs() -> None:
    with pytest.raises(ValueError, match="one y for each x"):
        fit_usl([1, 2], [1])


def test_the_law_itself() -> None:
    assert Usl(0.1, 0.01, 10, None, None, 1.0, False).at(3) == pytest.approx(30 / 1.26)


def test_knee_agrees_with_the_paper_s_figure() -> None:
    case = known("kneedle")
    inputs = case["inputs"]
    got = find_knee(inputs["x"], inputs["y"], inputs["curve"], inputs["direction"], inputs["S"])
    agrees(case, "knee", got)


def test_knee_of_a_hand_made_curve() -> None:
    x, y = [0, 1, 2, 3, 4], [0, 8, 9, 9.5, 10]
    assert find_knee(x, y) == 1, "0.8 - 0.25 is the largest difference"
    assert find_knee(x, [10 - v for v in y], "convex", "decreasing") == 1
    assert find_knee([-v for v in x], y, "concave", "decreasing") == -1
    assert find_knee([-v for v in x], [-v for v in y], "convex", "increasing") == -1


def test_knee_of_latency_over_rate() -> None:
    rate = np.arange(1, 16)
    latency = 100 / (1 - rate / 16)
    found = find_knee(rate, latency, "convex")
    assert found is not None
    assert 11 <= found <= 14


def test_the_largest_of_several_knees_counts() -> None:
    x = np.arange(11)
    y = [0, 2, 2.2, 2.4, 2.6, 8, 9.6, 9.7, 9.8, 9.9, 10]
    assert find_knee(x, y) == 6


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [5, 5, 5, 5]),
        ([1, 2, 3, 4], [1, 2, 4, 8]),
        ([1, 2, 3], [1, math.inf, math.nan]),
    ],
    ids=["two points", "line", "flat", "convex asked as concave", "not finite"],
)
def test_no_knee(x: list[float], y: list[float]) -> None:
    assert find_knee(x, y) is None


@given(
    half=st.floats(0.5, 20),
    points=st.integers(6, 30),
    x_power=st.integers(-20, 20),
    y_power=st.integers(-20, 20),
    order=st.randoms(use_true_random=False),
)
def test_knee_does_not_depend_on_units_and_order(
    half: float, points: int, x_power: int, y_power: int, order: Random
) -> None:
    x = np.arange(1.0, points + 1)
    y = x / (half + x)
    knee = find_knee(x, y)
    pairs = list(zip(x * 2.0**x_power, y * 2.0**y_power, strict=True))
    order.shuffle(pairs)
    scaled = find_knee([a for a, _ in pairs], [b for _, b in pairs])
    assert (scaled is None) == (knee is None)
    if knee is not None:
        assert scaled == knee * 2.0**x_power


@given(low=st.floats(-1e3, 1e3), stretch=st.floats(0.01, 100))
def test_knee_does_not_depend_on_the_zero_of_the_axes(low: float, stretch: float) -> None:
    x = np.arange(9.0)
    y = np.array([0, 5, 8, 9, 9.4, 9.6, 9.8, 9.9, 10.0])
    assert find_knee(x, low + stretch * y) == find_knee(x, y) == 2


def test_saturation() -> None:
    assert not is_saturated(10, 9.5)
    assert is_saturated(10, 9.49)
    assert find_saturation([4, 1, 2, 8], [3.9, 1, 2, 5]) == Saturation(4, 8)
    assert find_saturation([1, 2], [1, 2]) == Saturation(2, None)
    assert find_saturation([1, 2, 4], [0.5, 2, 4]) == Saturation(None, 1), "a higher rate served does not heal it"
    assert find_saturation([], []) == Saturation(None, None)


def test_back_fill_agrees_with_the_reference() -> None:
    case = known("coordinated_omission_correction")
    values = [value for value, count in case["inputs"]["values"] for _ in range(count)]
    got = back_fill(values, case["inputs"]["expected_interval"])
    agrees(case, "total_count", got.values.size)
    for key, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        agrees(case, key, got.quantile(q).value)


def test_back_fill_by_hand() -> None:
    got = back_fill([1, 3.5, 0.5], 1.0)
    assert got.values.tolist() == [0.5, 1, 1.5, 2.5, 3.5]
    assert got.added == 2
    assert got.quantile(0.5).method == LABEL
    assert got.quantile(0.5).low is None


@given(st.lists(st.integers(0, 5000), max_size=30), st.integers(1, 500))
def test_back_fill_is_its_definition(latencies: list[int], interval: int) -> None:
    slow = [v for v in latencies if v > interval]
    wanted = sorted([*latencies, *(w for v in slow for w in range(v - interval, interval - 1, -interval))])
    got = back_fill(latencies, interval)
    assert got.values.tolist() == wanted
    assert got.added == len(wanted) - len(latencies)


def test_back_fill_of_nothing_and_of_failures() -> None:
    assert back_fill([], 1).quantile(0.5).value is None
    assert back_fill([math.nan, math.inf, 2], 1).values.tolist() == [1, 2, math.inf]
    with pytest.raises(ValueError, match="positive"):
        back_fill([1], 0)


def test_back_fill_sees_a_stall_that_a_closed_loop_hides() -> None:
    """One worker, 0.1 s a request, 600 s with one stall of 30 s: one slow request of 5701."""
    closed = [0.1] * 5700 + [30.0]
    assert back_fill(closed, 40.0).quantile(0.99).value == 0.1
    p99 = back_fill(closed, 0.1).quantile(0.99).value
    assert p99 == pytest.approx(24, abs=0.2), "of 6000 requests due, 300 wait 0.1 to 30 s: the worst 60 wait over 24 s"
