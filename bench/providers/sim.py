"""The built-in simulator as a provider, and its knobs: what it does, how fast, and what goes wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, fields
from enum import Enum

from bench.domain import ConfigError
from bench.providers import Provider
from bench.registry import plugin


class UsageStyle(Enum):
    """Where a stream reports usage: cumulative on every chunk, in one trailing chunk without choices, or nowhere."""

    every_chunk = "every_chunk"
    trailing = "trailing"
    none = "none"


class ThinkingStyle(Enum):
    """How a model treats ``enable_thinking``; ``auto`` is what its preset says.

    ``param_rejected`` refuses the parameter, even ``false``, and does not reason.
    """

    auto = "auto"
    toggle = "toggle"
    always = "always"
    never = "never"
    param_rejected = "param_rejected"


class ToolDelta(Enum):
    """Streamed tool calls: as documented, or with the name leaked into the arguments as one model family does."""

    ok = "ok"
    glm_broken = "glm_broken"


class Gone(Enum):
    """What a model that has been taken off the service answers."""

    missing = "missing"  # 400, code 20012
    disabled = "disabled"  # 403, code 30003
    not_found = "not_found"  # 404, plain text
    gone = "gone"  # 410, code 20092


@dataclass  # not frozen: OmegaConf cannot set keys of a frozen value inside a mapping
class ModelKnobs:
    """Behaviour of one model; treated as frozen. ``None`` takes the rule by model size.

    Attributes:
        usage_style: where a stream reports usage.
        role_repeat: ``role`` on every chunk, not only the first.
        tokens_per_chunk: chunks hold 1 to so many tokens.
        thinking: how ``enable_thinking`` is treated.
        budget_enforced: whether reasoning stops at ``thinking_budget``; otherwise it runs on to its natural end.
        max_tokens_counts_reasoning: ``max_tokens`` covers reasoning as well, so an answer can come out empty.
        answer_in_reasoning: share of replies with thinking off whose whole answer arrives as reasoning.
        tool_delta: how tool calls are streamed.
        skill: probability of a right answer on the shipped prompt sets.
        ttft_ms: time to the first token of an idle model on an empty prompt.
        prefill_tok_per_s: prompt tokens read per second.
        output_tok_per_s: tokens written per second and choice on an idle model.
        reasoning_tokens: median length of the reasoning.
        offline_after_s: seconds after the model's first request at which it is taken off the service.
        offline_after_requests: requests after which it is taken off the service.
        gone: what it answers from then on.
    """

    usage_style: UsageStyle = UsageStyle.every_chunk
    role_repeat: bool = True
    tokens_per_chunk: int = 1
    thinking: ThinkingStyle = ThinkingStyle.auto
    budget_enforced: bool = True
    max_tokens_counts_reasoning: bool = False
    answer_in_reasoning: float = 0.0
    tool_delta: ToolDelta = ToolDelta.ok
    skill: float | None = None
    ttft_ms: float | None = None
    prefill_tok_per_s: float | None = None
    output_tok_per_s: float | None = None
    reasoning_tokens: int | None = None
    offline_after_s: float | None = None
    offline_after_requests: int | None = None
    gone: Gone = Gone.missing


@dataclass(frozen=True)
class Faults:
    """Shares of requests (0..1) that meet each fault.

    At most one fault strikes an attempt, so all together may add up to 1. It is drawn by the seed, the body and how
    often that body was asked before. ``slow_headers`` is drawn by itself.

    Attributes:
        http_429: refused, tokens per minute reached.
        http_500: unknown error.
        http_503: overloaded.
        http_504: gateway timeout, the body a bare JSON string.
        http_400: the sporadic catch-all refusal of a good request.
        plain_text: 502 with a plain-text body.
        drop: the connection is reset before any answer.

        cut: the connection ends in the middle of the reply.
        reset: the same by a TCP reset.
        stall: the reply stops for ``stall_s`` in the middle, then the connection ends.
        no_done: the stream ends properly, without ``[DONE]``.
        no_finish: no ``finish_reason`` is ever sent.
        error_in_stream: an error object instead of the rest (the whole body if not streamed), at HTTP 200.
        malformed: one chunk (or the body) is broken JSON.
        empty: HTTP 200 and nothing in it.

        early_hints: an interim 103 response before a sound one.
        http_1_0: a sound reply by HTTP/1.0, its body ended by the end of the connection.
        header_flood: 2,000 headers, 256 KiB of them, before a sound reply.

        slow_headers: the response head is held back for ``slow_headers_s``; combines with any that has a reply.
        retry_after_s: what injected 429 and 503 say in ``Retry-After``; ``None`` sends no such header.
        stall_s: seconds a stalled reply stays silent.
        slow_headers_s: seconds the head is held back.
    """

    http_429: float = 0.0
    http_500: float = 0.0
    http_503: float = 0.0
    http_504: float = 0.0
    http_400: float = 0.0
    plain_text: float = 0.0
    drop: float = 0.0
    cut: float = 0.0
    reset: float = 0.0
    stall: float = 0.0
    no_done: float = 0.0
    no_finish: float = 0.0
    error_in_stream: float = 0.0
    malformed: float = 0.0
    empty: float = 0.0
    early_hints: float = 0.0
    http_1_0: float = 0.0
    header_flood: float = 0.0
    slow_headers: float = 0.0
    retry_after_s: float | None = None
    stall_s: float = 3600.0
    slow_headers_s: float = 5.0


BEFORE_REPLY = ("http_429", "http_500", "http_503", "http_504", "http_400", "plain_text", "drop")
WITHIN_REPLY = ("cut", "reset", "stall", "no_done", "no_finish", "error_in_stream", "malformed", "empty")
ABOUT_REPLY = ("early_hints", "http_1_0", "header_flood")
EXCLUSIVE = (*BEFORE_REPLY, *WITHIN_REPLY, *ABOUT_REPLY)


@dataclass(frozen=True)
class Framing:
    """How the bytes of a stream are laid out; every setting is legal.

    Attributes:
        crlf: lines end with CR LF.
        comment_every: a comment line before every so-many-th event; 0 is none.
        keep_alive_s: a comment line whenever the stream has been silent for so long, a stall included; 0 is none.
        write_bytes: at most so many bytes per write; 0 writes what is due at once.
    """

    crlf: bool = False
    comment_every: int = 0
    keep_alive_s: float = 0.0
    write_bytes: int = 0


@dataclass(frozen=True)
class SimKnobs:
    """Everything that can be set on the simulator.

    Attributes:
        seed: the source of all randomness; same seed and same body, same reply.
        speed: 1 is the pace of the service model, 10 ten times as fast, 0 no pacing at all.
        era: 2025 or 2026: the error bodies of that time.
        models: behaviour by model name or glob pattern. The exact name counts before a pattern, a later pattern before
            an earlier one, and one entry alone applies. An exact name that is no preset adds that model.
        offline: models taken off the service (they do not exist).
        disabled: models switched off (403).
        require_key: refuse requests without ``Authorization: Bearer``.
        api_keys: the keys accepted, all of one account; none listed accepts any key, each an account of its own.
        empty_balance: refuse every request for lack of funds.
        rpm: requests per window, account and model; ``None`` is no limit.
        tpm: tokens (input and output) per window, account and model; ``None`` is no limit.
        window_s: length of the sliding window of ``rpm`` and ``tpm``.
        slots_per_model: requests in flight on one model that double its time to first token; four times as many
            double the time per token.
        answer_correlation: at temperatures above 0, the share of answers decided once per model and row; the others
            are drawn anew each time. The mean is the skill either way.
        judge_skill: share of replies to the shipped prompt sets that a judge sees for what they are.
        judge_position_bias: share of verdicts on two replies that go to the one shown first, whatever they say.
        faults: what goes wrong, and how often.
        framing: how streams are laid out.
        truth_log: file to append one JSON line per response to: what was sent, and when.
    """

    seed: int = 0
    speed: float = 1.0
    era: int = 2026
    models: dict[str, ModelKnobs] = field(default_factory=dict)
    offline: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    require_key: bool = False
    api_keys: list[str] = field(default_factory=list)
    empty_balance: bool = False
    rpm: int | None = None
    tpm: int | None = None
    window_s: float = 60.0
    slots_per_model: int = 16
    answer_correlation: float = 0.7
    judge_skill: float = 0.95
    judge_position_bias: float = 0.0
    faults: Faults = field(default_factory=Faults)
    framing: Framing = field(default_factory=Framing)
    truth_log: str | None = None


def problems(knobs: SimKnobs) -> list[str]:
    """One sentence per knob out of range."""
    faults, found = knobs.faults, []
    shares = {f"faults.{f.name}": getattr(faults, f.name) for f in fields(Faults) if not f.name.endswith("_s")}
    for name in ("answer_correlation", "judge_skill", "judge_position_bias"):
        shares[name] = getattr(knobs, name)
    least = {
        "speed": (knobs.speed, 0.0),
        "rpm": (knobs.rpm, 1),
        "tpm": (knobs.tpm, 1),
        "slots_per_model": (knobs.slots_per_model, 1),
        "faults.retry_after_s": (faults.retry_after_s, 0.0),
        "faults.stall_s": (faults.stall_s, 0.0),
        "faults.slow_headers_s": (faults.slow_headers_s, 0.0),
        "framing.comment_every": (knobs.framing.comment_every, 0),
        "framing.keep_alive_s": (knobs.framing.keep_alive_s, 0.0),
        "framing.write_bytes": (knobs.framing.write_bytes, 0),
    }
    for name, model in knobs.models.items():
        shares |= {f"models.{name}.skill": model.skill, f"models.{name}.answer_in_reasoning": model.answer_in_reasoning}
        least[f"models.{name}.tokens_per_chunk"] = (model.tokens_per_chunk, 1)
        least[f"models.{name}.reasoning_tokens"] = (model.reasoning_tokens, 1)
        least[f"models.{name}.ttft_ms"] = (model.ttft_ms, 0.0)
        least[f"models.{name}.offline_after_s"] = (model.offline_after_s, 0.0)
        least[f"models.{name}.offline_after_requests"] = (model.offline_after_requests, 0)
        for rate in ("prefill_tok_per_s", "output_tok_per_s"):
            least[f"models.{name}.{rate}"] = (getattr(model, rate), 0.001)
    found += [f"{k}={v}: must be between 0 and 1" for k, v in shares.items() if v is not None and not 0 <= v <= 1]
    found += [f"{k}={v}: must be at least {low}" for k, (v, low) in least.items() if v is not None and not v >= low]
    total = sum(getattr(faults, name) for name in EXCLUSIVE)
    if total > 1 + 1e-9:
        found.append(f"faults: {', '.join(EXCLUSIVE)} add up to {total:g}; they exclude each other, so at most 1")
    if knobs.era not in (2025, 2026):
        found.append(f"era={knobs.era}: must be 2025 or 2026")
    if not knobs.window_s > 0:
        found.append(f"window_s={knobs.window_s}: must be greater than 0")
    return found


def _plain(knobs: SimKnobs) -> str:
    """The knobs as JSON, enums by value."""
    return json.dumps(asdict(knobs), default=lambda enum: enum.value)


@plugin("provider", "sim")
@dataclass(frozen=True)
class Sim(Provider):
    """The SiliconFlow API in a process of its own on this machine: no key, no network, same rules.

    With ``base_url`` set, a simulator that already runs there is used, and ``knobs`` must have been given to it.
    """

    kind: str = "sim"
    name: str = "sim"
    knobs: SimKnobs = field(default_factory=SimKnobs)

    enforces_page_rules = True
    knows_shipped_only = True

    def server_command(self) -> list[str] | None:
        """The simulator with these knobs (what ``bench serve`` runs); ends when its standard input closes.

        ``-P`` keeps modules of the working directory from standing in for those of Python.

        Raises:
            ConfigError: a knob is out of range.
        """
        if self.base_url is not None:
            return None
        if found := problems(self.knobs):
            raise ConfigError(*(f"provider.knobs.{sentence}" for sentence in found))
        serve = [sys.executable, "-P", "-m", "bench.sim.serve"]
        return [*serve, "port=0", "stdin_watch=true", f"knobs={_plain(self.knobs)}"]
