"""SLO expressions, goodput, verdicts and proofs by early stopping."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.domain import ConfigError
from bench.judge.attainment import Standing, count_goodput, judge_slo, measure_goodput, meets
from bench.judge.metrics import CELL_METRICS, REQUEST_METRICS
from bench.judge.proof import (
    estimate_percentile,
    estimate_rank,
    most_late,
    needed_for_proof,
    proof,
)
from bench.judge.rows import read_run
from bench.slo import METRICS, Term, parse_slo
from tests.made_run import MadeCell, make_run
from tests.test_intervals import agrees, known


def served(**columns: list[Any]) -> pd.DataFrame:
    """Request rows; every metric that is not given is null, every outcome ``ok``, ten requests a second."""
    n = len(next(iter(columns.values())))
    made: dict[str, Any] = {name: [math.nan] * n for name in METRICS}
    made |= {"outcome": ["ok"] * n, "cached": [False] * n, "completion_tokens": [10.0] * n}
    made |= {"sent_ns": np.arange(n) * 1e8, "end_ns": (np.arange(n) + 1) * 1e8}
    return pd.DataFrame(made | columns)


def standing(text: str, rows: pd.DataFrame) -> str:
    return str(judge_slo(parse_slo(text), rows).standing)


def test_terms_are_read() -> None:
    slo = parse_slo("ttft_ms_p99 <= 500 and tpot_ms_p95<5e1 AND output_tok_per_s_p5 >= 20 and e2e_ms > 1")
    assert slo.terms == (
        Term("ttft_ms", 0.99, "<=", 500),
        Term("tpot_ms", 0.95, "<", 50),
        Term("output_tok_per_s", 0.05, ">=", 20),
        Term("e2e_ms", None, ">", 1),
    )
    assert str(slo) == "ttft_ms_p99 <= 500 and tpot_ms_p95 < 50 and output_tok_per_s_p5 >= 20 and e2e_ms > 1"


def test_every_metric_of_a_request_can_be_bounded() -> None:
    assert (*(metric.name for metric in REQUEST_METRICS), "failure_rate") == METRICS


def test_names_of_the_summary_s_columns_are_understood() -> None:
    assert parse_slo("ttft_p99.9_ms <= 1") == parse_slo("ttft_ms_p99.9 <= 1")
    for metric in CELL_METRICS:
        if metric.name.endswith(("_p99", "_p99_ms")) and not metric.name.startswith("gap"):
            assert parse_slo(f"{metric.name} <= 1").terms[0].percentile == 0.99


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty term"),
        ("ttft_ms_p99 <= 500 and", "an empty term"),
        ("ttft_ms_p99", "cannot read 'ttft_ms_p99'"),
        ("ttft_ms_p99 <= 500 or e2e_ms <= 3", "joined by 'and'"),
        ("ttft_ms_p99 == 500", "unknown operator '=='"),
        ("ttft_ms_p99 =< 500", "there are <=, <, >=, >"),
        ("latency_p99 <= 500", "unknown metric 'latency_p99'; there are ttft_ms, ttfa_ms"),
        ("ttft_p99 <= 500", "unknown metric"),
        ("ttft_ms_p100 <= 500", "between 0 and 100"),
        ("ttft_ms_p0 <= 500", "between 0 and 100"),
        ("failure_rate_p99 <= 0.1", "no percentiles"),
        ("ttft_ms_p99 <= 500ms", "'500ms' in 'ttft_ms_p99 <= 500ms' is not a number"),
        ("ttft_ms_p99 <= nan", "not a number"),
        ("ttft_ms_p99 <= inf", "not a number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_there_is(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_slo(text, "load.slo")
    assert says in str(refused.value)
    assert str(refused.value).startswith("load.slo: ")


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_slo("ttfd_ms <= 1 and tpot_ms ~ 3 and e2e_ms <= fast")
    assert len(refused.value.problems) == 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(METRICS[:-1]),
            st.none() | st.integers(1, 999).map(lambda tenth: tenth / 1000),
            st.sampled_from(["<=", "<", ">=", ">"]),
            st.integers(-(10**5), 10**5).map(lambda number: number / 8),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_an_expression_survives_its_text(terms: list[tuple[str, float | None, str, float]]) -> None:
    text = " and ".join(str(Term(*term)) for term in terms)
    assert str(parse_slo(text)) == text
    assert [(term.metric, term.sign) for term in parse_slo(text).terms] == [(term[0], term[2]) for term in terms]


def test_goodput_agrees_with_the_reference() -> None:
    case = known("goodput")
    requests, slo = case["inputs"]["requests"], case["inputs"]["slo"]
    rows = served(
        ttft_ms=[ttft for ttft, _, _ in requests],
        tpot_ms=[tpot for _, tpot, _ in requests],
        outcome=["ok" if ok else "failed" for _, _, ok in requests],
    )
    terms = parse_slo(f"ttft_ms <= {slo['ttft']} and tpot_ms <= {slo['tpot']}")
    got = measure_goodput(terms, rows, case["inputs"]["duration"])
    agrees(case, "good", got.good)
    agrees(case, "goodput", got.per_s)
    agrees(case, "attainment", got.attainment.value)
    agrees(case, "attainment_lower95", got.lower95)


def test_goodput_by_hand() -> None:
    rows = served(
        ttft_ms=[1, 2, 3, 9, 1, 1, 1],
        outcome=["ok", "ok", "ok", "ok", "failed", "not_sent", "cancelled"],
    )
    got = measure_goodput(parse_slo("ttft_ms_p99 <= 3"), rows)
    assert (got.good, got.sent) == (3, 5), "what was never tried is neither good nor bad"
    assert got.per_s == pytest.approx(3 / 0.7)


def test_undefined_metrics_are_not_met_but_a_single_token_has_no_pause() -> None:
    rows = served(tpot_ms=[10, math.nan, math.nan, math.nan], completion_tokens=[5, 1, 5, math.nan])
    assert meets(parse_slo("tpot_ms <= 20"), rows).tolist() == [True, True, False, False]
    assert meets(parse_slo("ttft_ms <= 20"), rows).tolist() == [False] * 4
    assert meets(parse_slo("failure_rate <= 0.1"), rows).tolist() == [True] * 4


def test_replies_from_the_cache_count_for_nothing() -> None:
    rows = served(ttft_ms=[1, math.nan], cached=[False, True])
    assert measure_goodput(parse_slo("ttft_ms <= 3"), rows).sent == 1


def test_goodput_of_nothing() -> None:
    got = count_goodput(0, 0, None)
    assert (got.per_s, got.attainment.value, got.lower95) == (None, None, None)
    assert standing("ttft_ms <= 3", served(ttft_ms=[])) == "undecided"


@given(
    st.lists(
        st.tuples(st.sampled_from(["ok", "failed", "truncated", "not_sent"]), st.floats(0, 1000)),
        min_size=1,
        max_size=50,
    ),
    st.floats(0, 1000),
)
def test_goodput_is_at_most_throughput(requests: list[tuple[str, float]], bound: float) -> None:
    outcomes = [outcome for outcome, _ in requests]
    rows = served(ttft_ms=[ttft for _, ttft in requests], outcome=outcomes)
    got = measure_goodput(parse_slo(f"ttft_ms <= {bound!r}"), rows)
    throughput = outcomes.count("ok") / (len(requests) / 10)
    assert got.per_s is None or 0 <= got.per_s <= throughput * (1 + 1e-9)
    assert got.lower95 is None or got.attainment.value is None or got.lower95 <= got.attainment.value


def test_a_percentile_is_met_when_its_interval_lies_within_the_bound() -> None:
    rows = served(ttft_ms=list(range(1, 1001)))
    verdict = judge_slo(parse_slo("ttft_ms_p95 <= 964"), rows)
    (term,) = verdict.terms
    assert (term.estimate.value, term.estimate.low, term.estimate.high) == (950, 936, 964)
    assert (term.late, term.n, term.standing) == (36, 1000, Standing.MET)
    assert term.reason == "ttft_ms_p95 <= 964: met, 950 (95% interval 936 to 964, n = 1000)."
    assert standing("ttft_ms_p95 <= 963", rows) == "undecided"
    assert standing("ttft_ms_p95 < 964", rows) == "undecided"
    assert standing("ttft_ms_p95 <= 936", rows) == "undecided"
    assert standing("ttft_ms_p95 <= 935", rows) == "missed"
    assert standing("ttft_ms_p5 >= 37", rows) == "met"
    assert standing("ttft_ms_p5 >= 38", rows) == "undecided"


def test_a_failure_is_infinitely_slow_and_infinitely_poor() -> None:
    rows = served(ttft_ms=[1.0] * 100, output_tok_per_s=[50.0] * 100, outcome=["failed"] * 10 + ["ok"] * 90)
    assert standing("ttft_ms_p80 <= 2", rows) == "met"
    assert standing("ttft_ms_p95 <= 2", rows) == "undecided", "10 failures of 100 may be 5% in the long run"
    assert standing("output_tok_per_s_p20 >= 40", rows) == "met"
    rows = served(ttft_ms=[1.0] * 400, outcome=["failed"] * 40 + ["ok"] * 360)
    assert standing("ttft_ms_p95 <= 1e9", rows) == "missed"
    assert standing("ttft_ms_p95 <= 1e9", served(ttft_ms=[1.0] * 100, outcome=["failed"] * 100)) == "missed"


def test_too_few_requests_are_said_to_be_too_few() -> None:
    verdict = judge_slo(parse_slo("ttft_ms_p99 <= 500"), served(ttft_ms=[1.0] * 367))
    assert verdict.standing is Standing.UNDECIDED
    assert verdict.terms[0].reason == "ttft_ms_p99 <= 500: undecided, 367 requests are too few, it takes 368."
    assert standing("ttft_ms_p99 <= 500", served(ttft_ms=[1.0] * 368)) == "met"


def test_a_metric_that_no_reply_has_is_named() -> None:
    verdict = judge_slo(parse_slo("ttft_ms_p50 <= 500"), served(e2e_ms=[1.0] * 50))
    assert "no served request has a ttft_ms" in verdict.terms[0].reason
    assert "nothing was sent" in judge_slo(parse_slo("ttft_ms_p50 <= 5"), served(e2e_ms=[])).terms[0].reason
    assert "nothing was sent" in judge_slo(parse_slo("failure_rate <= 5"), served(e2e_ms=[])).terms[0].reason


def test_terms_without_a_percentile_are_judged_together_by_their_share() -> None:
    rows = served(ttft_ms=[1.0] * 1000, e2e_ms=[2.0] * 990 + [99.0] * 10)
    slo = parse_slo("ttft_ms <= 5 and e2e_ms <= 5 and ttft_ms_p99 <= 5")
    verdict = judge_slo(slo, rows, target=0.95)
    assert [term.term for term in verdict.terms] == [
        "ttft_ms_p99 <= 5",
        "95% of requests with ttft_ms <= 5 and e2e_ms <= 5",
    ]
    assert verdict.standing is Standing.MET
    assert verdict.goodput.good == 990
    assert judge_slo(slo, rows, target=0.99).standing is Standing.UNDECIDED
    assert judge_slo(slo, rows, target=0.999).standing is Standing.MISSED


def test_failure_rates_are_judged_by_their_exact_interval() -> None:
    rows = served(ttft_ms=[1.0] * 1000, outcome=["truncated"] * 5 + ["ok"] * 995)
    assert standing("failure_rate <= 0.02", rows) == "met"
    assert standing("failure_rate <= 0.006", rows) == "undecided"
    assert standing("failure_rate <= 0.001", rows) == "missed"


def test_one_missed_term_misses_all_and_one_undecided_leaves_all_open() -> None:
    rows = served(ttft_ms=list(range(1000)), e2e_ms=[1.0] * 1000)
    assert standing("e2e_ms_p95 <= 2 and ttft_ms_p95 <= 950", rows) == "undecided"
    assert standing("e2e_ms_p95 <= 2 and ttft_ms_p95 <= 950 and ttft_ms_p50 <= 3", rows) == "missed"


def test_a_recorded_run_is_judged(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", [MadeCell({}, questions=400, failures=["http_5xx"] * 2, warmup=3)]))
    verdict = judge_slo(parse_slo("ttft_ms_p95 <= 500 and tpot_ms_p95 <= 50"), run.requests)
    assert verdict.standing is Standing.MET
    assert (verdict.goodput.good, verdict.goodput.sent) == (398, 400)
    cell = run.rows_of(run.cells[0])
    (throughput,) = [m.of(cell).value for m in CELL_METRICS if m.name == "throughput_req_per_s"]
    assert verdict.goodput.per_s == pytest.approx(throughput), "every served request was good"


def test_proofs_agree_with_mlperf() -> None:
    case = known("mlperf_early_stopping_min_queries")
    inputs = case["inputs"]
    assert [needed_for_proof(late, inputs["p"], inputs["c"]) for late in inputs["t"]] == case["expected"]["n"]
    case = known("mlperf_percentile_estimate_rank")
    inputs = case["inputs"]
    agrees(case, "t", most_late(inputs["n"], inputs["p"], inputs["c"]))
    agrees(case, "rank", estimate_rank(inputs["n"], inputs["p"], inputs["c"]))


def test_proofs_by_hand() -> None:
    assert [needed_for_proof(late, 0.99) for late in (0, 1, 2, 10)] == [459, 662, 838, 2010]
    assert proof(0, 459, 0.99)
    assert not proof(0, 458, 0.99)
    assert not proof(5, 5, 0.01), "all late prove nothing"
    assert needed_for_proof(0, 0.5, 0.5) == 1
    assert most_late(458, 0.99) is None
    assert estimate_rank(500, 0.99) is None


def test_mlperf_s_percentile_is_an_upper_bound() -> None:
    ordered = np.arange(1.0, 1001)
    assert estimate_percentile(ordered, 0.9).value == 923
    few = estimate_percentile(ordered[:600], 0.99)
    assert (few.value, few.needs) == (None, 662)


@pytest.mark.parametrize(("late", "n", "p", "c"), [(-1, 5, 0.9, 0.9), (6, 5, 0.9, 0.9), (0, 5, 1.0, 0.9)])
def test_impossible_proofs_are_refused(late: int, n: int, p: float, c: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be late|shares between"):
        proof(late, n, p, c)


def test_a_negative_number_of_late_requests_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        needed_for_proof(-1, 0.9)


@given(st.integers(0, 60), st.integers(1, 5000), st.floats(0.05, 0.999), st.floats(0.5, 0.999))
def test_early_stopping_is_monotone(late: int, n: int, p: float, c: float) -> None:
    late = min(late, n)
    if proof(late, n, p, c):
        assert proof(late, n + 1, p, c), "one more that was in time proves more"
        assert late == 0 or proof(late - 1, n, p, c)
        assert proof(late, n, p * 0.9, c)
        assert proof(late, n, p, c * 0.9)
    elif late < n:
        assert not proof(late + 1, n, p, c)


@given(st.integers(0, 40), st.floats(0.1, 0.995), st.floats(0.5, 0.99))
def test_the_fewest_requests_are_the_fewest(late: int, p: float, c: float) -> None:
    n = needed_for_proof(late, p, c)
    assert proof(late, n, p, c)
    assert n == late + 1 or not proof(late, n - 1, p, c)
    most = most_late(n, p, c)
    assert most is not None
    assert proof(most, n, p, c)
    assert not proof(most + 1, n, p, c)
    assert most >= late
