"""The reply contains the target texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bench.domain import Choice, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import plain, reply_text, right_or_wrong, share, unparsed, unscored


class Mode(Enum):
    """How many of several targets must be there."""

    any = "any"
    all = "all"


@plugin("scorer", "contains")
@dataclass(frozen=True)
class Contains(Scorer):
    """Looks for a target text, or for each of a list of them, after NFKC and with whitespace runs as one space.

    Attributes:
        mode: ``any`` of the targets suffices, or ``all`` are needed (``partial`` with the share found otherwise).
        case: whether letter case counts.
        words: whether a target must not be a part of a longer word or number.
    """

    kind: str = "contains"
    version: str = "1"
    mode: Mode = Mode.any
    case: bool = False
    words: bool = False

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``partial`` or ``wrong``; ``unparsed`` for a reply without any text."""
        listed = sample.target if isinstance(sample.target, list) else [sample.target]
        targets = [target for target in (plain(str(item), self.case) for item in listed if item is not None) if target]
        if not targets:
            return unscored("no target")
        text = plain(reply_text(choice), self.case)
        if not text:
            return unparsed("the reply holds no text")
        found = [target for target in targets if self._within(target, text)]
        missing = [target for target in targets if target not in found]
        if self.mode is Mode.any:
            return right_or_wrong(
                bool(found), found[0] if found else "", "" if found else "none of the targets is there"
            )
        return share(len(found), len(targets), ", ".join(found), f"missing: {', '.join(missing)}" if missing else "")

    def _within(self, target: str, text: str) -> bool:
        if not self.words:
            return target in text
        before = r"(?<!\w)" if re.match(r"\w", target) else ""
        after = r"(?!\w)" if re.search(r"\w$", target) else ""
        return re.search(before + re.escape(target) + after, text) is not None
