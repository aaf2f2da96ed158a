"""Providers: how one kind of OpenAI-compatible server is addressed. One plug-in per file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.domain import JsonObject


@dataclass(frozen=True)
class Provider:
    """What every provider has; ``kind`` names the plug-in.

    Attributes:
        name: the preset's name, a column of the tables.
        base_url: ends before ``/chat/completions``; ``None`` only for providers that start their own server.
        api_key_env: the *name* of the environment variable that holds the key; ``None`` sends no Authorization.
        max_tokens_field: ``max_tokens`` or ``max_completion_tokens``; exactly one is sent.
        usage_in_stream: whether to ask for usage with ``stream_options.include_usage``.
        usage_covers_n: whether usage counts all choices where ``n`` is above 1; otherwise its completion tokens are
            those of one choice, stand for nothing and are left out.
        headers: further request headers (no secrets; those only by environment variable).
        extra_body: merged into every request body, below what ``sampling`` sets.
        verify_tls: turn off only for a test server of your own.
    """

    kind: str = ""
    name: str = ""
    base_url: str | None = None
    api_key_env: str | None = None
    max_tokens_field: str = "max_tokens"
    usage_in_stream: bool = True
    usage_covers_n: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    extra_body: dict[str, Any] = field(default_factory=dict)
    verify_tls: bool = True

    #: whether the rules of the SiliconFlow page are checked before sending, and broken ones refused
    enforces_page_rules = False

    #: whether it answers the shipped prompt sets only, and everything else with filler
    knows_shipped_only = False

    def server_command(self) -> list[str] | None:
        """The command of a server process to start for the run, or ``None`` when ``base_url`` is someone else's.

        The process binds 127.0.0.1 on a free port, prints one JSON line ``{"base_url": ...}`` on standard output when
        it listens, and ends when its standard input closes.
        """
        return None

    def adapt(self, body: JsonObject) -> JsonObject:
        """Last change to a request body before it is sent; the default leaves it as it is."""
        return body
