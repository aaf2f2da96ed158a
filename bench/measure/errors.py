"""What a server's error says: status, headers and body to a :class:`bench.domain.Failure`.

Servers agree on the status and on little else. Read are SiliconFlow's ``{"code", "message", "data"}``, OpenAI's
``{"error": {...}}``, TGI's ``{"error": "text", "error_type"}``, Ollama's ``{"error": "text"}``, FastAPI's
``{"detail"}``, bare JSON strings and plain text. The status decides the kind: one code recurs under several of them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from bench.depth import too_deep
from bench.domain import ErrorKind, Failure

DETAIL_CHARS = 500

_KINDS = {
    400: ErrorKind.HTTP_400,
    401: ErrorKind.HTTP_401,
    402: ErrorKind.HTTP_402,
    403: ErrorKind.HTTP_403,
    404: ErrorKind.HTTP_404,
    410: ErrorKind.HTTP_410,
    429: ErrorKind.HTTP_429,
}


def kind_of_status(status: int) -> ErrorKind:
    """The kind of a response that is an error by its status."""
    if 500 <= status <= 599:
        return ErrorKind.HTTP_5XX
    return _KINDS.get(status, ErrorKind.HTTP_OTHER)


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, wall_clock_s: Callable[[], float] = time.time
) -> Failure:
    """The failure that an HTTP error response tells of.

    Args:
        status: the HTTP status, not a success.
        headers: looked up in lower case (a case-insensitive mapping does as well).
        body: the body as it came, decompressed.
        wall_clock_s: seconds since the epoch, for a ``Retry-After`` that is a date.
    """
    text = body.decode("utf-8", "replace").strip()
    payload = parse_json(text)
    message, code, _ = words(payload) if payload is not None else (text, None, None)
    detail = plain(message) or f"HTTP {status} with an empty body"
    if 300 <= status <= 399 and (target := headers.get("location")):
        detail = plain(f"redirect to {target}, not followed: set provider.base_url to the address meant. {message}")
    return Failure(kind_of_status(status), detail, code, retry_after_s(headers, wall_clock_s))


def failure_in(payload: Any) -> Failure | None:
    """The failure that a payload carries although the status was 200; ``None`` for a payload that is no error.

    An error is a non-empty ``error``, or ``code`` with ``message`` where there are no ``choices``. Its kind is that of
    the HTTP status named inside (OpenRouter, vLLM, TGI do), else ``stream_error``.
    """
    if isinstance(payload, str):
        return Failure(ErrorKind.STREAM_ERROR, plain(payload))
    if not isinstance(payload, dict):
        return None
    has_choices = "choices" in payload
    named = payload.get("error") or ("error" in payload and payload["error"] is not None and not has_choices)
    bare = not has_choices and "message" in payload and ("code" in payload or payload.get("object") == "error")
    if not (named or bare):
        return None
    message, code, status = words(payload)
    kind = kind_of_status(status) if status is not None else ErrorKind.STREAM_ERROR
    return Failure(kind, plain(message) or "an error object without a message", code)


def words(payload: Any) -> tuple[str, str | None, int | None]:
    """Message, provider's code and HTTP status named inside an error payload of any known shape."""
    if not isinstance(payload, dict):
        return (payload if isinstance(payload, str) else _as_text(payload)), None, None
    inner = payload.get("error")
    source = inner if isinstance(inner, dict) else payload
    message = inner if isinstance(inner, str) and inner else None
    for key in ("message", "detail", "msg", "error_description"):
        if message is None and source.get(key):
            message = _as_text(source[key])
    codes = [source.get("code"), source.get("type"), payload.get("error_type"), payload.get("code")]
    status = next(
        (s for s in map(_http_status, [source.get("http_status_code"), source.get("status"), *codes]) if s), None
    )
    named = [str(c) for c in codes if isinstance(c, str | int) and not isinstance(c, bool) and c != ""]
    # a code that repeats the HTTP status says nothing: the type beside it does
    code = next((c for c in named if _http_status(c) is None), named[0] if named else None)
    return (message if message is not None else _as_text(payload)), plain(code, 100) if code else None, status


def retry_after_s(headers: Mapping[str, str], wall_clock_s: Callable[[], float] = time.time) -> float | None:
    """Seconds that the server asks to wait (``Retry-After``, seconds or a date; ``retry-after-ms``), at least 0."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit_s
        except ValueError:
            try:
                when = parsedate_to_datetime(value)
                seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - wall_clock_s()
            except (ValueError, OverflowError):  # no date, or one that no calendar has
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def parse_json(text: str | bytes) -> Any:
    """The JSON value of ``text``, ``None`` where it is not JSON (or is nested too deep)."""
    if too_deep(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def plain(text: str, limit: int = DETAIL_CHARS) -> str:
    """``text`` on one line without control, format or surrogate characters, cut to ``limit`` characters."""
    printable = "".join([c if c.isprintable() else " " for c in text[: 20 * limit]])
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def without_secret(text: str, secret: str) -> str:
    """``text`` with ``secret`` struck out, also where the end of ``text`` cut the secret short."""
    if not secret:
        return text
    text = text.replace(secret, "***")
    body = text.removesuffix("…")
    for length in range(min(len(secret) - 1, len(body)), 3, -1):
        if body.endswith(secret[:length]):
            return body[:-length] + "***"
    return text


def _http_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
