"""The history of a results folder: its index, its series, what breaks them, and what the monitor says of them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import bench_process
import numpy as np
import pytest
from made_nights import MODEL, PINNED, Nights, Service, altered, made_night
from made_run import MadeCell, make_run

from bench.cli import main
from bench.domain import ConfigError
from bench.judge.history.accepted import FILE, Accepted, accept, read_accepted
from bench.judge.history.drift import Sign, agreements, find_drift
from bench.judge.history.reading import read_history
from bench.judge.history.series import Series, lay_out, paging_series, watch
from bench.judge.history.verdict import Outcome, judge_night
from bench.judge.metrics.quality import rates_of, shares_of
from bench.judge.monitor import NightState
from bench.judge.night import RATES, CellNight
from bench.judge.night_metrics import METRICS_BY_NAME, normalised, prompt_medians
from bench.judge.rows import read_run
from bench.record.results import open_results


@pytest.fixture(scope="module")
def four_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("four")
    for night in range(4):
        Nights(questions=20).write(results, night, {MODEL: Service(), PINNED: Service()})
    return results


@pytest.fixture
def results(four_nights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(four_nights, tmp_path / "results"))


def runs_of(results: Path) -> list[Path]:
    return sorted((results / "nightly").iterdir())


# -- the index


def test_what_was_read_once_is_not_read_again_until_it_changes(results: Path) -> None:
    first = read_history(open_results(str(results)))
    assert (first.read, len(first.nights)) == (4, 8)
    again = read_history(open_results(str(results)))
    assert again.read == 0
    for one, other in zip(first.nights, again.nights, strict=True):
        assert one.figures == other.figures
        assert (one.hashes, one.models, one.run) == (other.hashes, other.models, other.run)
        np.testing.assert_array_equal(one.asked.ttft_ms, other.asked.ttft_ms)
        np.testing.assert_array_equal(one.answered.answer, other.answered.answer)
    altered(runs_of(results)[1], "scores", value=1.0)
    changed = read_history(open_results(str(results)))
    assert changed.read == 1
    assert [night.figures["accuracy"] for night in changed.nights][2] == 1.0
    shutil.rmtree(runs_of(results)[0])
    # a run under another name is a run, a folder of something else is none
    runs_of(results)[0].rename(results / "nightly" / "the good one")
    (results / "nightly" / "notes").mkdir()
    left = read_history(open_results(str(results)))
    assert len(left.nights) == 6
    assert "nightly/the good one" in {night.run for night in left.nights}
    assert left.skipped == ()


@pytest.mark.parametrize("damage", [b"", b"PAR1 no parquet", None])
def test_an_index_that_does_not_hold_is_built_anew(results: Path, damage: bytes | None) -> None:
    for run in runs_of(results)[1:]:
        shutil.rmtree(run)
    place = open_results(str(results))
    whole = read_history(place)
    if damage is None:
        place.index.unlink()
    else:
        place.index.write_bytes(damage)
    again = read_history(place)
    assert again.read == 1
    assert [one.figures for one in again.nights] == [one.figures for one in whole.nights]
    assert read_history(place).read == 0
    assert read_history(place, rebuild=True).read == 1


def test_a_run_that_is_half_there_is_left_out_and_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_history(open_results(str(results)))
    cut, running, headless, damaged = runs_of(results)
    table = cut / "requests.parquet"
    table.write_bytes(table.read_bytes()[:200])
    header = json.loads((running / "run.json").read_text())
    (running / "run.json").write_text(json.dumps(header | {"state": "running"}))
    (headless / "run.json").unlink()
    (damaged / "run.json").write_text('{"schema_version": 1, "state": "fini')
    Nights(questions=20).write(results, 9, {MODEL: Service()})
    found = read_history(open_results(str(results)))
    assert len(found.nights) == 1
    assert {one.run for one in found.skipped} == {f"nightly/{run.name}" for run in (cut, running, headless, damaged)}
    assert main(["history", "--results", str(results)]) == 0
    said = capsys.readouterr()
    for run in (cut, running, headless, damaged):
        assert f"warning: nightly/{run.name} is left out" in said.err


def test_runs_behind_an_address_are_the_same(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra `remote`")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = read_history(open_results(str(results)))
    memory = fsspec.filesystem("memory")
    memory.put(str(results), "/bucket/results", recursive=True)
    try:
        far = open_results("memory://bucket/results")
        there = read_history(far)
        assert [one.run for one in there.nights] == [one.run for one in here.nights]
        assert [one.figures for one in there.nights] == [one.figures for one in here.nights]
        assert read_history(far).read == 0
        run = runs_of(results)[0]
        altered(run, "scores", value=0.0)
        memory.put(str(run / "scores.parquet"), f"/bucket/results/nightly/{run.name}/scores.parquet")
        assert read_history(far).read == 1
        accept(far, Accepted("a", "b", "c", "d", "e"))
        accept(far, Accepted("f", "b", "c", "d", "e"))
        assert [one.series for one in read_accepted(far)] == ["a", "f"]
    finally:
        memory.rm("/bucket", recursive=True)
    assert len(read_history(open_results(f"file://{results}")).nights) == 8


# -- nights made of thin air: what series are made of


def the_series(nights: list[CellNight], metric: str, model: str = MODEL, **options: object) -> Series:
    stretches = lay_out(nights)
    paging = paging_series(stretches, nights[-1].name)
    found = [one for one in stretches if one.metric.name == metric and one.model == model and one.current]
    assert len(found) == 1
    return watch(found[0], paging, **options)  # type: ignore[arg-type]  # the tests' own keyword arguments


@pytest.mark.parametrize("repeats", [1, 3])
def test_shares_of_a_night_are_those_of_the_report(tmp_path: Path, repeats: int) -> None:
    labels = ("correct", "unparsed", "truncated", "refused", "wrong")
    cell = MadeCell({"model.name": "m"}, questions=20, repeats=repeats, failures=["http_5xx"] * 3, skill=0.5)
    path = make_run(tmp_path / "one", [cell])
    altered(path, "scores", label=[labels[place % 5] for place in range(20 * repeats - 3)])
    run = read_run(path)
    rows = run.rows_of(run.cells[0])
    told, quick = rates_of(rows), shares_of(rows, RATES)
    assert told is not None
    assert quick is not None
    assert quick == pytest.approx({name: told.rates[name].value for name in RATES} | {"error": told.error_rate.value})
    assert all(0 < share < 0.5 for share in quick.values())


def test_nights_are_in_order_of_time_in_any_zone_and_one_without_a_time_is_left_out(results: Path) -> None:
    runs = runs_of(results)
    for run, moment in ((runs[0], "2026-09-05T01:00:00+02:00"), (runs[1], "2026-09-04T23:30:00"), (runs[2], None)):
        head = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(head | {"started_at": moment}))
    history = read_history(open_results(str(results)))
    names = list(dict.fromkeys(night.run.rpartition("/")[2] for night in history.nights))
    assert names == [runs[3].name, runs[0].name, runs[1].name]
    (left,) = history.skipped
    assert runs[2].name in left.run
    assert "started_at is None, which is no time" in left.reason


def test_latencies_are_set_against_each_prompts_usual_one() -> None:
    nights = [made_night(at) for at in range(10)]
    usual = prompt_medians(nights, "ttft")
    ratios = normalised(made_night(11, slow=1.3), "ttft", usual)
    assert np.median(ratios) == pytest.approx(1.3, rel=0.05)
    # raw, prompts differ by a factor e; against themselves by a tenth
    assert np.std(np.log(ratios)) < 0.2 < np.std(np.log(nights[0].asked.ttft_ms))
    odd = replace(nights[0], asked=replace(nights[0].asked, question=nights[0].asked.question + 1))
    assert normalised(odd, "ttft", usual).size == 0


def test_the_tail_of_the_baseline_nights_is_no_shorter_than_that_of_later_ones() -> None:
    """Twenty latencies a prompt: medians that a night helped to make would fit it better than any later night."""
    steps = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        nights = []
        for at in range(40):
            night, times = made_night(at, questions=400), (200 * np.exp(random.normal(0, 0.4, 400))).astype(np.float32)
            nights.append(replace(night, asked=replace(night.asked, ttft_ms=times)))
        x = np.array(the_series(nights, "ttft_p95").x)
        steps.append(x[20:].mean() - x[:20].mean())
    assert abs(np.mean(steps)) < 0.0125


def test_another_prompt_set_starts_a_new_series_and_says_which_hash_differs() -> None:
    nights = [made_night(at) for at in range(3)] + [made_night(at, hashes={"prompt set": "bbbb"}) for at in (3, 4)]
    one = the_series(nights, "ttft_p50")
    assert [night.run for night in one.nights] == ["nightly/0003", "nightly/0004"]
    assert one.stretch.broken_by == "another prompt set: bbbb, before aaaa"
    # a single run on other prompts in between takes nothing from the series it is not part of
    back = the_series([*nights[:3], nights[3], made_night(5)], "ttft_p50")
    assert [night.run for night in back.nights][-1] == "nightly/0005"
    assert (len(back.nights), back.stretch.broken_by) == (4, None)


def test_another_scorer_version_breaks_what_is_scored_alone() -> None:
    nights = [made_night(at) for at in range(3)] + [made_night(3, hashes={"scorer": "numeric 2"})]
    assert len(the_series(nights, "accuracy").nights) == 1
    assert "scorer" in (the_series(nights, "accuracy").stretch.broken_by or "")
    assert len(the_series(nights, "ttft_p50").nights) == 4
    # a night on which nothing could be scored knows no version: it is missing, and breaks nothing
    dead = made_night(4, hashes={"scorer": "numeric -"}, figures={"scored": 0, "accuracy": None})
    assert len(the_series([*nights[:3], dead], "accuracy").nights) == 4


def hours(count: int, sd: float, seed: int) -> list[float]:
    random = Random(seed)
    return [random.lognormvariate(0, sd) for _ in range(count)]


def test_a_slower_model_pages_on_the_third_night_and_quiet_ones_do_not() -> None:
    for seed in range(3):
        slow = hours(70, 0.02, seed)
        quiet = [made_night(at, slow=slow[at]) for at in range(70)]
        assert the_series(quiet, "ttft_p50").state is NightState.QUIET
        assert the_series(quiet, "ttft_p50").monitored.alarm is None
        shifted = [*quiet[:30], *(made_night(at, slow=1.15 * slow[at]) for at in range(30, 40))]
        one = the_series(shifted, "ttft_p50")
        assert one.state is NightState.ALARM
        assert one.pages
        assert one.monitored.alarm is not None
        assert one.monitored.alarm <= 33
        assert one.suspected_from in (29, 30, 31)
        assert one.shift == pytest.approx(0.15, abs=0.05)
        assert any(abs(change.night - 30) <= 1 and change.by > 0.1 for change in one.changes)


def test_the_pinned_reference_tells_a_slow_night_from_a_slow_model() -> None:
    slow = hours(40, 0.08, 5)

    def night(at: int, own: float = 1.0, service: float = 1.0) -> list[CellNight]:
        pair = ((MODEL, own * service * slow[at]), (PINNED, service * slow[at]))
        return [made_night(at, model, slow=factor, reference="glm-4-9b-0414") for model, factor in pair]

    # the whole service slows down: the reference says so, the model's own series stays quiet
    service = [cell for at in range(40) for cell in night(at, service=1.3 if at >= 30 else 1.0)]
    assert the_series(service, "ttft_p50").state is NightState.QUIET
    assert not the_series(service, "ttft_p50", PINNED).stretch.referenced
    # the model alone slows down: seen through nights that vary by 8%, within the three that the recipe promises
    model = [cell for at in range(40) for cell in night(at, own=1.15 if at >= 30 else 1.0)]
    one = the_series(model, "ttft_p50")
    assert one.stretch.referenced
    assert one.monitored.alarm is not None
    assert 30 < one.monitored.alarm <= 33
    # a night without the reference has no number; another reference is another series
    missing = [cell for cell in model if not (cell.model == PINNED and cell.run == "nightly/0025")]
    assert the_series(missing, "ttft_p50").monitored.nights[25].state is NightState.MISSING
    other = replace(made_night(41), reference="x", hashes={**made_night(41).hashes, "reference": "x"})
    assert "reference" in (the_series([*model, other], "ttft_p50").stretch.broken_by or "")


def test_four_points_of_accuracy_page_within_the_promised_nights() -> None:
    for seed in range(3):
        random = Random(seed)
        # 500 questions twice: the night's own spread of 1.1 points
        noise = [random.gauss(0, 0.011) for _ in range(60)]
        quiet = [made_night(at, accuracy=0.8 + noise[at]) for at in range(60)]
        assert the_series(quiet, "accuracy").monitored.alarm is None
        dropped = [*quiet[:30], *(made_night(at, accuracy=0.76 + noise[at]) for at in range(30, 40))]
        one = the_series(dropped, "accuracy")
        assert one.monitored.alarm is not None
        assert 30 <= one.monitored.alarm <= 34
        assert one.shift == pytest.approx(0.04, abs=0.015)


def test_one_bad_night_is_transient_and_errors_hide_no_accuracy() -> None:
    slow = hours(31, 0.02, 3)
    nights = [made_night(at, slow=slow[at]) for at in range(30)]
    bad = made_night(30, slow=1.6)
    assert the_series([*nights, bad], "ttft_p50").state is NightState.TRANSIENT
    broken = made_night(30, accuracy=0.2, figures={"error_rate": 0.3, "failure_rate": 0.3})
    assert the_series([*nights, broken], "accuracy").state is NightState.MISSING
    assert the_series([*nights, broken], "failure_rate").state is NightState.TRANSIENT
    invalid = replace(bad, invalid="the client was too slow")
    assert the_series([*nights, invalid], "ttft_p50").state is NightState.MISSING


def test_an_accepted_change_is_the_new_normal_from_the_next_reading_on() -> None:
    slow = hours(60, 0.02, 8)
    nights = [made_night(at, slow=slow[at] * (1.2 if at >= 30 else 1)) for at in range(60)]
    paged = the_series(nights[:36], "ttft_p50")
    assert paged.pages
    start = paged.suspected_from
    assert start is not None
    change = Accepted(paged.id, paged.nights[start].run, "2026-01-02", "me", "a new engine")
    reseeded = the_series(nights[:36], "ttft_p50", accepted=[change])
    assert (reseeded.state, reseeded.seeded_from, reseeded.accepted) == (NightState.SEED, start, change)
    assert the_series(nights, "ttft_p50", accepted=[change]).state is NightState.QUIET
    stranger = replace(change, series="nightly:other:arithmetic:ttft_p50")
    assert the_series(nights[:36], "ttft_p50", accepted=[stranger]).pages


def test_a_night_is_judged_by_those_before_it() -> None:
    slow = hours(40, 0.02, 9)
    nights = [made_night(at, slow=slow[at] * (1.2 if at >= 30 else 1)) for at in range(40)]
    assert judge_night(nights, [nights[29]]).outcome is Outcome.PASS
    failed = judge_night(nights, [nights[36]])
    assert failed.outcome is Outcome.FAIL
    assert any("ttft_p50 is worse by" in reason for reason in failed.reasons)
    early = judge_night(nights[:10], [nights[10]])
    assert early.outcome is Outcome.INCONCLUSIVE
    assert "11 of 20 seed nights" in early.reasons[0]
    other = judge_night(nights, [made_night(50, hashes={"prompt set": "bbbb"})])
    assert other.outcome is Outcome.INCONCLUSIVE
    assert any("another prompt set: bbbb, before aaaa" in reason for reason in other.reasons)


def test_every_metric_of_the_joint_verdict_is_watched() -> None:
    wanted = {"ttft_p50", "ttft_p95", "e2e_p50", "e2e_p95", "throughput", "cost", "accuracy", "failure_rate"}
    assert wanted | {"unparsed_rate", "truncated_rate"} == {one.name for one in METRICS_BY_NAME.values() if one.pages}


# -- the command


def test_the_command_lists_filters_and_answers_in_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Nights(questions=20, name="other").write(results, 9, {"x/evil\x1b[31m": Service()})

    def said(*words: str) -> str:
        assert main(["history", *words, "--results", str(results)]) == 0
        return capsys.readouterr().out

    everything = said()
    assert MODEL in everything
    assert "5 finished runs" in everything
    assert "\x1b" not in everything
    assert "1 finished run\n" in said("--since", "2026-09-10")
    runs = json.loads(said("--json", "--model", "glm", "--limit", "2"))["runs"]
    assert [run["model"] for run in runs] == [PINNED, PINNED]
    assert (
        main(["history", "series", "--json", "--name", "nightly", "--metric", "acc*", "--results", str(results)]) == 0
    )
    series = json.loads(capsys.readouterr().out)
    assert {one["metric"] for one in series["series"]} == {"accuracy"}
    assert [night["value"] for night in series["series"][0]["nights"]] == [0.825] * 4
    assert series["series"][0]["state"] == "SEED"


def test_accepting_is_written_down_and_refused_where_unclear(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--results", str(results)]
    assert main(["history", "accept", "ttft_p50", *words]) == 2
    assert "matches 2 series" in capsys.readouterr().err
    assert main(["history", "accept", "nothing", *words]) == 2
    name = f"nightly:{MODEL}:arithmetic:ttft_p50"
    assert main(["history", "accept", name, *words]) == 2
    assert "does not alarm" in capsys.readouterr().err
    run = runs_of(results)[2].name
    assert main(["history", "accept", name, "--since", run, "--why", "new engine", "--by", "ann", *words]) == 0
    assert main(["history", "accept", name, "--since", "no such", *words]) == 2
    (line,) = (results / FILE).read_text().splitlines()
    assert {"series": name, "since": f"nightly/{run}", "by": "ann", "why": "new engine"}.items() <= json.loads(
        line
    ).items()
    (results / FILE).write_text(line + "\nhalf a li")
    assert main(["history", *words]) == 2
    assert "line 2" in capsys.readouterr().err


def test_a_narrow_terminal_keeps_the_state_of_each_series(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["history", "series", "--results", str(results), "--model", "qwen", "--metric", "ttft_p50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines[:4])
    assert "SEED 4 of 20" in lines[2]
    assert lines[3].startswith("not shown at 80 columns: changes")


@pytest.mark.parametrize("words", [["--metric", "e2e_p51"], ["--limit", "-1"]])
def test_what_would_show_nothing_is_refused(results: Path, words: list[str]) -> None:
    assert main(["history", *words, "--results", str(results)]) == 2


def test_a_wrong_place_or_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        open_results(str(tmp_path / "nowhere"))
    assert main(["history", "--results", str(tmp_path / "nowhere")]) == 2
    assert main(["history", "--results", str(tmp_path), "--since", "soon"]) == 2
    assert main(["history", "--results", str(tmp_path)]) == 0


DOCS = Path(__file__).resolve().parents[1] / "docs" / "nightly.md"


@pytest.mark.slow
def test_two_recorded_nights_make_series_and_a_changed_model_shows(tmp_path: Path) -> None:
    """Whole runs on the simulator: what the made nights of the other tests take for granted of a run folder."""
    for skill in (0.9, 0.1):
        words = ["run", "experiment=nightly", "model=qwen3-8b,glm-4-9b-0414", "dataset=arithmetic", "dataset.limit=24"]
        knobs = ["provider.knobs.speed=0", f"provider.knobs.models={{Qwen/Qwen3-8B:{{skill:{skill}}}}}"]
        done = bench_process.run([*words, *knobs, "repeats=2", "report=none"], tmp_path)
        assert done.returncode == 0, done.stderr
    nights = read_history(open_results(str(tmp_path / "results"))).nights
    assert [(night.model, night.variant, night.is_reference) for night in nights] == [
        (MODEL, "", False),
        (PINNED, "", True),
    ] * 2
    # the knobs play a service that changes: they are no other way of asking
    assert nights[0].hashes == nights[2].hashes
    assert None not in nights[0].hashes.values()
    one = the_series(list(nights), "e2e_p50")
    assert (len(one.nights), one.stretch.referenced) == (2, True)
    assert all(np.isfinite(one.x))
    assert one.figures == [night.figures["e2e_p50_ms"] for night in (nights[0], nights[2])]
    # at temperature 0 the same texts come again, so that other answers are no chance
    assert agreements(nights[0], raw=True) == (24, 24)
    assert [(found.sign, found.night.model) for found in find_drift(nights)] == [(Sign.ANSWERS, MODEL)]


@pytest.mark.slow
def test_what_the_page_on_nights_shows_can_be_typed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCS.read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in shown if line.startswith("bench ")]
    assert len(commands) == 5
    monkeypatch.chdir(results.parent)
    run = runs_of(results)[2].name
    codes = {}
    for command in commands:
        words = [run if word == "RUN" else word for word in command]
        codes[" ".join(words[:2])] = main([*words, "dry_run=true"] if words[0] == "run" else words)
    assert codes.pop("gate latest") == 5, "four nights are too few to tell"
    assert set(codes.values()) == {0}
    # what the schedulers run is the same two commands
    scheduled = set(re.findall(r"bench (?:run|gate) [a-z]+[^\s|&>]*", text))
    assert scheduled == {"bench run experiment=nightly", "bench gate latest"}
