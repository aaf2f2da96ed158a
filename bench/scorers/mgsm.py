"""MGSM: the number after the answer word of the question's language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bench.domain import Choice, ConfigError, Sample, Score
from bench.registry import plugin, unknown
from bench.scorers import Scorer
from bench.scorers.verdicts import reply_text, right_or_wrong, targets_of, unparsed, unscored

PREFIXES = {
    "en": "Answer",
    "bn": "উত্তর",
    "de": "Antwort",
    "es": "Respuesta",
    "fr": "Réponse",
    "ja": "答え",
    "ru": "Ответ",
    "sw": "Jibu",
    "te": "సమాధానం",
    "th": "คำตอบ",
    "zh": "答案",
}
SENTENCES = {
    "en": "The answer is {}",
    "bn": "The answer is {}",
    "de": "Die Antwort lautet {}",
    "es": "La respuesta es {}",
    "fr": "La réponse est {}",
    "ja": "答えは{}です。",
    "ru": "Ответ — {}",
    "sw": "Jibu ni {}",
    "te": "సమాధానం {}",
    "th": "คำตอบคือ {}",
    "zh": "答案是 {}。",
}
_NUMBER = re.compile(r"\d+\.?\d*")


class Extract(Enum):
    """How the answer is read."""

    published = "published"
    sentence = "sentence"


@plugin("scorer", "mgsm")
@dataclass(frozen=True)
class Mgsm(Scorer):
    """Compares the number of the answer line with the target.

    ``published`` is the rule of openai/simple-evals, ``mgsm_eval.py``: the last number after the last answer word of
    the language ("Answer", "Antwort", "答案"), without commas, sign and trailing zeros of decimals. ``sentence`` is
    that of EleutherAI/lm-evaluation-harness, ``lm_eval/tasks/mgsm/utils.py``: the number in the first "The answer is
    N" of the language.

    Attributes:
        language: two-letter code; empty takes the row's field ``language`` or ``lang``, else English.
        extract: which rule reads the reply.
    """

    kind: str = "mgsm"
    version: str = "1"
    language: str = ""
    extract: Extract = Extract.published

    def __post_init__(self) -> None:
        if self.language and self.language not in PREFIXES:
            raise ConfigError(f"scorer.language: {unknown('language', self.language, list(PREFIXES))}")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``wrong``, or ``unparsed`` where the answer word or a number after it is missing."""
        targets = {str(target).strip().replace(",", "") for target in targets_of(sample)}
        if not targets:
            return unscored("no target")
        language = str(self.language or sample.fields.get("language") or sample.fields.get("lang") or "en")
        if language not in PREFIXES:
            return unscored(f"no rule for the language {language!r}")
        text = reply_text(choice)
        if self.extract is Extract.sentence:
            number = _in_sentence(text, SENTENCES[language])
        else:
            number = _after_prefix(text, PREFIXES[language])
        if number is None:
            return unparsed(f"no number after the answer word of {language!r}")
        return right_or_wrong(number in targets, number)


def _after_prefix(text: str, prefix: str) -> str | None:
    _, marker, after = text.rpartition(prefix)
    numbers = _NUMBER.findall(after.replace(",", "")) if marker else []
    if not numbers:
        return None
    number: str = numbers[-1].rstrip(".")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _in_sentence(text: str, sentence: str) -> str | None:
    before, _, after = sentence.partition("{}")
    match = re.search(re.escape(before) + r"(-?[0-9.,]+)" + re.escape(after), text)
    return match.group(1).replace(",", "").removesuffix(".") if match else None
