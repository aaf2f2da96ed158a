"""BLEU by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.domain import Choice, ConfigError, Sample, Score
from bench.registry import plugin, unknown
from bench.scorers import Scorer
from bench.scorers.corpus import CorpusScore, bleu_metric, corpus_score, sentence_verdict

TOKENIZERS = ("13a", "char", "intl", "none", "zh")


@plugin("scorer", "bleu")
@dataclass(frozen=True)
class Bleu(Scorer):
    """Sentence BLEU of each reply (Papineni et al. 2002; Post 2018, sacrebleu), in 0..1.

    The detail holds sacrebleu's signature and the reply's counts, from which ``corpus``
    makes the corpus score with its bootstrap interval: a mean of sentence scores is not BLEU. A target is a reference
    text or a list of them.

    Attributes:
        tokenize: sacrebleu's tokenizer: 13a, char, intl, none, zh.
        lowercase: whether letter case is ignored.
    """

    kind: str = "bleu"
    version: str = "1"
    tokenize: str = "13a"
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.tokenize not in TOKENIZERS:
            raise ConfigError(f"scorer.tokenize: {unknown('tokenizer', self.tokenize, list(TOKENIZERS))}")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` at 1, ``wrong`` at 0, else ``partial``; ``unparsed`` for a reply without text."""
        return sentence_verdict(bleu_metric(self.tokenize, self.lowercase, sentence=True), sample, choice)

    def corpus(self, details: Sequence[str], resamples: int = 1000) -> CorpusScore:
        """The corpus score of the replies whose verdicts have these details; see :func:`corpus_score`."""
        return corpus_score(bleu_metric(self.tokenize, self.lowercase), details, resamples)

    def together(self, details: Sequence[str]) -> str:
        """The corpus score, with sacrebleu's interval and both standard errors."""
        return self.corpus(details).told("BLEU")
