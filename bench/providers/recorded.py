"""No server: replies that exist already, read from a file."""

from __future__ import annotations

from dataclasses import dataclass

from bench.domain import ConfigError
from bench.providers import Provider
from bench.registry import plugin


@plugin("provider", "recorded")
@dataclass(frozen=True)
class Recorded(Provider):
    """Where the replies of a run made by ``bench score FILE`` come from; nothing can be sent to it.

    Attributes:
        path: the file.
        sha256: what it held, in hex.
    """

    kind: str = "recorded"
    name: str = "recorded"
    path: str = ""
    sha256: str = ""

    def server_command(self) -> list[str] | None:
        """There is none.

        Raises:
            ConfigError: always; says how such replies are scored, and who can be asked instead.
        """
        raise ConfigError(
            "provider=recorded: replies from a file are not asked for; score them with "
            "bench score FILE dataset=NAME, or choose another provider (a judge of them: scorer.judge.provider)"
        )
