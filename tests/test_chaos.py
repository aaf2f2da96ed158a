"""The chaos command in small: its promises hold, its table says so, and it would say so if they did not."""

from __future__ import annotations

from pathlib import Path

import chaos
import chaos_caps
import chaos_faults
import chaos_kills
import pytest
from chaos_table import Table, most_in_window


def held(table: Table) -> None:
    """Every promise holds, but for those on speed, which a busy machine may break."""
    broken = [line for line in table.broken if "share of" not in line.what]
    assert not broken, table.text()
    assert any(line.holds for line in table.lines)


def test_the_fullest_window_is_found_wherever_it_begins() -> None:
    events = [(0, 3), (5, 1), (10, 1), (11, 4), (19, 2), (30, 1)]
    assert most_in_window(events, 10) == 7
    assert most_in_window(reversed(events), 10) == 7
    assert most_in_window(events, 1) == 4
    assert most_in_window(events, 100) == 12
    assert most_in_window([], 10) == 0


def test_a_table_tells_what_was_allowed_and_what_broke() -> None:
    table = Table()
    table.most("seconds", 1.5, 2)
    table.least("share", 0.5, 0.9)
    table.equal("rows", 3, 3)
    table.add("remark", "as it is")
    assert [line.holds for line in table.lines] == [True, False, True, None]
    assert [line.what for line in table.broken] == ["share"]
    assert table.text().splitlines()[2].split() == ["share", "|", "0.5", "|", ">=", "0.9", "|", "NO"]


@pytest.mark.slow
def test_faults_of_every_kind_under_limits(tmp_path: Path) -> None:
    small = chaos_faults.Size(requests=240, rpm=6_000, tpm=800_000, settle_s=0.2, stall_s=0.5, adaptive=False)
    table = Table()
    chaos_faults.chaos(tmp_path, small, table)
    held(table)
    faults = [line for line in table.lines if line.what.startswith("fault ")]
    assert len(faults) == 20
    assert not any(line.measured.startswith("0 times") for line in faults)


@pytest.mark.slow
def test_limits_that_the_run_would_break_without_them_are_seen_as_broken(tmp_path: Path) -> None:
    """The judge is no rubber stamp: limits that were never told to the client are reported as passed."""
    told = chaos_faults.Size(requests=60, rpm=60_000, tpm=8_000_000, settle_s=0.0, stall_s=0.3, adaptive=False)
    run = chaos_faults.run_measured(chaos_faults.cells(tmp_path, told, tmp_path / "truth.log"), tmp_path / "results")
    truth = chaos_faults.read_truth(tmp_path / "truth.log")
    table = Table()
    chaos_faults.check_windows(truth, chaos_faults.Size(rpm=15, tpm=100), table)
    assert len(table.broken) == 8
    rows = {row["request_id"]: row for row in run.rows("requests")}
    for sent in truth:
        sent["fault"] = "http_500" if sent["fault"] is None else sent["fault"]
    table = Table()
    chaos_faults.check_faults(chaos_faults.lanes_of(run, truth), rows, table)
    assert [line.what for line in table.broken] == ["fault http_500"]


@pytest.mark.slow
def test_killed_runs_end_as_uninterrupted_ones(tmp_path: Path) -> None:
    table = Table()
    chaos_kills.chaos(tmp_path, kills=3, seed=5, requests=60, table=table)
    held(table)
    assert table.lines[0].measured.startswith("3: ")


@pytest.mark.slow
def test_a_budget_holds_and_the_key_stays_secret(tmp_path: Path) -> None:
    table = Table()
    chaos_caps.check_cap(tmp_path, "tokens", 4_000, table)
    chaos_caps.check_canary(tmp_path, table, faults=("refused_key",))
    held(table)


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["volcano"], ["--kills", "0"]):
        with pytest.raises(SystemExit) as ended:
            chaos.main(wrong)
        assert ended.value.code == 2
        assert capsys.readouterr().err


def test_lost_changed_and_unequal_rows_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = chaos_kills.Tally()
    chaos_kills.check_kept({"a": "1", "b": "2"}, {"b": "3", "c": None}, tally)
    header = {"state": "finished", "counts": {"ok": 1}}
    (tmp_path / "results" / "run" / "one").mkdir(parents=True)
    (tmp_path / "results" / "run" / "one" / "run.json").write_text("{}")
    found = {"requests": [("a", 1), ("a", 1)], "choices": [("a", 0, "four")]}
    monkeypatch.setattr(chaos_kills, "contents", lambda _: found)
    monkeypatch.setattr(chaos_kills, "read_header", lambda _: header)
    trial = chaos_kills.Trial(tmp_path, "", tmp_path / "truth.log", 1, 1, small_segments=False)
    chaos_kills.check_equal(trial, {"requests": [("a", 1)], "choices": [("a", 0, "4")]}, tally)
    assert (tally.lost, tally.changed, tally.duplicated, len(tally.unequal)) == (1, 1, 1, 2)
    table = Table()
    chaos_kills.report(tally, 1, table)
    assert [line.what for line in table.broken][:4] == [
        "acknowledged rows lost",
        "acknowledged rows changed",
        "rows duplicated",
        "tables unlike the uninterrupted run's",
    ]
