"""The reply, or the answer it marks, equals the target."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import plain, reply_text, right_or_wrong, unparsed, unscored

_ARTICLE = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_FRAME = "*`_\"'“”‘’「」《》"


@plugin("scorer", "exact")
@dataclass(frozen=True)
class Exact(Scorer):
    """Compares texts after NFKC and with whitespace runs as one space. A list of targets accepts any of them.

    Attributes:
        case: whether letter case counts.
        punctuation: whether punctuation counts; if not, it is dropped (a sign or point inside a number stays).
        articles: whether the words a, an, the count.
        markers: texts before an answer (``"Answer:"``); what follows the last one on its line is compared, the whole
            reply where none occurs. Letter case and full-width forms of a marker do not count.
    """

    kind: str = "exact"
    version: str = "1"
    case: bool = False
    punctuation: bool = False
    articles: bool = True
    markers: list[str] = field(default_factory=list)

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` or ``wrong``; ``unparsed`` for a reply without any text."""
        if sample.target is None:
            return unscored("no target")
        text = after_marker(reply_text(choice), self.markers)
        answer = self._normal(text)
        if not answer:
            return unparsed("the reply holds no text to compare")
        targets = sample.target if isinstance(sample.target, list) else [sample.target]
        return right_or_wrong(answer in {self._normal(str(target)) for target in targets}, text)

    def _normal(self, text: str) -> str:
        text = plain(text, self.case)
        if not self.punctuation:
            text = " ".join(without_punctuation(text).split())
        return text if self.articles else " ".join(_ARTICLE.sub(" ", text).split())


def after_marker(text: str, markers: list[str]) -> str:
    """What follows the last marker on its line, free of Markdown emphasis and quotes; else the whole text."""
    wanted = [re.escape(unicodedata.normalize("NFKC", marker)) for marker in markers if marker]
    if wanted:
        normal = unicodedata.normalize("NFKC", text)
        found = list(re.finditer("(?:" + "|".join(wanted) + r")([^\n]*)", normal, re.IGNORECASE))
        if found:
            text = found[-1].group(1)
    return text.strip().strip(_FRAME).strip()


def without_punctuation(text: str) -> str:
    """Text without punctuation marks; points, commas and signs that belong to a number stay."""
    kept = []
    for position, char in enumerate(text):
        before, after = text[max(0, position - 1) : position], text[position + 1 : position + 2]
        in_number = after.isdigit() and (before.isdigit() if char in ".," else char == "-" and not before.isalnum())
        if unicodedata.category(char)[0] != "P" or in_number:
            kept.append(char)
        elif char in "-/–—":
            kept.append(" ")
    return "".join(kept)
