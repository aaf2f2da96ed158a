"""What a search found, in words and as a table of its tries, from ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.judge.watched import Standing
from bench.show.markdown import escaped, table

if TYPE_CHECKING:
    from bench.judge.validity import RunValidity

_HEADERS = (
    "try",
    "run",
    "rate/s",
    "s",
    "requests",
    "failed",
    "demand",
    "needed",
    "met by",
    "lower 95%",
    "2nd half",
    "",
)
_READING = (
    "A probe passes when the share of its requests that met each demand reaches what is needed, in its second half "
    "too; a confirming run when the lower bounds of that share do. The demand shown is the one with the least to "
    "spare. Latencies count from the time a request was due."
)


def claims(header: Mapping[str, Any], validity: RunValidity) -> list[str]:
    """What was found for each cell that was searched; empty for any other run.

    A rate that was confirmed by a measurement which is invalid is no finding, and is said to be none.
    """
    found: Sequence[Mapping[str, Any]] = header.get("search") or ()
    return [f"{one['label']}: {_claim(one, validity)}" if len(found) > 1 else _claim(one, validity) for one in found]


def _claim(one: Mapping[str, Any], validity: RunValidity) -> str:
    confirming = validity.cells.get(one["tried"][-1]["cell_id"]) if one["proven_rate"] is not None else None
    if confirming is None or confirming.standing is not Standing.INVALID:
        return str(one["claim"])
    return f"Not to be relied on, for the confirming run is invalid ({confirming.findings[0].text}): {one['claim']}"


def trace(header: Mapping[str, Any]) -> list[str]:
    """The section of ``report.md`` on the tries of a search; empty for any other run."""
    found: Sequence[Mapping[str, Any]] = header.get("search") or ()
    if not found:
        return []
    parts = ["## How the rate was found"]
    for one in found:
        if len(found) > 1:
            parts.append(f"**{escaped(one['label'])}**")
        parts.append(table(_HEADERS, [_row(tried) for tried in one["tried"]], left=2))
    return [*parts, _READING]


def _row(tried: Mapping[str, Any]) -> list[str]:
    passed = {True: "passed", False: "failed", None: "cut short"}[tried["passed"]]
    made = [
        str(tried["number"]),
        "confirm" if tried["confirms"] else "probe",
        f"{tried['rate']:g}",
        f"{tried['seconds']:g}",
    ]
    if tried["passed"] is None:
        return [*made, *["-"] * 7, passed]
    one = min(tried["evidence"], key=lambda one: (one["attainment"] or 0.0) - one["share"])
    shares = (one["share"], one["attainment"], _lowest(one), one["second_half"])
    return [*made, f"{tried['sent']:,}", f"{tried['failed']:,}", one["demand"], *map(_percent, shares), passed]


def _lowest(one: Mapping[str, Any]) -> float | None:
    """The lower of the two bounds; ``None`` when either is missing, for then nothing is proven."""
    bounds = (one["lower95"], one["batch_lower95"])
    return None if None in bounds else min(bounds)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
