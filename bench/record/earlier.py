"""The replies that earlier sessions of an unfinished run left behind, sealed or still in the journal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.domain import Choice, Outcome
from bench.record.folder import JOURNAL, part_path, sealed_parts
from bench.record.journal import read_segment, segments
from bench.record.rows import CHOICE_COLUMNS, REQUEST_COLUMNS, names, unpack

_OWN = names("request_id cell_id sample_id repeat outcome error_kind error_detail prompt_tokens completion_tokens")
_SAID = names("choice text reasoning tool_calls finish_reason")
_own = [REQUEST_COLUMNS.index(name) for name in _OWN]
_said = [CHOICE_COLUMNS.index(name) for name in _SAID]


@dataclass(frozen=True, slots=True)
class Replied:
    """What scoring takes of one recorded request. ``tokens``: prompt and completion, as far as reported."""

    request_id: str
    cell_id: str
    sample_id: str
    repeat: int
    outcome: Outcome
    error_kind: str | None
    error_detail: str | None
    tokens: int
    choices: tuple[Choice, ...]


def replied(packed: bytes) -> Replied:
    """A packed exchange as scoring sees it; event marks are left out.

    Raises:
        ValueError: not a packed exchange.
    """
    request, choices, _ = unpack(packed)
    own = dict(zip(_OWN, (request[place] for place in _own), strict=True))
    return _replied(own, [dict(zip(_SAID, (row[place] for place in _said), strict=True)) for row in choices])


def _replied(own: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> Replied:
    return Replied(
        own["request_id"],
        own["cell_id"],
        own["sample_id"],
        own["repeat"],
        Outcome(own["outcome"]),
        own["error_kind"],
        own["error_detail"],
        (own["prompt_tokens"] or 0) + (own["completion_tokens"] or 0),
        tuple(
            Choice(
                index=row["choice"],
                text=row["text"],
                reasoning=row["reasoning"],
                tool_calls=tuple(json.loads(row["tool_calls"])) if row["tool_calls"] else (),
                finish_reason=row["finish_reason"],
            )
            for row in choices
        ),
    )


def earlier_replies(run: Path) -> Iterator[Replied]:
    """Every recorded request of an open run. One that is sealed meanwhile may come twice.

    Raises:
        ConfigError: a part is damaged.
    """
    for segment in segments(run / JOURNAL):
        with contextlib.suppress(FileNotFoundError):  # sealed since it was listed: its part is read below
            records = read_segment(segment)
            yield from map(replied, records[1] if records else ())
    for _, part in sealed_parts(run):
        yield from _sealed(part, part_path(run, "choices", part.stem.removeprefix("part-")))


def _sealed(requests: Path, choices: Path) -> Iterator[Replied]:
    from bench.record.reading import part_rows

    said: dict[str, list[dict[str, Any]]] = {}
    for row in part_rows(choices, ["request_id", *_SAID]):
        said.setdefault(row["request_id"], []).append(row)
    for row in part_rows(requests, _OWN):
        yield _replied(row, said.get(row["request_id"], ()))
