"""The share of checkable instructions that a reply follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.json_values import parsed
from bench.scorers.verdicts import plain, reply_text, share, unparsed, unscored

Options = Mapping[str, Any]

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
# Starts only where a run of marks starts, and gives no mark back: linear in the text, however hostile.
_SENTENCE_END = re.compile(r"(?<![.!?。！？])[.!?。！？]++[\"'”’)]*+(?=\s|$)|[。！？]+")
_BULLET = re.compile(r"^\s{0,8}[-*•]\s+\S")
_NUMBERED = re.compile(r"^\s{0,8}\d{1,3}[.)]\s+\S")


def _within(count: int, options: Options) -> bool:
    """Between ``min`` and ``max``, both included and both optional; one of them must be there."""
    if "min" not in options and "max" not in options:
        raise KeyError("min or max")
    return int(options.get("min", 0)) <= count <= int(options.get("max", count))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _sentences(text: str) -> int:
    ends = list(_SENTENCE_END.finditer(text))
    rest = text[ends[-1].end() :] if ends else text
    return len(ends) + bool(_WORD.search(rest))


def _has_word(text: str, word: str) -> bool:
    return _count_word(text, word) > 0


def _count_word(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(plain(word))}(?!\w)", plain(text)))


def _is_json(text: str, options: Options) -> bool:
    try:
        value = parsed(text)
    except ValueError:
        return False
    keys = options.get("keys")
    return keys is None or (isinstance(value, dict) and set(value) == set(keys))


CHECKS: dict[str, Callable[[str, Options], bool]] = {
    "words": lambda text, o: _within(len(_WORD.findall(text)), o),
    "sentences": lambda text, o: _within(_sentences(text), o),
    "paragraphs": lambda text, o: _within(len([p for p in re.split(r"\n[ \t]*\n", text) if p.strip()]), o),
    "lines": lambda text, o: _within(len(_lines(text)), o),
    "bullets": lambda text, o: sum(bool(_BULLET.match(line)) for line in _lines(text)) == int(o["count"]),
    "numbered": lambda text, o: sum(bool(_NUMBERED.match(line)) for line in _lines(text)) == int(o["count"]),
    "include": lambda text, o: all(_has_word(text, word) for word in o["words"]),
    "avoid": lambda text, o: not any(_has_word(text, word) for word in o["words"]),
    "word_count": lambda text, o: _within(_count_word(text, o["word"]), o),
    "no_chars": lambda text, o: not any(char in text for char in o["chars"]),
    "no_digits": lambda text, o: not any(char.isdigit() for char in text),
    "lower_case": lambda text, o: text == text.lower(),
    "upper_case": lambda text, o: text == text.upper(),
    "starts_with": lambda text, o: text.startswith(o["text"]),
    "ends_with": lambda text, o: text.endswith(o["text"]),
    "quoted": lambda text, o: len(text) > 1 and text[0] in '"“' and text[-1] in '"”',
    "title": lambda text, o: re.search(r"<<[^<>\n]{1,200}>>", text) is not None,
    "json": _is_json,
}


@plugin("scorer", "constraints")
@dataclass(frozen=True)
class Constraints(Scorer):
    """Checks the row's ``constraints``, a list of ``{"kind": ..., options}``; ``correct`` only when all are met.

    Kinds: ``words``, ``sentences``, ``paragraphs``, ``lines`` (``min``, ``max``); ``bullets``, ``numbered`` (``count``:
    exactly so many lines); ``include``, ``avoid`` (``words``, whole words in any letter case); ``word_count``
    (``word``, ``min``, ``max``); ``no_chars`` (``chars``); ``no_digits``; ``lower_case``; ``upper_case``;
    ``starts_with``, ``ends_with`` (``text``); ``quoted`` (all in double quotes); ``title`` (``<<...>>``); ``json``
    (nothing but JSON; ``keys``: exactly these). Outer whitespace of the reply does not count.
    """

    kind: str = "constraints"
    version: str = "1"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``partial`` with the share met, ``wrong`` when none is; ``unparsed`` for an empty reply."""
        listed = sample.fields.get("constraints")
        if sample.target is None or not isinstance(listed, list) or not listed:
            return unscored("no constraints")
        text = reply_text(choice)
        if not text:
            return unparsed("the reply holds no text")
        broken: list[str] = []
        for item in listed:
            try:
                if not CHECKS[item["kind"]](text, item):
                    broken.append(item["kind"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                return unscored(f"the row's constraint {item!r} cannot be checked: {error}")
        detail = f"broken: {', '.join(broken)}" if broken else ""
        return share(len(listed) - len(broken), len(listed), f"{len(listed) - len(broken)}/{len(listed)}", detail)
