"""Replies with fewer choices than asked for: what is missing is asked for in further requests.

The row of the request stays one. Its times are those of the first reply; tokens and cost are of all; the further
requests are rows of ``attempts``, and choices from them have no event times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from bench.config import Experiment
from bench.domain import Answer, Outcome, Reply, Request, Usage


async def filled(request: Request, answer: Answer, ask: Callable[[Request], Awaitable[Answer | None]]) -> Answer:
    """The answer with the choices that its server left out, as far as further requests bring them.

    Ends with the first request that is not sent or brings no choice. Open loads are left as they are: they show what
    users saw, and further requests would be a load that nobody planned.
    """
    for number in range(1, request.cell.config.sampling.n):
        lacking = missing(request, answer)
        if not lacking:
            break
        further = await ask(follow_up(request, lacking, number))
        if further is None or further.outcome is not Outcome.OK or not (further.reply and further.reply.choices):
            break
        answer = joined(answer, further, request.cell.config.sampling.n)
    return answer


def missing(request: Request, answer: Answer) -> int:
    """How many choices a whole reply lacks; 0 of a closed load's reply that is complete, and of any other."""
    config: Experiment = request.cell.config
    if answer.outcome is not Outcome.OK or config.load.is_open or "n" in request.cell.dropped:
        return 0
    came = len(answer.reply.choices) if answer.reply else 0
    return max(0, config.sampling.n - came) if came else 0


def follow_up(request: Request, lacking: int, number: int) -> Request:
    """The request for what is missing; with a seed it has one that no repeat and no other follow-up has."""
    config: Experiment = request.cell.config
    fewer = replace(config, sampling=replace(config.sampling, n=lacking))
    return replace(
        request, cell=replace(request.cell, config=fewer), repeat=request.repeat + number * max(1, config.repeats)
    )


def joined(answer: Answer, further: Answer, n: int) -> Answer:
    """The first answer with the choices (``n`` at most) and the usage of a further one."""
    assert answer.reply is not None
    assert further.reply is not None
    first = answer.reply.choices
    next_index = max(choice.index for choice in first) + 1
    added = tuple(
        replace(choice, index=next_index + place, event_ns=(), event_kind=())
        for place, choice in enumerate(further.reply.choices[: n - len(first)])
    )
    reply: Reply = replace(
        answer.reply, choices=(*first, *added), usage=_summed(answer.reply.usage, further.reply.usage)
    )
    return replace(answer, reply=reply, bytes_in=answer.bytes_in + further.bytes_in)


def _summed(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both usages together; a count that either lacks is unknown, details that a server leaves out are none."""
    if one is None or other is None:
        return None

    def total(name: str) -> int | None:
        a, b = getattr(one, name), getattr(other, name)
        return None if a is None or b is None else a + b

    def detail(name: str) -> int | None:
        known = [value for usage in (one, other) if (value := getattr(usage, name)) is not None]
        return sum(known) if known else None

    return Usage(
        prompt_tokens=total("prompt_tokens"),
        completion_tokens=total("completion_tokens"),
        reasoning_tokens=detail("reasoning_tokens"),
        cached_tokens=detail("cached_tokens"),
    )
