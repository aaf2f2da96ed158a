"""Steadiness checks against known answers, made queues and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.steady import backlog_trend, check_little, compare_halves, mser5, second_half
from tests.test_intervals import agrees, known

INTERVALS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**8)), min_size=1, max_size=40)


def test_little_agrees_with_the_reference() -> None:
    case = known("littles_law")
    starts, ends = zip(*case["inputs"]["intervals"], strict=True)
    got = check_little(starts, ends, tuple(case["inputs"]["window"]))
    assert got is not None
    agrees(case, "L", got.in_flight)
    agrees(case, "X", got.per_time)
    agrees(case, "W", got.latency)
    agrees(case, "rel_error", got.error)
    assert got.holds


@given(INTERVALS)
def test_little_is_exact_over_complete_windows(intervals: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in intervals], dtype=float)
    ends = starts + [length for _, length in intervals]
    got = check_little(starts, ends)
    if got is not None:
        assert got.error < 1e-9
        assert got.in_flight <= len(intervals) + 1e-9


def test_little_shows_requests_that_the_record_lost() -> None:
    starts = np.arange(100.0)
    ends = starts + 5
    ends[::2] = np.nan
    half = check_little(starts, ends, (20, 80))
    assert half is not None
    assert half.in_flight == pytest.approx(2.5)
    assert half.holds, "of what is recorded it is an identity: lost requests show against the client's own count"


def test_little_fails_in_a_window_that_is_not_steady() -> None:
    starts = np.arange(100.0)
    growing = check_little(starts, starts + 1 + starts, (0, 60))
    assert growing is not None
    assert not growing.holds


def test_little_of_nothing() -> None:
    assert check_little([], []) is None
    assert check_little([1], [1]) is None
    assert check_little([1, 2], [3, 4], (10, 20)) is None
    with pytest.raises(ValueError, match="before it starts"):
        check_little([2], [1])
    with pytest.raises(ValueError, match="one end"):
        check_little([2], [1, 2])


def queue(rate: float, service_s: float, slots: int, seconds: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals and departures of a Poisson stream at ``slots`` servers of exponential service."""
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.exponential(1 / rate, int(rate * seconds)))
    free = np.zeros(slots)
    ends = np.empty_like(starts)
    for i, start in enumerate(starts):
        slot = int(free.argmin())
        free[slot] = max(free[slot], start) + random.exponential(service_s)
        ends[i] = free[slot]
    return starts, ends


def test_backlog_of_an_overloaded_service_rises() -> None:
    got = backlog_trend(*queue(rate=12, service_s=1, slots=10, seconds=300))
    assert got is not None
    assert got.rises
    assert got.change > 1, "from none to 2 · 300 in a straight line is twice its mean"


def test_backlog_of_a_service_with_room_does_not_rise() -> None:
    rising = [backlog_trend(*queue(rate=6, service_s=1, slots=10, seconds=300, seed=seed)) for seed in range(20)]
    assert sum(trend is not None and trend.rises for trend in rising) <= 2


def test_backlog_of_a_closed_loop_is_flat() -> None:
    starts = np.repeat(np.arange(0.0, 100), 4)
    got = backlog_trend(starts, starts + 1)
    assert got is not None
    assert (got.change, got.low, got.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert not got.rises


def test_backlog_slope_is_the_least_squares_line() -> None:
    """In flight grows by one a second over 0 to 100: its change over the window is twice its mean."""
    starts = np.arange(0.0, 101)
    got = backlog_trend(starts, np.full(101, 1000.0))
    assert got is not None
    assert got.change == pytest.approx(100 / 50.5, rel=0.01)


def test_backlog_of_nothing() -> None:
    assert backlog_trend([], []) is None
    assert backlog_trend([1, 1], [2, 2]) is None
    assert backlog_trend([1, 2], [1, 2]) is None


def test_mser5_agrees_with_the_reference() -> None:
    case = known("mser5")
    got = mser5(case["inputs"]["x"])
    assert got is not None
    agrees(case, "batches", got.batches)
    agrees(case, "d", got.d)
    agrees(case, "truncate", got.truncate)
    agrees(case, "mser", got.mser)
    assert got.steady


@given(st.lists(st.integers(-1000, 1000), min_size=5, max_size=150))
def test_mser5_is_its_definition(values: list[int]) -> None:
    k = len(values) // 5
    z = np.array(values[: 5 * k], dtype=float).reshape(k, 5).mean(axis=1)
    plain = [float(((z[d:] - z[d:].mean()) ** 2).sum()) / (k - d) ** 2 for d in range(k // 2 + 1)]
    got = mser5(values)
    assert got is not None
    assert got.mser == pytest.approx(min(plain), rel=1e-9, abs=1e-6)
    assert plain[got.d] == pytest.approx(min(plain), rel=1e-9, abs=1e-6)


def test_mser5_leaves_stationary_series_mostly_alone() -> None:
    random = np.random.default_rng(11)
    cuts = [mser5(random.lognormal(0, 0.5, 1000)) for _ in range(200)]
    shares = np.array([cut.d / cut.batches for cut in cuts if cut is not None])
    assert np.median(shares) < 0.1
    assert np.mean([cut is not None and cut.steady is True for cut in cuts]) > 0.9


@pytest.mark.parametrize("length", [50, 100, 200])
def test_mser5_cuts_a_warm_up(length: int) -> None:
    random = np.random.default_rng(length)
    series = random.normal(10, 1, 1000)
    series[:length] += 20
    got = mser5(series)
    assert got is not None
    assert got.truncate == length
    assert got.steady


def test_a_series_that_drifts_to_its_end_has_no_steady_state() -> None:
    got = mser5(np.linspace(100, 0, 500))
    assert got is not None
    assert got.d == got.batches // 2
    assert got.steady is False


def test_short_series_say_nothing() -> None:
    assert mser5([1, 2, 3, 4]) is None
    few = mser5([5.0] * 45)
    assert few is not None
    assert few.steady is None
    constant = mser5([0.1] * 50)
    assert constant is not None
    assert (constant.d, constant.mser, constant.steady) == (0, 0, True)


def test_halves_of_a_drift_differ() -> None:
    random = np.random.default_rng(5)
    got = compare_halves(random.lognormal(0, 0.4, 2000) * np.linspace(1, 2, 2000))
    assert got is not None
    assert got.moves
    assert got.rises
    assert got.change == pytest.approx(1.75 / 1.25 - 1, rel=0.2)
    falling = compare_halves(random.lognormal(0, 0.4, 2000) * np.linspace(2, 1, 2000))
    assert falling is not None
    assert falling.moves
    assert not falling.rises


def test_halves_of_a_stationary_series_agree() -> None:
    random = np.random.default_rng(6)
    shifts = [compare_halves(random.lognormal(0, 0.4, 1000)) for _ in range(100)]
    assert sum(shift is not None and shift.moves for shift in shifts) <= 8


def test_halves_at_the_edges() -> None:
    assert compare_halves([1.0] * 19) is None
    assert compare_halves([0.0] * 40) is None
    constant = compare_halves([2.0] * 40)
    assert constant is not None
    assert (constant.change, constant.low, constant.high) == (0, 0, 0)
    assert not constant.moves


def test_second_half_is_by_time() -> None:
    assert second_half([0, 1, 2, 9, 10, np.nan]).tolist() == [False, False, False, True, True, False]
    assert second_half([np.nan]).tolist() == [False]
