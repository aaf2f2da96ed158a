"""Prompts of given lengths: what a traced request is replayed with when its text is unknown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from random import Random

from bench.datasets import Dataset, MadeSamples
from bench.domain import ConfigError, Sample
from bench.registry import plugin
from bench.rules import estimate_tokens
from bench.traces import Trace, read_trace

#: part of the content hash: a change of the words or of how they are put together is a change of the questions
VERSION = "synthetic 1"

#: Each is one token of the usual tokenizers and, with its space, four characters: so characters / 4, which is the
#: product's own estimate, and the server's count agree.
WORDS = (  # noqa: SIM905  # 130 quoted words would say no more
    "act add age ago aid aim air all and any are arm art ask bad bag bar bed big bit box boy bus but buy can car cat "
    "cup cut day did die dog dry due ear eat egg end eye far few fit fly for fun gas get got gun guy had has hat her "
    "him his hit hot how ice its job key kid law lay leg let lie lot low man map may men mix nor not now odd off oil "
    "old one our out own pay per put ran raw red row run sat saw say sea see set she sir sit six sky son sun tax tea "
    "ten the tie tip too top try two use war was way who why win yes yet you"
).split()
WORD_CHARS = 4
#: tokens that a prompt block stands for: the granularity of block ids in traces
BLOCK_TOKENS = 512
#: words that spell what makes a block unlike any other: more than 10^16 of them
LEAD_WORDS = 8
POOL_WORDS = 1 << 16

_MASK = (1 << 64) - 1


@plugin("dataset", "synthetic")
@dataclass(frozen=True)
class Synthetic(Dataset):
    """One prompt for each row of a trace, as long as the row says, and a cap on its answer likewise.

    A prompt is meaningless short words. The product's own estimate of its tokens is the traced number exactly, from 8
    tokens up (a message is never shorter); a server that counts one token a word, as byte-pair tokenizers do, adds only
    what its chat template takes beyond 7 tokens. Its request carries ``max_tokens``, the traced answer length (at least
    1). Prompts with the same block ids begin with the same text, 512 tokens for each id; all others differ from their
    first words on, so that a prefix cache finds what it would have found, and no more.

    Attributes:
        path: the trace (its formats are those of ``load=trace``).
        seed: of the words; another one gives prompts that no server has cached from an earlier run.
    """

    kind: str = "synthetic"
    licence: str | None = "Apache-2.0"
    description: str = "Prompts of meaningless words with the lengths of a trace"
    seed: int = 0

    def made(self) -> MadeSamples:
        """One sample for each of the first ``limit`` rows of the trace, in order of time."""
        unused = {"prompt": self.prompt, "system": self.system, "few_shot": self.few_shot, "fields": self.fields}
        problems = [
            f"dataset.{key}: synthetic makes whole prompts and takes none; leave it out"
            for key, value in unused.items()
            if value
        ]
        if self.shuffle:
            problems.append("dataset.shuffle: the rows of a trace stay in order of time; leave it false")
        if problems:
            raise ConfigError(*problems)
        trace = read_trace(self.path or "", "dataset.path")
        return TracedSamples(trace, min(len(trace), self.limit or len(trace)), self.seed)


class TracedSamples(MadeSamples):
    """The samples of a trace's first rows. Making one copies a few long slices of text: some ten microseconds."""

    def __init__(self, trace: Trace, rows: int, seed: int) -> None:
        self._trace, self._rows, self._seed = trace, rows, seed
        self._name = PurePath(trace.path).name
        self.content_hash = hashlib.sha256(f"{VERSION}/{seed}/{rows}/{trace.content_hash}".encode()).hexdigest()
        self.prompt_tokens = sum(trace.input_tokens[:rows]) / rows
        self.answer_tokens = sum(max(1, tokens) for tokens in trace.output_tokens[:rows]) / rows

    def __len__(self) -> int:
        return self._rows

    def make(self, index: int) -> Sample:
        """The sample of one row, named after its line."""
        trace = self._trace
        line, tokens, cap = trace.lines[index], trace.input_tokens[index], max(1, trace.output_tokens[index])
        text = prompt_text(tokens, self._seed, line, trace.blocks_of(index))
        return Sample(
            sample_id=f"line-{line}",
            messages=({"role": "user", "content": text},),
            fields={"input_tokens": tokens, "output_tokens": trace.output_tokens[index]},
            place=f"{trace.path}:{line}",
            max_tokens=cap,
        )

    def hardest(self) -> tuple[Sample, ...]:
        """The rows with the longest prompt, the longest answer, and the longest of both together."""
        inputs, outputs, rows = self._trace.input_tokens, self._trace.output_tokens, range(self._rows)
        worst = (
            max(rows, key=inputs.__getitem__),
            max(rows, key=outputs.__getitem__),
            max(rows, key=lambda row: inputs[row] + outputs[row]),
        )
        return tuple(self.make(row) for row in sorted(set(worst)))


def prompt_text(tokens: int, seed: int, line: int, block_ids: Sequence[int] = ()) -> str:
    """Words whose estimate as one user message is ``tokens``, the least possible where that is less than one word's.

    Args:
        tokens: of the whole prompt.
        seed: of the words.
        line: tells a prompt without block ids from all others.
        block_ids: the ids of its blocks of ``BLOCK_TOKENS`` tokens; what lies beyond them is the prompt's own.
    """
    pool = _pool(seed)
    length = WORD_CHARS * max(1, tokens - _OVERHEAD)
    size = BLOCK_TOKENS * WORD_CHARS
    parts = []
    for number in range(-(-length // size)):
        shared = number < len(block_ids)
        key = _mixed(seed, 0, block_ids[number]) if shared else _mixed(seed, line + 1, number)
        at = key % (POOL_WORDS - BLOCK_TOKENS) * WORD_CHARS
        lead = _lead(key)
        parts.append(lead + pool[at : at + size - len(lead)])
    return "".join(parts)[:length]


def _lead(key: int) -> str:
    words = []
    for _ in range(LEAD_WORDS):
        key, place = divmod(key, len(WORDS))
        words.append(WORDS[place])
    return " ".join(words) + " "


@lru_cache(maxsize=4)
def _pool(seed: int) -> str:
    """Random words, ``POOL_WORDS`` of them; prompts are put together from slices of it."""
    # Text seeds are hashed by a fixed algorithm, and `random()` is the one sequence that stays between versions.
    draw = Random(f"{VERSION}/{seed}").random
    return "".join(WORDS[int(draw() * len(WORDS))] + " " for _ in range(POOL_WORDS))


def _mixed(*values: int) -> int:
    """64 bits that follow from the values alone and look random: the finaliser of splitmix64 over each in turn.

    Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators, OOPSLA.
    """
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


#: what the estimate counts beside the words: the message and the opening of the reply
_OVERHEAD = estimate_tokens([{"role": "user", "content": ""}])
