"""Limits and budget shared by processes: as exact as in one, whoever dies; and what a resumed run has left of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bench_process import await_gone, await_lines, children, start
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import read_truth, run_measured
from setups import experiment, rows_file
from test_limits import MINUTE_NS, WINDOW_NS, heaviest_window
from virtual_time import clock, run

from bench.cli import main
from bench.config import Budget, Limits
from bench.measure.budget import BudgetLedger
from bench.measure.leases import Desk, LeasedLedger, LeasedLimits, Lessee, Lessor
from bench.measure.plan import lane_key, make_plan
from bench.record import SpendingLog, Spent
from bench.record.spent import FILE, spent_so_far

FAST: dict[str, Any] = {"speed": 0}


class Crew:
    """A parent and its workers in one event loop; messages take a moment, as between processes."""

    def __init__(self, folder: Path, workers: int, limits: Limits, budget: Budget | None = None) -> None:
        config = experiment(rows_file(folder), limits=vars(limits), budget=vars(budget or Budget()))
        self.key = lane_key(config)
        self.ledger = BudgetLedger(budget or Budget(), clock)
        self.lessor = Lessor(make_plan([config]), self.ledger, clock)
        self.limits, self.ledgers, self.desks = [], [], []
        loop = asyncio.get_running_loop()
        for _ in range(workers):
            up: list[Desk] = []
            lessee = Lessee(lambda message, up=up: loop.call_later(0.001, up[0].hear, message))  # type: ignore[misc]
            up.append(Desk(self.lessor, lambda message, down=lessee: loop.call_later(0.001, down.hear, message)))  # type: ignore[misc]
            self.desks += up
            self.limits.append(LeasedLimits(lessee, self.key, limits, clock, asyncio.sleep))
            self.ledgers.append(LeasedLedger(lessee, self.ledger.end_ns, clock))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), rpm=st.sampled_from([None, 60, 600]), tpm=st.sampled_from([None, 40_000]))
def test_no_window_is_exceeded_by_several_processes_nor_a_place_taken_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rpm: int | None, tpm: int | None
) -> None:
    """Requests that leave late, end late, are cancelled at any moment; workers of very different load."""

    async def go() -> None:
        random = Random(seed)
        crew = Crew(tmp_path_factory.getbasetemp(), 3, Limits(concurrency=5, rpm=rpm, tpm=tpm))
        starts: list[tuple[int, int]] = []
        tokens: list[tuple[int, int]] = []
        flying = 0

        async def one(worker: int) -> None:
            nonlocal flying
            reserved = random.randint(1, 2000)
            permit = await crew.limits[worker].permit(reserved)
            flying += 1
            try:
                assert flying <= 5
                await asyncio.sleep(random.random() * 3)
                starts.append((clock(), 1))
                if permit.on_sent is not None:
                    permit.on_sent()
                await asyncio.sleep(random.random() * 20 if random.random() < 0.1 else 0.1)
                used = random.randint(1, reserved)
                tokens.append((clock(), used))
                permit.settle(used)
            finally:
                flying -= 1
                permit.on_result(200)
                permit.release()

        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(one(random.choice([0, 0, 0, 1, 2]))))
            await asyncio.sleep(random.random() / 4)
            if random.random() < 0.1:
                random.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(1)
        account = crew.lessor.accounts[crew.key]
        assert account.in_flight == flying == 0
        assert rpm is None or heaviest_window(starts) <= rpm
        assert tpm is None or heaviest_window(tokens, MINUTE_NS) <= tpm
        assert list(crew.lessor.holds()) == []

    run(go())


def test_2000_requests_over_rpm_and_tpm_get_nine_tenths_of_what_is_allowed(tmp_path: Path) -> None:
    """Four processes, replies of 1 to 3 s that use between half and all of what they reserve; in virtual time."""
    rpm, tpm = 300, 200_000

    async def go() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        random = Random(7)
        crew = Crew(tmp_path, 4, Limits(rpm=rpm, tpm=tpm))
        starts, tokens = list[tuple[int, int]](), list[tuple[int, int]]()

        async def one(worker: int, reserved: int) -> None:
            permit = await crew.limits[worker].permit(reserved)
            starts.append((clock(), 1))
            assert permit.on_sent is not None
            permit.on_sent()
            await asyncio.sleep(random.uniform(1, 3))
            used = random.randint(reserved // 2, reserved)
            tokens.append((clock(), used))
            permit.settle(used)
            permit.release()

        # the first half asks for few tokens, so that RPM binds; the second for many, so that TPM does
        await asyncio.gather(*(one(i % 4, 400) for i in range(1000)))
        await asyncio.gather(*(one(i % 4, 2000) for i in range(1000)))
        return starts, tokens

    starts, tokens = run(go())
    assert heaviest_window(starts, WINDOW_NS) <= rpm
    assert heaviest_window(tokens, MINUTE_NS) <= tpm

    def rate(found: list[tuple[int, int]]) -> float:
        steady = [one for one in found if one[0] - found[0][0] > MINUTE_NS]
        return sum(units for _, units in steady[1:]) / (steady[-1][0] - steady[0][0]) * MINUTE_NS

    assert rate(starts[:1000]) >= 0.9 * rpm
    assert rate(tokens[1000:]) >= 0.9 * tpm
    assert heaviest_window(starts, MINUTE_NS // 60) <= rpm / 60 * 2, "an even stream, no bursts"


def test_a_budget_is_never_exceeded_by_several_processes(tmp_path: Path) -> None:
    async def go() -> None:
        random = Random(3)
        crew = Crew(tmp_path, 3, Limits(), Budget(requests=40, tokens=12_000))
        sent, used_tokens, flying = 0, 0, Counter[int]()

        async def one(number: int) -> None:
            nonlocal sent, used_tokens
            tokens = random.randint(1, 600)
            ledger = crew.ledgers[number % 3]
            reservation = await ledger.reserve_in_turn(tokens, None)
            if reservation is None:
                assert ledger.exhausted_by in ("requests", "tokens")
                return
            if random.random() < 0.1:
                ledger.give_back(reservation)
                return
            sent, flying[number] = sent + 1, tokens
            assert sent <= 40
            assert used_tokens + flying.total() <= 12_000
            await asyncio.sleep(random.random())
            used_tokens += (used := random.randint(0, flying.pop(number)))
            ledger.settle(reservation, used, None)

        await asyncio.gather(*(one(i) for i in range(200)))
        assert sent >= 20

    run(go())


def test_what_a_dead_worker_held_counts_as_used_and_blocks_nobody(tmp_path: Path) -> None:
    async def go() -> None:
        crew = Crew(tmp_path, 2, Limits(concurrency=2, tpm=10_000), Budget(tokens=10_000))
        for _ in range(2):
            await crew.limits[0].permit(1_000)
        assert await crew.ledgers[0].reserve_in_turn(4_000, None) is not None
        waiting = asyncio.create_task(crew.limits[1].permit(1_000))
        await asyncio.sleep(1)
        assert [hold.reason for hold in crew.lessor.holds()] == ["concurrency"]
        await crew.desks[0].close()
        (await waiting).release()
        assert await crew.ledgers[1].reserve_in_turn(7_000, None) is None
        assert crew.ledgers[1].exhausted_by == "tokens"

    run(go())


def truth(path: Path) -> list[dict[str, Any]]:
    return sorted(read_truth(path), key=lambda row: row["accept_ns"])


@pytest.mark.slow
def test_processes_share_one_place_one_start_and_one_budget(tmp_path: Path) -> None:
    """Real processes against the simulator: never two requests at once, never one beyond a cap, with n > 1."""
    data, log = rows_file(tmp_path, 60), tmp_path / "truth.log"
    sim = {"kind": "sim", "name": "sim", "knobs": {"speed": 20, "truth_log": str(log)}}
    asked = {"max_tokens": 8, "n": 2, "enable_thinking": False}

    def sent(name: str, **changes: Any) -> list[dict[str, Any]]:
        log.write_bytes(b"")
        done = run_measured(
            [experiment(data, provider=sim, engine={"processes": 3}, sampling=asked, **changes)],
            tmp_path / name,
        )
        rows = done.rows("requests")
        assert len(rows) == 60
        assert Counter(row["outcome"] for row in rows)["ok"] == len(truth(log))
        assert {row["error_kind"] for row in rows if row["outcome"] != "ok"} <= {"budget"}
        return truth(log)

    one_at_a_time = sent("places", limits={"concurrency": 1}, budget={"requests": 17})
    assert len(one_at_a_time) == 17
    for before, after in pairwise(one_at_a_time):
        assert before["end_ns"] <= after["accept_ns"]
    tokens = sum(
        row["usage"]["prompt_tokens"] + row["usage"]["completion_tokens"]
        for row in sent("tokens", budget={"tokens": 700})
    )
    assert 350 < tokens <= 700
    assert len(sent("seconds", limits={"rpm": 5}, budget={"seconds": 0.5})) == 1, "a start each 12 s, of all three"


def log_of(folder: Path) -> SpendingLog:
    (folder / "journal").mkdir(exist_ok=True)

    def fail(error: OSError) -> None:
        raise error

    return SpendingLog(folder, 1, lambda: 5, fail)


def test_a_resumed_budget_goes_on_from_what_was_spent_and_reserved(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    assert log.earlier == Spent()
    ledger = BudgetLedger(Budget(requests=5, tokens=100, cost=1.0), lambda: 0, log.earlier, log)
    used, unsent, flying = (ledger.reserve(20, 0.1) for _ in range(3))
    assert used is not None
    assert unsent is not None
    assert flying is not None
    ledger.settle(used, 5, 0.05)
    ledger.give_back(unsent)
    log.close()  # and here the session is killed
    log = log_of(tmp_path)
    assert log.earlier == Spent(2, 25, pytest.approx(0.15), 0.0)
    again = BudgetLedger(Budget(requests=5, tokens=100, cost=1.0), lambda: 0, log.earlier, log)
    assert not again.could_fit_later(76, 0.0)
    assert again.could_fit_later(75, 0.85)
    assert not again.could_fit_later(1, 0.851)
    assert [again.reserve(1, 0.0) is not None for _ in range(4)] == [True, True, True, False]
    log.close()


def test_time_is_added_up_over_sessions_and_ends_every_wait(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()

    async def session(busy_s: float) -> tuple[float, str | None]:
        log = SpendingLog(tmp_path, 1, clock, lambda _: None)
        ledger = BudgetLedger(Budget(tokens=10, seconds=10), clock, log.earlier, log)
        first = ledger.reserve(8, None)
        if first is not None:
            await asyncio.sleep(busy_s)
            ledger.settle(first, 0, None)
            held = ledger.reserve(8, None)
            assert await ledger.reserve_in_turn(8, None) is None, "it waits for what is held until the time is up"
            assert held is not None
            ledger.give_back(held)
        log.close()
        return clock() / 1e9, ledger.exhausted_by

    async def killed() -> None:
        log = SpendingLog(tmp_path, 1, clock, lambda _: None)
        await asyncio.sleep(7)
        BudgetLedger(Budget(), clock, None, log).reserve(0, None)
        log.close()

    run(killed())
    assert run(session(1.0)) == (pytest.approx(3.0, abs=0.01), "seconds")
    assert run(session(1.0)) == (0.0, "seconds")


@settings(max_examples=20)
@given(cut=st.integers(0, 200))
def test_a_torn_spending_log_counts_every_whole_step(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    log = log_of(folder)
    for number in range(1, 6):
        log.reserved(number, 10, None)
    log.close()
    path = folder / "journal" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    spent = spent_so_far(path)
    assert spent.tokens == 10 * spent.requests
    assert spent.requests <= 5
    reopened = log_of(folder)
    assert reopened.earlier == spent
    reopened.close()


@pytest.mark.slow
def test_a_cap_holds_for_the_run_whatever_happens_to_its_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in flight and resumed: all sessions together send the cap, less what was in flight."""
    rows_file(tmp_path, 60)
    log = tmp_path / "truth.log"
    arguments = [
        "run",
        "dataset=jsonl",
        "dataset.path=rows.jsonl",
        "load.concurrency=6",
        "engine.processes=2",
        "budget.requests=40",
        "sampling.enable_thinking=false",
        "sampling.max_tokens=16",
        "provider.knobs.speed=10",
        f"provider.knobs.truth_log={log}",
        "report=none",
        "tolerance.failure_rate=1",
    ]
    process = start(arguments, tmp_path)
    await_lines(log, 15, process)
    servers = children(process.pid)
    process.kill()
    process.communicate()
    await_gone(servers)
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "latest"]) == 0
    assert 40 - 6 <= len(read_truth(log)) <= 40
