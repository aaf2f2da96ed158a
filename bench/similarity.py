"""Texts that repeat each other: exact and near duplicates among prompts, and overlap with public texts."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

#: tokens per gram for near duplicates, and the Jaccard similarity of their sets from which two texts are one cluster
NEAR_GRAM, NEAR_JACCARD = 5, 0.8
#: words per gram of which one in common with a public text flags a prompt
PUBLIC_GRAM = 13
#: clusters, and members of each, that a new text is compared with per shared gram: bounds the work on boilerplate
_CLUSTERS, _COMPARED = 16, 8

# Scripts written without spaces have no words: each of their signs is a token.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")

Gram = tuple[str, ...]


def plain_text(text: str) -> str:
    """NFKC, lower case, runs of white space as one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def text_hash(text: str) -> str:
    """SHA-256 of :func:`plain_text`, in hex: equal for texts that differ in case, width or white space alone."""
    return hashlib.sha256(plain_text(text).encode("utf-8", "surrogatepass")).hexdigest()


def find_near_duplicates(texts: Sequence[str], gram: int = NEAR_GRAM, jaccard: float = NEAR_JACCARD) -> list[int]:
    """Cluster of each text, named by the index of its first member; a text like no other is alone in its own.

    Texts of equal :func:`text_hash` are one cluster, and so are texts whose sets of token grams have a Jaccard
    similarity of at least ``jaccard``, by single linkage. Tokens are words and marks, so that ``3 + 4`` is not
    ``3 - 4``. Pass the question, not the whole prompt: a long preamble in common makes everything alike.

    Pairs come from an inverted index of each text's rarest grams (prefix filter: Chaudhuri, Ganti, Kaushik 2006, ICDE;
    no pair is missed by it), so 10,000 prompts take seconds. Of the clusters that share such a gram a text is compared
    with the first 16, and with eight texts of each; only boilerplate has more.

    Raises:
        ValueError: ``gram`` is below one, or ``jaccard`` not above 0 and at most 1.
    """
    if gram < 1 or not 0 < jaccard <= 1:
        raise ValueError("Near duplicates need grams of at least one token and a similarity above 0, at most 1.")
    cluster = list(range(len(texts)))
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        cluster[index] = first.setdefault(text_hash(text), index)
    grams = {index: _grams(_TOKEN.findall(plain_text(texts[index])), gram, True) for index in first.values()}
    often = Counter(one for found in grams.values() for one in found)
    holders: dict[Gram, dict[int, list[int]]] = {}
    for index, own in grams.items():
        rarest = sorted(own, key=lambda one: (often[one], one))
        # Two sets that share a share `jaccard` of each must meet within the rarest 1 - jaccard of either.
        shared = [holders.setdefault(one, {}) for one in rarest[: len(own) - _needed(len(own), jaccard) + 1]]
        tried: set[int] = set()
        for held in shared:
            for name, members in held.items():
                for other in members:
                    if other in tried or _root(cluster, name) == _root(cluster, index):
                        continue
                    tried.add(other)
                    if _alike(own, grams[other], jaccard):
                        _unite(cluster, index, other)
        for held in shared:
            members = held.setdefault(_root(cluster, index), []) if len(held) < _CLUSTERS else []
            if len(members) < _COMPARED:
                members.append(index)
    return [_root(cluster, index) for index in range(len(texts))]


def _needed(size: int, jaccard: float) -> int:
    """Fewest grams that a set of this size shares with any set that is alike."""
    needed = int(jaccard * size)
    return needed if needed >= jaccard * size - 1e-9 else needed + 1


def _alike(a: set[Gram], b: set[Gram], jaccard: float) -> bool:
    small, large = sorted((len(a), len(b)))
    if small < jaccard * large - 1e-9:
        return False
    shared = len(a & b)
    return shared >= jaccard * (small + large - shared) - 1e-9


def _root(cluster: list[int], index: int) -> int:
    while cluster[index] != index:
        cluster[index] = cluster[cluster[index]]
        index = cluster[index]
    return index


def _unite(cluster: list[int], a: int, b: int) -> None:
    low, high = sorted((_root(cluster, a), _root(cluster, b)))
    cluster[high] = low


def _grams(tokens: Sequence[str], length: int, whole_if_short: bool) -> set[Gram]:
    if len(tokens) < length:
        return {tuple(tokens)} if whole_if_short and tokens else set()
    return {tuple(tokens[start : start + length]) for start in range(len(tokens) - length + 1)}


def public_overlap(texts: Sequence[str], public: Iterable[str], gram: int = PUBLIC_GRAM) -> list[float | None]:
    """Share of each text's word grams that occur in public texts; above 0 the text is flagged, never deleted.

    Words without case and marks, thirteen in a row (Brown et al. 2020, arXiv 2005.14165, appendix C). ``None`` for a
    text of fewer words than a gram: nothing can be said. The public texts are read once and not kept.

    Raises:
        ValueError: ``gram`` is below one.
    """
    if gram < 1:
        raise ValueError("Overlap needs grams of at least one word.")
    own = [_grams(_WORD.findall(plain_text(text)), gram, False) for text in texts]
    wanted = set().union(*own) if own else set()
    seen: set[Gram] = set()
    for text in public:
        words = _WORD.findall(plain_text(text))
        seen.update(one for one in _grams(words, gram, False) if one in wanted)
    return [len(found & seen) / len(found) if found else None for found in own]
