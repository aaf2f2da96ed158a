"""The Arrow schemas of the tables and how their columns are written. Importing this module imports pyarrow."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from bench.record.rows import ATTEMPT_COLUMNS, CHOICE_COLUMNS, EVENT_KINDS, REQUEST_COLUMNS, mended, names

EVENT_KIND_NAMES = pa.array([kind.value for kind in EVENT_KINDS], pa.string())
_EVENT_KIND = pa.dictionary(pa.int8(), pa.string())

_TYPES = {
    **dict.fromkeys(("repeat", "n", "attempts", "choice", "attempt", "status"), pa.int32()),
    **dict.fromkeys(("order", "bytes_in", "events"), pa.int64()),
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens"), pa.int64()),
    **dict.fromkeys(("stream", "cached", "warmup"), pa.bool_()),
    **dict.fromkeys(("cost", "retry_after_s", "value"), pa.float64()),
    "event_ns": pa.list_(pa.int64()),
    "event_kind": pa.list_(_EVENT_KIND),
}


def _schema(columns: list[str]) -> Any:
    def type_of(name: str) -> Any:
        return _TYPES.get(name) or (pa.int64() if name.endswith("_ns") else pa.string())

    return pa.schema([pa.field(name, type_of(name)) for name in columns])


REQUESTS = _schema(REQUEST_COLUMNS)
CHOICES = _schema(CHOICE_COLUMNS)
ATTEMPTS = _schema(ATTEMPT_COLUMNS)
SCORES = _schema(names("request_id choice scorer value label extracted detail scorer_version"))
SAMPLES = _schema(names("dataset_key sample_id messages target tags fields tools response_format place"))

#: in the order in which they are published: a part of ``requests`` says that the others are there
SEALED = {"choices": CHOICES, "attempts": ATTEMPTS, "requests": REQUESTS}

#: columns in nanoseconds that are durations; all other ``*_ns`` columns are marks, counted from the run's origin
DURATIONS = frozenset({"connect_ns", "loop_lag_ns", "waited_ns"})

_LOW_CARDINALITY = names(
    "cell_id sample_id provider model outcome error_kind error_detail error_code usage_source currency "
    "response_model system_fingerprint finish_reason scorer label scorer_version dataset_key"
)


def writer_options(schema: Any) -> dict[str, Any]:
    """Options of ``pyarrow.parquet.ParquetWriter``: zstd, dictionaries only where they pay, deltas for times."""
    encodings = {name: "DELTA_BINARY_PACKED" for name in schema.names if name.endswith("_ns") and name != "event_ns"}
    dictionaries = [name for name in schema.names if name in _LOW_CARDINALITY]
    if "event_ns" in schema.names:
        encodings["event_ns.list.element"] = "DELTA_BINARY_PACKED"
        dictionaries.append("event_kind.list.element")
    return {"compression": "zstd", "use_dictionary": dictionaries, "column_encoding": encodings or None}


def fitted(values: list[Any], kind: Any) -> Any:
    """An Arrow array of a type; a value that does not fit becomes its text in a text column and null in another.

    One odd value out of a server's reply must not cost the run its table.
    """
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([_fit(value, kind) for value in values], kind)


def _fit(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if kind == pa.string():
        return mended(str(value))
    try:
        return pa.scalar(value, kind).as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
