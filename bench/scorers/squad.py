"""SQuAD: exact match and token F1 after the official normalisation."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.exact import after_marker
from bench.scorers.verdicts import graded, named_means, reply_text, targets_of, unparsed, unscored

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Metric(Enum):
    """What the value of a reply is."""

    f1 = "f1"
    em = "em"


@plugin("scorer", "squad")
@dataclass(frozen=True)
class Squad(Scorer):
    """The official score of SQuAD 1.1 and 2.0 (``evaluate-v2.0.py``, Rajpurkar et al. 2016, 2018).

    Texts are lowered, freed of ASCII punctuation and of the articles a, an, the, and their whitespace is closed. Exact
    match compares them; F1 is that of the bags of their tokens. The best of all targets counts; an empty target means
    that the question has no answer, and then only an empty answer scores.

    Attributes:
        metric: what the value is, f1 or em; the detail tells both.
        markers: texts before an answer, as in ``exact``; without one the whole reply is compared.
    """

    kind: str = "squad"
    version: str = "1"
    metric: Metric = Metric.f1
    markers: list[str] = field(default_factory=list)

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` at value 1, ``partial`` with some tokens in common, else ``wrong``."""
        targets = [str(target) for target in targets_of(sample)]
        if not targets:
            return unscored("no target")
        text = reply_text(choice)
        if not text and all(normalised(target) for target in targets):
            return unparsed("the reply holds no text")
        text = after_marker(text, self.markers)
        em = any(normalised(text) == normalised(target) for target in targets)
        f1 = max(token_f1(text, target) for target in targets)
        value = f1 if self.metric is Metric.f1 else float(em)
        return graded(value, text, f"em={int(em)} f1={f1:.4f}")

    def together(self, details: Sequence[str]) -> str:
        """The mean of each figure in the details."""
        return named_means(details)


def normalised(text: str) -> str:
    """Text as the official script compares it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(answer: str, target: str) -> float:
    """Harmonic mean of precision and recall of an answer's tokens; 1 or 0 where either has none."""
    got, wanted = normalised(answer).split(), normalised(target).split()
    if not got or not wanted:
        return float(got == wanted)
    same = sum((Counter(got) & Counter(wanted)).values())
    return 2 * same / (len(got) + len(wanted))
