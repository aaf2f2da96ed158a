"""Writes ``arithmetic.jsonl``: word problems from templates, answers computed. Run: python datasets/make_arithmetic.py

The same seed gives the same file.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from arithmetic_templates import TEMPLATES

from bench.similarity import find_near_duplicates

SEED = 20261122
ROUNDS = 5
# fmt: off
NAMES = (
    "Amara", "Bashir", "Chen", "Dalia", "Emeka", "Freya", "Goran", "Hana", "Imani", "Jonas", "Keiko", "Leila",
    "Mateo", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tove", "Uma", "Viktor", "Wanjiru", "Ximena",
    "Yusuf", "Zofia", "Anton", "Beatriz", "Cyrus", "Dunja",
)
# fmt: on


def made(seed: int = SEED, rounds: int = ROUNDS) -> list[dict[str, object]]:
    """The rows: every template ``rounds`` times."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    texts: list[str] = []
    for number in range(rounds * len(TEMPLATES)):
        template = TEMPLATES[number % len(TEMPLATES)]
        first, second = rng.sample(NAMES, 2)
        problem, again = template(rng, first, second), random.Random(f"{seed}:{number}")
        while len({*find_near_duplicates([*texts, problem.text])}) <= len(texts):
            problem = template(again, first, second)  # not the last question in other words: each is to count in full
        texts.append(problem.text)
        slip = problem.slip if problem.slip != problem.answer else problem.answer + 1
        rows.append(
            {
                "id": f"arith-{number + 1:03d}",
                "prompt": problem.text,
                "target": problem.answer,
                "tags": ["arithmetic", f"steps-{len(problem.steps)}", template.__name__],
                "reference": "\n".join([*problem.steps, f"#### {problem.answer}"]),
                "flawed": "\n".join([*problem.steps[:-1], f"So the result is {slip}.", f"#### {slip}"]),
            }
        )
    return rows


if __name__ == "__main__":
    target = Path(__file__).with_name("arithmetic.jsonl")
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made()), encoding="utf-8")
