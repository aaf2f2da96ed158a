"""Permits: no 60 s window ever over the limit, smooth, near the allowed rate, fair and leak-free; in virtual time."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import clock, run

from bench.config import Limits
from bench.domain import ErrorKind, Failure
from bench.measure.concurrency import LONGEST_PAUSE_S, Concurrency
from bench.measure.limits import AccountLimits
from bench.measure.pacing import ARRIVAL_JITTER_NS, CATCH_UP_NS, END_JITTER_NS, MINUTE_NS, Charge, MinutePace

SECOND_NS = 1_000_000_000
#: grants within it may arrive within one minute of the server
WINDOW_NS = MINUTE_NS + ARRIVAL_JITTER_NS - 1
REFUSED = Failure(ErrorKind.HTTP_429)


def account(**limits: object) -> AccountLimits:
    return AccountLimits(Limits(**limits), clock=clock)  # type: ignore[arg-type]


def held_by(limits: AccountLimits) -> str | None:
    return None if limits.hold is None else limits.hold.reason


def heaviest_window(grants: Sequence[tuple[int, int]], window_ns: int = MINUTE_NS) -> int:
    """Most units in any window (closed at both ends) of ``(time, units)`` in time order."""
    heaviest = total = 0
    inside: deque[tuple[int, int]] = deque()
    for at_ns, units in grants:
        inside.append((at_ns, units))
        total += units
        while inside[0][0] < at_ns - window_ns:
            total -= inside.popleft()[1]
        heaviest = max(heaviest, total)
    return heaviest


@dataclass
class Use:
    """One greedy grant of a simulated minute limit: what it reserved, really used, and how long that took to know."""

    reserved: int
    used: int
    latency_ns: int


def greedy(pace: MinutePace, uses: Sequence[Use], waits_ns: Sequence[int]) -> list[tuple[int, int]]:
    """Take every use as soon as allowed (and a wait later), settling each when it is known; ``(time, used)`` each."""
    return [(use.granted_ns, use.used) for use in spells(pace, uses, waits_ns)]


@dataclass
class Spell:
    """One granted use, from its grant to its end."""

    granted_ns: int
    ended_ns: int
    used: int


def spells(pace: MinutePace, uses: Sequence[Use], waits_ns: Sequence[int]) -> list[Spell]:
    """Take every use as soon as allowed (and a wait later), closing each when it ends."""
    now, found = 0, list[Spell]()
    open_charges: list[tuple[int, int, Charge, int]] = []

    def close_until(now_ns: int) -> None:
        while open_charges and open_charges[0][0] <= now_ns:
            ended_ns, _, charge, used = heapq.heappop(open_charges)
            pace.close(charge, used, ended_ns)

    for number, (use, wait_ns) in enumerate(zip(uses, waits_ns, strict=True)):
        now += wait_ns
        while True:
            close_until(now)
            ready = pace.ready_ns(use.reserved, now)
            if ready is not None and ready <= now:
                break
            now = min([*([] if ready is None else [ready]), *(one[0] for one in open_charges[:1])])
        heapq.heappush(open_charges, (now + use.latency_ns, number, pace.take(use.reserved, now), use.used))
        found.append(Spell(now, now + use.latency_ns, use.used))
    return found


@settings(max_examples=60)
@given(data=st.data(), per_minute=st.integers(1, 400), seed=st.integers(0, 2**32))
def test_no_window_of_a_minute_holds_more_requests_than_allowed(
    data: st.DataObject, per_minute: int, seed: int
) -> None:
    """Idle spells of any length between requests included: they earn no burst."""
    random = Random(seed)
    idle_share = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    uses = [Use(1, 1, 0)] * 600
    waits = [random.randrange(90 * SECOND_NS) if random.random() < idle_share else 0 for _ in uses]
    grants = greedy(MinutePace(per_minute), uses, waits)
    assert heaviest_window(grants, WINDOW_NS) <= per_minute


@settings(max_examples=60)
@given(tpm=st.integers(1_000, 100_000), seed=st.integers(0, 2**32), longest_s=st.sampled_from([0, 1, 20, 200]))
def test_no_window_of_a_minute_holds_more_tokens_than_allowed(tpm: int, seed: int, longest_s: int) -> None:
    random = Random(seed)
    uses = []
    for _ in range(300):
        reserved = random.randint(1, tpm // random.choice([1, 10, 100]))
        uses.append(Use(reserved, random.randint(0, reserved), random.randrange(longest_s * SECOND_NS + 1)))
    waits = [random.randrange(SECOND_NS) if random.random() < 0.1 else 0 for _ in uses]
    found = spells(MinutePace(tpm, END_JITTER_NS), uses, waits)
    for counted in (  # servers differ in when they count: on arrival, at the end, or token by token
        [(one.granted_ns, one.used) for one in found],
        [(one.ended_ns, one.used) for one in found],
        [(one.granted_ns, one.used // 2) for one in found]
        + [(one.ended_ns, one.used - one.used // 2) for one in found],
        [(random.randint(one.granted_ns, one.ended_ns), one.used) for one in found],
    ):
        assert heaviest_window(sorted(counted), MINUTE_NS + END_JITTER_NS - 1) <= tpm


@pytest.mark.parametrize("per_minute", [1, 2, 3, 10, 60, 1000])
def test_a_greedy_client_gets_nine_tenths_of_the_allowed_rate(per_minute: int) -> None:
    minutes = 10
    grants = greedy(MinutePace(per_minute), [Use(1, 1, 0)] * (per_minute * minutes), [0] * per_minute * minutes)
    elapsed_minutes = grants[-1][0] / MINUTE_NS
    assert (len(grants) - 1) / elapsed_minutes >= 0.9 * per_minute


def test_tokens_settled_for_less_than_reserved_still_reach_nine_tenths_of_the_rate() -> None:
    """Half of each reservation turns out unused, two seconds after the grant."""
    uses = [Use(1_000, 500, 2 * SECOND_NS)] * 1200
    grants = greedy(MinutePace(60_000), uses, [0] * 1200)
    steady = [grant for grant in grants if grant[0] > MINUTE_NS]
    rate = sum(units for _, units in steady[1:]) / (steady[-1][0] - steady[0][0]) * MINUTE_NS
    assert rate >= 0.9 * 60_000


@pytest.mark.parametrize(("reply_s", "share"), [(2, 1.0), (10, 0.5), (30, 1.0)])
def test_the_part_of_tpm_that_long_or_over_reserved_replies_leave(reply_s: int, share: float) -> None:
    """What is in flight may still be spent: 60 / (61 + reply_s / share) of the limit can be used."""
    uses = [Use(1_000, int(1_000 * share), reply_s * SECOND_NS)] * 1500
    grants = greedy(MinutePace(60_000, END_JITTER_NS), uses, [0] * 1500)
    steady = [grant for grant in grants if grant[0] > 5 * MINUTE_NS]
    rate = sum(units for _, units in steady[1:]) / (steady[-1][0] - steady[0][0]) * MINUTE_NS
    assert rate / 60_000 == pytest.approx(60 / (61 + reply_s / share), rel=0.04)


def test_tokens_of_refused_attempts_are_there_for_the_next_ones() -> None:
    """Every third attempt is refused and uses nothing; the others still get nine tenths of the rate."""
    uses = [Use(1_000, 0 if i % 3 == 0 else 1_000, SECOND_NS // 10) for i in range(1_200)]
    grants = greedy(MinutePace(60_000), uses, [0] * 1_200)
    steady = [(at_ns, use.used) for (at_ns, _), use in zip(grants, uses, strict=True) if at_ns > MINUTE_NS]
    rate = sum(units for _, units in steady[1:]) / (steady[-1][0] - steady[0][0]) * MINUTE_NS
    assert rate >= 0.9 * 60_000
    assert heaviest_window(
        [(at_ns, use.reserved) for (at_ns, _), use in zip(grants, uses, strict=True)], SECOND_NS
    ) <= (2 * 1_000 * 1.5 + 1_000)


def test_starts_are_even_and_the_first_minute_is_no_burst() -> None:
    grants = greedy(MinutePace(600), [Use(1, 1, 0)] * 1800, [0] * 1800)
    per_second = heaviest_window(grants, SECOND_NS)
    assert per_second <= 600 / 60 + CATCH_UP_NS / SECOND_NS * 10 + 1


def test_tokens_are_even_too_however_much_is_reserved_above_use() -> None:
    uses = [Use(2_000, 100, SECOND_NS)] * 2000
    grants = greedy(MinutePace(60_000), uses, [0] * 2000)
    assert heaviest_window(grants, 5 * SECOND_NS) <= 60_000 * 5 / 60 * 2


def test_a_limit_below_one_a_minute_stretches_the_window() -> None:
    grants = greedy(MinutePace(0.5), [Use(1, 1, 0)] * 5, [0] * 5)
    assert all(later - earlier >= 2 * MINUTE_NS for (earlier, _), (later, _) in pairwise(grants))
    assert grants[-1][0] <= 4 * 2 * MINUTE_NS * 1.1


def test_a_fraction_of_a_request_is_not_sent() -> None:
    assert heaviest_window(greedy(MinutePace(2.9), [Use(1, 1, 0)] * 20, [0] * 20)) == 2


def ready(pace: MinutePace, units: int, now_ns: int) -> int:
    found = pace.ready_ns(units, now_ns)
    assert found is not None
    return found


def test_a_reservation_larger_than_the_limit_goes_alone() -> None:
    pace = MinutePace(100)
    pace.close(pace.take(10, 0), None, 0)
    at_ns = ready(pace, 1_000, 0)
    assert at_ns >= MINUTE_NS
    pace.close(pace.take(1_000, at_ns), None, at_ns)
    assert ready(pace, 1, at_ns) >= at_ns + MINUTE_NS


def test_use_above_the_reservation_is_paid_back_by_waiting() -> None:
    pace = MinutePace(100)
    charge = pace.take(50, 0)
    assert ready(pace, 50, 30 * SECOND_NS + CATCH_UP_NS) < MINUTE_NS
    pace.close(charge, 90, 31 * SECOND_NS)
    assert ready(pace, 50, 31 * SECOND_NS) >= 31 * SECOND_NS + MINUTE_NS


def test_what_is_open_is_held_however_old_and_its_minute_begins_when_it_is_closed() -> None:
    """A reply that takes three minutes, or a start that waits three minutes for its connection."""
    pace = MinutePace(100)
    charge = pace.take(100, 0)
    later = 3 * MINUTE_NS
    assert pace.ready_ns(1, later) is None
    pace.close(charge, None, later)
    pace.close(charge, 1, later)
    assert ready(pace, 1, later) >= later + MINUTE_NS


def test_what_was_never_used_leaves_nothing_behind() -> None:
    pace = MinutePace(100)
    pace.close(pace.take(100, 0), 0, SECOND_NS)
    assert ready(pace, 100, WINDOW_NS) < SECOND_NS + WINDOW_NS


def test_without_limits_a_permit_is_granted_at_once() -> None:
    async def main() -> None:
        limits = account()
        permits = [await limits.permit(10**9) for _ in range(1000)]
        assert clock() == 0
        assert limits.in_flight == 1000
        assert held_by(limits) is None
        for permit in permits:
            permit.release()
            permit.release()
        assert limits.in_flight == 0

    run(main())


def test_concurrency_is_never_exceeded_and_places_go_in_order_of_asking() -> None:
    async def main() -> list[int]:
        limits = account(concurrency=3)
        order: list[int] = []

        async def one(number: int) -> None:
            permit = await limits.permit(1)
            order.append(number)
            assert limits.in_flight <= 3
            await asyncio.sleep(1 + number % 3)
            permit.release()

        tasks = [asyncio.create_task(one(i)) for i in range(50)]
        await asyncio.sleep(0.5)
        assert held_by(limits) == "concurrency"
        await asyncio.gather(*tasks)
        assert limits.in_flight == 0
        return order

    assert run(main()) == list(range(50))


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    async def main() -> list[str]:
        limits = account(tpm=1000)
        order: list[str] = []

        async def one(name: str, tokens: int) -> None:
            (await limits.permit(tokens)).release()
            order.append(name)

        (await limits.permit(900)).release()
        await asyncio.gather(one("large", 800), one("small", 1), one("smaller", 1))
        return order

    assert run(main()) == ["large", "small", "smaller"]


def test_settling_for_less_lets_the_next_one_go_at_once() -> None:
    async def main() -> int:
        limits = account(tpm=6000)
        first = await limits.permit(5000)
        await asyncio.sleep(55)
        waiting = asyncio.create_task(limits.permit(5000))
        await asyncio.sleep(1)
        assert held_by(limits) == "tpm"
        first.settle(100)
        await waiting
        return clock()

    assert run(main()) == 56 * SECOND_NS


def test_unknown_usage_keeps_the_reservation() -> None:
    async def main() -> int:
        limits = account(tpm=6000)
        first = await limits.permit(5000)
        first.settle(None)
        first.release()
        await limits.permit(5000)
        return clock()

    assert run(main()) >= MINUTE_NS


def test_what_throttles_is_named() -> None:
    async def main() -> None:
        limits = account(rpm=10)
        await limits.permit(1)
        assert held_by(limits) is None
        waiting = asyncio.create_task(limits.permit(1))
        await asyncio.sleep(0.1)
        assert held_by(limits) == "rpm"
        await waiting
        assert held_by(limits) is None
        retry = asyncio.create_task(limits.back_off(5))
        await asyncio.sleep(0.1)
        assert held_by(limits) == "backoff"
        await retry
        assert held_by(limits) is None

    run(main())


def test_the_display_says_what_holds_and_how_long() -> None:
    async def main() -> list[str]:
        limits = account(rpm=10, concurrency=4)
        said: list[str] = []

        async def waits(seconds: float = 0.1) -> None:
            await asyncio.sleep(seconds)
            said.append(str(limits.hold))

        first = await limits.permit(1)
        waiting = asyncio.create_task(limits.permit(1))
        await waits()
        first.on_result(429, REFUSED)
        await waits(1)
        first.release()
        (await waiting).release()
        retry = asyncio.create_task(limits.back_off(89, asked=True))
        await waits()
        retry.cancel()
        return said

    assert run(main()) == ["limits.rpm, 6 s", "429 and 503: 1 at a time", "Retry-After, 89 s"]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), rpm=st.sampled_from([None, 30, 300]), tpm=st.sampled_from([None, 20_000]))
def test_cancelled_waits_leak_nothing(seed: int, rpm: int | None, tpm: int | None) -> None:
    """Requests come, wait, are cancelled anywhere, settle, and every survivor is served with the limits kept."""

    async def main() -> None:
        random = Random(seed)
        limits = account(concurrency=4, rpm=rpm, tpm=tpm)
        grants: list[tuple[int, int]] = []

        async def one() -> None:
            reserved = random.randint(1, 2000)
            used = random.randint(0, reserved)
            permit = await limits.permit(reserved)
            try:
                grants.append((clock(), used))
                assert limits.in_flight <= 4
                await asyncio.sleep(random.random() * 3)
            finally:
                permit.settle(used)
                permit.release()

        tasks = []
        for _ in range(60):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(random.random())
            if random.random() < 0.3:
                random.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
        assert limits.in_flight == 0
        assert held_by(limits) is None
        if rpm is not None:
            assert heaviest_window([(at, 1) for at, _ in grants]) <= rpm
        if tpm is not None:
            assert heaviest_window(grants) <= tpm
        (await limits.permit(1)).release()

    run(main())


def test_a_refusal_halves_once_per_round_trip_and_successes_grow_it_by_one_per_round() -> None:
    concurrency = Concurrency(16, adaptive=True, pause_s=0.5)
    for _ in range(16):
        concurrency.on_refusal(granted_ns=0, now_ns=10, in_flight=16)
    assert concurrency.limit == 8
    concurrency.on_refusal(granted_ns=11, now_ns=20, in_flight=8)
    assert concurrency.limit == 4
    for _ in range(4):
        concurrency.on_success()
    assert concurrency.limit == 5
    for _ in range(1000):
        concurrency.on_success()
    assert concurrency.limit == 16


def test_without_a_limit_the_first_refusal_starts_from_what_was_in_flight() -> None:
    concurrency = Concurrency(None, adaptive=True, pause_s=0.5)
    concurrency.on_success()
    assert concurrency.limit is None
    concurrency.on_refusal(granted_ns=0, now_ns=1, in_flight=10)
    assert concurrency.limit == 5


def test_refusals_in_a_row_at_the_floor_pause_for_a_bounded_time_and_success_ends_it() -> None:
    concurrency = Concurrency(1, adaptive=True, pause_s=0.5)
    pauses, now = [], 0
    for _ in range(100):
        concurrency.on_refusal(granted_ns=now + 1, now_ns=now + 2, in_flight=1)
        now += 2
        pauses.append(max(concurrency.resume_ns - now, 0) / 1e9)
        now = max(now, concurrency.resume_ns)
    assert pauses[:4] == [0, 0.5, 1, 2]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S
    concurrency.on_success()
    assert concurrency.resume_ns == 0
    assert concurrency.limit == 1


def test_a_few_refusals_among_many_answers_leave_room_for_a_paced_run() -> None:
    """One answer in ten is a refusal whatever is in flight, every fourth fails otherwise, and a few take long."""

    async def main() -> float:
        limits, random, attempts = account(rpm=660), Random(7), 3_000
        slots = asyncio.Semaphore(64)

        async def one() -> None:
            permit = await limits.permit(1)
            await asyncio.sleep(random.choices([0.05, 0.5, 1.0], [0.88, 0.05, 0.07])[0])
            drawn = random.random()
            failure = REFUSED if drawn < 0.1 else Failure(ErrorKind.RESET) if drawn < 0.35 else None
            permit.on_result(429 if failure is REFUSED else 200, failure)
            permit.release()
            slots.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(attempts):
                await slots.acquire()
                group.create_task(one())
        return attempts / (clock() / MINUTE_NS)

    assert run(main()) >= 0.9 * 660


def test_fixed_concurrency_ignores_refusals() -> None:
    concurrency = Concurrency(16, adaptive=False, pause_s=0.5)
    concurrency.on_refusal(granted_ns=0, now_ns=10, in_flight=16)
    assert concurrency.limit == 16


@pytest.mark.parametrize(("status", "failure"), [(429, REFUSED), (503, Failure(ErrorKind.HTTP_5XX)), (200, REFUSED)])
def test_both_refusing_statuses_cut_concurrency(status: int, failure: Failure) -> None:
    async def main() -> int | None:
        limits = account(concurrency=8)
        permits = [await limits.permit(1) for _ in range(8)]
        permits[0].on_result(status, failure)
        return limits.concurrency

    assert run(main()) == 4


@pytest.mark.parametrize("status", [400, 404, 500])
def test_other_failures_leave_concurrency_alone(status: int) -> None:
    async def main() -> int | None:
        limits = account(concurrency=8)
        permit = await limits.permit(1)
        permit.on_result(status, Failure(ErrorKind.HTTP_5XX))
        return limits.concurrency

    assert run(main()) == 8


def test_a_refusal_every_two_seconds_with_a_long_retry_after_is_no_freeze() -> None:
    """In each of 400 steps of 2 s the server refuses one request with Retry-After 89 s; answers take 0.5 s."""
    steps, step_ns, answer_s = 400, 2 * SECOND_NS, 0.5

    async def main() -> tuple[int, int]:
        limits = account(concurrency=8)
        refused_steps: set[int] = set()
        served = 0

        async def one() -> None:
            nonlocal served
            while True:
                permit = await limits.permit(1)
                step = clock() // step_ns
                refused = step not in refused_steps
                refused_steps.add(step)
                await asyncio.sleep(answer_s)
                permit.on_result(429 if refused else 200, REFUSED if refused else None)
                permit.release()
                if not refused:
                    served += 1
                    return
                await limits.back_off(89)

        tasks = [asyncio.create_task(one()) for _ in range(20_000)]
        await asyncio.sleep(steps * 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(refused_steps), served

    refusals, served = run(main())
    assert refusals >= steps - 1
    # One at a time without any refusal would serve 1600; a freeze of 89 s per refusal would serve a few dozen.
    assert served > 3200


def test_a_limit_unknown_to_the_client_is_found_by_backing_off() -> None:
    """A server that allows 60 starts in any minute and is asked without `rpm` set."""

    async def main() -> tuple[int, int]:
        limits = account(concurrency=16, backoff_s=0.5)
        starts: deque[int] = deque()
        attempts = 0

        async def one() -> None:
            nonlocal attempts
            while True:
                permit = await limits.permit(1)
                attempts += 1
                now = clock()
                while starts and starts[0] <= now - MINUTE_NS:
                    starts.popleft()
                refused = len(starts) >= 60
                if not refused:
                    starts.append(now)
                await asyncio.sleep(0.01 if refused else 0.5)
                permit.on_result(429 if refused else 200, REFUSED if refused else None)
                permit.release()
                if not refused:
                    return

        await asyncio.gather(*(one() for _ in range(300)))
        return attempts, clock()

    attempts, elapsed_ns = run(main())
    assert elapsed_ns < 6 * MINUTE_NS
    assert attempts < 300 * 1.5
