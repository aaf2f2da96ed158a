"""Refusals, back-offs and interruptions in virtual time: the run makes progress, and nothing that was held is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import virtual_time
from played import SECOND_NS, Played, Served, play
from setups import experiment, rows_file

from bench.domain import Answer, Choice, ErrorKind, EventKind, Failure, Outcome, Reply, Timeline, Usage
from bench.measure.plan import make_plan

STEPS, STEP_S, RETRY_AFTER_S, ROWS = 400, 2.0, 89.0, 2500


class Stubborn:
    """Refuses the first request of every 2 s and asks for 89 s each time, 400 times over."""

    def __init__(self) -> None:
        self.refused_at: list[float] = []

    def __call__(self, number: int, now_s: float) -> Failure | None:
        last = self.refused_at[-1] if self.refused_at else -STEP_S
        if len(self.refused_at) == STEPS or now_s < last + STEP_S:
            return None
        self.refused_at.append(now_s)
        return Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=RETRY_AFTER_S)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_refusal_every_2_s_that_asks_for_89_s_never_freezes_the_run(tmp_path: Path, adaptive: bool) -> None:
    load = {"kind": "closed", "concurrency": 3}
    plan = make_plan([experiment(rows_file(tmp_path, ROWS), load=load, limits={"adaptive": adaptive})])
    stubborn = Stubborn()
    played = play(plan, Served(stubborn, takes_s=1.0))
    assert len(stubborn.refused_at) == STEPS
    served = sorted((e.timeline.end_ns or 0) / SECOND_NS for e in played.exchanges if e.outcome is Outcome.OK)
    while_refusing = [moment for moment in served if moment < stubborn.refused_at[-1]]
    assert max(b - a for a, b in pairwise([0.0, *while_refusing])) < 2 * STEP_S, "served all the time"
    assert stubborn.refused_at[-1] < 2 * STEPS * STEP_S
    assert len(while_refusing) > STEPS
    for exchange in played.exchanges:
        for refused, again in pairwise(exchange.attempts):
            waited_s = ((again.sent_ns or 0) - (refused.end_ns or 0)) / SECOND_NS
            assert again.waited_ns >= RETRY_AFTER_S * SECOND_NS
            assert waited_s >= RETRY_AFTER_S
    assert max(len(e.attempts) for e in played.exchanges) > 1
    assert len(played.exchanges) == ROWS
    assert (played.slots_free, set(played.in_flight.values())) == (3, {0})


def test_retry_after_is_the_floor_of_that_attempt_alone(tmp_path: Path) -> None:
    """One request is told to wait; those after it go at once."""
    told = Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=60.0)
    load = {"kind": "closed", "concurrency": 1}
    plan = make_plan([experiment(rows_file(tmp_path, 30), load=load, limits={"adaptive": True})])
    played = play(plan, Served(lambda number, _: told if number == 0 else None))
    ends = sorted((e.timeline.end_ns or 0) / SECOND_NS for e in played.exchanges)
    assert ends[28] < 10
    assert 60 < ends[29] < 62
    assert played.kinds() == {("ok", None): 30}


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_server_that_refuses_everything_ends_the_run_in_bounded_time(tmp_path: Path, adaptive: bool) -> None:
    told = Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=89.0)
    limits = {"adaptive": adaptive, "retries": 1}
    plan = make_plan([experiment(rows_file(tmp_path, 40), limits=limits)])
    played = play(plan, Served(lambda *_: told))
    assert played.kinds() == {("failed", "http_429"): 40}
    assert {len(e.attempts) for e in played.exchanges} == {2}
    assert played.took_s < 40 * 2 * 15 + 2 * RETRY_AFTER_S


def test_an_open_load_tries_nothing_again_and_shows_what_users_saw(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 3), load={"kind": "constant", "rate": 5.0})])
    played = play(plan, Served(lambda *_: Failure(ErrorKind.RESET, "gone")))
    assert {len(e.attempts) for e in played.exchanges} == {1}


@dataclass
class Breaking:
    """Breaks replies off after some words, which count the attempts; from ``whole_from`` on they are whole."""

    whole_from: int
    kind: ErrorKind = ErrorKind.RESET
    calls: int = 0

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        """A part of an answer that tells its usage so far, or all of one."""
        self.calls += 1
        now_ns = virtual_time.clock()
        choice = Choice(0, f"attempt {self.calls}", event_ns=(now_ns,), event_kind=(EventKind.ANSWER,))
        reply = Reply((choice,), Usage(10, 1), events=1)
        timeline = Timeline(due_ns, permit_ns, now_ns, now_ns, now_ns, now_ns + 1)
        if self.calls >= self.whole_from:
            return Answer(Outcome.OK, timeline, 200, reply)
        return Answer(Outcome.TRUNCATED, timeline, 200, reply, Failure(self.kind, "gone"))


@pytest.mark.parametrize(
    ("whole_from", "kind", "outcome", "attempts"),
    [
        (2, ErrorKind.RESET, Outcome.OK, 2),
        (9, ErrorKind.RESET, Outcome.TRUNCATED, 3),
        (9, ErrorKind.TIMEOUT_BETWEEN_TOKENS, Outcome.TRUNCATED, 3),
        (9, ErrorKind.STREAM_TRUNCATED, Outcome.TRUNCATED, 1),
        (9, ErrorKind.BAD_PAYLOAD, Outcome.TRUNCATED, 1),
    ],
)
def test_a_reply_that_broke_off_is_tried_again_and_the_last_part_is_kept(
    tmp_path: Path, whole_from: int, kind: ErrorKind, outcome: Outcome, attempts: int
) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 1), limits={"retries": 2})])
    (one,) = play(plan, Breaking(whole_from, kind)).exchanges
    assert (one.outcome, len(one.attempts)) == (outcome, attempts)
    assert one.reply is not None
    assert one.reply.choices[0].text == f"attempt {attempts}"
    kinds = [attempt.failure.kind if attempt.failure else None for attempt in one.attempts]
    assert kinds == [kind] * (attempts - 1) + [None if outcome is Outcome.OK else kind]


# what is held is given back


def whole_again(played: Played, slots: int = 2) -> None:
    assert played.slots_free == slots
    assert set(played.in_flight.values()) == {0}


REFUSED = Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=5.0)


@pytest.mark.parametrize("moment_s", [0.1 * step for step in range(1, 90)])
def test_a_stage_that_is_cancelled_at_any_moment_leaves_nothing_behind(tmp_path: Path, moment_s: float) -> None:
    """Back-offs end while others hold all slots, so attempts wait for a permit, a slot or the budget."""
    load = {"kind": "closed", "concurrency": 2}
    limits = {"retries": 3, "adaptive": False, "concurrency": 3}
    plan = make_plan([experiment(rows_file(tmp_path, 60), load=load, limits=limits)])
    played = play(plan, Served(lambda number, _: REFUSED if number % 3 == 0 else None), cancel_at_s=moment_s)
    whole_again(played)
    seen = [e.request.request_id for e in played.exchanges]
    assert len(seen) == len(set(seen))


def test_a_lane_that_is_cancelled_while_the_record_has_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    load = {"kind": "closed", "concurrency": 2}
    plan = make_plan([experiment(rows_file(tmp_path, 10), load=load)])

    async def full() -> None:
        await asyncio.sleep(3600)

    played = play(plan, Served(lambda *_: None), cancel_at_s=1.0, room=full, budget=50)
    whole_again(played)
    assert played.exchanges == []
    assert played.budget_left == 50


def test_a_retry_that_is_cancelled_while_it_waits_for_a_slot_gives_its_share_of_the_budget_back(tmp_path: Path) -> None:
    """The slot is taken by a request that never ends; the one that was refused waits for it after its back-off."""
    load = {"kind": "closed", "concurrency": 1}
    limits = {"retries": 3, "adaptive": False}
    plan = make_plan([experiment(rows_file(tmp_path, 2), load=load, limits=limits)])

    class Slow(Served):
        async def send(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]  # passed on
            self.takes_s = 0.1 if self.calls == 0 else 1000.0
            return await super().send(*args, **kwargs)  # type: ignore[arg-type]  # passed on

    server = Slow(lambda number, _: REFUSED if number == 0 else None)
    played = play(plan, server, cancel_at_s=60.0, budget=50)  # type: ignore[arg-type]  # the same but for its types
    whole_again(played, 1)
    assert server.calls == 2
    assert played.budget_left == 48, "two were sent; the third attempt never was"
    assert {e.outcome for e in played.exchanges} == {Outcome.CANCELLED}


def test_a_stop_ends_the_waits_before_retries_at_once(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 4))])
    asked_to_wait = Failure(ErrorKind.HTTP_429, "slow down", retry_after_s=300.0)
    played = play(plan, Served(lambda *_: asked_to_wait), stop_at_s=3.0)
    assert played.took_s < 4.0
    assert played.kinds() == {("cancelled", "cancelled"): 4}
    assert played.slots_free == 8
    assert set(played.in_flight.values()) == {0}
