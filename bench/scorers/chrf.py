"""chrF by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.domain import Choice, ConfigError, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.corpus import CorpusScore, chrf_metric, corpus_score, sentence_verdict


@plugin("scorer", "chrf")
@dataclass(frozen=True)
class ChrF(Scorer):
    """Sentence chrF of each reply (Popovic 2015; Post 2018, sacrebleu), in 0..1.

    The detail holds sacrebleu's signature and the reply's counts, from which ``corpus``
    makes the corpus score with its bootstrap interval. A target is a reference text or a list of them.

    Attributes:
        word_order: longest word n-gram that counts beside those of characters: 0 for chrF, 2 for chrF++.
        lowercase: whether letter case is ignored.
    """

    kind: str = "chrf"
    version: str = "1"
    word_order: int = 0
    lowercase: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.word_order <= 4:
            raise ConfigError(f"scorer.word_order={self.word_order}: must be 0 to 4")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` at 1, ``wrong`` at 0, else ``partial``; ``unparsed`` for a reply without text."""
        return sentence_verdict(chrf_metric(self.word_order, self.lowercase), sample, choice)

    def corpus(self, details: Sequence[str], resamples: int = 1000) -> CorpusScore:
        """The corpus score of the replies whose verdicts have these details; see :func:`corpus_score`."""
        return corpus_score(chrf_metric(self.word_order, self.lowercase), details, resamples)

    def together(self, details: Sequence[str]) -> str:
        """The corpus score, with sacrebleu's interval and both standard errors."""
        return self.corpus(details).told("chrF")
