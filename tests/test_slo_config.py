"""The configuration key ``slo``: read before anything is sent, one for the run, and kept with every cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from setups import experiment, rows_file

from bench.config import parse, plain
from bench.domain import ConfigError
from bench.measure.plan import make_plan


def test_an_slo_is_kept_as_it_was_written(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 1)
    assert experiment(rows).slo is None
    text = "ttft_ms <= 500 and tpot_ms_p95 <= 50 and failure_rate <= 0.01"
    made = experiment(rows, slo=text)
    assert made.slo == text
    assert parse(plain(made)) == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ttft_ms", "write terms 'metric <= number' joined by 'and'"),
        ("", "an empty term"),
        ("latency <= 3", "unknown metric 'latency'; there are ttft_ms, ttfa_ms, e2e_ms"),
        ("ttft_ms == 3", "unknown operator '=='"),
    ],
)
def test_one_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        experiment(rows_file(tmp_path, 1), slo=text)
    assert says in refused.value.problems[0]
    assert refused.value.problems[0].startswith("slo: ")


def test_every_unreadable_term_is_named_beside_other_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        experiment(rows_file(tmp_path, 1), slo="a <= 1 and ttft_ms <= x", repeats=0)
    assert len(refused.value.problems) == 3


def test_an_slo_belongs_to_the_run_and_changes_no_cell(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 1)
    with pytest.raises(ConfigError, match="slo: belongs to the run as a whole"):
        make_plan([experiment(rows, slo="e2e_ms < 1"), experiment(rows, slo="e2e_ms < 2", sampling__max_tokens=9)])
    (bare,), (bounded,) = (make_plan([experiment(rows, slo=slo)]).cells for slo in (None, "e2e_ms < 1"))
    assert bare.cell_id == bounded.cell_id
