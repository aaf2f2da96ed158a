"""Writes ``extraction.jsonl``: short notices with the facts in them as JSON. Run: python datasets/make_extraction.py

The same seed gives the same file. A kind of notice draws its facts, tells them in words, and gives them as the target.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEED = 20261123
ROUNDS = 8

FIRST = ["Alma", "Bruno", "Clara", "Dario", "Elin", "Faisal", "Greta", "Hugo", "Ines", "Jiro", "Kavya", "Lukas"]
LAST = ["Abbott", "Berger", "Costa", "Dahl", "Eriksen", "Fontaine", "Grant", "Haddad", "Ito", "Jansen", "Kowal", "Lund"]
TOWNS = ["Lisbon", "Oslo", "Krakow", "Turin", "Ghent", "Bergen", "Porto", "Graz", "Utrecht", "Malmo", "Basel", "Lyon"]
WARES = ["desk lamp", "kettle", "rucksack", "notebook", "alarm clock", "tent", "teapot", "scarf", "torch", "globe"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"]

Notice = tuple[str, str, dict[str, Any], dict[str, Any]]
"""What to extract, the text, the schema's properties, the target."""

TEXT, WHOLE, AMOUNT, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
DATE = {"type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}$"}
CLOCK = {"type": "string", "pattern": "^\\d{2}:\\d{2}$"}


def person(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def day(rng: random.Random) -> tuple[str, str]:
    """A date in words and in ISO form."""
    month, number = rng.randrange(len(MONTHS)), rng.randint(1, 28)
    return f"{number} {MONTHS[month]} 2027", f"2027-{month + 1:02d}-{number:02d}"


def clock(rng: random.Random) -> str:
    return f"{rng.randint(8, 20):02d}:{rng.choice((0, 15, 30, 45)):02d}"


def order(rng: random.Random) -> Notice:
    customer, number = person(rng), rng.randint(1000, 9999)
    items = [{"product": ware, "quantity": rng.randint(1, 6)} for ware in rng.sample(WARES, rng.randint(2, 3))]
    listed = " and ".join(f'{item["quantity"]} x "{item["product"]}"' for item in items)
    text = f"Hello, this is {customer}. My order {number} was for {listed}, but nothing has arrived yet."
    item = {
        "type": "object",
        "properties": {"product": TEXT, "quantity": {"type": "integer", "minimum": 1}},
        "required": ["product", "quantity"],
        "additionalProperties": False,
    }
    fields = {"customer": TEXT, "order_number": WHOLE, "items": {"type": "array", "items": item, "minItems": 1}}
    return "the order", text, fields, {"customer": customer, "order_number": number, "items": items}


def meeting(rng: random.Random) -> Notice:
    (words, iso), at, minutes = day(rng), clock(rng), rng.choice((30, 45, 60, 90))
    people = rng.sample(FIRST, 3)
    room = f"{rng.choice('ABCD')}{rng.randint(101, 420)}"
    text = (
        f"{people[0]}, {people[1]} and {people[2]} will meet on {words} at {at} in room {room}. "
        f"Please keep {minutes} minutes free."
    )
    fields = {
        "date": DATE,
        "start": CLOCK,
        "minutes": WHOLE,
        "room": TEXT,
        "people": {"type": "array", "items": TEXT, "minItems": 1},
    }
    return "the meeting", text, fields, {"date": iso, "start": at, "minutes": minutes, "room": room, "people": people}


def flat(rng: random.Random) -> Notice:
    town, rooms, area, rent = rng.choice(TOWNS), rng.randint(1, 5), rng.randint(28, 120), 10 * rng.randint(45, 180)
    balcony = rng.random() < 0.5
    text = (
        f"To let in {town}: {rooms}-room flat, {area} square metres, {rent} euros a month, "
        f"{'with' if balcony else 'without'} a balcony."
    )
    fields = {"town": TEXT, "rooms": WHOLE, "area_m2": WHOLE, "rent_eur": WHOLE, "balcony": FLAG}
    target = {"town": town, "rooms": rooms, "area_m2": area, "rent_eur": rent, "balcony": balcony}
    return "the flat", text, fields, target


def train(rng: random.Random) -> Notice:
    start, end = rng.sample(TOWNS, 2)
    number, leaves, late = f"IC {rng.randint(100, 999)}", clock(rng), 5 * rng.randint(1, 12)
    platform = rng.randint(1, 3)
    text = (
        f"Attention please: train {number} from {start} to {end}, scheduled to leave at {leaves}, "
        f"is running {late} minutes late today from platform {platform}."
    )
    fields = {"train": TEXT, "from": TEXT, "to": TEXT, "scheduled": CLOCK, "delay_minutes": WHOLE, "platform": WHOLE}
    target = {
        "train": number,
        "from": start,
        "to": end,
        "scheduled": leaves,
        "delay_minutes": late,
        "platform": platform,
    }
    return "the announcement", text, fields, target


def receipt(rng: random.Random) -> Notice:
    prices = [rng.randint(150, 4990) / 100 for _ in range(2)]
    wares = rng.sample(WARES, 2)
    total = round(sum(prices), 2)
    paid = rng.choice(("cash", "card"))
    text = (
        f"Receipt. One {wares[0]} at {prices[0]:.2f}, one {wares[1]} at {prices[1]:.2f}. "
        f"Total {total:.2f}, paid {'in cash' if paid == 'cash' else 'by card'} in {rng.choice(TOWNS)}."
    )
    line = {
        "type": "object",
        "properties": {"product": TEXT, "price": AMOUNT},
        "required": ["product", "price"],
        "additionalProperties": False,
    }
    fields = {"lines": {"type": "array", "items": line}, "total": AMOUNT, "paid_by": {"enum": ["cash", "card"]}}
    lines = [{"product": ware, "price": price} for ware, price in zip(wares, prices, strict=True)]
    return "the receipt", text, fields, {"lines": lines, "total": total, "paid_by": paid}


def contact(rng: random.Random) -> Notice:
    first, last, town = rng.choice(FIRST), rng.choice(LAST), rng.choice(TOWNS)
    mail = f"{first}.{last}@example.org".lower()
    phone = f"+00 {rng.randint(100, 999)} {rng.randint(1000, 9999)}" if rng.random() < 0.6 else None
    told = f"or call {phone}" if phone else "(there is no phone at the moment)"
    text = f"You can reach our new colleague {first} {last} in {town}: write to {mail} {told}."
    fields = {
        "first_name": TEXT,
        "last_name": TEXT,
        "town": TEXT,
        "email": TEXT,
        "phone": {"type": ["string", "null"]},
    }
    target = {"first_name": first, "last_name": last, "town": town, "email": mail, "phone": phone}
    return "the contact (null for what is not given)", text, fields, target


def weather(rng: random.Random) -> Notice:
    town, low, high = rng.choice(TOWNS), rng.randint(-12, 8), rng.randint(9, 31)
    sky, rain = rng.choice(("sunny", "cloudy", "foggy")), 10 * rng.randint(0, 9)
    cold = f"minus {-low}" if low < 0 else str(low)
    text = f"Forecast for {town}: {sky}, between {cold} and {high} degrees, {rain} percent chance of rain."
    fields = {
        "town": TEXT,
        "sky": {"enum": ["sunny", "cloudy", "foggy"]},
        "low_c": WHOLE,
        "high_c": WHOLE,
        "rain_percent": {"type": "integer", "minimum": 0, "maximum": 100},
    }
    return "the forecast", text, fields, {"town": town, "sky": sky, "low_c": low, "high_c": high, "rain_percent": rain}


def lost_item(rng: random.Random) -> Notice:
    (words, iso), ware, owner = day(rng), rng.choice(WARES), person(rng)
    colour, reward = rng.choice(("red", "green", "black", "yellow")), 5 * rng.randint(1, 10)
    text = f"Lost on {words}: a {colour} {ware}. {owner} offers a reward of {reward} euros to the finder."
    fields = {
        "item": {
            "type": "object",
            "properties": {"name": TEXT, "colour": TEXT},
            "required": ["name", "colour"],
            "additionalProperties": False,
        },
        "lost_on": DATE,
        "owner": TEXT,
        "reward_eur": WHOLE,
    }
    target = {"item": {"name": ware, "colour": colour}, "lost_on": iso, "owner": owner, "reward_eur": reward}
    return "the notice", text, fields, target


NOTICES: tuple[Callable[[random.Random], Notice], ...] = (
    order,
    meeting,
    flat,
    train,
    receipt,
    contact,
    weather,
    lost_item,
)


def spoiled(rng: random.Random, target: dict[str, Any]) -> dict[str, Any]:
    """The target with one field misread: a number off by one, the last item of a list missing, a flag turned."""
    wrong = copy.deepcopy(target)
    key = rng.choice(
        [key for key, value in target.items() if isinstance(value, int | list) or key in ("town", "owner")]
    )
    value = wrong[key]
    if isinstance(value, bool):
        wrong[key] = not value
    elif isinstance(value, int):
        wrong[key] = value + 1
    elif isinstance(value, list):
        wrong[key] = value[:-1]
    else:
        wrong[key] = f"Old {value}"
    return wrong


def made(seed: int = SEED, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """The rows: every kind of notice ``rounds`` times."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(rounds * len(NOTICES)):
        notice = NOTICES[number % len(NOTICES)]
        what, text, fields, target = notice(rng)
        schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        rows.append(
            {
                "id": f"extract-{number + 1:03d}",
                "prompt": f"Extract {what} from this text as JSON.\n\n{text}",
                "schema": schema,
                "target": target,
                "tags": ["extraction", notice.__name__],
                "response_format": {"type": "json_object"},
                "reference": json.dumps(target, ensure_ascii=False),
                "flawed": json.dumps(spoiled(rng, target), ensure_ascii=False),
            }
        )
    return rows


if __name__ == "__main__":
    file = Path(__file__).with_name("extraction.jsonl")
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made()), encoding="utf-8")
