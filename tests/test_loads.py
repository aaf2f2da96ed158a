"""Arrival schedules: exact, ascending, of the rate and burstiness they promise, and the same for the same seed."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ConfigError
from bench.measure.loads import Load
from bench.measure.loads.closed import Closed
from bench.measure.loads.constant import Constant
from bench.measure.loads.gamma import Gamma
from bench.measure.loads.poisson import Poisson
from bench.measure.loads.ramp import Ramp, ramp_due_s
from bench.registry import build, discover

RATES = st.floats(min_value=0.01, max_value=10_000)
SECOND_NS = 1_000_000_000


def schedule(load: Load, count: int, seed: int = 0) -> list[int]:
    return list(islice(load.due_ns(Random(seed)), count))


def gaps_s(load: Load, count: int) -> list[float]:
    return [(later - earlier) / 1e9 for earlier, later in pairwise([0, *schedule(load, count)])]


any_load = st.one_of(
    st.builds(Closed, concurrency=st.integers(1, 100)),
    st.builds(Constant, rate=RATES),
    st.builds(Poisson, rate=RATES),
    st.builds(Gamma, rate=RATES, cv=st.floats(0.1, 5)),
    st.builds(Ramp, from_rate=RATES, to_rate=RATES, ramp_s=st.floats(0.1, 1000)),
)


@given(load=any_load, seed=st.integers(0, 2**32))
def test_due_times_are_ascending_whole_nanoseconds_and_the_same_for_the_same_seed(load: Load, seed: int) -> None:
    times = schedule(load, 200, seed)
    assert all(type(t) is int and t >= 0 for t in times)
    assert times == sorted(times)
    assert times == schedule(load, 200, seed)


def test_a_closed_load_is_due_at_once() -> None:
    assert schedule(Closed(), 3) == [0, 0, 0]
    assert Closed().concurrency == 16
    assert not Closed().is_open


def test_constant_spacing_known_answers() -> None:
    assert schedule(Constant(rate=4), 4) == [0, 250_000_000, 500_000_000, 750_000_000]
    assert schedule(Constant(rate=0.5), 3) == [0, 2 * SECOND_NS, 4 * SECOND_NS]


def test_constant_spacing_does_not_drift() -> None:
    """After three million requests at a third of a nanosecond's rest each, the time is still exact."""
    number = 3_000_000
    due = next(islice(Constant(rate=3000).due_ns(Random(0)), number, None))
    assert due == 1000 * SECOND_NS


@pytest.mark.parametrize(
    ("load", "mean_s", "cv"),
    [
        (Poisson(rate=20), 0.05, 1.0),
        (Gamma(rate=20, cv=1), 0.05, 1.0),
        (Gamma(rate=5, cv=0.25), 0.2, 0.25),
        (Gamma(rate=5, cv=2), 0.2, 2.0),
    ],
)
def test_mean_gap_and_coefficient_of_variation(load: Load, mean_s: float, cv: float) -> None:
    gaps = gaps_s(load, 20_000)
    mean = statistics.fmean(gaps)
    # Six standard errors of the mean; the variance of a sample's cv grows with cv itself.
    assert mean == pytest.approx(mean_s, rel=6 * cv / 20_000**0.5)
    assert statistics.stdev(gaps) / mean == pytest.approx(cv, rel=0.1)


def test_gamma_with_cv_1_has_the_distribution_of_poisson() -> None:
    from scipy.stats import ks_2samp

    gamma, poisson = gaps_s(Gamma(rate=7, cv=1), 4000), gaps_s(Poisson(rate=7), 4000)
    assert ks_2samp(gamma, poisson).pvalue > 1e-4


def test_other_seeds_give_other_arrivals() -> None:
    assert schedule(Poisson(rate=5), 10, seed=1) != schedule(Poisson(rate=5), 10, seed=2)


def test_ramp_known_answers() -> None:
    """1 to 3 requests/s over 4 s: N(t) = t + t^2 / 4, so N(2) = 3, N(4) = 8; then 3 a second."""
    times = schedule(Ramp(from_rate=1, to_rate=3, ramp_s=4), 12)
    assert times[0] == 0
    assert times[3] == 2 * SECOND_NS
    assert times[8] == 4 * SECOND_NS
    assert times[11] == 5 * SECOND_NS


def test_a_ramp_takes_the_whole_duration_unless_it_has_its_own() -> None:
    whole = Ramp(from_rate=1, to_rate=3, duration_s=4)
    assert schedule(whole, 9) == schedule(Ramp(from_rate=1, to_rate=3, ramp_s=4), 9)
    assert schedule(replace(whole, ramp_s=2), 9)[8] < schedule(whole, 9)[8]


@given(
    from_rate=RATES,
    to_rate=RATES,
    ramp_s=st.floats(0.1, 1000),
    number=st.integers(0, 100_000),
)
def test_a_ramp_inverts_its_cumulative_rate(from_rate: float, to_rate: float, ramp_s: float, number: int) -> None:
    t = ramp_due_s(number, from_rate, to_rate, ramp_s)
    within = min(t, ramp_s)
    cumulative = from_rate * within + (to_rate - from_rate) * within**2 / (2 * ramp_s) + to_rate * (t - within)
    assert cumulative == pytest.approx(number, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Closed(concurrency=0), "load.concurrency=0"),
        (lambda: Constant(rate=0), "load.rate=0"),
        (lambda: Constant(rate=float("inf")), "load.rate=inf"),
        (lambda: Poisson(rate=-1), "load.rate=-1"),
        (lambda: Gamma(rate=1, cv=0), "load.cv=0"),
        (lambda: Gamma(rate=float("nan"), cv=1), "load.rate=nan"),
        (lambda: Ramp(from_rate=0, to_rate=1, ramp_s=1), "load.from_rate=0"),
        (lambda: Ramp(from_rate=1, to_rate=1, ramp_s=0, duration_s=9), "load.ramp_s=0"),
        (lambda: Ramp(from_rate=1, to_rate=1), "load.ramp_s"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make: Callable[[], Load], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make()


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Gamma(rate=0, cv=-1)
    assert len(caught.value.problems) == 2


def test_loads_are_built_from_plain_configs() -> None:
    discover()
    assert build("load", {"kind": "gamma", "rate": 2, "cv": 0.5, "requests": 10}) == Gamma(rate=2, cv=0.5, requests=10)
    with pytest.raises(ConfigError, match=r"load\.rate"):
        build("load", {"kind": "constant"})
    with pytest.raises(ConfigError, match=r"load\.rate=0"):
        build("load", {"kind": "constant", "rate": 0})
