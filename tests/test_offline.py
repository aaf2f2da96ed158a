"""A model that is offline ends its lane, once that is confirmed, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from measured import run_measured
from played import Served, play
from setups import experiment, rows_file

from bench.domain import Answer, ErrorKind, Failure, Outcome, Timeline
from bench.measure.offline import Presence, says_offline
from bench.measure.plan import make_plan
from bench.record import settled
from bench.show.summary import summarise

GONE = Failure(ErrorKind.HTTP_404, "404 page not found")
SIGNS = [
    GONE,
    Failure(ErrorKind.HTTP_410, "This endpoint is deprecated and is no longer available.", "20092"),
    Failure(ErrorKind.HTTP_403, "Model disabled.", "30003"),
    Failure(ErrorKind.HTTP_400, "Model does not exist. Please check it carefully.", "20012"),
    Failure(ErrorKind.STREAM_ERROR, "Model disabled.", "30003"),
]
NO_SIGNS = [
    None,
    Failure(ErrorKind.HTTP_403, "Sorry, your account balance is insufficient", "30001"),
    Failure(ErrorKind.HTTP_400, "The parameter is invalid.", "20015"),
    Failure(ErrorKind.HTTP_5XX, "Model service overloaded.", "50505"),
    Failure(ErrorKind.CONNECT, "refused"),
]


@pytest.mark.parametrize(("failure", "sign"), [*((one, True) for one in SIGNS), *((one, False) for one in NO_SIGNS)])
def test_what_means_offline(failure: Failure | None, sign: bool) -> None:
    assert says_offline(failure) is sign


def told(sent: int, end: int, failure: Failure | None = GONE) -> Answer:
    outcome = Outcome.OK if failure is None else Outcome.FAILED
    return Answer(outcome, Timeline(0, 0, sent, end_ns=end), 404, failure=failure)


def test_it_takes_a_second_request_sent_after_the_first_was_told() -> None:
    presence = Presence(lambda: 1_700_000_000.0)
    assert not presence.saw(told(0, 10))
    assert not presence.saw(told(5, 12)), "this one was in flight when the first was told: the same moment of doubt"
    assert not presence.saw(told(11, 13, Failure(ErrorKind.HTTP_429))), "a refusal says neither"
    assert not presence.saw(told(2, 14, None)), "a success that was sent before the doubt says nothing about it"
    assert presence.offline is None
    assert presence.saw(told(15, 16))
    assert presence.offline is not None
    assert presence.offline.kind is ErrorKind.MODEL_OFFLINE
    assert "2023-11-14 22:13:20 UTC" in presence.offline.detail
    assert "404 page not found" in presence.offline.detail
    assert not presence.saw(told(17, 18)), "it is said once"


def test_a_success_in_between_clears_the_doubt() -> None:
    presence = Presence()
    assert not any(presence.saw(answer) for answer in (told(0, 10), told(11, 20, None), told(21, 30)))
    assert presence.saw(told(31, 40))


def test_what_was_never_sent_says_nothing() -> None:
    presence = Presence()
    unsent = Answer(Outcome.FAILED, Timeline(0, 0), failure=GONE)
    assert not any(presence.saw(unsent) for _ in range(3))
    assert presence.offline is None


def test_the_rest_of_the_lane_is_not_sent_and_other_lanes_go_on(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 200)
    names = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B")
    plan = make_plan([experiment(data, model__name=name) for name in names])
    gone, served = Served(lambda _, now: GONE if now > 1.9 else None), Served(lambda *_: None)
    played = play(plan, dict(zip(names, (gone, served), strict=True)))
    by_model = {name: [e for e in played.exchanges if e.request.cell.config.model.name == name] for name in names}
    assert Counter(e.request.request_id for e in played.exchanges) == Counter(r.request_id for r in plan.requests())
    assert {e.outcome for e in by_model[names[1]]} == {Outcome.OK}
    ends = Counter(e.failure.kind if e.failure else None for e in by_model[names[0]])
    assert ends[None] > 20
    assert 2 <= ends[ErrorKind.HTTP_404] <= 2 * 8, "those in flight, and one more round until it was confirmed"
    assert ends[ErrorKind.MODEL_OFFLINE] == 200 - ends[None] - ends[ErrorKind.HTTP_404] > 100
    left = [e for e in played.exchanges if e.outcome is Outcome.NOT_SENT]
    assert all(settled(e) and e.timeline.sent_ns is None and not e.attempts for e in left)
    assert (played.slots_free, set(played.in_flight.values())) == (8, {0})
    (note,) = played.notes
    assert note.startswith("Qwen/Qwen3-8B: offline since ")


def test_one_at_a_time_wastes_two_requests(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 50), load={"kind": "closed", "concurrency": 1})])
    server = Served(lambda *_: GONE)
    played = play(plan, server)
    assert server.calls == 2
    assert played.kinds() == {("failed", "http_404"): 2, ("not_sent", "model_offline"): 48}


def test_a_single_slip_of_the_server_ends_nothing(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 50))])
    played = play(plan, Served(lambda number, _: GONE if number % 10 == 3 else None))
    assert played.kinds()["ok", None] + played.kinds()["failed", "http_404"] == 50


def test_an_open_load_does_not_wait_out_the_schedule_of_a_model_that_is_gone(tmp_path: Path) -> None:
    load = {"kind": "constant", "rate": 1.0, "requests": 1000}
    plan = make_plan([experiment(rows_file(tmp_path, 10), load=load)])
    played = play(plan, Served(lambda *_: GONE))
    assert played.kinds() == {("failed", "http_404"): 2, ("not_sent", "model_offline"): 998}
    assert played.took_s < 5
    assert sorted(e.timeline.due_ns for e in played.exchanges)[-1] == 999 * 10**9, "due times stay those of the plan"


@pytest.mark.parametrize("ends_by", ["offline", "budget"])
def test_under_a_duration_nothing_more_is_planned_where_nothing_more_can_be_sent(tmp_path: Path, ends_by: str) -> None:
    """As many requests as fit into the time, and none fit: no rows without end."""
    load = {"kind": "closed", "concurrency": 2, "duration_s": 3600}
    plan = make_plan([experiment(rows_file(tmp_path, 3), load=load)])
    offline = ends_by == "offline"
    played = play(plan, Served(lambda *_: GONE if offline else None), budget=1_000_000 if offline else 5)
    assert len(played.exchanges) <= 5
    assert Outcome.NOT_SENT not in {e.outcome for e in played.exchanges}
    assert played.took_s < 5


def test_a_retry_is_not_sent_to_a_model_that_has_gone_meanwhile(tmp_path: Path) -> None:
    """The first is refused and backs off for 30 s; by then the model is gone, and it ends as what it was told."""
    refusal = Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=30.0)
    data, load = rows_file(tmp_path, 20), {"kind": "closed", "concurrency": 2}
    plan = make_plan([experiment(data, load=load, limits={"adaptive": False, "retries": 3})])
    server = Served(lambda number, _: refusal if number == 0 else GONE)
    played = play(plan, server)
    (waited,) = [e for e in played.exchanges if e.failure and e.failure.kind is ErrorKind.HTTP_429]
    assert (waited.outcome, len(waited.attempts)) == (Outcome.FAILED, 1)
    assert server.calls <= 4
    assert played.kinds()["not_sent", "model_offline"] == 20 - server.calls


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_says_which_model_went_offline_and_the_others_finish(tmp_path: Path, processes: int) -> None:
    """Taken off after 20 requests, in one process and in two, which each find out."""
    knobs = {"speed": 0, "models": {"Qwen/Qwen3-8B": {"offline_after_requests": 20}}}
    cells = [
        experiment(
            rows_file(tmp_path, 60),
            provider={"kind": "sim", "name": "sim", "knobs": knobs},
            model__name=name,
            load={"kind": "closed", "concurrency": 4},
            engine={"processes": processes},
        )
        for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B")
    ]
    run = run_measured(cells, tmp_path / "results")
    ends = Counter((row["model"][-3:], row["outcome"], row["error_kind"]) for row in run.rows("requests"))
    assert ends["14B", "ok", None] == 60
    assert ends["-8B", "ok", None] == 20
    assert 2 <= (told := ends["-8B", "failed", "http_400"]) <= 8 + 2 * processes
    assert ends["-8B", "not_sent", "model_offline"] == 40 - told
    assert 1 <= len([note for note in run.progress.notes if "Qwen/Qwen3-8B: offline since" in note]) <= processes
    (note,) = [note for note in summarise(run.path).notes if "offline" in note]
    assert note.startswith("Qwen/Qwen3-8B (sim) was offline since 2")
    assert "HTTP 400 (20012): Model does not exist." in note
    assert note.endswith(f"{40 - told} of its 60 requests were not sent.")
    assert not any("stopped first" in note for note in summarise(run.path).notes)


@pytest.mark.slow
def test_what_was_kept_back_counts_as_nothing_sent_where_a_budget_stopped_the_rest(tmp_path: Path) -> None:
    knobs = {"speed": 0, "offline": ["Qwen/Qwen3-8B"]}
    cells = [
        experiment(
            rows_file(tmp_path, 60),
            provider={"kind": "sim", "name": "sim", "knobs": knobs},
            model__name=name,
            load={"kind": "closed", "concurrency": 1},
            budget={"requests": 30},
        )
        for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B")
    ]
    run = run_measured(cells, tmp_path / "results")
    ends = Counter(row["error_kind"] for row in run.rows("requests"))
    assert ends["http_400"] == 2
    assert ends["model_offline"] > 0
    (note,) = [note for note in summarise(run.path).notes if note.startswith("Stopped by budget.requests")]
    assert "30 of 120 planned requests were sent" in note
