"""What looks like a secret in a configuration or on a command line. Pure functions; no value is ever repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(
    r"(^|[._\-])((api|access|auth|private|secret|subscription)[_\-]?key|token|secret|password|passwd"
    r"|authorization|bearer|cookie)$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\b(sk|pk|rk|hf|gsk|xai)[-_][A-Za-z0-9_\-]{12,}|\bBearer\s+\S{6,}|\bAIza[\w\-]{20,}"
    r"|\beyJ[\w\-]{10,}\.[\w\-]{10,}\.|://[^/\s:@]+:[^/\s@]+@",
    re.IGNORECASE,
)
#: ``name: value`` of a mapping that is written out, and ``name=value`` of an address
_INSIDE = (
    re.compile(r"""[{,]\s*["']?([\w.\-]+)["']?\s*:\s*["']?([^"',{}\[\]]*)"""),
    re.compile(r"[?&]([\w.\-]+)=([^&\s]*)"),
)
_HARMLESS = re.compile(r"\s*(true|false|null|none|''|\"\"|[+\-]?[\d.]{1,6})?\s*", re.IGNORECASE)
_VARIABLE = re.compile(r"(null|None|''|\"\"|[A-Za-z_][A-Za-z0-9_]*)(,[A-Za-z_][A-Za-z0-9_]*)*")

#: an environment variable's value that is shorter may stand anywhere by chance
_LEAST_LETTERS = 12


def is_secret_name(name: str) -> bool:
    """Whether something of this name (a key, a header, an environment variable) holds a secret."""
    return _NAME.search(name) is not None


def secret_place(override: str, environ: Mapping[str, str]) -> str | None:
    """Where ``KEY=VALUE``, or another argument, holds what looks like a secret; ``None`` when it holds none.

    Args:
        override: as typed.
        environ: the environment: the value of a variable with a secret's name is one, whatever it looks like.
    """
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if _shows(override, environ):
        return key if value and not _shows(key, environ) else "an argument"
    if key.endswith("api_key_env"):
        return key if value and not _VARIABLE.fullmatch(value.strip()) else None
    if is_secret_name(key) and not _HARMLESS.fullmatch(value):
        return key
    for inside in _INSIDE:
        for name, held in inside.findall(value):
            if is_secret_name(name) and not _HARMLESS.fullmatch(held):
                return f"{key}, {name}"
    return None


def _shows(text: str, environ: Mapping[str, str]) -> bool:
    known = (value.strip() for name, value in environ.items() if is_secret_name(name))
    return _VALUE.search(text) is not None or any(len(one) >= _LEAST_LETTERS and one in text for one in known)
