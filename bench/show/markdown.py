"""GitHub Markdown from text that may hold anything: no field can open a link, an image, a tag or a table cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.show.terminal import printable

_SPECIAL = re.compile(r"([\\`*\[\]<>|~$&@]|:(?=//)|(?<![^\W_])_|_(?![^\W_]))")


def escaped(text: object, limit: int = 300) -> str:
    """Text on one line that Markdown shows as it is."""
    shown = _SPECIAL.sub(r"\\\1", printable(text, limit))
    return re.sub(r"(?i)(www)\.", r"\1\\.", shown)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """A GitHub table; the first ``left`` columns are text, the others figures. Cells are escaped, headers are ours."""
    from tabulate import tabulate

    return tabulate(
        [[escaped(cell) for cell in row] for row in rows],
        headers=headers,
        tablefmt="github",
        disable_numparse=True,
        colalign=["left" if place < left else "right" for place in range(len(headers))] if rows else None,
    )


def code_block(text: str, language: str = "sh") -> str:
    """A fenced block that its content cannot close."""
    lines = [printable(line, 4000) for line in text.splitlines()]
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def folded(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
