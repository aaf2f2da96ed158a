"""DROP: exact match and F1 over bags of tokens, spans aligned one to one."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.json_values import parsed
from bench.scorers.squad import Metric
from bench.scorers.verdicts import graded, named_means, reply_text, unparsed, unscored

MAX_SPANS = 200

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKER = re.compile(r"answer\s{0,9}:\s{0,9}([^\n]+)", re.IGNORECASE)


@plugin("scorer", "drop")
@dataclass(frozen=True)
class Drop(Scorer):
    """The official score of DROP (Dua et al. 2019; allenai/allennlp-reading-comprehension, ``drop_eval.py``).

    Tokens are cut at spaces and hyphens, lowered, freed of ASCII punctuation and articles, and numbers are compared as
    numbers. The bags of the spans of answer and target are aligned one to one for the highest sum of F1; a pair in
    which the target has numbers and none of them is in the answer counts 0. The value is the mean over the larger
    number of spans, rounded to two decimals as published. The best of all targets counts.

    A target is a text; a list of alternatives, each a text or a list of spans; or the data set's own answer object
    with ``number``, ``date`` and ``spans``, or a list of them. The reply's answer is what follows its first
    ``Answer:`` (the rule of openai/simple-evals, ``drop_eval.py``), else all of it; a JSON list there gives spans.

    Attributes:
        metric: what the value is, f1 or em; the detail tells both.
    """

    kind: str = "drop"
    version: str = "1"
    metric: Metric = Metric.f1

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` at value 1, ``partial`` with some tokens in common, else ``wrong``."""
        targets = [spans for spans in gold_spans(sample.target) if spans[0].strip()]
        if not targets:
            return unscored("no target")
        text = reply_text(choice)
        if not text:
            return unparsed("the reply holds no text")
        match = _MARKER.search(text)
        answer = match.group(1).strip() if match else text
        scores = [em_and_f1(_said_spans(answer), target) for target in targets]
        em, f1 = max(score[0] for score in scores), max(score[1] for score in scores)
        return graded(f1 if self.metric is Metric.f1 else em, answer, f"em={int(em)} f1={f1:.2f}")

    def together(self, details: Sequence[str]) -> str:
        """The mean of each figure in the details."""
        return named_means(details)


def gold_spans(target: Any) -> list[tuple[str, ...]]:
    """The accepted answers, each as its spans."""
    if target is None:
        return []
    alternatives = target if isinstance(target, list) else [target]
    found = []
    for item in alternatives:
        spans = _object_spans(item) if isinstance(item, dict) else item
        listed = tuple(str(span) for span in spans) if isinstance(spans, list | tuple) else (str(spans),)
        if listed:
            found.append(listed[:MAX_SPANS])
    return found


def em_and_f1(answer: Sequence[str], target: Sequence[str]) -> tuple[float, float]:
    """Exact match (0 or 1) and F1 (two decimals) of an answer's spans against a target's."""
    got, wanted = [_normalised(span) for span in answer], [_normalised(span) for span in target]
    em = float(set(got) == set(wanted) and len(got) == len(wanted))
    bags = [[set(span.split()) for span in spans] for spans in (wanted, got)]
    pairs = [[_bag_f1(one, other) for other in bags[1]] for one in bags[0]]
    # numpy, which the official script rounds with, rounds the hundredfold half to even: 0.225 becomes 0.22
    return em, round(100 * (_best_alignment(pairs) / max(len(got), len(wanted)))) / 100


def _said_spans(answer: str) -> list[str]:
    if answer.startswith("["):
        try:
            value = parsed(answer)
        except ValueError:
            return [answer]
        if isinstance(value, list) and value and all(isinstance(span, str | int | float) for span in value):
            return [str(span) for span in value[:MAX_SPANS]]
    return [answer]


def _object_spans(answer: dict[str, Any]) -> Any:
    if str(answer.get("number") or ""):
        return str(answer["number"])
    if answer.get("spans"):
        return answer["spans"]
    date = answer.get("date") or {}
    return " ".join(str(date.get(part) or "") for part in ("day", "month", "year")).strip()


def _normalised(text: str) -> str:
    tokens = (_token(token) for token in re.split("[ -]", text.lower()))
    return " ".join(token for token in tokens if token).strip()


def _token(token: str) -> str:
    number = _number(token)
    if number is None:
        token = token.translate(_NO_PUNCTUATION)
        number = _number(token)
    if number is not None:
        token = number
    return " ".join(_ARTICLES.sub(" ", token).split())


def _number(token: str) -> str | None:
    try:
        return str(float(token))
    except ValueError:
        return None


def _bag_f1(wanted: set[str], got: set[str]) -> float:
    numbers = {word for word in wanted if _number(word) is not None}
    if numbers and not numbers & got:
        return 0.0
    same = len(wanted & got)
    precision = same / len(got) if got else 1.0
    recall = same / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _best_alignment(pairs: list[list[float]]) -> float:
    if len(pairs) == 1 or len(pairs[0]) == 1:
        return max(value for row in pairs for value in row)
    # scipy is slow to import, and most answers are one span
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(pairs, maximize=True)
    return float(sum(pairs[row][column] for row, column in zip(rows, columns, strict=True)))
