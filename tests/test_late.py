"""Late requests on a simulated clock: never rescheduled, never hidden, and given up only where that is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import virtual_time
from measured import open_record
from setups import experiment, rows_file

from bench.config import Budget
from bench.domain import (
    Answer,
    Choice,
    ConfigError,
    ErrorKind,
    EventKind,
    Exchange,
    Outcome,
    Reply,
    Timeline,
    Usage,
)
from bench.measure.budget import BudgetLedger
from bench.measure.dispatch import Lane, Run, run_lane
from bench.measure.lag import LagMeter
from bench.measure.limits import AccountLimits
from bench.measure.plan import Plan, make_plan
from bench.record import settled
from bench.show.summary import SummaryTable, summarise

SECOND_NS = 1_000_000_000
RATE = 10.0


@dataclass(frozen=True)
class Server:
    """Takes 100 ms to the first token and 400 ms more to the end, and does nothing at all while it stalls."""

    stall_s: tuple[float, float] = (300.0, 330.0)

    def _after(self, moment_s: float) -> float:
        return self.stall_s[1] if self.stall_s[0] <= moment_s < self.stall_s[1] else moment_s

    async def send(
        self, body: bytes, *, stream: bool, due_ns: int, permit_ns: int, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        """An answer in virtual time."""
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        first_s = self._after(sent_s + 0.1)
        end_s = self._after(first_s + 0.4)
        await asyncio.sleep(end_s - sent_s)
        sent, first, end = (round(moment * 1e9) for moment in (sent_s, first_s, end_s))
        timeline = Timeline(due_ns, permit_ns, sent, first, first, end)
        choice = Choice(0, "so", finish_reason="stop", event_ns=(first, end), event_kind=(EventKind.ANSWER,) * 2)
        return Answer(Outcome.OK, timeline, 200, Reply((choice,), Usage(10, 2), events=2, done=True))


@dataclass(frozen=True)
class Played:
    """A stage that is over: its exchanges in the order in which they ended, and what is left of what they shared."""

    plan: Plan
    exchanges: list[Exchange]
    slots_free: int | None
    sent_budget: int | None

    def outcomes(self) -> Counter[str]:
        return Counter(exchange.outcome.value for exchange in self.exchanges)


def play(folder: Path, load: Mapping[str, Any], budget: int | None = None, server: Server | None = None) -> Played:
    """Run the one stage of a plan against the server, in virtual time."""
    plan = make_plan([experiment(rows_file(folder), load=dict(load), limits={"retries": 0, "adaptive": False})])
    out: list[Exchange] = []

    async def go() -> tuple[int | None, int | None]:
        bound = plan.experiment.load.in_flight_bound
        slots = None if bound is None else asyncio.Semaphore(bound)
        ledger = BudgetLedger(Budget(requests=budget), clock=virtual_time.clock)
        run = Run(
            slots=slots,
            ledger=ledger,
            sink=out.append,
            lag=LagMeter(virtual_time.clock),
            stop=asyncio.Event(),
            start_ns=virtual_time.clock(),
            random=Random(0),
            clock=virtual_time.clock,
        )
        (stage,) = plan.stages
        ((key, requests),) = plan.lanes(stage).items()
        limits = AccountLimits(plan.experiment.limits, clock=virtual_time.clock)
        await run_lane(Lane(key, requests, {stage.cells[0].cell_id: server or Server()}, limits), run)
        await run.quiet()
        left = 0
        while budget is not None and ledger.reserve(1, None) is not None:
            left += 1
        return None if slots is None else slots._value, None if budget is None else budget - left

    return Played(plan, out, *virtual_time.run(go()))


def judged(played: Played, folder: Path) -> tuple[dict[str, Any], SummaryTable]:
    """The summary's row of the cell, after the exchanges went through the record as those of any run."""
    record = open_record(played.plan, folder)
    record.update(origin_ns=0)
    record.origin_ns = record._journal.origin_ns = 0
    for exchange in played.exchanges:
        record.append(exchange)
    record.finish(state="finished")
    table = summarise(record.path)
    row: dict[str, Any] = table.frame.iloc[0].to_dict()
    return row, table


@pytest.mark.slow
def test_a_stall_of_30_s_in_600_s_of_open_load_shows_in_the_p99_from_the_due_time(tmp_path: Path) -> None:
    """300 of 6,000 requests come due in the stall: with 16 connections at most 16 of them are slow from their send."""
    load = {"kind": "poisson", "rate": RATE, "duration_s": 600, "max_concurrency": 16}
    played = play(tmp_path, load)
    row, _ = judged(played, tmp_path / "results")
    assert played.outcomes() == {"ok": row["planned"]}
    assert row["planned"] == pytest.approx(6000, rel=0.05)
    # the worst hundredth are those due in the stall's first 6 s or so; they wait for the rest of it and for their turn
    assert 23_000 < row["due_ttft_p99_ms"] < 31_000
    assert row["ttft_p99_ms"] < 200
    assert row["queue_p99_ms"] > 20_000
    slow = [e for e in played.exchanges if e.timeline.sent_ns and _first_ns(e) - e.timeline.sent_ns > SECOND_NS]
    assert 0 < len(slow) <= 16


@pytest.mark.slow
def test_without_a_bound_every_request_of_the_stall_is_sent_and_is_slow(tmp_path: Path) -> None:
    played = play(tmp_path, {"kind": "poisson", "rate": RATE, "duration_s": 600})
    row, _ = judged(played, tmp_path / "results")
    assert 23_000 < row["due_ttft_p99_ms"] < 31_000
    assert row["due_ttft_p99_ms"] == pytest.approx(row["ttft_p99_ms"], rel=0.01)


@pytest.mark.slow
def test_a_closed_loop_hides_the_same_stall(tmp_path: Path) -> None:
    """Five users who wait for their answers: no more than five requests meet the stall, whatever its length."""
    played = play(tmp_path, {"kind": "closed", "concurrency": 5, "requests": 5700})
    row, _ = judged(played, tmp_path / "results")
    assert row["e2e_p99_ms"] < 1_000
    assert sum(_first_ns(e) - (e.timeline.sent_ns or 0) > SECOND_NS for e in played.exchanges) <= 5


def _first_ns(exchange: Exchange) -> int:
    assert exchange.reply is not None
    return exchange.reply.choices[0].event_ns[0]


def test_late_requests_keep_their_due_times(tmp_path: Path) -> None:
    load = {"kind": "constant", "rate": RATE, "duration_s": 40, "max_concurrency": 4}
    played = play(tmp_path, load, server=Server((10.0, 20.0)))
    due = sorted(exchange.timeline.due_ns for exchange in played.exchanges)
    assert due == [number * SECOND_NS // 10 for number in range(401)]
    assert played.outcomes() == {"ok": 401}
    assert played.slots_free == 4


def test_requests_that_come_too_late_are_given_up_counted_and_leave_nothing_behind(tmp_path: Path) -> None:
    load = {"kind": "constant", "rate": RATE, "duration_s": 60, "max_concurrency": 8, "drop_after_s": 5.0}
    played = play(tmp_path, load, budget=10_000, server=Server((10.0, 40.0)))
    sent = [e for e in played.exchanges if e.outcome is Outcome.OK]
    given_up = [e for e in played.exchanges if e.outcome is Outcome.NOT_SENT]
    assert len({e.request.request_id for e in played.exchanges}) == len(played.exchanges) == 601
    # due from 10.8 s, when 8 are in flight, to 35 s, 5 s before the stall ends
    assert len(given_up) == pytest.approx(242, abs=8)
    assert len(sent) + len(given_up) == 601
    assert all(e.failure and e.failure.kind is ErrorKind.TIMEOUT_TOTAL for e in given_up)
    assert all((e.timeline.permit_ns or 0) - e.timeline.due_ns <= 5.01 * SECOND_NS for e in sent)
    assert all(e.timeline.sent_ns is None and settled(e) for e in given_up)
    assert played.slots_free == 8
    assert played.sent_budget == len(sent)

    row, table = judged(played, tmp_path / "results")
    assert row["not_sent"] == len(given_up)
    assert row["due_ttft_p99_all_ms"] == float("inf")
    assert row["due_ttft_p50_ms"] < 1_000
    (note,) = [note for note in table.notes if "drop_after_s" in note]
    assert note.startswith(f"{len(given_up)} of 601 requests")
    assert not any("planned requests were sent" in note for note in table.notes)


def test_a_request_that_is_given_up_keeps_nothing_of_the_budget(tmp_path: Path) -> None:
    """One slot, a server that stalls for good, and a limit: every later request is given up at its own time."""
    load = {"kind": "constant", "rate": 1.0, "requests": 6, "max_concurrency": 1, "drop_after_s": 2.0}
    played = play(tmp_path, load, budget=3, server=Server((0.0, 4.5)))
    # 0 is answered at 4.9 s; 1 and 2 are given up at 3 and 4 s; 3 waits until 4.9 s, within its 2 s
    kinds = [(e.request.due_ns // SECOND_NS, e.failure.kind if e.failure else None) for e in played.exchanges]
    assert sorted(kinds, key=lambda pair: pair[0]) == [
        (0, None),
        (1, ErrorKind.TIMEOUT_TOTAL),
        (2, ErrorKind.TIMEOUT_TOTAL),
        (3, None),
        (4, None),
        (5, ErrorKind.BUDGET),
    ]


def test_only_an_open_load_gives_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"load\.drop_after_s: a closed load"):
        experiment(rows_file(tmp_path), load={"kind": "closed", "drop_after_s": 5})
    with pytest.raises(ConfigError, match=r"load\.drop_after_s=0"):
        experiment(rows_file(tmp_path), load={"kind": "constant", "rate": 5.0, "drop_after_s": 0})
