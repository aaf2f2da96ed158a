"""``bench calibrate``: the comparison with the truth on known answers, the stored result, and one short real run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import calibration as stored
from bench.calibration import Burst, Calibration, Level, ceilings
from bench.cli import main
from bench.domain import ConfigError
from bench.measure.calibrate import Asked
from bench.measure.discrepancies import (
    Stream,
    bunched_share,
    cpu_share,
    lag_p99_ms,
    matched,
    most_held,
    quantile,
)
from bench.measure.vitals import LAG_EDGES_MS, Vitals
from bench.show.calibrate import rendered

MS = 1_000_000


def level(streams: int, p99: float, **changes: Any) -> Level:
    made = Level(
        streams=streams,
        held=streams,
        requests=100,
        failed=0,
        requests_per_s=streams / 2,
        events_per_s=streams * 50.0,
        ttft_error_ms_p50=0.2,
        ttft_error_ms_p99=p99,
        delay_ms_p50=0.1,
        delay_ms_p99=0.5,
        tpot_error_p50=0.001,
        tpot_error_p99=0.01,
        client_cpu_share=0.3,
        lag_ms_p99=2.0,
        lag_ms_max=3.0,
        simulator_cpu_share=0.5,
        bunched_share=0.0,
    )
    return replace(made, **changes)


def calibration(*levels: Level) -> Calibration:
    return Calibration(
        taken_at="2026-11-22T12:00:00+00:00",
        host={"node": "machine", "cpus": 2},
        versions={"chatbench": "1"},
        processes=1,
        token_interval_ms=20.0,
        levels=levels,
        burst=Burst(64, 1000, 900.0, 90_000.0, 0.8, 0.95),
        ceilings=ceilings(levels),
    )


def test_errors_are_reported_minus_true() -> None:
    stream = Stream(
        sent_ns=10 * MS,
        accepted_ns=11 * MS,  # a millisecond on the way
        reported_ns=(113 * MS, 133 * MS, 155 * MS),
        true_ns=(111 * MS, 131 * MS, 151 * MS),
    )
    assert stream.ttft_error_ms == pytest.approx(103 - 100)
    assert stream.delays_ms == pytest.approx([2, 2, 4])
    assert stream.tpot_error == pytest.approx(42 / 40 - 1)


def test_a_stream_of_one_instant_has_no_time_per_token() -> None:
    assert Stream(0, 0, (5, 9), (3, 3)).tpot_error is None


def test_replies_are_matched_by_the_id_that_the_server_gave() -> None:
    requests: list[dict[str, Any]] = [
        {"request_id": "a", "response_id": "ra", "sent_ns": 5, "outcome": "ok"},
        {"request_id": "b", "response_id": "rb", "sent_ns": 6, "outcome": "failed"},
        {"request_id": "c", "response_id": "rc", "sent_ns": 7, "outcome": "ok"},
        {"request_id": "d", "response_id": None, "sent_ns": None, "outcome": "not_sent"},
    ]
    choices = [{"request_id": one, "event_ns": [20, 30]} for one in "abc"]
    truth: list[dict[str, Any]] = [
        {"id": "rc", "accept_ns": 1008, "choices": [{"event_ns": [1015]}]},  # one event of two: not the same reply
        {"id": "ra", "accept_ns": 1006, "choices": [{"event_ns": [1018, 1028]}]},
        {"id": None, "accept_ns": 1, "choices": []},
    ]
    assert matched(requests, choices, truth, origin_ns=1000) == [Stream(1005, 1006, (1020, 1030), (1018, 1028))]


def test_streams_that_touch_are_not_held_at_once() -> None:
    spans = [(0, 10), (5, 15), (10, 20), (30, 40)]
    assert most_held(Stream(a, a, (b,), (b,)) for a, b in spans) == 2


def test_events_that_leave_together_were_late() -> None:
    apart, together = Stream(0, 0, (), (1, 2, 3)), Stream(0, 0, (), (1, 1, 3))
    assert bunched_share([apart, together]) == 1 / 4
    assert bunched_share([Stream(0, 0, (), (1,))]) == 0


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert math.isnan(quantile([], 0.5))


def test_the_busiest_process_counts_and_lag_is_pooled() -> None:
    def vitals(cpu_s: float, counts: dict[int, int], worst: float) -> Vitals:
        bins = tuple(counts.get(place, 0) for place in range(len(LAG_EDGES_MS) + 1))
        return Vitals(0, 0, 0, 2.0, cpu_s, bins, worst, 0, 0.0, 0.0, lag_period_ms=20.0)

    first, second = vitals(1.0, {0: 100}, 0.4), vitals(1.8, {0: 95, 3: 5}, 4.0)
    assert cpu_share([first, second]) == 0.9
    assert lag_p99_ms([first]) == LAG_EDGES_MS[0]
    assert lag_p99_ms([first, second]) == LAG_EDGES_MS[3]
    assert lag_p99_ms([vitals(1.0, {len(LAG_EDGES_MS): 3}, 4321.0)]) == 4321.0


def test_the_ceiling_is_the_last_level_before_the_first_that_failed() -> None:
    fine, wide = ceilings((level(10, 1), level(500, 5), level(100, 30), level(50, 8)))
    assert (fine.tolerance_ms, fine.streams, fine.lower_bound) == (10, 50, False)
    assert (wide.tolerance_ms, wide.streams, wide.lower_bound) == (50, 500, True)  # nothing higher was tried
    assert fine.events_per_s == 2500


@pytest.mark.parametrize("late", [{"bunched_share": 0.5}, {"simulator_cpu_share": 0.97}])
def test_a_level_that_the_simulator_spoilt_leaves_a_lower_bound(late: dict[str, float]) -> None:
    fine, _ = ceilings((level(10, 1), level(50, 80, **late)))
    assert (fine.streams, fine.lower_bound) == (10, True)


def test_no_level_that_held_is_a_ceiling_of_nothing() -> None:
    fine, wide = ceilings((level(10, 99), level(50, 99)))
    assert (fine.streams, fine.lower_bound, wide.streams) == (0, False, 0)
    assert ceilings((level(10, 1, failed=1),))[0].streams == 0


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = calibration(level(10, 1), level(50, 20, simulator_cpu_share=None))
    path = stored.write(tmp_path / "results", made)
    assert stored.read(tmp_path / "results") == made
    assert [one.name for one in path.parent.iterdir()] == [stored.FILE]
    assert stored.read(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"levels": 1}'])
def test_a_damaged_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / stored.FILE).write_text(content)
    with pytest.raises(ConfigError, match="run `bench calibrate` again"):
        stored.read(tmp_path)


def test_what_a_calibration_says_of_a_load() -> None:
    made = calibration(level(10, 1), level(50, 20), level(100, 90))
    assert made.level_at(11) == level(50, 20)
    assert made.level_at(101) is None
    ceiling = made.ceiling(20)
    assert ceiling is not None
    assert (ceiling.tolerance_ms, ceiling.streams) == (10, 10)
    assert made.ceiling(1) is None


def test_the_table_names_who_was_late() -> None:
    text = rendered(calibration(level(10, 1), level(500, 80, bunched_share=0.3)))
    assert "500*" in text
    assert "the simulator itself was late" in text
    assert "within 10 ms: up to 10 streams, 500 events/s, 5 requests/s (a lower bound)" in text
    assert "the simulator itself" not in rendered(calibration(level(10, 1)))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"levels": ()}, "--levels"),
        ({"levels": (10, 0)}, "--levels: 0"),
        ({"seconds": 0.0}, "--seconds"),
        ({"seconds": math.nan}, "--seconds"),
        ({"processes": 0}, "--processes"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Asked(**asked)


def test_levels_that_are_no_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--levels", "ten"]) == 2
    assert "--levels" in capsys.readouterr().err


@pytest.mark.slow
def test_a_machine_is_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    assert main(["calibrate", "--levels", "5", "--seconds", "0.3", "--json", "--results-dir", str(results)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["streams"] for one in said["levels"]] == [5]
    for one in said["levels"]:
        assert one["failed"] == 0
        assert one["requests"] >= one["streams"]
        assert one["held"] >= 1
        assert 0 <= one["delay_ms_p50"] <= one["delay_ms_p99"]
        assert 0 <= one["ttft_error_ms_p50"] <= one["ttft_error_ms_p99"]
        assert 0 < one["client_cpu_share"] <= 1.5
    assert said["burst"]["requests"] >= 128
    assert said["burst"]["events_per_s"] > said["levels"][-1]["events_per_s"]
    made = stored.read(results)
    assert made is not None
    assert json.loads(json.dumps(said)) == json.loads((results / stored.FILE).read_text())
    assert [one.name for one in results.iterdir()] == [stored.FILE]  # no run is left behind
