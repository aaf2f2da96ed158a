"""The definition profiles themselves, one table per tool; sources in :mod:`bench.judge.profiles`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.judge.definitions import (
    Profile,
    Quantity,
    Rate,
    ServedCell,
    interpolated,
    nearest_weighted,
    per_second,
    span_s,
)

if TYPE_CHECKING:
    from bench.judge.definitions import Floats

_CONNECTION = "Their clock starts before the connection is taken, ours when the request is written."


def _tokens(cell: ServedCell) -> Floats:
    return cell.column("completion_tokens")


def _tokens_or_chunks(cell: ServedCell) -> Floats:
    """GuideLLM's count: usage, else one token for each chunk."""
    import numpy as np

    chunks = cell.column("chunks")
    return np.where(np.isnan(_tokens(cell)), np.where(chunks > 0, chunks, np.nan), _tokens(cell))


def _per_further_token(spans_ms: Floats, tokens: Floats) -> Floats:
    """Span over (tokens - 1); NaN below two tokens."""
    import numpy as np

    return spans_ms / np.where(tokens >= 2, tokens - 1, np.nan)


def _known_sum(values: Floats) -> float:
    import numpy as np

    return float(np.nansum(values)) if (~np.isnan(values)).any() else float("nan")


def _run_s(cell: ServedCell) -> float:
    return span_s(cell.planned["sent_ns"], cell.planned["end_ns"])


VLLM = Profile(
    name="vllm",
    tool="vllm bench serve",
    quantile=interpolated,
    percentiles="over served requests, interpolated between neighbours",
    quantities=(
        Quantity(
            "ttft",
            "TTFT (ms)",
            "First chunk minus start.",
            f"{_CONNECTION} A role-only or empty chunk is a first chunk there and no event here.",
            lambda cell: (cell.since_start("first_chunk_ns"), None),
            "ttft",
        ),
        Quantity(
            "tpot",
            "TPOT (ms)",
            "(Last chunk - first chunk) / (completion tokens - 1), from two tokens on.",
            "Also for n > 1, over the tokens of all choices; ours is undefined there.",
            lambda cell: (_per_further_token(cell.decode_ms, _tokens(cell)), None),
            "tpot",
        ),
        Quantity(
            "itl",
            "ITL (ms)",
            "Every pause between consecutive chunks of a request, pooled over requests.",
            "Our `gap_ms`; a chunk of several tokens makes one long pause. For n > 1 theirs runs across the choices.",
            lambda cell: (cell.gaps_ms, None),
            "gap",
        ),
        Quantity(
            "e2e",
            "E2EL (ms)",
            "Last chunk minus start.",
            "Ends at the last chunk; our `e2e_ms` at the end of the body. Null for replies that were not streamed.",
            lambda cell: (cell.since_start("last_chunk_ns"), None),
            "e2e",
        ),
    ),
    rates=(
        Rate(
            "throughput_req_per_s",
            "Request throughput (req/s)",
            "requests/s",
            "Served requests over the time from the first start to the end of the last request, failed ones included.",
            "None.",
            lambda cell: per_second(len(cell.served), _run_s(cell)),
            "throughput_req_per_s",
        ),
        Rate(
            "throughput_tok_per_s",
            "Output token throughput (tok/s)",
            "tokens/s",
            "Completion tokens of served requests over the same time.",
            "None.",
            lambda cell: per_second(_known_sum(_tokens(cell)), _run_s(cell)),
            "throughput_tok_per_s",
        ),
        Rate(
            "total_tok_per_s",
            "Total token throughput (tok/s)",
            "tokens/s",
            "Prompt and completion tokens of served requests over the same time.",
            "Counts prompt tokens as throughput; we have no such figure.",
            lambda cell: per_second(_known_sum(_tokens(cell)) + _known_sum(cell.column("prompt_tokens")), _run_s(cell)),
            None,
        ),
    ),
)


GUIDELLM = Profile(
    name="guidellm",
    tool="GuideLLM",
    quantile=nearest_weighted,
    percentiles="over served requests, nearest value of the distribution weighted as said",
    quantities=(
        Quantity(
            "ttft",
            "TTFT (ms)",
            "First chunk with content minus start.",
            f"{_CONNECTION} A reply without a token counts 0 there and is left out here.",
            lambda cell: (cell.since_start("first_chunk_ns"), None),
            "ttft",
        ),
        Quantity(
            "ttfa",
            "Time to first output token (ms)",
            "First chunk that is not reasoning minus start.",
            "Our `ttfa_ms`.",
            lambda cell: (cell.since_start("first_answer_ns"), None),
            "ttfa",
        ),
        Quantity(
            "tpot",
            "TPOT (ms)",
            "(Last chunk - start) / completion tokens, each request weighted by its tokens.",
            "Includes the time to first token, so it is longer than our `tpot_ms`; without usage a chunk is a token.",
            lambda cell: (cell.to_content_end_ms / _tokens_or_chunks(cell), _tokens_or_chunks(cell)),
            "tpot",
        ),
        Quantity(
            "itl",
            "ITL (ms)",
            "(Last chunk - first chunk) / (completion tokens - 1), each request weighted by those tokens.",
            "Our `tpot_ms`, but weighted; not a pause between chunks.",
            lambda cell: (
                _per_further_token(cell.decode_ms, _tokens_or_chunks(cell)),
                _tokens_or_chunks(cell) - 1,
            ),
            "tpot",
        ),
        Quantity(
            "e2e",
            "Request latency (ms; GuideLLM prints s)",
            "End of the stream minus start.",
            f"{_CONNECTION} Otherwise our `e2e_ms`.",
            lambda cell: (cell.since_start("end_ns"), None),
            "e2e",
        ),
    ),
    rates=(
        Rate(
            "throughput_req_per_s",
            "Requests per second, mean",
            "requests/s",
            "Served requests over the time from the first start to the last end.",
            "None.",
            lambda cell: per_second(len(cell.served), _run_s(cell)),
            "throughput_req_per_s",
        ),
        Rate(
            "throughput_tok_per_s",
            "Output tokens per second, mean",
            "tokens/s",
            "Completion tokens over the time from the first chunk of the cell to its last.",
            "Leaves out the wait for the first chunk, so it is higher than ours.",
            lambda cell: per_second(
                _known_sum(_tokens_or_chunks(cell)),
                span_s(
                    cell.served["first_chunk_ns"].fillna(cell.served["end_ns"]),
                    cell.served["last_chunk_ns"].fillna(cell.served["end_ns"]),
                ),
            ),
            "throughput_tok_per_s",
        ),
    ),
)


def _served_s(cell: ServedCell) -> float:
    return span_s(cell.served["sent_ns"], cell.content_end_ns)


AIPERF = Profile(
    name="aiperf",
    tool="AIPerf",
    quantile=interpolated,
    percentiles="over served requests, interpolated between neighbours",
    quantities=(
        Quantity(
            "ttft",
            "Time to First Token (ms)",
            "First chunk with content minus start.",
            _CONNECTION,
            lambda cell: (cell.since_start("first_chunk_ns"), None),
            "ttft",
        ),
        Quantity(
            "ttfa",
            "Time to First Output Token (ms)",
            "First chunk that is not reasoning minus start.",
            "Our `ttfa_ms`.",
            lambda cell: (cell.since_start("first_answer_ns"), None),
            "ttfa",
        ),
        Quantity(
            "itl",
            "Inter Token Latency (ms)",
            "(Request latency - TTFT) / (output tokens - 1), one value per request.",
            "Our `tpot_ms`, defined for n > 1 too; not a pause between chunks. Their tokens come from a tokenizer.",
            lambda cell: (_per_further_token(cell.decode_ms, _tokens(cell)), None),
            "tpot",
        ),
        Quantity(
            "icl",
            "Inter Chunk Latency (ms)",
            "Every pause between consecutive chunks of a request, pooled over requests.",
            "Our `gap_ms`; for n > 1 theirs runs across the choices.",
            lambda cell: (cell.gaps_ms, None),
            "gap",
        ),
        Quantity(
            "e2e",
            "Request Latency (ms)",
            "Last chunk with content minus start.",
            "Ends at the last chunk; our `e2e_ms` at the end of the body.",
            lambda cell: (cell.to_content_end_ms, None),
            "e2e",
        ),
    ),
    rates=(
        Rate(
            "throughput_req_per_s",
            "Request Throughput (requests/sec)",
            "requests/s",
            "Served requests over the time from their first start to their last chunk.",
            "Failed requests do not lengthen the time; in ours they do.",
            lambda cell: per_second(len(cell.served), _served_s(cell)),
            "throughput_req_per_s",
        ),
        Rate(
            "throughput_tok_per_s",
            "Output Token Throughput (tokens/sec)",
            "tokens/s",
            "Completion tokens of served requests over the same time.",
            "Failed requests do not lengthen the time; in ours they do.",
            lambda cell: per_second(_known_sum(_tokens(cell)), _served_s(cell)),
            "throughput_tok_per_s",
        ),
    ),
)

PROFILES = {chosen.name: chosen for chosen in (VLLM, GUIDELLM, AIPERF)}
