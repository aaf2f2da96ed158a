"""The dispatcher against scripted senders: one terminal exchange per request, retries, budgets, orderly stops."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

from setups import experiment, rows_file

from bench.config import Budget, Limits
from bench.domain import Answer, Choice, ErrorKind, Exchange, Failure, Outcome, Reply, Timeline, Usage
from bench.measure.budget import BudgetLedger
from bench.measure.dispatch import Lane, Run, run_lane
from bench.measure.lag import LagMeter
from bench.measure.limits import AccountLimits
from bench.measure.plan import Plan, make_plan

Script = Callable[[int, bytes], Answer]


def good(due_ns: int, permit_ns: int, tokens: int = 30) -> Answer:
    sent = time.monotonic_ns()
    timeline = Timeline(due_ns, permit_ns, sent, sent + 1, sent + 2, sent + 3)
    reply = Reply((Choice(0, "4", finish_reason="stop"),), Usage(10, tokens - 10), done=True)
    return Answer(Outcome.OK, timeline, 200, reply)


def bad(due_ns: int, permit_ns: int, kind: ErrorKind, status: int | None, **more: Any) -> Answer:
    sent = time.monotonic_ns()
    timeline = Timeline(due_ns, permit_ns, sent, end_ns=sent + 1)
    return Answer(Outcome.FAILED, timeline, status, failure=Failure(kind, "scripted", **more))


class ScriptedSender:
    """Answers call after call from a script, and notes how many were in flight."""

    def __init__(self, answers: Sequence[str] = (), hold: asyncio.Event | None = None) -> None:
        self.answers = list(answers)
        self.hold = hold
        self.calls = 0
        self.in_flight = self.most_in_flight = 0

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        word = self.answers[self.calls] if self.calls < len(self.answers) else "ok"
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await (self.hold.wait() if self.hold else asyncio.sleep(0))
        finally:
            self.in_flight -= 1
        if word == "ok":
            return good(due_ns, permit_ns)
        if word == "unsent":
            failure = Failure(ErrorKind.CONNECT, "refused")
            return Answer(Outcome.FAILED, Timeline(due_ns, permit_ns), failure=failure)
        return bad(due_ns, permit_ns, ErrorKind(word), int(word[5:]) if word[5:].isdigit() else 500)


def dispatch(
    plan: Plan,
    sender: ScriptedSender,
    *,
    slots: int | None = None,
    budget: Budget | None = None,
    stop_after: int | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> list[Exchange]:
    """Run the plan's first stage to its end and give every exchange."""

    async def go() -> list[Exchange]:
        out: list[Exchange] = []
        stop = asyncio.Event()

        def sink(exchange: Exchange) -> None:
            out.append(exchange)
            if stop_after is not None and len(out) >= stop_after:
                stop.set()

        async def no_sleep(_: float) -> None:
            await asyncio.sleep(0)

        run = Run(
            slots=asyncio.Semaphore(slots) if slots else None,
            ledger=BudgetLedger(budget or Budget()),
            sink=sink,
            lag=LagMeter(time.monotonic_ns),
            stop=stop,
            start_ns=clock(),
            random=Random(0),
            clock=clock,
        )
        stage = plan.stages[0]
        limits = AccountLimits(plan.experiment.limits, sleep=no_sleep)
        senders = {cell.cell_id: sender for cell in stage.cells}
        await asyncio.gather(
            *(run_lane(Lane(key, requests, senders, limits), run) for key, requests in plan.lanes(stage).items())
        )
        while run.in_flight:
            await asyncio.wait(set(run.in_flight))
        return out

    return asyncio.run(go())


def test_every_planned_request_has_one_exchange(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 30), repeats=2)])
    sender = ScriptedSender()
    out = dispatch(plan, sender, slots=5)
    assert Counter(e.request.request_id for e in out) == Counter({r.request_id: 1 for r in plan.requests()})
    assert sender.most_in_flight <= 5
    assert {e.outcome for e in out} == {Outcome.OK}


def test_a_closed_load_with_a_duration_ends(tmp_path: Path) -> None:
    """Each look at the clock takes 10 ms, so a second is over after a hundred of them."""
    plan = make_plan([experiment(rows_file(tmp_path, 3), load={"kind": "closed", "concurrency": 2, "duration_s": 1})])
    sender = ScriptedSender()
    ticks = count(5_000_000_000, 10_000_000)
    out = dispatch(plan, sender, slots=2, clock=lambda: next(ticks))
    assert 10 < len(out) < 100
    assert {e.outcome for e in out} == {Outcome.OK}
    assert sender.calls == len(out)


def test_cost_comes_from_the_dated_price(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 1))])
    (one,) = dispatch(plan, ScriptedSender())
    assert one.cost == (10 * 1.0 + 20 * 4.0) / 1e6
    assert one.currency == "CNY"


def test_passing_failures_are_tried_again_and_every_attempt_is_kept(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 1), limits={"adaptive": False, "backoff_s": 0.0})])
    sender = ScriptedSender(["http_429", "http_5xx", "ok"])
    (one,) = dispatch(plan, sender)
    assert one.outcome is Outcome.OK
    assert [a.failure.kind if a.failure else None for a in one.attempts] == [
        ErrorKind.HTTP_429,
        ErrorKind.HTTP_5XX,
        None,
    ]
    assert [a.number for a in one.attempts] == [1, 2, 3]


def test_retries_end(tmp_path: Path) -> None:
    limits = {"retries": 2, "backoff_s": 0.0, "adaptive": False}
    plan = make_plan([experiment(rows_file(tmp_path, 1), limits=limits)])
    (one,) = dispatch(plan, ScriptedSender(["http_5xx"] * 10))
    assert one.outcome is Outcome.FAILED
    assert len(one.attempts) == 3


def test_lasting_failures_are_not_tried_again(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 1))])
    (one,) = dispatch(plan, ScriptedSender(["http_401"]))
    assert one.outcome is Outcome.FAILED
    assert len(one.attempts) == 1


def test_open_loads_do_not_retry_unless_told(tmp_path: Path) -> None:
    load = {"kind": "constant", "rate": 1000.0}
    plan = make_plan([experiment(rows_file(tmp_path, 1), load=load)])
    (one,) = dispatch(plan, ScriptedSender(["http_5xx"]))
    assert len(one.attempts) == 1
    plan = make_plan([experiment(rows_file(tmp_path, 1), load=load, limits={"retries": 1, "backoff_s": 0.0})])
    (one,) = dispatch(plan, ScriptedSender(["http_5xx"]))
    assert len(one.attempts) == 2


def test_request_budget_is_never_exceeded_and_the_rest_is_not_sent(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 20), budget={"requests": 7})])
    sender = ScriptedSender()
    out = dispatch(plan, sender, slots=4, budget=Budget(requests=7))
    assert sender.calls == 7
    assert Counter(e.outcome for e in out) == {Outcome.OK: 7, Outcome.NOT_SENT: 13}
    left = [e for e in out if e.outcome is Outcome.NOT_SENT]
    assert all(e.failure and e.failure.kind is ErrorKind.BUDGET and "requests" in e.failure.detail for e in left)


def test_retries_count_against_the_budget(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 3), limits={"retries": 5, "backoff_s": 0.0, "adaptive": False})])
    sender = ScriptedSender(["http_5xx"] * 50)
    out = dispatch(plan, sender, slots=1, budget=Budget(requests=4))
    assert sender.calls == 4
    assert len(out) == 3


def test_token_budget_waits_for_what_comes_back_rather_than_giving_up(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 6), sampling={"max_tokens": 64, "enable_thinking": False})])
    sender = ScriptedSender()
    out = dispatch(plan, sender, slots=6, budget=Budget(tokens=300))
    spent = sum(30 for e in out if e.outcome is Outcome.OK)
    assert spent <= 300
    assert Counter(e.outcome for e in out)[Outcome.OK] == 6


def test_unsent_attempts_cost_no_budget(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 2), limits={"retries": 3, "backoff_s": 0.0})])
    sender = ScriptedSender(["unsent", "unsent", "ok", "ok"])
    out = dispatch(plan, sender, slots=1, budget=Budget(requests=2))
    assert [e.outcome for e in out] == [Outcome.OK, Outcome.OK]


def test_a_stop_sends_nothing_more_and_lets_the_rest_finish(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 50))])
    sender = ScriptedSender()
    out = dispatch(plan, sender, slots=3, stop_after=5)
    assert 5 <= len(out) <= 8
    assert sender.calls == len(out)


def test_a_throttled_model_does_not_hold_back_another(tmp_path: Path) -> None:
    data = rows_file(tmp_path, 10)
    slow, quick = (experiment(data, model__name=name) for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B"))
    plan = make_plan([slow, quick])
    finished: list[str] = []

    async def go() -> None:
        stop = asyncio.Event()

        async def forever(_: float) -> None:
            await asyncio.Event().wait()

        def sink(exchange: Exchange) -> None:
            finished.append(exchange.request.cell.config.model.name)
            if finished.count("Qwen/Qwen3-14B") == 10:
                stop.set()

        run = Run(
            slots=asyncio.Semaphore(2),
            ledger=BudgetLedger(Budget()),
            sink=sink,
            lag=LagMeter(time.monotonic_ns),
            stop=stop,
            start_ns=time.monotonic_ns(),
            random=Random(0),
            clock=time.monotonic_ns,
        )
        sender = ScriptedSender()
        senders = {cell.cell_id: sender for cell in plan.cells}
        lanes = []
        for key, requests in plan.lanes(plan.stages[0]).items():
            limits = Limits(rpm=1) if key.endswith("Qwen3-8B") else Limits()
            lanes.append(Lane(key, requests, senders, AccountLimits(limits, sleep=forever)))
        tasks = [asyncio.ensure_future(run_lane(lane, run)) for lane in lanes]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(go())
    assert finished.count("Qwen/Qwen3-14B") == 10
    assert finished.count("Qwen/Qwen3-8B") <= 2


def test_due_times_are_kept_when_a_request_is_late(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 5), load={"kind": "constant", "rate": 500.0})])
    out = dispatch(plan, ScriptedSender(), slots=1)
    dues = sorted(e.timeline.due_ns for e in out)
    assert [b - a for a, b in pairwise(dues)] == [2_000_000] * 4
    for exchange in out:
        assert exchange.timeline.permit_ns is not None
        assert exchange.timeline.permit_ns >= exchange.timeline.due_ns


def test_the_lag_meter_gives_the_worst_lag_since_a_time() -> None:
    meter = LagMeter(lambda: 0)
    for at, lag in ((10, 5), (20, 50), (30, 1), (40, 2)):
        meter.note(at, lag)
    assert meter.worst_since(0) == 50
    assert meter.worst_since(25) == 2
    assert meter.worst_since(41) is None
