"""Which questions of a dataset hang together, so that answers to them are no independent evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.domain import Sample
from bench.similarity import find_near_duplicates

#: fields of a row that name what its question hangs on: the first one that the rows have decides
SHARED_FIELDS = ("cluster", "passage", "context")
#: fields that hold the question itself, without the instructions around it
QUESTION_FIELDS = ("question", "problem", "prompt", "instruction", "input")
OPTION_FIELDS = ("options", "choices")


def find_clusters(samples: Sequence[Sample]) -> dict[str, str]:
    """The cluster of each sample, by sample id; empty where every question stands alone.

    Questions with the same ``cluster``, ``passage`` or ``context`` field are one cluster. Without such a field,
    questions that repeat each other are: the same text but for case, width and white space, or token 5-grams with a
    Jaccard similarity of 0.8 or more. Instructions that all prompts begin or end with do not count.
    """
    shared = next((name for name in SHARED_FIELDS if any(name in one.fields for one in samples)), None)
    if shared is not None:
        named = {
            one.sample_id: f"{shared}={one.fields[shared]}" if one.fields.get(shared) is not None else one.sample_id
            for one in samples
        }
        return named if len(set(named.values())) < len(named) else {}
    found = find_near_duplicates(_without_frame([question_of(one) for one in samples]))
    if len(set(found)) == len(found):
        return {}
    return {one.sample_id: samples[first].sample_id for one, first in zip(samples, found, strict=True)}


def question_of(sample: Sample) -> str:
    """What a sample asks: its row's question with its options, else its last user message."""
    asked = next((one for name in QUESTION_FIELDS if isinstance(one := sample.fields.get(name), str) and one), None)
    if asked is None or sample.fields.get("messages") is not None:
        return last_user_text(sample.messages)
    options = next((sample.fields[name] for name in OPTION_FIELDS if sample.fields.get(name)), None)
    return asked if options is None else f"{asked}\n{options}"


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last turn of a user; of content in parts, its text parts."""
    for turn in reversed(messages):
        if turn.get("role") == "user":
            content = turn.get("content")
            if isinstance(content, list):
                return "\n".join(str(part.get("text", part)) for part in content if isinstance(part, Mapping))
            return str(content or "")
    return ""


def _without_frame(texts: Sequence[str]) -> list[str]:
    """The texts without the words that all of them begin with or end with."""
    if len(set(texts)) < 2:
        return list(texts)
    words = [text.split() for text in texts]
    head = _shared_head(words)
    tail = _shared_head([one[head:][::-1] for one in words])
    return [" ".join(one[head : len(one) - tail]) for one in words]


def _shared_head(rows: list[list[str]]) -> int:
    """How many words all rows begin with."""
    first, last = min(rows), max(rows)
    return next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
