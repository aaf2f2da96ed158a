"""Corpus scores of BLEU and chrF from the counts of single replies, as ``sacrebleu`` computes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from statistics import stdev
from typing import Any

from bench.domain import Choice, Sample, Score
from bench.scorers.verdicts import graded, reply_text, targets_of, unparsed, unscored

BOOTSTRAP_SEED = 12345


@dataclass(frozen=True)
class CorpusScore:
    """A corpus score, in 0..100 as such scores are published.

    Attributes:
        score: of the whole corpus.
        mean: of the bootstrap resamples; the score itself without any.
        ci_half: half the width of the 95% interval of the resamples, what sacrebleu prints after ±.
        standard_error: standard deviation of the resamples' scores.
        harness_standard_error: the same of the 100 resamples that EleutherAI/lm-evaluation-harness draws
            (``lm_eval/api/metrics.py``, ``bootstrap_stderr``), which is what it publishes beside the score.
        signature: how it was computed, in sacrebleu's words.
    """

    score: float
    mean: float
    ci_half: float
    standard_error: float
    harness_standard_error: float
    signature: str

    def told(self, metric: str) -> str:
        """The score in a line."""
        return (
            f"{metric} {self.score:.2f} (mean {self.mean:.2f} ± {self.ci_half:.2f}), standard error "
            f"{self.standard_error:.3f}, as lm-evaluation-harness draws it {self.harness_standard_error:.3f}; "
            f"{self.signature}"
        )


def sentence_verdict(metric: Any, sample: Sample, choice: Choice) -> Score:
    """One reply's sentence score as value; its counts and the metric's signature in the detail, as JSON.

    A target is a reference text, or a list of them.
    """
    references = [str(target).encode("utf-8", "replace").decode() for target in targets_of(sample)]
    if not references:
        return unscored("no target")
    text = reply_text(choice).encode("utf-8", "replace").decode()
    if not text:
        return unparsed("the reply holds no text")
    counts = metric._extract_corpus_statistics([text], [[reference] for reference in references])
    value = float(metric._aggregate_and_compute(counts).score) / 100
    detail = json.dumps(
        {
            "signature": str(metric.get_signature()),
            "references": len(references),
            "counts": [int(count) for count in counts[0]],
        },
        separators=(",", ":"),
    )
    return graded(value, text, detail)


def corpus_score(metric: Any, details: Sequence[str], resamples: int = 1000) -> CorpusScore:
    """The corpus score of the replies whose verdicts have these details, with sacrebleu's bootstrap.

    Koehn 2004, "Statistical significance tests for machine translation evaluation": replies are drawn with
    replacement, and the corpus score is computed from the summed counts. Seeded as sacrebleu is, so mean and interval
    are the same numbers as its own.

    Args:
        metric: from :func:`bleu_metric` or :func:`chrf_metric`, set as for the replies, but not for sentences.
        details: of the verdicts of :func:`sentence_verdict`, one for each reply.
        resamples: how many times the corpus is drawn; 0 for the score alone.

    Raises:
        ValueError: there are no details, or one is no corpus scorer's.
    """
    import numpy as np

    if not details:
        raise ValueError("a corpus score needs at least one reply")
    counts = [counts_in(detail) for detail in details]
    references = {json.loads(detail)["references"] for detail in details}
    # sacrebleu writes -1 into its signature where the number varies
    metric.num_refs = references.pop() if len(references) == 1 else -1
    table = np.asarray(counts, dtype="float32")
    whole = float(metric._compute_score_from_stats(np.asarray(counts, dtype="int64").sum(0)).score)
    signature = str(metric.get_signature())
    if not resamples:
        return CorpusScore(whole, whole, 0.0, 0.0, 0.0, signature)
    drawn = np.random.default_rng(BOOTSTRAP_SEED).choice(len(table), size=(resamples, len(table)), replace=True)
    scores = np.sort([float(metric._compute_score_from_stats(table[rows].sum(0)).score) for rows in drawn])
    outside = resamples // 40
    kept = scores[outside : resamples - outside]
    return CorpusScore(
        whole,
        float(scores.mean()),
        0.5 * float(kept[-1] - kept[0]),
        float(scores.std(ddof=1)) if resamples > 1 else 0.0,
        _harness_standard_error(metric, np.asarray(counts, dtype="int64")),
        signature,
    )


def _harness_standard_error(metric: Any, counts: Any, resamples: int = 100) -> float:
    """The standard error that lm-evaluation-harness gives a corpus score; its generator is Python's, seeded with 0."""
    seeded, rows = Random(0), range(len(counts))
    drawn = [seeded.choices(rows, k=len(counts)) for _ in range(resamples)]
    return stdev(float(metric._compute_score_from_stats(counts[one].sum(0)).score) for one in drawn)


def counts_in(detail: str) -> list[int]:
    """The counts that a verdict's detail holds.

    Raises:
        ValueError: it holds none.
    """
    try:
        return [int(count) for count in json.loads(detail)["counts"]]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError("the detail of a corpus scorer's verdict holds its counts as JSON") from error


@lru_cache(maxsize=32)
def bleu_metric(tokenize: str = "13a", lowercase: bool = False, sentence: bool = False) -> Any:
    """sacrebleu's BLEU; with ``sentence`` in the form for single sentences (effective order).

    Raises:
        ValueError: sacrebleu does not know the tokenizer.
    """
    # sacrebleu brings numpy and a parser of XML
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=sentence)


@lru_cache(maxsize=32)
def chrf_metric(word_order: int = 0, lowercase: bool = False) -> Any:
    """sacrebleu's chrF, or chrF++ with ``word_order`` 2."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=word_order, lowercase=lowercase)
