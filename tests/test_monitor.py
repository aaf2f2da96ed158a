"""The nightly monitor and the A/B gate: naive loops, edges, and false alarms by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.judge import gate, monitor
from bench.judge.gate import GateMetric, Verdict
from bench.judge.monitor import NightState

SERIES = st.lists(st.floats(-5, 5).map(lambda value: round(value, 2)), min_size=26, max_size=60)


def naive(x: list[float], threshold: float, gate_shift: float) -> tuple[int | None, int | None, float]:
    """The recipe as one plain loop over nights: first alarm, start of the change, evidence at the end."""
    seed = np.array(x[:20])
    middle = np.median(seed)
    mad = 1.4826 * np.median(np.abs(seed - middle))
    seen = list(np.clip(seed, middle - 3 * mad, middle + 3 * mad) if mad > 0 else seed)
    r = [0.0, 0.0, 0.0]
    c, start, alarm = 0.0, 20, None
    for t in range(20, len(x)):
        n, m, s = len(seen), np.mean(seen), np.std(seen, ddof=1)
        u = stats.norm.ppf(stats.t.cdf((x[t] - m) / s * math.sqrt(n / (n + 1)), n - 1))
        u = min(max(u, -3.0), 3.0)
        reach = stats.t.ppf(stats.norm.cdf(3), n - 1) * s * math.sqrt((n + 1) / n)
        seen.append(min(max(x[t], m - reach), m + reach))
        r = [(1 + old) * math.exp(rate * u - rate**2 / 2) for old, rate in zip(r, (0.5, 1, 2), strict=True)]
        if c <= 0:
            start = t
        c = max(0.0, c + u - 0.5)
        shift = np.median(x[start : t + 1]) - np.median(x[max(0, start - 30) : start])
        if alarm is None and np.mean(r) >= threshold and shift >= gate_shift:
            alarm = (t, start)
    return (*(alarm or (None, None)), float(np.mean(r)))


@settings(deadline=None, max_examples=30)
@given(SERIES, st.sampled_from([5.0, 100.0]))
def test_the_monitor_is_the_plain_loop(x: list[float], threshold: float) -> None:
    if np.ptp(x[:20]) < 0.1 or np.median(np.abs(np.array(x[:20]) - np.median(x[:20]))) < 0.01:
        return
    got = monitor.monitor(x, threshold, 0.3)
    alarm, start, evidence = naive(x, threshold, 0.3)
    assert (got.alarm, got.start) == (alarm, start)
    assert got.evidence == pytest.approx(evidence, rel=1e-4)


def quiet(nights: int, seed: int = 1, sd: float = 0.02) -> list[float]:
    return list(6.5 + np.random.default_rng(seed).normal(0, sd, nights))


def test_a_shift_pages_with_its_start_and_one_bad_night_does_not() -> None:
    x = quiet(60)
    assert monitor.monitor(x).alarm is None
    bad = [*x[:40], x[40] + 1.0, *x[41:]]
    got = monitor.monitor(bad)
    assert got.alarm is None
    assert got.nights[40].state is NightState.TRANSIENT
    shifted = [*x[:35], *(value + 0.15 for value in x[35:])]
    found = monitor.monitor(shifted)
    assert found.alarm is not None
    assert 35 < found.alarm <= 41
    assert found.start is not None
    assert abs(found.start - 35) <= 2
    assert found.relative_shift == pytest.approx(math.expm1(found.shift or 0))
    assert 0.08 < (found.shift or 0) < 0.18
    assert found.nights[19].state is NightState.SEED
    assert monitor.monitor([*x[:35], *(value - 0.15 for value in x[35:])]).alarm is None, "better is no regression"
    tiny = monitor.monitor([*quiet(30, sd=0.001), *(value + 0.02 for value in quiet(30, sd=0.001))])
    assert (tiny.alarm, (tiny.evidence or 0) > 20_000) == (None, True), "sure, but below the gate of 3%"


def test_missing_nights_change_nothing_but_their_own() -> None:
    x = quiet(50)
    gaps: list[float | None] = [*x[:10], None, *x[10:30], math.nan, *x[30:]]
    whole, holed = monitor.monitor(x), monitor.monitor(gaps)
    assert holed.evidence == pytest.approx(whole.evidence)
    assert [holed.nights[index].state for index in (10, 31)] == [NightState.MISSING] * 2
    assert monitor.monitor([]).nights == ()
    short = monitor.monitor(x[:20])
    assert (short.alarm, short.evidence) == (None, None)
    assert {night.state for night in short.nights} == {NightState.SEED}


def test_a_series_without_noise_scores_its_first_change_at_the_clip() -> None:
    assert monitor.self_starting_scores([1.0] * 20, [1.0, 1.5, 0.5])[:2] == [0.0, 3.0]
    got = monitor.self_starting_scores([0.0, 1.0] * 10, [1e9, -1e9])
    assert got == [3.0, -3.0]
    with pytest.raises(ValueError, match="two nights"):
        monitor.self_starting_scores([1.0], [1.0])
    assert monitor.seed_level([0.0, 0.1, -0.1, 50.0]) == [0.0, 0.1, -0.1, pytest.approx(0.05 + 3 * 1.4826 * 0.1)]
    assert monitor.seed_level([]) == []
    assert math.isfinite(monitor.evidence_of_change([3.0] * 2000)[-1]), "it stays a number however long it lasts"


def test_thresholds() -> None:
    assert monitor.alarm_threshold() == 20_000
    assert monitor.alarm_threshold(referenced=True) == 1000
    assert monitor.alarm_threshold(100, referenced=True) == 36_500
    assert monitor.first_alarm([1, 5, 9], 5) == 1
    assert monitor.first_alarm([1], 5) is None


@pytest.mark.slow
def test_quiet_series_seldom_page_and_shifts_do() -> None:
    """The table for one's own server at A=20,000: 0.4% false alarms in 40 nights, +5% found in 98%."""
    random = np.random.default_rng(5)
    rounds = 200
    null = sum(monitor.monitor(random.normal(0, 0.02, 60)).alarm is not None for _ in range(rounds))
    assert null <= 5
    step = np.repeat([0.0, math.log(1.05)], [40, 20])
    found = sum(monitor.monitor(random.normal(0, 0.02, 60) + step).alarm is not None for _ in range(rounds))
    assert found / rounds > 0.9


# gate


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=3, max_size=12), st.sampled_from([0.02, 0.1]))
def test_run_ratios_are_t_tests_on_logs(rows: list[tuple[float, float]], margin: float) -> None:
    old, new = (np.round(column, 1) for column in zip(*rows, strict=True))
    d = np.log(new) - np.log(old)
    if np.ptp(d) < 0.01:
        return
    got = gate.run_ratio(old, new, margin)
    test = stats.ttest_1samp(d, 0, alternative="greater")
    assert got.p_slower == pytest.approx(test.pvalue, rel=1e-8, abs=1e-14)
    ends = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert (got.low, got.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)))
    below = stats.ttest_1samp(d, math.log(1 - margin), alternative="greater").pvalue
    above = stats.ttest_1samp(d, math.log(1 + margin), alternative="less").pvalue
    assert got.p_equivalent == pytest.approx(max(below, above), abs=1e-12)


def test_run_ratios_of_little() -> None:
    assert gate.run_ratio([], []) == gate.RunRatio(None, None, None, None, None, 0)
    assert gate.run_ratio([100, None], [110, 5]).ratio == pytest.approx(1.1)
    assert gate.run_ratio([1, 2], [2, 4]).p_slower is None, "nothing varies"
    for wrong in (([1], []), ([0], [1])):
        with pytest.raises(ValueError, match=r"run|positive"):
            gate.run_ratio(*wrong)


def test_verdicts_have_three_states_and_a_family() -> None:
    sure = GateMetric("ttft_p50", 0.001, 0.08, 0.11, 0.05)
    small = GateMetric("e2e_p50", 0.0001, 0.02, 0.03, 0.05)
    unsure = GateMetric("e2e_p95", 0.04, 0.12, 0.2, 0.10)
    unknown = GateMetric("cost", None, None, None, 0.05)
    got = gate.gate_verdicts([sure, small, unsure, unknown])
    assert [row.verdict for row in got] == [Verdict.REGRESSION, Verdict.PASS, Verdict.REGRESSION, Verdict.INCONCLUSIVE]
    assert got[3].p_adjusted is None
    first_look = gate.gate_verdicts([sure, small, unsure], limit=gate.LOOK_LIMITS[0])
    assert [row.verdict for row in first_look] == [Verdict.REGRESSION, Verdict.PASS, Verdict.INCONCLUSIVE]
    assert gate.gate_verdicts([]) == []
    on_the_edge = GateMetric("p50", 0.01, 1.05 - 1, 0.2, 0.05)
    assert gate.gate_verdicts([on_the_edge])[0].verdict is Verdict.REGRESSION, "float noise is no reprieve"


def test_the_worst_verdict_counts() -> None:
    assert gate.joint_verdict([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert gate.joint_verdict([Verdict.PASS, Verdict.REGRESSION, Verdict.INCONCLUSIVE]) is Verdict.REGRESSION
    assert gate.joint_verdict([Verdict.PASS]) is Verdict.PASS
    assert gate.joint_verdict([]) is Verdict.INCONCLUSIVE
