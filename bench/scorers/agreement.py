"""Where several scorers of the same replies disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.domain import Label, Score


@dataclass(frozen=True)
class Disagreement:
    """How two scorers differ on the replies that both of them score.

    Attributes:
        one: name of the first scorer.
        other: name of the second.
        replies: how many replies both score.
        differing: on how many of them their labels differ.
        label_pairs: how often each pair of differing labels occurs, the most frequent first.
        places: positions of the replies on which they differ.
    """

    one: str
    other: str
    replies: int
    differing: int
    label_pairs: tuple[tuple[tuple[Label, Label], int], ...]
    places: tuple[int, ...]

    @property
    def share(self) -> float:
        """Differing of the replies that both score; 0 where there are none."""
        return self.differing / self.replies if self.replies else 0.0


def disagreements(verdicts: Mapping[str, Sequence[Score]]) -> list[Disagreement]:
    """Every pair of scorers, by name, over verdicts on the same replies in the same order.

    Raises:
        ValueError: the scorers have scored different numbers of replies.
    """
    if len({len(scores) for scores in verdicts.values()}) > 1:
        raise ValueError("scorers can be compared over the same replies only")
    return [_compared(one, other, verdicts[one], verdicts[other]) for one, other in combinations(verdicts, 2)]


def _compared(one: str, other: str, ours: Sequence[Score], theirs: Sequence[Score]) -> Disagreement:
    both = [
        (place, (left.label, right.label))
        for place, (left, right) in enumerate(zip(ours, theirs, strict=True))
        if left.value is not None and right.value is not None
    ]
    differing = [(place, labels) for place, labels in both if labels[0] is not labels[1]]
    counted = Counter(labels for _, labels in differing)
    pairs = tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
    return Disagreement(one, other, len(both), len(differing), pairs, tuple(place for place, _ in differing))
