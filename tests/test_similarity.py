"""Duplicates and overlap against definitions and brute force."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.similarity import find_near_duplicates, plain_text, public_overlap, text_hash


def test_texts_that_differ_in_case_width_and_space_alone_are_equal() -> None:
    assert plain_text("  \uff21 \ufb01ne\n\nDay ") == "a fine day"
    assert text_hash("What  is\t2+2?") == text_hash("what is 2+2?")
    assert text_hash("what is 2+2?") != text_hash("what is 2-2?")
    assert text_hash("\ud800") == text_hash("\ud800"), "a lone surrogate of a broken reply has a hash too"
    assert find_near_duplicates(["Same  text", "other", "same TEXT"]) == [0, 1, 0]


def test_near_duplicates_are_one_cluster_and_short_ones_differ_by_their_marks() -> None:
    words = [f"word{number}" for number in range(60)]
    changed = [*words[:59], "else"]
    far = [*words[:20], *(f"new{number}" for number in range(40))]
    texts = [" ".join(words), "another question", " ".join(changed), " ".join(far)]
    assert find_near_duplicates(texts) == [0, 1, 0, 3]
    assert find_near_duplicates(["what is 3 + 4 ?", "what is 3 - 4 ?"]) == [0, 1]
    assert find_near_duplicates(["yes", "Yes", "no", ""]) == [0, 0, 2, 3]
    assert find_near_duplicates(["", "  "]) == [0, 0]
    assert find_near_duplicates([]) == []
    with pytest.raises(ValueError, match="at most 1"):
        find_near_duplicates(["a"], jaccard=1.5)


def brute_force(texts: list[str], gram: int, jaccard: float) -> list[int]:
    def grams(text: str) -> frozenset[tuple[str, ...]]:
        tokens = text.split()
        if len(tokens) < gram:
            return frozenset({tuple(tokens)} if tokens else ())
        return frozenset(tuple(tokens[start : start + gram]) for start in range(len(tokens) - gram + 1))

    sets = [grams(text) for text in texts]
    cluster = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            union = sets[i] | sets[j]
            if not union or len(sets[i] & sets[j]) >= jaccard * len(union) - 1e-9:
                old, new = max(cluster[i], cluster[j]), min(cluster[i], cluster[j])
                cluster = [new if name == old else name for name in cluster]
    return cluster


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=12).map(" ".join), max_size=14),
    st.integers(1, 4),
    st.sampled_from([0.4, 0.5, 0.8, 1.0]),
)
def test_clusters_are_those_of_all_pairs(texts: list[str], gram: int, jaccard: float) -> None:
    assert find_near_duplicates(texts, gram, jaccard) == brute_force(texts, gram, jaccard)


def test_boilerplate_in_thousands_of_prompts_does_not_stall() -> None:
    words = random.Random(5)
    preamble = " ".join(f"w{words.randrange(500)}" for _ in range(100))
    texts = [f"{preamble} {' '.join(str(words.randrange(10**6)) for _ in range(20))}" for _ in range(600)]
    texts += [f"{text}." for text in texts[:50]]
    found = find_near_duplicates(texts)
    assert found[600:] == list(range(50))
    assert len(set(found)) == 600


def test_overlap_is_a_share_of_thirteen_word_grams() -> None:
    question = " ".join(f"w{number}" for number in range(20))
    public = ["nothing of it", "see: W0, w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13! and on"]
    fresh = " ".join(f"x{number}" for number in range(20))
    assert public_overlap([question, fresh, "too short"], public) == [2 / 8, 0.0, None]
    assert public_overlap([], public) == []
    chinese = "\u6211\u4eec\u7684\u95ee\u9898\u662f\u4ec0\u4e48\u8bf7\u56de\u7b54\u4e00\u4e0b\u5427"
    assert public_overlap([chinese], [f"abc {chinese} def"]) == [1.0], "scripts without spaces have grams too"
