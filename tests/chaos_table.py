"""The chaos command's table: one line per promise, what was measured beside what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One promise. ``holds`` is ``None`` where a figure is told for its own sake."""

    what: str
    measured: str
    allowed: str = ""
    holds: bool | None = None


@dataclass
class Table:
    """Lines in the order in which they were found."""

    lines: list[Line] = field(default_factory=list)

    def add(self, what: str, measured: object, allowed: object = "", holds: bool | None = None) -> None:
        """A line as it is."""
        self.lines.append(Line(what, str(measured), str(allowed), holds))

    def most(self, what: str, measured: float, most: float) -> None:
        """A figure that may be at most so much."""
        self.add(what, f"{measured:g}", f"<= {most:g}", measured <= most)

    def least(self, what: str, measured: float, least: float) -> None:
        """A figure that must be at least so much."""
        self.add(what, f"{measured:.3g}", f">= {least:g}", measured >= least)

    def equal(self, what: str, measured: int, wanted: int) -> None:
        """A count that must be exact."""
        self.add(what, measured, wanted, measured == wanted)

    @property
    def broken(self) -> list[Line]:
        """The promises that do not hold."""
        return [line for line in self.lines if line.holds is False]

    def text(self) -> str:
        """``what | measured | allowed | holds``, in columns."""
        told = {True: "yes", False: "NO", None: ""}
        rows = [("what", "measured", "allowed", "holds")]
        rows += [(line.what, line.measured, line.allowed, told[line.holds]) for line in self.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def most_in_window(events: Iterable[tuple[int, int]], span_ns: int) -> int:
    """The most units within any half-open window of a length.

    Args:
        events: times in nanoseconds, and units.
        span_ns: length of the window.
    """
    ordered: Sequence[tuple[int, int]] = sorted(events)
    most = held = first = 0
    for at_ns, units in ordered:
        held += units
        while ordered[first][0] <= at_ns - span_ns:
            held -= ordered[first][1]
            first += 1
        most = max(most, held)
    return most
