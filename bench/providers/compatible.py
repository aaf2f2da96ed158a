"""Any server that speaks the OpenAI chat-completions API, at an address of your own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.domain import ConfigError
from bench.providers import Provider
from bench.registry import plugin
from bench.secret_words import is_secret_name

MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")


@plugin("provider", "compatible")
@dataclass(frozen=True)
class Compatible(Provider):
    """An OpenAI-compatible server; its address must be given.

    Raises:
        ConfigError: no usable address, an unknown ``max_tokens_field``, or a secret where only names may stand
            (never quoting what may be one).
    """

    kind: str = "compatible"
    name: str = "compatible"

    def __post_init__(self) -> None:
        problems = [*_address_problems(self.base_url), *_secret_problems(self)]
        if self.max_tokens_field not in MAX_TOKENS_FIELDS:
            known = " or ".join(MAX_TOKENS_FIELDS)
            problems.append(f"provider.max_tokens_field={self.max_tokens_field!r}: must be {known}")
        if problems:
            raise ConfigError(*problems)


def _address_problems(base_url: str | None) -> list[str]:
    example = "for example provider.base_url=http://127.0.0.1:8000/v1"
    if not base_url:
        return [f"provider.base_url: is missing; say where the server is, {example}"]
    try:
        url = urlsplit(base_url)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return [f"provider.base_url: is no http or https address; {example}"]
    if url.username is not None or url.password is not None:
        return ["provider.base_url: must not hold a user or password; name a variable in provider.api_key_env"]
    if url.query or url.fragment:
        return [f"provider.base_url: must end before '?' and '#'; {example}"]
    if not usable or re.search(r"[\s\x00-\x20\x7f]", base_url):
        return [f"provider.base_url={base_url!r}: must be a plain http or https address; {example}"]
    if url.path.rstrip("/").endswith("/chat/completions"):
        return [f"provider.base_url={base_url!r}: must end before /chat/completions; {example}"]
    return []


def _secret_problems(provider: Provider) -> list[str]:
    problems = [
        f"provider.headers.{name}: secrets are never read from a config; name a variable in provider.api_key_env"
        for name in provider.headers
        if is_secret_name(name)
    ]
    variable = provider.api_key_env
    if variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        problems.append("provider.api_key_env: must be the name of an environment variable, not the key itself")
    return problems
