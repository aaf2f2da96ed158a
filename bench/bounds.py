"""What a run is held to: limits of an account, deadlines of an attempt, and what may be spent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits per account and model, shared by all cells and processes of a run. ``None`` is no limit.

    Attributes:
        concurrency: requests in flight.
        rpm: request starts per minute.
        tpm: tokens per minute; an attempt reserves its prompt's estimate + max_tokens x n and settles with its usage.
        retries: further attempts after the first; ``None`` is 3 for closed loads and 0 for open ones.
        backoff_s: first back-off; doubles per attempt, with full jitter.
        adaptive: cut concurrency on 429 and 503, by up to half; grow it again by one per round of successes.
    """

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    retries: int | None = None
    backoff_s: float = 0.5
    adaptive: bool = True


@dataclass(frozen=True)
class Timeout:
    """Deadlines in seconds; none of them runs while a request queues. ``None`` is no deadline.

    Those between send and end hold for streams; a reply in one piece comes after it was generated, so only ``total_s``
    bounds it.

    Attributes:
        first_byte_s: from the send to the first byte of the body.
        first_token_s: from the send to the first token. Where it is ``None``, a stream that has begun has until
            ``between_tokens_s`` after its first byte, and at least until ``first_byte_s`` is over.
        between_tokens_s: from one token to the next. Comments that keep a connection alive, empty and role-only
            chunks are no tokens.
        total_s: of one attempt.
    """

    connect_s: float | None = 10.0
    first_byte_s: float | None = 120.0
    first_token_s: float | None = None
    between_tokens_s: float | None = 60.0
    total_s: float | None = 600.0


@dataclass(frozen=True)
class Budget:
    """What a run may spend at most, its resumed sessions included; reserved before each send. ``None`` is no cap.

    Attributes:
        requests: HTTP attempts, so each retry counts.
        tokens: prompt and completion.
        cost: in the currency of the model's price.
        seconds: nothing is sent later; replies in flight are awaited.
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
