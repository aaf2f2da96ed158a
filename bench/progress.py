"""What a display of a run is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.domain import Exchange


@dataclass(frozen=True, slots=True)
class Figures:
    """What a display needs of a finished exchange; plain values, so that it can come from another process."""

    outcome: str
    completion_tokens: int
    cost: float | None
    currency: str | None


def figures(exchange: Exchange) -> Figures:
    """The display's part of an exchange."""
    usage = exchange.reply.usage if exchange.reply and not exchange.cached else None
    tokens = (usage.completion_tokens or 0) if usage else 0
    return Figures(exchange.outcome.value, tokens, exchange.cost, exchange.currency)


class Progress(Protocol):
    """What shows a person how the run goes."""

    def start(self, total: int | None, done: int, label: str) -> None:
        """The run begins; ``done`` requests of ``total`` are finished already."""

    def finished(self, figures: Figures) -> None:
        """One more planned request has its outcome."""

    def note(self, text: str) -> None:
        """A line for the person."""

    def throttled(self, by: str | None) -> None:
        """What holds the run back at the moment, if anything."""

    def close(self) -> None:
        """The run is over."""
