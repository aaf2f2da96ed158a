"""What an answer took: tokens as the server counted them, and money by the dated price."""

from __future__ import annotations

from dataclasses import replace

from bench.config import Experiment
from bench.domain import Answer, Cell, Reply
from bench.measure.ceiling import price_of


def without_partial_usage(answer: Answer, config: Experiment) -> Answer:
    """The answer without completion tokens that count one of its several choices only."""
    usage = answer.reply.usage if answer.reply else None
    if answer.reply is None or usage is None or config.sampling.n == 1 or config.provider.usage_covers_n:
        return answer
    prompt_only = replace(usage, completion_tokens=None, reasoning_tokens=None)
    return replace(answer, reply=replace(answer.reply, usage=prompt_only))


def spent_tokens(reply: Reply | None) -> int | None:
    """Prompt and completion tokens as the server counted them; ``None`` when it did not."""
    usage = reply.usage if reply else None
    if usage is None or usage.completion_tokens is None:
        return None
    return (usage.prompt_tokens or 0) + usage.completion_tokens


def cost_of(cell: Cell, reply: Reply | None) -> tuple[float | None, str | None]:
    """Cost by the model preset's dated price; ``None`` without a price or without usage."""
    price, usage = cell.config.model.price, reply.usage if reply else None
    if usage is None or usage.completion_tokens is None:
        return None, None
    cost = price_of(price, usage.prompt_tokens or 0, usage.completion_tokens)
    return cost, None if cost is None else price.currency
