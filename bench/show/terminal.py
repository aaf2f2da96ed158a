"""Text from outside (labels, model output, error messages) made safe to print: one line, visible, bounded."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"


def printable(text: object, limit: int = 200) -> str:
    """The text on one line without anything that can steer a terminal, cut to ``limit`` characters.

    Control characters, escape sequences, direction overrides and other invisible format characters, lone surrogates
    and line separators are shown as escapes (``\\x1b``, ``\\u202e``); a line break shows as ``\\n``.
    """
    raw = str(text)
    cut = raw[: limit + 1]
    shown = "".join(_visible(character) for character in cut)
    if len(raw) <= limit and len(shown) <= limit:
        return shown
    return shown[: max(limit - 1, 0)] + ELLIPSIS


def _visible(character: str) -> str:
    if character.isprintable() and unicodedata.category(character) not in ("Cf", "Co"):
        return character
    return character.encode("unicode_escape").decode("ascii")


def width_of(line: str) -> int:
    """Columns that a printable line takes on a terminal: wide East Asian characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in line)
    return len(line) + wide - sum(unicodedata.combining(character) > 0 for character in line)


def shorten(text: str, limit: int) -> str:
    """The text cut in the middle, where names differ least: ``Qwen/Qwen3-2…t-2507 0.7``."""
    if len(text) <= limit:
        return text
    if limit < 4:
        return text[: max(limit - 1, 0)] + ELLIPSIS
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + ELLIPSIS + text[len(text) - tail :]
