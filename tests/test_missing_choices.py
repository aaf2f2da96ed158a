"""Replies with fewer choices than asked for are filled up by further requests, and the row stays one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setups import experiment, rows_file
from test_dispatch import bad, dispatch

from bench.config import Budget
from bench.domain import Answer, Choice, ErrorKind, EventKind, Exchange, Outcome, Reply, Timeline, Usage
from bench.measure.plan import make_plan


class Stingy:
    """A server that gives at most so many choices, whatever ``n`` says; from call ``broken_from`` on it fails."""

    def __init__(self, most: int, broken_from: int | None = None) -> None:
        self.most, self.broken_from = most, broken_from
        self.bodies: list[dict[str, Any]] = []

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        self.bodies.append(json.loads(body))
        call = len(self.bodies)
        if self.broken_from is not None and call >= self.broken_from:
            return bad(due_ns, permit_ns, ErrorKind.HTTP_400, 400)
        sent = time.monotonic_ns()
        count = min(self.most, self.bodies[-1].get("n", 1))
        choices = tuple(
            Choice(i, f"call {call} choice {i}", event_ns=(sent + 1,), event_kind=(EventKind.ANSWER,))
            for i in range(count)
        )
        timeline = Timeline(due_ns, permit_ns, sent, sent + 1, sent + 2, sent + 3)
        return Answer(Outcome.OK, timeline, 200, Reply(choices, Usage(10, 20 * count), done=True), bytes_in=5)


def asked(folder: Path, sender: Stingy, budget: Budget | None = None, **changes: Any) -> Exchange:
    plan = make_plan([experiment(rows_file(folder, 1), **changes)])
    exchange: Exchange
    (exchange,) = dispatch(plan, sender, budget=budget)
    return exchange


def test_a_server_that_ignores_n_is_asked_for_the_rest(tmp_path: Path) -> None:
    sender = Stingy(1)
    exchange = asked(tmp_path, sender, sampling={"n": 3, "seed": 100})
    assert exchange.reply is not None
    assert [choice.index for choice in exchange.reply.choices] == [0, 1, 2]
    assert [choice.text for choice in exchange.reply.choices] == [f"call {call} choice 0" for call in (1, 2, 3)]
    assert [body.get("n") for body in sender.bodies] == [3, 2, None]
    assert len({body["seed"] for body in sender.bodies}) == 3
    assert exchange.reply.usage == Usage(30, 60)
    assert exchange.cost is not None
    assert [attempt.number for attempt in exchange.attempts] == [1, 2, 3]


def test_times_are_those_of_the_first_reply(tmp_path: Path) -> None:
    exchange = asked(tmp_path, Stingy(2), sampling={"n": 3})
    assert exchange.reply is not None
    assert [len(choice.event_ns) for choice in exchange.reply.choices] == [1, 1, 0]
    assert exchange.timeline.sent_ns == exchange.attempts[0].sent_ns
    assert exchange.timeline.end_ns == exchange.attempts[0].end_ns


def test_a_full_reply_is_asked_for_nothing_more(tmp_path: Path) -> None:
    sender = Stingy(5)
    exchange = asked(tmp_path, sender, sampling={"n": 3})
    assert len(sender.bodies) == 1
    assert len(exchange.attempts) == 1


def test_what_came_is_kept_when_the_rest_cannot_be_had(tmp_path: Path) -> None:
    refused = asked(tmp_path, Stingy(1, broken_from=3), sampling={"n": 4})
    assert refused.outcome is Outcome.OK
    assert refused.reply is not None
    assert len(refused.reply.choices) == 2
    assert [attempt.failure is None for attempt in refused.attempts] == [True, True, False]
    sender = Stingy(1)
    over = asked(tmp_path, sender, Budget(requests=2), sampling={"n": 4})
    assert over.reply is not None
    assert (over.outcome, len(over.reply.choices), len(sender.bodies)) == (Outcome.OK, 2, 2)


def test_an_open_load_shows_what_users_saw(tmp_path: Path) -> None:
    sender = Stingy(1)
    asked(tmp_path, sender, sampling={"n": 3}, load={"kind": "constant", "rate": 1000.0, "requests": 1})
    assert len(sender.bodies) == 1


def test_no_seed_of_a_repeat_or_of_a_further_request_occurs_twice(tmp_path: Path) -> None:
    sender = Stingy(1)
    plan = make_plan([experiment(rows_file(tmp_path, 1), sampling={"n": 3, "seed": 7}, repeats=4)])
    dispatch(plan, sender)
    seeds = [body["seed"] for body in sender.bodies]
    assert len(seeds) == 12
    assert sorted(seeds) == list(range(7, 19))
