"""What a scorer says of one reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import build


def verdict(
    kind: str, target: Any, reply: Choice | str, fields: Mapping[str, Any] | None = None, **options: Any
) -> Score:
    """The score of a reply to a sample with this target and these fields."""
    choice = Choice(index=0, text=reply) if isinstance(reply, str) else reply
    score: Score = build("scorer", {"kind": kind, **options}).score(
        Sample(sample_id="s", messages=(), target=target, fields=fields or {}), choice
    )
    return score
