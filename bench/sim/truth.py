"""What the simulator really sent, and when: a log to compare a client's records with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.sim.chunks import ANSWER, CALL_ARGUMENTS, FINISH, KIND_NAMES, OPEN_CALL, REASONING, Step


@dataclass(slots=True)
class SentChoice:
    """One choice as far as it was sent. ``event_ns`` is ``time.monotonic_ns`` just before the write."""

    index: int
    reasoning: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    finish_reason: str | None = None
    event_ns: list[int] = field(default_factory=list)
    event_kind: list[str] = field(default_factory=list)

    def add(self, step: Step, call_ids: list[str], now_ns: int | None) -> None:
        """Note a step that is being sent; ``now_ns`` is ``None`` for a reply that is not streamed."""
        kind, text, _, call = step
        if kind == FINISH:
            self.finish_reason = text
            return
        if kind == ANSWER:
            self.text.append(text)
        elif kind == REASONING:
            self.reasoning.append(text)
        elif kind == OPEN_CALL:
            self.calls.append({"id": call_ids[call], "name": text, "arguments": ""})
        elif kind == CALL_ARGUMENTS:
            self.calls[call]["arguments"] += text
        if now_ns is not None:
            self.event_ns.append(now_ns)
            self.event_kind.append(KIND_NAMES[kind])

    def row(self) -> dict[str, Any]:
        """The choice as it is logged."""
        return {
            "index": self.index,
            "text": "".join(self.text),
            "reasoning": "".join(self.reasoning),
            "tool_calls": self.calls,
            "finish_reason": self.finish_reason,
            "event_ns": self.event_ns,
            "event_kind": self.event_kind,
        }


class TruthLog:
    """JSON lines appended to a file, one per response, each in one write."""

    def __init__(self, path: str | None) -> None:
        self._file = Path(path).open("ab", buffering=0) if path is not None else None  # noqa: SIM115 - kept open

    @property
    def is_kept(self) -> bool:
        """Whether there is a log at all."""
        return self._file is not None

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, if there is a log."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
