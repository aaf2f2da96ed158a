"""The number that a reply ends on equals the target."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from bench.domain import Choice, ConfigError, Sample, Score
from bench.registry import plugin, unknown
from bench.scorers import Scorer
from bench.scorers.numbers import Number, chinese_number, normalise, numbers, spaced
from bench.scorers.verdicts import reply_text, right_or_wrong, unparsed, unscored

# A heading such as "#### Step 2" is not an answer mark.
_HASHES = re.compile(r"####(?!#|\s*\**\s*(?:step|part|case|section|question)\b)", re.IGNORECASE)
_SAYS = re.compile(
    r"(?:\banswer\s{0,3}(?:is(?!\s{1,3}not\b)|was|=|:|would be|should be|comes to)"
    r"|答案\s{0,3}(?:就?是|为|应为|应该是|:|=)"
    r"|(?:^|[\n。;,!?.])[ \t]{0,8}答\s{0,3}:)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_ORDINAL_LINE = re.compile(r"(?m)^[ \t]*\d{1,2}[.)](?=\s)")
_SHORT_CHARS = 16


@plugin("scorer", "numeric")
@dataclass(frozen=True)
class Numeric(Scorer):
    """Reads the final number by the strongest sign of it and compares it with the target (a number or a text with one).

    From strong to weak: after ``####``; inside the last ``\\boxed{}``; after "answer is", "Answer:", "答案是"; a number
    in bold; the last number of the reply. Percent signs and scale words count either way (25% equals 25 and 0.25).
    A list of targets accepts any of them.

    Attributes:
        abs_tol: largest absolute difference that is still equal.
        rel_tol: largest difference relative to the target that is still equal.
        extract: the rules that are tried, in this order: hashes, boxed, answer, bold, last, chinese.
    """

    kind: str = "numeric"
    version: str = "1"
    abs_tol: float = 1e-6
    rel_tol: float = 0.0
    extract: list[str] = field(default_factory=lambda: list(RULES))

    def __post_init__(self) -> None:
        strange = [name for name in self.extract if name not in RULES]
        if strange or not self.extract:
            raise ConfigError(f"scorer.extract: {unknown('rule', (strange or [''])[0], list(RULES))}")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` for a reply without a number."""
        if sample.target is None:
            return unscored("no target")
        listed = sample.target if isinstance(sample.target, list) else [sample.target]
        targets = [value for item in listed for value in _target_values(item)]
        if not targets:
            return unscored("the target is no number")
        number, rule = final_number(reply_text(choice), self.extract)
        if number is None:
            return unparsed("no number in the reply")
        right = any(self._equal(value, target) for value in number.values for target in targets)
        return right_or_wrong(right, number.text, rule)

    def _equal(self, value: Fraction, target: Fraction) -> bool:
        return abs(value - target) <= max(Fraction(self.abs_tol), Fraction(self.rel_tol) * abs(target))


def final_number(text: str, rules: Sequence[str] = ()) -> tuple[Number | None, str]:
    """The number that a reply gives as its answer, and the rule that found it; all rules where none are named."""
    text = normalise(text)
    for name in rules or RULES:
        shown_as, rule = RULES[name]
        number = rule(text)
        if number is not None:
            return number, shown_as
    return None, ""


def _target_values(target: Any) -> tuple[Fraction, ...]:
    if isinstance(target, bool):
        return ()
    if isinstance(target, int):
        return (Fraction(target),)
    if isinstance(target, float):
        return (Fraction(repr(target)),) if math.isfinite(target) else ()
    number = final_number(target)[0] if isinstance(target, str) else None
    return number.values if number else ()


def _stated(text: str) -> Number | None:
    """The number of a place that states an answer: behind its last ``=``, else the first one."""
    text = spaced(text.replace("*", " ").replace("`", " "))
    for place in (text.rpartition("=")[2], text):
        part = re.sub(r"^\s*-\s+(?=[\d.$])", "-", place)
        number = next(numbers(part), None) or chinese_number(part)
        if number is not None:
            return number
    return None


def _after(marker: re.Pattern[str], text: str) -> Number | None:
    """The number that the last marker with one states, on the marker's line and before the next marker."""
    end = len(text)
    for match in reversed(list(marker.finditer(text))):
        number = _stated(text[match.end() : end].partition("\n")[0])
        if number is not None:
            return number
        end = match.start()
    return None


def _boxed(text: str) -> Number | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    inside = text[start + len("\\boxed{") :]
    depth = 1
    for position, char in enumerate(inside):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return _stated(inside[:position])
    return None


def _bold(text: str) -> Number | None:
    for match in reversed(list(_BOLD.finditer(text))):
        inside = match.group(1).strip()
        found = list(numbers(inside))
        if len(found) == 1 and found[0].start == 0 and not re.match(r"[.):]", inside[found[0].end :]):
            return found[0]
    return None


def _last(text: str) -> Number | None:
    last = None
    for last in numbers(_ORDINAL_LINE.sub("", text)):  # noqa: B007  # the last one is wanted, after the loop
        pass
    return last


RULES: dict[str, tuple[str, Callable[[str], Number | None]]] = {
    "hashes": ("after ####", lambda text: _after(_HASHES, text)),
    "boxed": ("boxed", _boxed),
    "answer": ("after 'answer'", lambda text: _after(_SAYS, text)),
    "bold": ("bold", _bold),
    "last": ("last number", _last),
    "chinese": ("Chinese numeral", lambda text: chinese_number(text) if len(text) <= _SHORT_CHARS else None),
}
