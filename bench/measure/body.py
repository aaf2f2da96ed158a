"""Request bodies: what of a cell and a sample goes on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.config import Experiment, Sampling
from bench.domain import JsonObject, Request, Sample

#: sampling fields that are sent under their own name when they are set
PASSED_AS_THEY_ARE = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "enable_thinking",
    "thinking_budget",
    "tool_choice",
)


def request_body(
    experiment: Experiment, sample: Sample, repeat: int = 0, dropped: frozenset[str] = frozenset()
) -> JsonObject:
    """The JSON object of one request. A field left ``None`` is not sent; ``n: 1`` is every server's default.

    A row's own ``tools``, ``response_format`` and ``max_tokens`` hold unless the sampling sets them. With a seed, each
    repeat gets its own (``seed + repeat``), so that repeats are different draws that can be drawn again.
    """
    sampling = experiment.sampling
    provider = experiment.provider
    body: JsonObject = {**provider.extra_body, "model": experiment.model.name, "messages": list(sample.messages)}
    body["stream"] = sampling.stream
    if sampling.stream and provider.usage_in_stream:
        body["stream_options"] = {"include_usage": True}
    for name in PASSED_AS_THEY_ARE:
        if (value := getattr(sampling, name)) is not None:
            body[name] = value
    if (max_tokens := answer_cap(sampling, sample)) is not None:
        body[provider.max_tokens_field] = max_tokens
    if sampling.n != 1:
        body["n"] = sampling.n
    if sampling.stop is not None:
        body["stop"] = sampling.stop
    if sampling.seed is not None:
        body["seed"] = sampling.seed + repeat
    body.update(_row_or_sampling(sampling, sample))
    body.update(sampling.extra)
    return provider.adapt({key: value for key, value in body.items() if key not in dropped} if dropped else body)


def encoded_body(request: Request) -> bytes:
    """The JSON text of a planned request's body."""
    cell = request.cell
    return msgspec.json.encode(request_body(cell.config, request.sample, request.repeat, cell.dropped))


def answer_cap(sampling: Sampling, sample: Sample) -> int | None:
    """The ``max_tokens`` that a request carries; ``None`` where neither the sampling nor the row sets it."""
    return sample.max_tokens if sampling.max_tokens is None else sampling.max_tokens


def _row_or_sampling(sampling: Sampling, sample: Sample) -> Mapping[str, Any]:
    tools = sampling.tools if sampling.tools is not None else sample.tools
    response_format = sampling.response_format if sampling.response_format is not None else sample.response_format
    chosen = {"tools": list(tools) if tools else None, "response_format": response_format}
    return {key: value for key, value in chosen.items() if value is not None}
