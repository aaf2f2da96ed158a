"""How deep JSON may be nested before it counts as damage.

Parsers and writers recurse, each from another depth of the stack: what one can still read, the next cannot write. A
bound far below all of theirs gives the same answer wherever it is asked.
"""

from __future__ import annotations

import re

#: objects and lists within each other; replies and rows in use have some ten
MOST_LEVELS = 100

_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_OTHERS = re.compile(r"[^\[\]{}]+")


def too_deep(data: str | bytes) -> bool:
    """Whether JSON text is nested deeper than ``MOST_LEVELS``. Texts too short or too plain for that cost nothing."""
    if len(data) <= MOST_LEVELS:
        return False
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    if text.count("{") + text.count("[") <= MOST_LEVELS:
        return False
    level = 0
    for bracket in _OTHERS.sub("", _STRINGS.sub("", text)):
        level += 1 if bracket in "{[" else -1
        if level > MOST_LEVELS:
            return True
    return False
