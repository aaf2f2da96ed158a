"""The letter that a reply picks among lettered options."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import plain, reply_text, right_or_wrong, unparsed, unscored

_FILLER = r"(?:definitely|clearly|probably|most likely|likely|therefore|thus|option|choice|letter|选项)"
_SAYS = re.compile(
    r"(?:\b(?:answer|choice|option)(?:\s{1,3}(?:is|would be|should be|must be)(?!\s{1,3}not\b)|\s{0,3}[:=])"
    r"|\b(?:I\s(?:would\s)?)?(?:choose|pick|select|go with)\b"
    r"|####|答案\s{0,3}(?:就?是|为|应为|应该是|选|:|=)|(?:应该?|故|所以|因此)?选(?:择)?(?!项)\s{0,3}:?)"
    rf"[\s:]{{0,5}}(?:{_FILLER}[\s:]{{0,5}}){{0,2}}",
    re.IGNORECASE,
)
_OPENING = r"[\s(\[{\"'“‘*_`$【]{0,8}(?:\\(?:text|mathrm|mathbf|textbf)\{)?[\s(*_]{0,4}"
_OR = re.compile(r"[\s)\]*_`\"'”’】}]{0,8}(?:or|and|/|,|或|和|、|&)[\s(\[*_`\"'“‘【]{0,8}([A-Za-z])(?![A-Za-z0-9])")
_FRAME = " \t\r\n*_`()[]【】.:\"'"
_LINE = re.compile(r"^[\s>*_`#(\[【\"'-]{0,8}([A-Z])(?![A-Za-z0-9])[*_`)\]】\"']{0,4}\s{0,3}(?:[.):,、].{0,400})?$")
_FRAMED = re.compile(r"\(([A-Z])\)|\*\*\(?([A-Z])[).]{0,2}\*\*|【([A-Z])】|\[([A-Z])\]")
# "A whale" has an article and "I think" a pronoun, not letters of options.
_ARTICLE = r"A(?=\s+(?!(?:or|and|is|was|as|because|since)\b)[a-z])"
_ALONE = re.compile(rf"(?<![A-Za-z0-9'’])(?!{_ARTICLE}|I\s)([A-Z])(?![A-Za-z0-9'’])")


class _AmbiguousError(Exception):
    """A rule matched, and named more than one letter."""


@dataclass(frozen=True)
class _Found:
    letter: str
    rule: str


@plugin("scorer", "choice")
@dataclass(frozen=True)
class LetterChoice(Scorer):
    """Reads the chosen letter by the strongest sign of it.

    The target is a letter, an option's number from 0, or an option's text. Signs from strong to weak: the last
    ``\\boxed{B}``; the last "the answer is B", "Answer: B", "答案是B", "选B"; a line that is a letter or starts as one
    (``B) Paris``); letters in brackets or bold; letters standing alone; the text of exactly one option. A sign that
    names two letters makes the reply ``unparsed``, never a guess.

    Attributes:
        letters: the letters of rows that bring no ``options``.
    """

    kind: str = "choice"
    version: str = "1"
    letters: str = "ABCD"

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where no letter, or more than one, is picked."""
        if sample.target is None:
            return unscored("no target")
        options = sample.fields.get("options")
        options = [str(option) for option in options] if isinstance(options, list) else []
        letters = ascii_uppercase[: len(options)] if options else self.letters.upper()
        wanted = _target_letter(sample.target, letters, options)
        if wanted is None:
            return unscored("the target is none of the options")
        try:
            found = picked_letter(reply_text(choice), letters, options)
        except _AmbiguousError as error:
            return unparsed(f"ambiguous: {error}")
        if found is None:
            return unparsed("no option is named")
        return right_or_wrong(found.letter == wanted, found.letter, found.rule)


def picked_letter(text: str, letters: str, options: Sequence[str] = ()) -> _Found | None:
    """The letter that a reply picks, and the rule that found it; ``None`` when no rule finds one.

    Raises:
        _AmbiguousError: the strongest rule that matches finds several.
    """
    text = unicodedata.normalize("NFKC", text)
    rules: list[tuple[str, Callable[[], str | None]]] = [
        ("boxed", lambda: _boxed(text, letters)),
        ("said to be the answer", lambda: _said(text, letters)),
        ("a line of its own", lambda: _line(text, letters)),
        ("in brackets or bold", lambda: _only(_FRAMED, text, letters)),
        ("standing alone", lambda: _only(_ALONE, text, letters)),
        ("option text", lambda: _by_text(text, letters, options)),
    ]
    for name, rule in rules:
        letter = rule()
        if letter is not None:
            return _Found(letter, name)
    return None


def _target_letter(target: Any, letters: str, options: Sequence[str]) -> str | None:
    if isinstance(target, int) and not isinstance(target, bool):
        return letters[target] if 0 <= target < len(letters) else None
    if not isinstance(target, str):
        return None
    if len(target.strip()) == 1 and target.strip().upper() in letters:
        return target.strip().upper()
    same = [letter for letter, option in zip(letters, options, strict=False) if plain(option) == plain(target)]
    return same[0] if len(same) == 1 else None


def _letter_at(text: str, letters: str) -> str | None:
    """The letter that a place stating an answer begins with; refuses the article in "the answer is a whale"."""
    opening = re.match(_OPENING, text)
    rest = text[opening.end() :] if opening else text
    match = re.match(r"([A-Za-z])(?![A-Za-z0-9])", rest)
    if not match or match.group(1).upper() not in letters:
        return None
    follows = rest[1:].lstrip(" ")
    if match.group(1).islower() and follows[:1].isalnum():
        return None
    if (
        match.group(1) == "A"
        and re.match(r" [a-z]", rest[1:])
        and not re.match(r" (?:or|and|because|since)\b", rest[1:])
    ):
        return None
    letter = match.group(1).upper()
    other = _OR.match(rest[1:])
    if other and other.group(1).upper() in letters and other.group(1).upper() != letter:
        raise _AmbiguousError(f"{letter} and {other.group(1).upper()}")
    return letter


def _boxed(text: str, letters: str) -> str | None:
    start = text.rfind("\\boxed{")
    return _letter_at(text[start + len("\\boxed{") :], letters) if start >= 0 else None


def _said(text: str, letters: str) -> str | None:
    for match in reversed(list(_SAYS.finditer(text))):
        letter = _letter_at(text[match.end() : match.end() + 80], letters)
        if letter:
            return letter
    return None


def _line(text: str, letters: str) -> str | None:
    whole = text.strip(_FRAME)
    if len(whole) == 1 and whole.upper() in letters:
        return whole.upper()
    found = [(line, _LINE.match(line)) for line in text.splitlines() if line.strip()]
    named = {match.group(1) for _, match in found if match and match.group(1) in letters}
    if not named:
        return None
    last = found[-1][1]
    if last and last.group(1) in letters and len(found[-1][0].strip(_FRAME)) == 1:
        return last.group(1)
    return _single(named)


def _only(pattern: re.Pattern[str], text: str, letters: str) -> str | None:
    matches = pattern.finditer(text)
    named = {letter for match in matches for letter in match.groups() if letter and letter in letters}
    return _single(named) if named else None


def _by_text(text: str, letters: str, options: Sequence[str]) -> str | None:
    reply = plain(text)
    named: set[str] = set()
    for letter, option in sorted(zip(letters, options, strict=False), key=lambda pair: -len(pair[1])):
        wanted = plain(option)
        if not wanted:
            continue
        pattern = rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])"
        if re.search(pattern, reply):
            named.add(letter)
            # An option that is part of a longer one ("iron" in "iron oxide") counts only where it stands by itself.
            reply = re.sub(pattern, "\n", reply)
    return _single(named) if named else None


def _single(named: set[str]) -> str:
    if len(named) > 1:
        raise _AmbiguousError(", ".join(sorted(named)))
    return next(iter(named))
