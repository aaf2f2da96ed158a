"""Numbers as people and models write them, read from text as exact fractions.

Understood: signs, thousands separators (``1,234``, ``1 234``, ``1'234``), decimals, exponents, fractions (``3/4``,
``1 3/4``, ``\\frac{3}{4}``), percent, currency signs, full-width digits, words for thousands and millions, and Chinese
numerals (``三百零五``, ``3万``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 300

_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "百": 10**2,
    "千": 10**3,
    "万": 10**4,
    "萬": 10**4,
    "亿": 10**8,
    "億": 10**8,
    "万亿": 10**12,
}
_CURRENCY = r"[$€£¥₹₩]|US\$|USD|EUR|GBP|CNY|RMB|Rs\.?"
_SEPARATED = r"\d{1,3}(?:,\d{2,3}){0,12},\d{3}(?!\d)|\d{1,3}(?:'\d{3})+(?!\d)|\d{1,3}(?:_\d{3})+(?!\d)"
_DECIMAL = rf"(?:{_SEPARATED}|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?<![A-Za-z0-9_.^]) (?<!\d/)
    (?P<sign>[-+](?=[\d.$€£¥₹₩]))? (?:{_CURRENCY})? \ ? (?P<inner>-(?=[\d.]))?
    (?:
        (?P<whole>\d{{1,9}})\ (?P<mixed_top>\d{{1,9}})/(?P<mixed_bottom>\d{{1,9}})(?![/\d])
      | (?P<top>\d{{1,15}})\ ?/\ ?(?P<bottom>\d{{1,15}})(?![/\d])
      | (?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[-+]?\d{{1,3}})(?!\w))?
    )
    (?:
        \s?(?P<percent>%|percent\b|per\ cent\b)
      | \s?(?P<scale>万亿|[百千万萬亿億]|(?:hundred|thousand|million|billion|trillion)\b)
    )?
    """,
    re.VERBOSE,
)
_FRACTION_COMMAND = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d{1,15})\s*\}\s*\{\s*(\d{1,15})\s*\}")
_POWER_OF_TEN = re.compile(r"\s?(?:\\times|\\cdot|[×*x])\s?10\s?\^\s?\{?\s?([-+]?\d{1,3})\s?\}?")
_LATEX_SPACES = re.compile(r"\\[,!;:] ?(?=\d)|\\[,!;: ]|\{(,)\}")
_NO_SUPERSCRIPTS = dict.fromkeys(map(ord, "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ"))
_HIDDEN_SPACE = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3})")
_DIGITS = {
    char: value
    for value, chars in enumerate(("零〇", "一壹", "二两贰兩", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖"))
    for char in chars
}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CHINESE = re.compile(f"负?[{''.join([*_DIGITS, *_UNITS, *_MYRIADS])}]+(?:点[{''.join(_DIGITS)}]+)?")


@dataclass(frozen=True)
class Number:
    """A number in a text.

    Attributes:
        values: what it may mean: as written, and with its percent sign or scale word applied.
        text: as it stands in the (normalised) text.
        start: where it starts there.
        end: where it ends.
    """

    values: tuple[Fraction, ...]
    text: str
    start: int
    end: int


def normalise(text: str) -> str:
    """Text with one form of digits, signs and spaces, LaTeX number commands resolved, superscripts dropped."""
    text = _HIDDEN_SPACE.sub("", text.translate(_NO_SUPERSCRIPTS))
    text = unicodedata.normalize("NFKC", text.replace("½", " 1/2").replace("¼", " 1/4").replace("¾", " 3/4"))
    text = (
        text.replace("\u2212", "-")
        .replace("\u2044", "/")
        .replace("\u2019", "'")
        .replace("\\$", "$")
        .replace("\\%", "%")
    )
    text = re.sub(r"(?<![\w\u2013])\u2013(?=\d)", "-", text)
    text = _LATEX_SPACES.sub(r"\1", text)
    text = _FRACTION_COMMAND.sub(_fraction, text)
    return _POWER_OF_TEN.sub(r"e\1", text)


def _fraction(match: re.Match[str]) -> str:
    """``1\\frac{3}{4}`` is a mixed number and needs its space; ``-\\frac{3}{4}`` must keep its sign."""
    mixed = match.string[match.start() - 1 : match.start()].isdigit()
    return f"{' ' if mixed else ''}{match.group(1)}/{match.group(2)} "


def numbers(text: str) -> Iterator[Number]:
    """Every number written with digits in a normalised text, in order."""
    for match in _NUMBER.finditer(text):
        values = _values(match)
        if values:
            yield Number(values, match.group().strip(), match.start(), match.end())


def chinese_number(text: str) -> Number | None:
    """The first number written in Chinese numerals, for places where a number is expected."""
    match = _CHINESE.search(text)
    value = _chinese_value(match.group()) if match else None
    return Number((value,), match.group(), match.start(), match.end()) if match and value is not None else None


def spaced(text: str) -> str:
    """Text with spaces inside numbers closed (``12 500``): only where one number is expected."""
    return re.sub(r"(?<![\d.,])(\d{1,3}(?: \d{3})+)(?![\d/])", lambda match: match.group().replace(" ", ""), text)


def _values(match: re.Match[str]) -> tuple[Fraction, ...]:
    part = match.groupdict()
    if sum(char.isdigit() for char in match.group()) > MAX_DIGITS:
        return ()
    try:
        if part["whole"]:
            value = int(part["whole"]) + Fraction(int(part["mixed_top"]), int(part["mixed_bottom"]))
        elif part["top"]:
            value = Fraction(int(part["top"]), int(part["bottom"]))
        else:
            digits = re.sub(r"[,'_]", "", part["decimal"])
            value = Fraction(digits) * Fraction(10) ** int(part["exponent"] or 0)
    except (ZeroDivisionError, ValueError):
        return ()
    if "-" in (part["sign"] or "") or part["inner"]:
        value = -value
    if part["percent"]:
        return (value, value / 100)
    return (value, value * _SCALES[part["scale"].lower()]) if part["scale"] else (value,)


def _chinese_value(text: str) -> Fraction | None:
    negative, text = text.startswith("负"), text.removeprefix("负")
    whole, _, decimals = text.partition("点")
    if not whole or len(whole) > 30 or len(decimals) > 30:
        return None
    if len(whole) > 1 and all(char in _DIGITS for char in whole):
        value = Fraction("".join(str(_DIGITS[char]) for char in whole))
    else:
        value = Fraction(_chinese_whole(whole))
    if decimals:
        value += Fraction(int("".join(str(_DIGITS[char]) for char in decimals)), 10 ** len(decimals))
    return -value if negative else value


def _chinese_whole(text: str) -> int:
    """Sections of up to 千 are summed, then multiplied by 万 or 亿."""
    total = section = digit = 0
    last_unit = 1
    for char in text:
        if char in _DIGITS:
            digit = _DIGITS[char]
            last_unit = 1 if digit == 0 else last_unit
        elif char in _UNITS:
            section += (digit or 1) * _UNITS[char]
            digit, last_unit = 0, _UNITS[char]
        else:
            total = (total + section + digit) * _MYRIADS[char]
            section = digit = 0
            last_unit = _MYRIADS[char]
    # 三百五 is 350: a digit right after a unit of 100 or more counts in tenths of that unit.
    return total + section + (digit * last_unit // 10 if last_unit >= 100 else digit)
