"""The service model: how big a model is, how able, how fast, and how load slows it. Pure functions, no clock.

Sizes are read off the name: ``30B-A3B`` is 30 billion parameters of which 3 are active, ``32B`` is dense; names without
a size are in a small table; unknown ones count as 32B. With ``a`` the active and ``t`` all parameters in billions:

=====================  ==================================  =========  ========  =============
quantity               rule                                8B         32B       671B, 37 act.
=====================  ==================================  =========  ========  =============
time to first token    100 ms + 10 ms * a ** 0.8           153 ms     260 ms    280 ms
prompt tokens read     60,000 / a ** 0.7 per second        14,000     5,300     4,800
tokens written         160 / a ** 0.45 per second          63         34        31
skill                  0.55 + 0.16 * log10(sqrt(a * t))    0.69       0.79      0.90
=====================  ==================================  =========  ========  =============

With ``q`` other requests in flight on the model and ``s`` slots, time to first token grows by the factor ``1 + q / s``
and time per token by ``1 + q / (4 s)``. Both carry log-normal noise of mean 1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from random import Random

from bench.providers.sim import ModelKnobs, SimKnobs

_SIZE = re.compile(r"(?<![\d.A])(\d+(?:\.\d+)?)[Bb](?:-A(\d+(?:\.\d+)?)B)?(?![a-z])")
_NAMED = (
    # the table of names that do not tell: substring, all parameters, active ones; the first that fits counts
    ("Hunyuan-A13B", 80.0, 13.0),
    ("DeepSeek-V2.5", 236.0, 21.0),
    ("DeepSeek-V3", 671.0, 37.0),
    ("DeepSeek-R1", 671.0, 37.0),
    ("GLM-4.5-Air", 106.0, 12.0),
    ("GLM-4.5V", 106.0, 12.0),
    ("GLM-4.5", 355.0, 32.0),
    ("Ling-mini", 16.0, 1.4),
    ("Ling-flash", 100.0, 6.1),
    ("Ring-flash", 100.0, 6.1),
    ("MiniMax-M1", 456.0, 46.0),
    ("pangu-pro-moe", 72.0, 16.0),
    ("step3", 321.0, 38.0),
)
UNKNOWN_SIZE = (32.0, 32.0)
MOST_SKILL = 0.97
TTFT_NOISE = 0.15
TOKEN_NOISE = 0.25
REASONING_TOKENS = 160
REASONING_NOISE = 0.35
ROLE_CHUNK_AT = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an idle model is."""

    ttft_s: float
    prefill_tok_per_s: float
    output_tok_per_s: float


@lru_cache(maxsize=1_024)
def size_of(name: str) -> tuple[float, float]:
    """All and active parameters of a model, in billions."""
    tail = name.rsplit("/", 1)[-1]
    if found := _SIZE.search(tail):
        total = float(found.group(1))
        return total, float(found.group(2) or total)
    return next(((total, active) for part, total, active in _NAMED if part in tail), UNKNOWN_SIZE)


def skill_of(name: str, knobs: ModelKnobs) -> float:
    """Probability of a right answer."""
    if knobs.skill is not None:
        return knobs.skill
    total, active = size_of(name)
    return min(MOST_SKILL, max(0.0, 0.55 + 0.16 * math.log10(math.sqrt(total * active))))


def pace_of(name: str, knobs: ModelKnobs) -> Pace:
    """Speed of an idle model."""
    _, active = size_of(name)
    ttft_ms = 100 + 10 * active**0.8 if knobs.ttft_ms is None else knobs.ttft_ms
    return Pace(
        ttft_ms / 1e3,
        knobs.prefill_tok_per_s or 60_000 / active**0.7,
        knobs.output_tok_per_s or 160 / active**0.45,
    )


def knobs_of(name: str, knobs: SimKnobs) -> ModelKnobs:
    """The one entry of ``knobs.models`` that applies to a model."""
    if name in knobs.models:
        return knobs.models[name]
    fitting = [entry for pattern, entry in knobs.models.items() if fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else ModelKnobs()


def first_token_s(pace: Pace, prompt_tokens: int, others: int, slots: int, random: Random) -> float:
    """Seconds from accepting a request to its first token."""
    idle = pace.ttft_s + prompt_tokens / pace.prefill_tok_per_s
    return idle * (1 + others / slots) * noise(random, TTFT_NOISE)


def token_s(pace: Pace, others: int, slots: int) -> float:
    """Mean seconds per token and choice."""
    return (1 + others / (4 * slots)) / pace.output_tok_per_s


def noise(random: Random, sigma: float) -> float:
    """A log-normal factor of mean 1."""
    return math.exp(random.gauss(-sigma * sigma / 2, sigma))


def reasoning_length(knobs: ModelKnobs, random: Random) -> int:
    """Tokens of reasoning before any budget."""
    return max(1, round((knobs.reasoning_tokens or REASONING_TOKENS) * math.exp(random.gauss(0, REASONING_NOISE))))
