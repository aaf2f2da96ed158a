"""The budget ledger: no cap is ever exceeded, and what a stopped run sent is a prefix of its plan."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import clock, run

from bench.config import Budget
from bench.measure.budget import BudgetLedger

caps = st.builds(
    Budget,
    requests=st.none() | st.integers(0, 60),
    tokens=st.none() | st.integers(0, 5_000),
    cost=st.none() | st.floats(0, 5),
)


@settings(max_examples=100)
@given(budget=caps, seed=st.integers(0, 2**32), workers=st.integers(1, 20))
def test_caps_hold_under_concurrency_and_what_was_sent_is_a_prefix(budget: Budget, seed: int, workers: int) -> None:
    """Attempts of any size, used up to what they reserved, many at a time; checked while in flight and after."""

    async def main() -> None:
        random = Random(seed)
        ledger = BudgetLedger(budget, clock)
        flying: dict[int, tuple[int, float]] = {}
        spent = {"requests": 0, "tokens": 0, "cost": 0.0}
        refused_from: int | None = None
        places = asyncio.Semaphore(workers)

        def check() -> None:
            tokens = spent["tokens"] + sum(t for t, _ in flying.values())
            cost = spent["cost"] + sum(c for _, c in flying.values())
            assert budget.requests is None or spent["requests"] <= budget.requests
            assert budget.tokens is None or tokens <= budget.tokens
            assert budget.cost is None or cost <= budget.cost + 1e-9

        async def fly(number: int, reservation: object, tokens: int, cost: float) -> None:
            await asyncio.sleep(random.random())
            share = random.random()
            del flying[number]
            spent["tokens"] += int(tokens * share)
            spent["cost"] += cost * share
            ledger.settle(reservation, int(tokens * share), cost * share)  # type: ignore[arg-type]
            check()
            places.release()

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                tokens, cost = random.randint(0, 400), random.random() / 4
                await places.acquire()
                reservation = await ledger.reserve_in_turn(tokens, cost)
                if reservation is None:
                    refused_from = number if refused_from is None else refused_from
                    assert ledger.exhausted_by is not None
                    places.release()
                    continue
                assert refused_from is None
                spent["requests"] += 1
                flying[number] = (tokens, cost)
                check()
                group.create_task(fly(number, reservation, tokens, cost))

    run(main())


def test_without_caps_everything_fits() -> None:
    ledger = BudgetLedger(Budget(), lambda: 0)
    assert all(ledger.reserve(10**9, None) is not None for _ in range(100))
    assert ledger.exhausted_by is None


def test_requests_are_counted_when_they_are_reserved() -> None:
    ledger = BudgetLedger(Budget(requests=2), lambda: 0)
    first, second = ledger.reserve(1, None), ledger.reserve(1, None)
    assert first is not None
    assert second is not None
    ledger.settle(first, 0, 0)
    assert ledger.reserve(1, None) is None
    assert ledger.exhausted_by == "requests"


def test_a_cap_of_nothing_sends_nothing() -> None:
    assert BudgetLedger(Budget(requests=0), lambda: 0).reserve(0, 0) is None
    assert BudgetLedger(Budget(seconds=0), lambda: 0).reserve(0, 0) is None


def test_an_attempt_never_sent_gives_everything_back() -> None:
    ledger = BudgetLedger(Budget(requests=1, tokens=10, cost=1.0), lambda: 0)
    for _ in range(5):
        reservation = ledger.reserve(10, 1.0)
        assert reservation is not None
        ledger.give_back(reservation)
        ledger.give_back(reservation)
    assert ledger.exhausted_by is None


def test_a_cap_holds_exactly_what_it_says_despite_binary_fractions() -> None:
    ledger = BudgetLedger(Budget(cost=0.3), lambda: 0)
    for _ in range(3):
        reservation = ledger.reserve(1, 0.1)
        assert reservation is not None
        ledger.settle(reservation, 1, 0.1)
    assert ledger.reserve(1, 1e-9) is None
    assert ledger.exhausted_by == "cost"


def test_a_cap_on_cost_refuses_what_has_no_price() -> None:
    ledger = BudgetLedger(Budget(cost=100.0), lambda: 0)
    assert not ledger.could_fit_later(1, None)
    assert ledger.reserve(1, None) is None
    assert ledger.exhausted_by == "cost"


def test_unknown_use_stays_as_reserved() -> None:
    ledger = BudgetLedger(Budget(tokens=100), lambda: 0)
    reservation = ledger.reserve(60, None)
    assert reservation is not None
    ledger.settle(reservation, None, None)
    ledger.settle(reservation, 0, 0)
    assert not ledger.could_fit_later(60, None)
    assert ledger.could_fit_later(40, None)


def test_a_reservation_that_fits_after_others_settle_is_waited_for() -> None:
    async def main() -> int:
        ledger = BudgetLedger(Budget(tokens=100), clock)
        first = ledger.reserve(80, None)
        assert first is not None
        assert ledger.reserve(50, None) is None
        assert ledger.exhausted_by is None
        assert ledger.could_fit_later(50, None)
        asyncio.get_running_loop().call_later(5, ledger.settle, first, 20, None)
        assert await ledger.reserve_in_turn(50, None) is not None
        return clock()

    assert run(main()) == 5_000_000_000


def test_a_small_request_does_not_overtake_a_waiting_large_one_nor_follow_one_that_can_never_fit() -> None:
    async def main() -> list[str]:
        ledger = BudgetLedger(Budget(tokens=100), clock)
        order: list[str] = []

        async def one(name: str, tokens: int) -> None:
            reservation = await ledger.reserve_in_turn(tokens, None)
            order.append(name if reservation else f"{name} refused")

        first = ledger.reserve(80, None)
        assert first is not None
        asyncio.get_running_loop().call_later(5, ledger.settle, first, 20, None)
        await asyncio.gather(one("large", 70), one("small", 5), one("impossible", 200), one("tiny", 1))
        return order

    assert run(main()) == ["large", "small", "impossible refused", "tiny refused"]


def test_a_wait_ends_when_the_time_is_up() -> None:
    async def main() -> None:
        ledger = BudgetLedger(Budget(tokens=100, seconds=3), clock)
        first = ledger.reserve(80, None)
        assert first is not None
        asyncio.get_running_loop().call_later(5, ledger.settle, first, 0, None)
        assert await ledger.reserve_in_turn(50, None) is None
        assert ledger.exhausted_by == "seconds"

    run(main())


@pytest.mark.parametrize(("now_s", "cap"), [(9.9, None), (10.0, "seconds"), (11.0, "seconds")])
def test_seconds_count_from_the_ledgers_making(now_s: float, cap: str | None) -> None:
    now = 5_000_000_000
    ledger = BudgetLedger(Budget(seconds=10), lambda: now)
    now += round(now_s * 1e9)
    assert ledger.exhausted_by == cap
    assert (ledger.reserve(1, None) is None) == (cap is not None)


def test_a_cancelled_wait_lets_the_next_one_in() -> None:
    async def main() -> None:
        ledger = BudgetLedger(Budget(tokens=100), clock)
        first = ledger.reserve(80, None)
        assert first is not None
        waiting = asyncio.create_task(ledger.reserve_in_turn(50, None))
        await asyncio.sleep(1)
        behind = asyncio.create_task(ledger.reserve_in_turn(20, None))
        await asyncio.sleep(1)
        waiting.cancel()
        assert await behind is not None

    run(main())
