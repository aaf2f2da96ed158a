"""The service's refusals: status and body as it words them, by era.

The catch-all for a bad parameter does not say what is wrong with it; the header ``x-sim-reason`` of the simulator does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bench.providers.sim import Gone
from bench.rules import Violation

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"

CATCH_ALL = "The parameter is invalid. Please check again."
NOT_TAKEN = "Value error, current model does not support parameter `{}`."
RATE = "Request was rejected due to rate limiting. If you want more, please contact contact@siliconflow.com. Details:"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A complete answer that is no reply."""

    status: int
    body: bytes
    content_type: str = JSON
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def coded(status: int, code: int, message: str, reason: str = "") -> Refusal:
    """The service's envelope."""
    body = msgspec.json.encode({"code": code, "message": message, "data": None})
    return Refusal(status, body, reason=reason)


def bad_parameter(reason: str = "", message: str = CATCH_ALL) -> Refusal:
    """HTTP 400, code 20015."""
    return coded(400, 20015, message, reason)


def not_found() -> Refusal:
    """An address the service does not have."""
    return Refusal(404, b"404 page not found", PLAIN)


def unauthorized(era: int) -> Refusal:
    """No key, or a wrong one."""
    return Refusal(401, b'"Invalid token"') if era < 2026 else coded(401, 30014, "Token is invalid.")


def insufficient_balance(era: int) -> Refusal:
    """An account without funds."""
    return coded(403 if era < 2026 else 402, 30001, "Sorry, your account balance is insufficient")


def model_missing() -> Refusal:
    """A model that the service does not have, or has taken offline."""
    return coded(400, 20012, "Model does not exist. Please check it carefully.")


def model_gone(how: Gone) -> Refusal:
    """A model that was taken off the service while it was asked."""
    match how:
        case Gone.missing:
            return model_missing()
        case Gone.disabled:
            return model_disabled()
        case Gone.not_found:
            return not_found()
        case Gone.gone:
            return coded(410, 20092, "This endpoint is deprecated and is no longer available.")


def model_disabled() -> Refusal:
    """A model switched off."""
    return coded(403, 30003, "Model disabled.")


def rate_limited(era: int, metric: str) -> Refusal:
    """Too many requests (``RPM``) or tokens (``TPM``) in the window."""
    if era < 2026:
        return Refusal(429, msgspec.json.encode({"message": f"{RATE}{metric} limit reached.", "data": None}))
    return coded(429, 50602 if metric == "RPM" else 50603, f"{RATE} {metric} limit reached.")


def user_info(era: int) -> Refusal:
    """The account's page; retired in 2026."""
    if era >= 2026:
        return coded(410, 20092, "This endpoint is deprecated and is no longer available.")
    money = {"balance": "0.88", "chargeBalance": "88.00", "totalBalance": "88.88"}
    who = {"id": "userid", "name": "simulator", "image": "", "email": "", "isAdmin": False, "status": "normal"}
    data = {**who, **money, "introduction": "", "role": "", "category": "0"}
    return Refusal(200, msgspec.json.encode({"code": 20000, "message": "OK", "status": True, "data": data}))


def fault(name: str, era: int, retry_after_s: float | None = None) -> Refusal:
    """The refusal that an injected fault stands for; 429 and 503 tell when to come back where that is given."""
    refusal = _fault(name, era)
    if retry_after_s is None or name not in ("http_429", "http_503"):
        return refusal
    return replace(refusal, headers=(("retry-after", f"{retry_after_s:g}"),))


def _fault(name: str, era: int) -> Refusal:
    match name:
        case "http_429":
            return rate_limited(era, "TPM")
        case "http_500":
            return coded(500, 50507, "Request failed: Unknown error.")
        case "http_503":
            return coded(503, 50505, "Model service overloaded. Please try again later.")
        case "http_504":
            return Refusal(504, b'"Gateway Timeout"')
        case "http_400":
            return bad_parameter("injected fault")
        case "plain_text":
            return Refusal(502, b"upstream connect error or disconnect/reset before headers", PLAIN)
    raise ValueError(name)


def broken_rule(violation: Violation, body: dict[str, Any], prompt_tokens: int, window: int | None) -> Refusal:
    """How the service words a breach of a rule of its page."""
    reason = f"{violation.path}: {violation.rule}"
    match violation.name:
        case "enable_thinking_models" | "thinking_budget_models" | "min_p_models":
            return bad_parameter(reason, NOT_TAKEN.format(violation.field))
        case "tools_models" | "tool_choice_models":
            return coded(400, 20037, "Function call is not supported for this model.", reason)
        case "messages_images":
            message = "The model is not a VLM (Vision Language Model). Please use text-only prompts."
            return coded(400, 20041, message, reason)
        case "max_tokens_window":
            return _over_window(violation.value, window, reason)
        case "messages_window" if prompt_tokens >= (window or 0):
            message = f"number of input tokens ({prompt_tokens}) has exceeded max_prompt_tokens ({window}) limit."
            return bad_parameter(reason, message)
        case "messages_window":
            return _over_window(body.get("max_tokens"), window, reason)
        case "messages" | "model" if body.get(violation.field) is None:
            return bad_parameter(reason, "Field required")
        case "messages" if violation.path.endswith(".role") and violation.value == "tool":
            told = "Message has tool role, but there was no previous assistant message with a tool call!"
            return bad_parameter(reason, f'"messages" in request are illegal: {told}..')
        case "messages" if violation.path.endswith(".role") and isinstance(violation.value, str):
            tags = "'system', 'user', 'assistant', 'tool'"
            found = f"Input tag '{violation.value[:100]}' found using 'role' does not match any of the expected tags"
            return bad_parameter(reason, f"{found}: {tags}")
        case "messages" if violation.path.endswith((".role", ".content")) and violation.value is None:
            return bad_parameter(reason, "Field required")
    return bad_parameter(reason)


def _over_window(max_tokens: Any, window: int | None, reason: str) -> Refusal:
    return bad_parameter(reason, f"max_tokens ({max_tokens}) have exceeded max_seq_len ({window}) limit.")
