"""Writes ``tools.jsonl``: requests for which a function should be called, or none. Run: python datasets/make_tools.py

The same seed gives the same file. Each request names every argument's value, so that one set of calls is right.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEED = 20261124
ROUNDS = 6

TOWNS = ["Lisbon", "Oslo", "Nairobi", "Hanoi", "Quito", "Osaka", "Dakar", "Perth", "Tallinn", "Lima", "Rabat", "Seoul"]
STATIONS = ["Lyon", "Basel", "Turin", "Zurich", "Milan", "Munich", "Vienna", "Graz"]
CURRENCIES = ["EUR", "USD", "JPY", "CHF", "CNY", "GBP"]
NAMES = ["Ada", "Boris", "Celine", "Dmitri", "Esra", "Farid", "Gwen", "Hiro"]
ROOMS = ["kitchen", "bedroom", "hall", "office", "bathroom"]
WARES = ["oat milk", "light bulbs", "stamps", "batteries", "bread", "soap"]

Call = dict[str, Any]
Asked = tuple[str, list[Call]]


def function(name: str, does: str, **parameters: dict[str, Any]) -> dict[str, Any]:
    """A function in the tool list's form; every parameter is required."""
    schema = {
        "type": "object",
        "properties": parameters,
        "required": list(parameters),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": does, "parameters": schema}}


def text(does: str) -> dict[str, Any]:
    return {"type": "string", "description": does}


def whole(does: str) -> dict[str, Any]:
    return {"type": "integer", "description": does}


def one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


TOOLS = {
    tool["function"]["name"]: tool
    for tool in (
        function(
            "get_weather",
            "Current weather in a town",
            town=text("Name of the town alone, in English"),
            unit=one_of("celsius", "fahrenheit"),
        ),
        function(
            "convert_currency",
            "Converts an amount of money at today's rate",
            amount={"type": "number"},
            source=text("Currency code"),
            target=text("Currency code"),
        ),
        function("set_timer", "Starts a kitchen timer", minutes=whole("Length in minutes")),
        function(
            "switch_light",
            "Switches the light of a room",
            room=one_of(*ROOMS),
            on={"type": "boolean", "description": "true to switch on"},
        ),
        function(
            "add_event",
            "Puts an event into the calendar",
            title=text("Title, as the user words it"),
            date=text("YYYY-MM-DD"),
            start=text("HH:MM, 24 hours"),
        ),
        function(
            "send_message",
            "Sends a text message to a contact",
            recipient=text("First name of the contact"),
            body=text("The message, as the user words it"),
        ),
        function(
            "add_to_shopping_list",
            "Adds things to the shopping list",
            items={"type": "array", "items": text("One thing")},
        ),
        function(
            "find_route",
            "Finds a way between two towns",
            origin=text("Name of the town alone"),
            destination=text("Name of the town alone"),
            mode=one_of("car", "train", "bicycle"),
        ),
    )
}


def call(name: str, **arguments: Any) -> Call:
    return {"name": name, "arguments": arguments}


def weather(rng: random.Random) -> Asked:
    town, unit = rng.choice(TOWNS), rng.choice(("celsius", "fahrenheit"))
    asked = f"How is the weather in {town} right now? Give degrees in {unit.title()}, please."
    return asked, [call("get_weather", town=town, unit=unit)]


def weather_twice(rng: random.Random) -> Asked:
    first, second = rng.sample(TOWNS, 2)
    asked = f"Is it warmer in {first} or in {second} at the moment? I think in Celsius."
    return asked, [call("get_weather", town=town, unit="celsius") for town in (first, second)]


def currency(rng: random.Random) -> Asked:
    source, target = rng.sample(CURRENCIES, 2)
    amount = rng.randint(5, 900)
    return f"What are {amount} {source} in {target} today?", [
        call("convert_currency", amount=amount, source=source, target=target)
    ]


def timer(rng: random.Random) -> Asked:
    minutes = rng.randint(3, 55)
    dish = rng.choice(("rice", "pasta", "bread dough", "tea", "cake", "potatoes"))
    return f"Set a timer of {minutes} minutes for the {dish}.", [call("set_timer", minutes=minutes)]


def light(rng: random.Random) -> Asked:
    room, on = rng.choice(ROOMS), rng.random() < 0.5
    who = rng.choice(NAMES)
    asked = f"{who} here: please switch the light in the {room} {'on' if on else 'off'}."
    return asked, [call("switch_light", room=room, on=on)]


def event(rng: random.Random) -> Asked:
    title = rng.choice(("Dentist", "Choir practice", "Team lunch", "Parents' evening", "Piano lesson"))
    date, start = f"2027-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}", f"{rng.randint(8, 20):02d}:30"
    return f'Put "{title}" into my calendar on {date} at {start}.', [
        call("add_event", title=title, date=date, start=start)
    ]


def message(rng: random.Random) -> Asked:
    name = rng.choice(NAMES)
    body = rng.choice(("I am ten minutes late", "The keys are under the mat", "Happy birthday", "Please call me back"))
    return f'Send this message to {name}, word for word: "{body}"', [call("send_message", recipient=name, body=body)]


def shopping(rng: random.Random) -> Asked:
    items = rng.sample(WARES, rng.randint(2, 3))
    listed = ", then ".join(items)
    return f"Add these to my shopping list, in this order: {listed}.", [call("add_to_shopping_list", items=items)]


def route(rng: random.Random) -> Asked:
    origin, destination = rng.sample(STATIONS, 2)
    mode = rng.choice(("car", "train", "bicycle"))
    asked = f"How do I get from {origin} to {destination} by {mode}?"
    return asked, [call("find_route", origin=origin, destination=destination, mode=mode)]


def evening(rng: random.Random) -> Asked:
    room, minutes = rng.choice(ROOMS), rng.randint(5, 40)
    return f"Switch off the light in the {room} and set a timer of {minutes} minutes.", [
        call("switch_light", room=room, on=False),
        call("set_timer", minutes=minutes),
    ]


ASKING: tuple[Callable[[random.Random], Asked], ...] = (
    weather,
    weather_twice,
    currency,
    timer,
    light,
    event,
    message,
    shopping,
    route,
    evening,
)

NO_CALL = (
    ("Thank you, that was all for today.", "You are welcome. Have a good day."),
    ("What is seven times eight?", "Seven times eight is 56."),
    ("Write a two-line rhyme about a snail.", "A snail went slowly up the wall\nand had no fear of height at all."),
    ("Which is larger, a whale or a mouse?", "A whale is larger."),
    ("Please spell the word 'rhythm' backwards.", "It is m-h-t-y-h-r."),
    (
        "Why do cats purr? One sentence is enough.",
        "Cats purr mostly when they feel at ease, and sometimes to calm themselves.",
    ),
    ("What does the word 'frugal' mean?", "It means careful with money and food, without waste."),
    ("Give me a synonym of 'brave'.", "A synonym is 'courageous'."),
    ("How many sides does a hexagon have?", "A hexagon has six sides."),
    ("Do you think a poem must rhyme?", "No. Many fine poems do not rhyme at all."),
    ("What comes after Thursday?", "Friday comes after Thursday."),
    ("Turn this into the past tense: 'She sings a song.'", "She sang a song."),
)


NEEDLESS = {
    "get_weather": call("get_weather", town="Lisbon", unit="celsius"),
    "convert_currency": call("convert_currency", amount=1, source="EUR", target="USD"),
    "set_timer": call("set_timer", minutes=1),
    "switch_light": call("switch_light", room="hall", on=True),
    "add_event": call("add_event", title="Reminder", date="2027-01-01", start="09:30"),
    "send_message": call("send_message", recipient="Ada", body="Hello"),
    "add_to_shopping_list": call("add_to_shopping_list", items=["bread"]),
    "find_route": call("find_route", origin="Lyon", destination="Basel", mode="train"),
}


def spoiled(rng: random.Random, calls: list[Call]) -> list[Call]:
    """The calls with one mistake that the schema allows: one argument misread, or a call of several forgotten."""
    if len(calls) > 1 and rng.random() < 0.5:
        return calls[:1]
    wrong = copy.deepcopy(calls)
    made = wrong[0]
    key = rng.choice(list(made["arguments"]))
    schema = TOOLS[made["name"]]["function"]["parameters"]["properties"][key]
    made["arguments"][key] = misread(rng, made["arguments"][key], schema.get("enum"))
    return wrong


def misread(rng: random.Random, value: Any, allowed: list[str] | None) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 10
    if isinstance(value, list):
        return value[:-1]
    pools = [allowed or [], TOWNS, STATIONS, CURRENCIES, NAMES]
    for pool in pools:
        if value in pool:
            return rng.choice([other for other in pool if other != value])
    # Dates, times, titles and messages: the last character or word is lost or changed.
    if value[-1].isdigit():
        return value[:-1] + str((int(value[-1]) + 1) % 10)
    return value.rpartition(" ")[0] or f"{value} appointment"


def offered(rng: random.Random, calls: list[Call]) -> list[dict[str, Any]]:
    """The needed functions and up to four in all, in random order."""
    needed = list(dict.fromkeys(made["name"] for made in calls))
    others = [name for name in TOOLS if name not in needed]
    names = needed + rng.sample(others, rng.randint(0 if needed else 1, 4 - len(needed)))
    rng.shuffle(names)
    return [TOOLS[name] for name in names]


def made(seed: int = SEED, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """The rows: every kind of request ``rounds`` times, then those that need no call."""
    rng = random.Random(seed)
    asked: dict[str, tuple[str, list[Call], str]] = {}
    for number in range(rounds * len(ASKING)):
        asking = ASKING[number % len(ASKING)]
        prompt, calls = asking(rng)
        while prompt in asked:
            prompt, calls = asking(rng)
        asked[prompt] = (asking.__name__, calls, "")
    asked |= {prompt: ("no_call", [], reply) for prompt, reply in NO_CALL}
    rows = []
    for number, (prompt, (kind, calls, reply)) in enumerate(asked.items(), start=1):
        tools = offered(rng, calls)
        flawed = spoiled(rng, calls) if calls else [NEEDLESS[tools[0]["function"]["name"]]]
        rows.append(
            {
                "id": f"tools-{number:03d}",
                "prompt": prompt,
                "tools": tools,
                "target": calls,
                "tags": ["tools", kind, f"offered-{len(tools)}"],
                "reference": calls or reply,
                "flawed": flawed,
            }
        )
    return rows


if __name__ == "__main__":
    file = Path(__file__).with_name("tools.jsonl")
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made()), encoding="utf-8")
