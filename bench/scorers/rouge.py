"""ROUGE by rouge-score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import graded, named_means, reply_text, targets_of, unparsed, unscored

# The longest common subsequence takes time with the product of both lengths.
MAX_CHARS = 20_000


class Variant(Enum):
    """Which ROUGE is the value."""

    rouge1 = "rouge1"
    rouge2 = "rouge2"
    rougeL = "rougeL"  # noqa: N815  # the name that rouge-score and every paper give it
    rougeLsum = "rougeLsum"  # noqa: N815  # the same


@plugin("scorer", "rouge")
@dataclass(frozen=True)
class Rouge(Scorer):
    """F-measure of ROUGE (Lin 2004) by the library ``rouge-score``, the best of all references.

    Only the first 20,000 characters of a reply and of a reference are compared.

    Attributes:
        metric: the variant that is the value: rouge1, rouge2, rougeL, rougeLsum; the detail tells all four.
        stemmer: whether words are cut to Porter stems first.
    """

    kind: str = "rouge"
    version: str = "1"
    metric: Variant = Variant.rougeL
    stemmer: bool = False

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` at 1, ``wrong`` at 0, else ``partial``; ``unparsed`` for a reply without text."""
        references = [str(target)[:MAX_CHARS] for target in targets_of(sample)]
        if not references:
            return unscored("no target")
        text = reply_text(choice)
        if not text:
            return unparsed("the reply holds no text")
        measured = [_rouge(self.stemmer).score(reference, text[:MAX_CHARS]) for reference in references]
        best = {name.value: max(float(one[name.value].fmeasure) for one in measured) for name in Variant}
        value = best[self.metric.value]
        return graded(value, text, " ".join(f"{name}={score:.4f}" for name, score in best.items()))

    def together(self, details: Sequence[str]) -> str:
        """The mean of each figure in the details."""
        return named_means(details)


@lru_cache(maxsize=2)
def _rouge(stemmer: bool) -> Any:
    # brings nltk, which takes a second to import
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([variant.value for variant in Variant], use_stemmer=stemmer)
