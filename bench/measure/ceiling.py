"""What a request, and a plan, can take at most: tokens and money, before anything is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.config import Experiment, Price, Thinking
from bench.datasets import MadeSamples
from bench.domain import Sample
from bench.measure.plan import Plan
from bench.rules import estimate_tokens
from bench.samples import SampleSet

#: answer tokens reserved per choice where a request sets no ``max_tokens``
ASSUMED_ANSWER_TOKENS = 1024
#: the service's documented default of ``thinking_budget``; ``max_tokens`` does not limit the chain of thought
ASSUMED_THINKING_TOKENS = 4096


@dataclass(frozen=True)
class Ceiling:
    """The most that one cell can take.

    Attributes:
        requests: planned requests; ``None`` when a duration decides.
        tokens: prompt estimates and completion caps of all of them.
        assumed: whether a cap had to be assumed, because ``max_tokens`` or ``thinking_budget`` is not set.
        cost: of those tokens by the preset's price; ``None`` without one.
    """

    label: str
    cell_id: str
    requests: int | None
    tokens: int | None
    assumed: bool
    cost: float | None
    currency: str


def price_of(price: Price, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Money for so many tokens; ``None`` when the preset has no price."""
    if price.input_per_mtok is None or price.output_per_mtok is None:
        return None
    return (prompt_tokens * price.input_per_mtok + completion_tokens * price.output_per_mtok) / 1e6


def completion_cap(config: Experiment, row_cap: float | None = None) -> tuple[int, bool]:
    """Completion tokens of one request at most (all choices, chain of thought included), and whether assumed.

    ``row_cap`` is the row's own ``max_tokens`` (or a mean of them).
    """
    sampling = config.sampling
    thinks = config.model.thinking is not Thinking.none and sampling.enable_thinking is not False
    thinking = (sampling.thinking_budget or ASSUMED_THINKING_TOKENS) if thinks else 0
    cap = sampling.max_tokens or row_cap
    assumed = cap is None or (thinks and sampling.thinking_budget is None)
    return math.ceil(((cap or ASSUMED_ANSWER_TOKENS) + thinking) * sampling.n), assumed


def most_of(config: Experiment, sample: Sample) -> tuple[int, float | None]:
    """Most tokens and money one attempt can take; what limits and budget reserve before it is sent."""
    prompt, (completion, _) = estimate_tokens(sample.messages), completion_cap(config, sample.max_tokens)
    return prompt + completion, price_of(config.model.price, prompt, completion)


def ceilings(plan: Plan) -> list[Ceiling]:
    """The ceiling of each cell, in order."""
    lengths = {key: _lengths(one) for key, one in plan.samples.items()}
    found = []
    for cell in plan.cells:
        config: Experiment = cell.config
        prompt, row_cap = lengths[cell.dataset_key]
        requests, (completion, assumed) = plan.count(cell), completion_cap(config, row_cap)
        tokens = None if requests is None else round(requests * (prompt + completion))
        each = price_of(config.model.price, round(prompt), completion)
        cost = None if requests is None or each is None else requests * each
        found.append(Ceiling(cell.label, cell.cell_id, requests, tokens, assumed, cost, config.model.price.currency))
    return found


def _lengths(one: SampleSet) -> tuple[float, float | None]:
    """Mean prompt tokens of a set, and its mean ``max_tokens`` where its rows have their own."""
    if isinstance(one.samples, MadeSamples):
        return one.samples.prompt_tokens, one.samples.answer_tokens
    return sum(estimate_tokens(sample.messages) for sample in one.samples) / len(one.samples), None
