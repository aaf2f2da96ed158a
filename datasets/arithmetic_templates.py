"""Templates of word problems: each draws numbers that come out even and works the answer out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

GOODS = ["marbles", "stickers", "postcards", "buttons", "seashells", "badges", "beads", "pencils", "stamps", "coins"]
FRUIT = ["apples", "pears", "plums", "peaches", "lemons", "oranges", "apricots", "figs"]
BAKED = ["muffins", "scones", "pies", "rolls", "tarts", "bagels"]


@dataclass(frozen=True)
class Problem:
    """A worked word problem; ``slip`` is a wrong answer that a hurried reader would give."""

    text: str
    steps: tuple[str, ...]
    answer: int
    slip: int


Template = Callable[[random.Random, str, str], Problem]


def shared_collection(rng: random.Random, a: str, b: str) -> Problem:
    start, more, friends = rng.randint(20, 60), rng.randint(3, 9), rng.randint(2, 5)
    total = start + more * friends
    what = rng.choice(GOODS)
    return Problem(
        f"{a} has {start} {what}. Each of {friends} friends gives {a} {more} more. How many {what} does {a} have now?",
        (f"The friends give {friends} * {more} = {friends * more} {what}.", f"{start} + {friends * more} = {total}."),
        total,
        start + more + friends,
    )


def market_change(rng: random.Random, a: str, b: str) -> Problem:
    price, count, note = rng.randint(2, 6), rng.randint(3, 7), 50
    what = rng.choice(FRUIT)
    return Problem(
        f"A bag of {what} costs ${price}. {a} buys {count} bags and pays with a ${note} note. "
        f"How many dollars of change does {a} get?",
        (
            f"The bags cost {count} * {price} = {count * price} dollars.",
            f"{note} - {count * price} = {note - count * price}.",
        ),
        note - count * price,
        note - price,
    )


def bakery_day(rng: random.Random, a: str, b: str) -> Problem:
    trays, per, sold, price = rng.randint(4, 9), rng.randint(8, 15), rng.randint(12, 30), rng.randint(2, 4)
    left = trays * per - sold
    what = rng.choice(BAKED)
    return Problem(
        f"{a} bakes {trays} trays of {per} {what}. {sold} are sold in the morning, and all the others are sold in the "
        f"afternoon for ${price} each. How many dollars do the afternoon sales bring?",
        (
            f"There are {trays} * {per} = {trays * per} {what}.",
            f"{trays * per} - {sold} = {left} are left for the afternoon.",
            f"{left} * {price} = {left * price}.",
        ),
        left * price,
        trays * per * price,
    )


def reading_pages(rng: random.Random, a: str, b: str) -> Problem:
    daily, days, rest_days = rng.randint(12, 25), rng.randint(4, 8), rng.randint(2, 6)
    rest = rest_days * rng.randint(9, 18)
    pages = daily * days + rest
    return Problem(
        f"A book has {pages} pages. {a} reads {daily} pages a day for {days} days and wants to finish the rest in "
        f"{rest_days} days, the same number of pages each day. How many pages a day is that?",
        (
            f"{a} has read {daily} * {days} = {daily * days} pages.",
            f"{pages} - {daily * days} = {rest} pages are left.",
            f"{rest} / {rest_days} = {rest // rest_days}.",
        ),
        rest // rest_days,
        rest,
    )


def twice_as_many(rng: random.Random, a: str, b: str) -> Problem:
    base, times, fewer = rng.randint(6, 20), rng.randint(2, 4), rng.randint(2, 5)
    other = base * times - fewer
    what = rng.choice(GOODS)
    return Problem(
        f"{a} has {base} {what}. {b} has {fewer} fewer than {times} times as many. "
        f"How many {what} do they have together?",
        (f"{b} has {times} * {base} - {fewer} = {other} {what}.", f"{base} + {other} = {base + other}."),
        base + other,
        other,
    )


def wages(rng: random.Random, a: str, b: str) -> Problem:
    hours, rate, days, saved = rng.randint(3, 8), rng.randint(11, 19), rng.randint(3, 6), rng.randint(20, 90)
    total = hours * rate * days
    return Problem(
        f"{a} works {hours} hours a day for {days} days and earns ${rate} an hour. {a} then spends ${saved} on shoes. "
        f"How many dollars are left of the pay?",
        (
            f"{hours} * {days} = {hours * days} hours.",
            f"{hours * days} * {rate} = {total} dollars.",
            f"{total} - {saved} = {total - saved}.",
        ),
        total - saved,
        total,
    )


def train_distance(rng: random.Random, a: str, b: str) -> Problem:
    v1, t1, v2, t2 = 10 * rng.randint(5, 9), rng.randint(2, 4), 10 * rng.randint(10, 14), rng.randint(2, 5)
    total = v1 * t1 + v2 * t2
    return Problem(
        f"{a} travels {t1} hours by car at {v1} km per hour and then {t2} hours by train at {v2} km per hour. "
        f"How many kilometres is the whole journey?",
        (
            f"By car: {t1} * {v1} = {t1 * v1} km.",
            f"By train: {t2} * {v2} = {t2 * v2} km.",
            f"{t1 * v1} + {t2 * v2} = {total}.",
        ),
        total,
        (v1 + v2) * (t1 + t2) // 2,
    )


def percent_off(rng: random.Random, a: str, b: str) -> Problem:
    percent, price, fee = rng.choice((10, 20, 25, 40)), 20 * rng.randint(3, 12), rng.randint(4, 9)
    off = price * percent // 100
    return Problem(
        f"A coat costs ${price}. In a sale it is {percent}% cheaper, and delivery costs ${fee}. "
        f"How many dollars does {a} pay for the coat with delivery?",
        (
            f"{percent}% of {price} is {off}.",
            f"{price} - {off} = {price - off} dollars.",
            f"{price - off} + {fee} = {price - off + fee}.",
        ),
        price - off + fee,
        price - off,
    )


def ages(rng: random.Random, a: str, b: str) -> Problem:
    age, times, years = rng.randint(4, 11), rng.randint(3, 5), rng.randint(3, 9)
    older = age * times
    return Problem(
        f"{a} is {age} years old, and {b} is {times} times as old. How old will they be together in {years} years?",
        (
            f"{b} is {times} * {age} = {older}.",
            f"Together they are {age} + {older} = {age + older} now.",
            f"Each gets {years} years older: {age + older} + 2 * {years} = {age + older + 2 * years}.",
        ),
        age + older + 2 * years,
        age + older + years,
    )


def water_tank(rng: random.Random, a: str, b: str) -> Problem:
    fill, leak, minutes = rng.randint(12, 25), rng.randint(2, 8), rng.randint(6, 15)
    start = rng.randint(30, 90)
    end = start + (fill - leak) * minutes
    return Problem(
        f"{a} fills a tank that holds {start} litres already. {fill} litres flow in each minute, and {leak} litres "
        f"a minute leak out. How many litres are in the tank after {minutes} minutes?",
        (
            f"The tank gains {fill} - {leak} = {fill - leak} litres a minute.",
            f"{minutes} * {fill - leak} = {minutes * (fill - leak)} litres.",
            f"{start} + {minutes * (fill - leak)} = {end}.",
        ),
        end,
        (fill - leak) * minutes,
    )


def classroom_groups(rng: random.Random, a: str, b: str) -> Problem:
    groups, per, away, sheets = rng.randint(4, 8), rng.randint(3, 6), rng.randint(1, 4), rng.randint(3, 5)
    present = groups * per - away
    return Problem(
        f"{a}'s class has {groups} groups of {per} pupils. Today {away} pupils are ill. Every pupil who came needs "
        f"{sheets} sheets of paper. How many sheets are needed?",
        (
            f"{groups} * {per} = {groups * per} pupils.",
            f"{groups * per} - {away} = {present} came.",
            f"{present} * {sheets} = {present * sheets}.",
        ),
        present * sheets,
        groups * per * sheets,
    )


def saving_goal(rng: random.Random, a: str, b: str) -> Problem:
    weekly, have, weeks = rng.randint(6, 18), rng.randint(15, 60), rng.randint(4, 12)
    goal = have + weekly * weeks
    return Problem(
        f"{a} wants a bicycle that costs ${goal} and has ${have}. {a} saves ${weekly} each week. "
        f"After how many weeks can {a} buy it?",
        (f"{goal} - {have} = {goal - have} dollars are missing.", f"{goal - have} / {weekly} = {weeks}."),
        weeks,
        weeks + 2,
    )


def fence(rng: random.Random, a: str, b: str) -> Problem:
    length, width, price = rng.randint(12, 30), rng.randint(5, 11), rng.randint(3, 9)
    around = 2 * (length + width)
    return Problem(
        f"{a} puts a fence around a rectangular field {length} m long and {width} m wide. A metre of fence "
        f"costs ${price}. How many dollars does the fence cost?",
        (f"The field is 2 * ({length} + {width}) = {around} m around.", f"{around} * {price} = {around * price}."),
        around * price,
        (length + width) * price,
    )


def average_score(rng: random.Random, a: str, b: str) -> Problem:
    scores = [rng.randint(60, 95) for _ in range(3)]
    last = 4 * (sum(scores) // 3 + rng.randint(-4, 2)) - sum(scores)
    total = sum(scores) + last
    listed = ", ".join(map(str, scores))
    return Problem(
        f"{a} scored {listed} and {last} points in four tests. What is the average score?",
        (f"{' + '.join(map(str, scores))} + {last} = {total}.", f"{total} / 4 = {total // 4}."),
        total // 4,
        total // 4 + 3,
    )


def thirds(rng: random.Random, a: str, b: str) -> Problem:
    part = rng.randint(7, 20)
    start = 3 * 2 * part
    what = rng.choice(GOODS)
    return Problem(
        f"{a} had {start} {what}, gave one third of them to {b}, and lost half of the rest. "
        f"How many {what} has {a} got left?",
        (
            f"{b} gets {start} / 3 = {start // 3}.",
            f"{start} - {start // 3} = {4 * part} remain.",
            f"Half of them is {4 * part} / 2 = {2 * part}.",
        ),
        2 * part,
        part,
    )


def eggs_by_dozen(rng: random.Random, a: str, b: str) -> Problem:
    hens, days, price = 6 * rng.randint(2, 5), rng.randint(4, 10), rng.randint(3, 6)
    days *= 2
    eggs = hens * days
    return Problem(
        f"{a} keeps {hens} hens, and each lays one egg a day. The eggs are sold by the dozen for ${price}. "
        f"How many dollars do the eggs of {days} days bring?",
        (
            f"{hens} * {days} = {eggs} eggs.",
            f"{eggs} / 12 = {eggs // 12} dozen.",
            f"{eggs // 12} * {price} = {eggs // 12 * price}.",
        ),
        eggs // 12 * price,
        eggs * price,
    )


TEMPLATES: tuple[Template, ...] = (
    shared_collection,
    market_change,
    bakery_day,
    reading_pages,
    twice_as_many,
    wages,
    train_distance,
    percent_off,
    ages,
    water_tank,
    classroom_groups,
    saving_goal,
    fence,
    average_score,
    thirds,
    eggs_by_dozen,
)
