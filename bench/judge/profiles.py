"""Other tools' definitions, recomputed from the recorded events to reconcile their numbers with ours.

Each profile says of each column what it is and how it differs from ours. Checked against the tools' sources:

- ``vllm``: vLLM ``vllm/benchmarks/serve.py`` (``calculate_metrics``) at 009e6d4 and
  ``vllm/benchmarks/lib/endpoint_request_func.py`` (``async_request_openai_chat_completions``) at 02cfb53.
- ``guidellm``: GuideLLM ``src/guidellm/schemas/base/request_stats.py`` at 31c74ea, ``schemas/base/statistics.py`` at
  0280467, ``benchmark/schemas/generative/metrics.py`` at 06cef29, ``backends/openai/http.py`` at 03358ed.
- ``aiperf``: AIPerf ``src/aiperf/metrics/types/`` (``ttft_metric.py``, ``inter_chunk_latency_metric.py`` at 58028d5,
  ``inter_token_latency_metric.py`` at 58dd5de, ``request_latency_metric.py`` at 4f7ccff, ``min_request_metric.py`` and
  ``max_response_metric.py`` at 533b205) and its metrics reference, v0.13.0.

What a record cannot give back: their clocks start before the connection is taken, ours when the request is written.
vLLM counts tokens with a tokenizer where the server reports none, AIPerf by default always; here the server's count
stands, and without one there are no token figures. A stream that ends in order but with neither a finish reason nor
``[DONE]`` is served there and failed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.domain import ConfigError
from bench.judge.definitions import Profile, ServedCell
from bench.judge.streams import Streams, read_streams
from bench.judge.tools import PROFILES

if TYPE_CHECKING:
    import pandas as pd

    from bench.judge.definitions import Floats, Quantile
    from bench.judge.rows import CellInfo, RunRows


def profile(name: str) -> Profile:
    """The profile of a tool.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PROFILES:
        raise ConfigError(f"report.metrics: no definitions of '{name}'; there are {', '.join(PROFILES)}.")
    return PROFILES[name]


def recompute(rows: RunRows, wanted: Profile | str) -> pd.DataFrame:
    """One row per cell, ``cell_id label served`` and the profile's columns; null where nothing supports a figure."""
    import pandas as pd

    chosen = profile(wanted) if isinstance(wanted, str) else wanted
    streams = read_streams(rows)
    made = [_row(rows, streams, cell, chosen) for cell in rows.cells]
    names = ["cell_id", "label", "served", *(column.name for column in chosen.columns)]
    frame = pd.DataFrame(made, columns=names)
    return frame.astype(dict.fromkeys(names[3:], "float64"))


def _row(rows: RunRows, streams: Streams, cell: CellInfo, chosen: Profile) -> dict[str, Any]:
    import numpy as np

    seen = ServedCell(
        served=streams.requests[streams.requests["cell_id"] == cell.cell_id],
        gaps_ms=streams.gaps_ms.get(cell.cell_id, np.empty(0)),
        planned=rows.requests[rows.requests["cell_id"] == cell.cell_id],
    )
    row: dict[str, Any] = {"cell_id": cell.cell_id, "label": cell.label, "served": len(seen.served)}
    for quantity in chosen.quantities:
        figures = _summarise(*quantity.of(seen), chosen.quantile)
        names = (f"{quantity.stem}_{short}_ms" for short in ("mean", "p50", "p99"))
        row |= dict(zip(names, figures, strict=True))
    return row | {rate.name: rate.of(seen) for rate in chosen.rates}


def _summarise(
    values: Floats, weights: Floats | None, quantile: Quantile
) -> tuple[float | None, float | None, float | None]:
    import numpy as np

    known = ~np.isnan(values) if weights is None else ~np.isnan(values) & (weights > 0)
    if not known.any():
        return None, None, None
    order = np.argsort(values[known], kind="stable")
    values = values[known][order]
    weights = None if weights is None else weights[known][order]
    mean = float(np.average(values, weights=weights))
    return mean, quantile(values, weights, 0.5), quantile(values, weights, 0.99)
