"""The 25 instructions of IFEval: whether a text follows each.

The rules are those of google-research/google-research, ``instruction_following_eval/instructions.py`` (Zhou et al.
2023), their quirks included: keywords are regular expressions, a section may be announced anywhere, a text whose
language cannot be told counts as followed. Where the original scans a text again from each of its characters, the same
is found here in one pass. Sentences are cut by NLTK's Punkt with its English parameters, as in the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Options = Mapping[str, Any]

CONSTRAINED_RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

_STAR_BULLET = re.compile(r"^[^\S\n]*+\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*+-.*$", re.MULTILINE)
_FENCES = ("```json", "```Json", "```JSON", "```")


def _holds(count: int, options: Options, relation: str, number: str) -> bool:
    """``less than`` or ``at least`` the row's number."""
    words = options[relation]
    if words not in ("less than", "at least"):
        raise KeyError(f"{relation} of `less than` or `at least`")
    return count < int(options[number]) if words == "less than" else count >= int(options[number])


@lru_cache(maxsize=4096)
def _pattern(source: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """A keyword as the regular expression it is read as; literally where it is none."""
    try:
        return re.compile(source, flags)
    except re.error:
        return re.compile(re.escape(source), flags)


def _placeholders(text: str) -> int:
    count = 0
    for line in text.split("\n"):
        opening = line.find("[")
        while opening >= 0:
            closing = line.find("]", opening)
            if closing < 0:
                break
            count += 1
            opening = line.find("[", closing)
    return count


def _bullets(text: str) -> int:
    return sum(1 for _ in _STAR_BULLET.finditer(text)) + sum(1 for _ in _DASH_BULLET.finditer(text))


def _highlights(text: str) -> int:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double)


def _paragraphs(text: str, options: Options) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    at_ends = (parts[0], parts[-1]) if len(parts) > 1 else (parts[0],)
    return len(parts) - sum(not part.strip() for part in at_ends) == int(options["num_paragraphs"])


def _first_word(text: str, options: Options) -> bool:
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    nth = int(options["nth_paragraph"])
    paragraph = parts[nth - 1].strip() if 1 <= nth <= count else ""
    if not paragraph:
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'), maxsplit=1)[0].lower()
    return count == int(options["num_paragraphs"]) and word == str(options["first_word"]).lower()


def _postscript(text: str, options: Options) -> bool:
    marker = str(options["postscript_marker"]).strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return _pattern(known.get(marker, marker.lower()), 0).search(text.lower()) is not None


def _sections(text: str, options: Options) -> bool:
    splitter = _pattern(rf"\s?{str(options['section_spliter']).strip()}\s?\d+\s?", 0)
    return sum(1 for _ in splitter.finditer(text)) >= int(options["num_sections"])


def _title(text: str) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if start >= 0 and end >= start + 3 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _json(text: str) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _quoted(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


def _is_language(text: str, language: str) -> bool:
    # its 55 language profiles take a second to load
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return bool(langdetect.detect(text) == language)
    except langdetect.LangDetectException:
        return True


@lru_cache(maxsize=1)
def _punkt() -> Any:
    # nltk takes a second to import
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    learned, parameters = punkt.load_model("english"), PunktParameters()
    parameters.abbrev_types = set(learned.abbrev_types)
    parameters.collocations = set(learned.collocations)
    parameters.sent_starters = set(learned.sent_starters)
    parameters.ortho_context.update(learned.ortho_context)
    return PunktSentenceTokenizer(parameters)


def sentences(text: str) -> list[str]:
    """The sentences of an English text, as NLTK's ``sent_tokenize`` cuts it."""
    return [str(sentence) for sentence in _punkt().tokenize(text)]


def words(text: str) -> list[str]:
    """The words and marks of an English text, as NLTK's ``word_tokenize`` cuts it."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    return [str(word) for sentence in sentences(text) for word in tokenizer.tokenize(sentence)]


CHECKS: dict[str, Callable[[str, Options], bool]] = {
    "keywords:existence": lambda text, o: all(_pattern(str(word)).search(text) for word in o["keywords"]),
    "keywords:frequency": lambda text, o: _holds(
        sum(1 for _ in _pattern(str(o["keyword"]).strip()).finditer(text)), o, "relation", "frequency"
    ),
    "keywords:forbidden_words": lambda text, o: (
        not any(_pattern(rf"\b{word}\b").search(text) for word in o["forbidden_words"])
    ),
    "keywords:letter_frequency": lambda text, o: _holds(
        text.lower().count(str(o["letter"]).strip().lower()), o, "let_relation", "let_frequency"
    ),
    "language:response_language": lambda text, o: _is_language(text, str(o["language"])),
    "length_constraints:number_sentences": lambda text, o: _holds(len(sentences(text)), o, "relation", "num_sentences"),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, o: _holds(
        len(re.findall(r"\w+", text)), o, "relation", "num_words"
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, o: _placeholders(text) >= int(o["num_placeholders"]),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda text, o: _bullets(text) == int(o["num_bullets"]),
    "detectable_format:constrained_response": lambda text, _: any(said in text for said in CONSTRAINED_RESPONSES),
    "detectable_format:number_highlighted_sections": lambda text, o: _highlights(text) >= int(o["num_highlights"]),
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": lambda text, _: _json(text),
    "detectable_format:title": lambda text, _: _title(text),
    "combination:two_responses": lambda text, _: _two_responses(text),
    "combination:repeat_prompt": lambda text, o: (
        text.strip().lower().startswith(str(o["prompt_to_repeat"]).strip().lower())
    ),
    "startend:end_checker": lambda text, o: (
        text.strip().strip('"').lower().endswith(str(o["end_phrase"]).strip().lower())
    ),
    "startend:quotation": lambda text, _: _quoted(text),
    "change_case:capital_word_frequency": lambda text, o: _holds(
        sum(word.isupper() for word in words(text)), o, "capital_relation", "capital_frequency"
    ),
    "change_case:english_capital": lambda text, _: text.isupper() and _is_language(text, "en"),
    "change_case:english_lowercase": lambda text, _: text.islower() and _is_language(text, "en"),
    "punctuation:no_comma": lambda text, _: "," not in text,
}
