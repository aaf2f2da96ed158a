"""Single values of trace rows: times, lengths and block ids, each checked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from bench.files import parse_json

SECOND_NS, MILLISECOND_NS = 1_000_000_000, 1_000_000
#: times, and the differences of any two, fit 64 bits
EARLIEST_NS, LATEST_NS = -(10**18), 8 * 10**18
#: longer prompts or answers than any model takes are damage, not lengths
MAX_TOKENS = 100_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WALL_CLOCK = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)


def time_of(value: object, unit_ns: int = SECOND_NS) -> int:
    """Nanoseconds of a timestamp, exactly: a number of units, or a date and time of day (UTC unless it says its zone).

    Raises:
        ValueError: neither.
    """
    text = str(value).strip()
    clock = _WALL_CLOCK.fullmatch(text) if isinstance(value, str) else None
    if clock is not None:
        date, time, fraction, zone = clock.groups()
        moment = datetime.fromisoformat(f"{date}T{time}{zone or '+00:00'}") - _EPOCH
        time_ns = (moment.days * 86_400 + moment.seconds) * SECOND_NS + int((fraction or "").ljust(9, "0"))
    else:
        number = _number(value)
        if number is None or not EARLIEST_NS <= number * unit_ns <= LATEST_NS:
            raise ValueError(f"must be a number or a date and time, it is {_shown(value)}")
        time_ns = round(number * unit_ns)
    if not EARLIEST_NS <= time_ns <= LATEST_NS:
        raise ValueError(f"must lie between the years 1939 and 2222, it is {_shown(value)}")
    return time_ns


def tokens_of(value: object) -> int:
    """A length in tokens: a whole number, not negative.

    Raises:
        ValueError: anything else.
    """
    number = _number(value)
    if number is None or number != number.to_integral_value() or not 0 <= number <= MAX_TOKENS:
        raise ValueError(f"must be a whole number of tokens, 0 to {MAX_TOKENS:,}; it is {_shown(value)}")
    return int(number)


def _number(value: object) -> Decimal | None:
    """A finite number of a sane size, else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value).strip()) if isinstance(value, float | str) else Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number.adjusted() < 30 else None


def ids_of(value: object) -> list[int]:
    """Ids of prompt blocks: a list of whole numbers, or such a list as JSON text.

    Raises:
        ValueError: anything else.
    """
    ids = value
    if isinstance(value, str):
        try:
            ids = parse_json(value)
        except ValueError:
            ids = None
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < 2**63 for one in ids):
        raise ValueError(f"must be a list of whole numbers, it is {_shown(value)}")
    return ids


def _shown(value: object) -> str:
    return repr(value)[:60]
