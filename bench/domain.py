"""The nouns of the harness: plain frozen values that every layer shares.

All times are int64 nanoseconds on one monotonic clock (``time.monotonic_ns``), as read; the record subtracts the
run's origin when it writes them. ``None`` means that the event did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ConfigError(Exception):
    """The configuration or an input file is wrong: nothing was sent, the exit code is 2.

    Args:
        problems: one complete sentence per broken rule; each names the file, key or row and says what to do.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Outcome(StrEnum):
    """What became of a planned request; exactly one per request."""

    OK = "ok"
    TRUNCATED = "truncated"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_SENT = "not_sent"


class ErrorKind(StrEnum):
    """The closed taxonomy of failures of the world."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_BYTE = "timeout_first_byte"
    TIMEOUT_BETWEEN_TOKENS = "timeout_between_tokens"
    TIMEOUT_TOTAL = "timeout_total"
    RESET = "reset"
    HTTP_400 = "http_400"
    HTTP_401 = "http_401"
    HTTP_402 = "http_402"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    STREAM_ERROR = "stream_error"
    STREAM_TRUNCATED = "stream_truncated"
    BAD_PAYLOAD = "bad_payload"
    TOO_LARGE = "too_large"
    MODEL_OFFLINE = "model_offline"
    BUDGET = "budget"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """What a streamed delta carried: an event is a chunk with a non-empty delta of one of these kinds."""

    REASONING = "reasoning"
    ANSWER = "answer"
    TOOL = "tool"


class Label(StrEnum):
    """A scorer's verdict on one choice; exclusive."""

    CORRECT = "correct"
    WRONG = "wrong"
    PARTIAL = "partial"
    UNPARSED = "unparsed"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    UNSCORED = "unscored"


JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One dataset row, ready to send.

    Attributes:
        sample_id: the row's ``id``, or a hash of its content; unique within its dataset.
        messages: the rendered chat messages (system prompt and few-shot turns included).
        target: what the scorer compares with; ``None`` leaves the reply unscored.
        tags: labels for break-downs.
        fields: every field of the row after field mapping, for templates and scorers.
        tools, response_format, max_tokens: the row's own, sent unless the cell's sampling sets them.
        place: ``file:line`` of the row, for messages to people.
    """

    sample_id: str
    messages: tuple[JsonObject, ...]
    target: Any = None
    tags: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[JsonObject, ...] | None = None
    response_format: JsonObject | None = None
    place: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reported them (``None``: not reported)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One returned choice. ``event_ns`` and ``event_kind`` run in parallel and are empty for a reply not streamed.

    ``tool_calls`` holds OpenAI-shaped objects: ``{"id", "type": "function", "function": {"name", "arguments"}}``
    with ``arguments`` the JSON text as the model wrote it.
    """

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[JsonObject, ...] = ()
    finish_reason: str | None = None
    event_ns: tuple[int, ...] = ()
    event_kind: tuple[EventKind, ...] = ()

    @property
    def first_reasoning_ns(self) -> int | None:
        """Time of the first reasoning event."""
        return next((t for t, k in zip(self.event_ns, self.event_kind, strict=True) if k is EventKind.REASONING), None)

    @property
    def first_answer_ns(self) -> int | None:
        """Time of the first answer event (text or tool call)."""
        pairs = zip(self.event_ns, self.event_kind, strict=True)
        return next((t for t, k in pairs if k is not EventKind.REASONING), None)

    @property
    def last_token_ns(self) -> int | None:
        """Time of the last event."""
        return self.event_ns[-1] if self.event_ns else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, decoded. A failed request may hold a partial one.

    ``events`` counts events over all choices, ``done``: ``data: [DONE]`` was seen, ``extra`` keeps server-side truths.
    """

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    response_id: str | None = None
    response_model: str | None = None
    system_fingerprint: str | None = None
    events: int = 0
    done: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of the world, never laundered into text, latency 0 or a wrong answer.

    ``detail`` is the server's or library's own words, cut to a bounded length and free of secrets;
    ``code`` is the provider's own error code when the body carried one (20015, "rate_limit_exceeded").
    """

    kind: ErrorKind
    detail: str = ""
    code: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Marks of one request; of its final attempt where an attempt is meant.

    ``sent_ns`` is stamped when the request's last byte is handed to the transport. ``connect_ns`` is a duration, and
    ``None`` on a reused connection. ``loop_lag_ns`` is the client's own event-loop lag seen while the request ran.
    """

    due_ns: int
    permit_ns: int | None = None
    sent_ns: int | None = None
    headers_ns: int | None = None
    first_byte_ns: int | None = None
    end_ns: int | None = None
    connect_ns: int | None = None
    loop_lag_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP attempt; ``waited_ns`` is the back-off slept before it."""

    number: int
    sent_ns: int | None
    end_ns: int | None
    status: int | None
    failure: Failure | None = None
    waited_ns: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one HTTP attempt gave: transport's only product.

    With a ``failure``, ``reply`` is ``None`` or the part that arrived before it.
    """

    outcome: Outcome
    timeline: Timeline
    status: int | None = None
    reply: Reply | None = None
    failure: Failure | None = None
    bytes_in: int = 0
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the sweep.

    Attributes:
        cell_id: stable content hash of everything that can change an answer or a measurement.
        index: position in the sweep.
        label: short text that tells this cell from the others of the run, for tables and plots.
        params: swept and resolved parameters as flat columns (``model.name``, ``sampling.temperature`` ...).
        swept: the keys of ``params`` that tell the cells of this run apart.
        config: the full typed configuration (:class:`bench.config.Experiment`).
        dataset_key: which of the plan's sample sets the cell draws from.
        dropped: body fields left out because the model does not take them.
    """

    cell_id: str
    index: int
    label: str
    params: Mapping[str, Any]
    swept: tuple[str, ...]
    config: Any
    dataset_key: str
    dropped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Request:
    """Cell x sample x repeat. ``due_ns`` counts from the start of its stage."""

    request_id: str
    cell: Cell
    sample: Sample
    repeat: int
    order: int
    due_ns: int = 0
    warmup: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """Request, timeline and outcome: the only thing that dispatch emits, one per planned request.

    ``cost`` is in ``currency`` by the dated price of the model preset, ``None`` without price or usage.
    """

    request: Request
    outcome: Outcome
    timeline: Timeline
    reply: Reply | None = None
    failure: Failure | None = None
    status: int | None = None
    attempts: tuple[Attempt, ...] = ()
    bytes_in: int = 0
    trace_id: str | None = None
    cost: float | None = None
    currency: str | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A scorer's verdict on one choice. ``value`` is in 0..1, ``None`` when unscored, unparsed without credit is 0."""

    value: float | None
    label: Label
    extracted: str | None = None
    detail: str = ""
