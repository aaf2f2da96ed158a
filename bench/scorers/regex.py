"""A regular expression decides, or extracts what is compared with the target."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.domain import Choice, ConfigError, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.verdicts import plain, reply_text, right_or_wrong, unparsed, unscored


@plugin("scorer", "regex")
@dataclass(frozen=True)
class Regex(Scorer):
    """Python regular expressions (``re.MULTILINE``; write ``(?i)`` and the like into the pattern).

    Without ``group`` a match anywhere in the reply is ``correct``. With ``group`` the last match's group is compared
    with the target: letter case and whitespace do not count unless ``case``, and no match is ``unparsed``.
    A pattern with nested repetition can take exponential time on a hostile reply, hence the time limit.

    Attributes:
        pattern: the expression; ``null`` takes each row's target as its pattern (without ``group``).
        group: number of the group to extract; 0 is the whole match.
        case: whether letter case counts when the group is compared.
        max_chars: how much of a reply's end is searched.
        time_limit_s: for one verdict.
    """

    kind: str = "regex"
    version: str = "1"
    pattern: str | None = None
    group: int | None = None
    case: bool = False
    max_chars: int = 20_000
    time_limit_s: float | None = 5.0

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ConfigError(f"scorer.max_chars={self.max_chars}: must be at least 1")
        if self.pattern is None:
            if self.group is not None:
                raise ConfigError("scorer.group needs scorer.pattern: a row's target cannot be both pattern and answer")
            return
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ConfigError(f"scorer.pattern={self.pattern!r}: not a regular expression: {error}") from error
        if self.group is not None and not 0 <= self.group <= groups:
            raise ConfigError(f"scorer.group={self.group}: the pattern has {groups} groups")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` or ``wrong``; ``unparsed`` where a group should be extracted and nothing matches."""
        if sample.target is None:
            return unscored("no target")
        source = self.pattern if self.pattern is not None else sample.target
        if not isinstance(source, str):
            return unscored("without `pattern` the target must be a text: a regular expression")
        try:
            pattern = re.compile(source, re.MULTILINE)
        except (re.error, RecursionError, OverflowError) as error:
            return unscored(f"the target is no regular expression: {error}")
        text = reply_text(choice)[-self.max_chars :]
        last = None
        for last in pattern.finditer(text):  # noqa: B007  # the last match is wanted, after the loop
            pass
        if self.group is None:
            return right_or_wrong(last is not None, last.group() if last else "", "" if last else "no match")
        if last is None or last.group(self.group) is None:
            return unparsed("no match")
        listed = sample.target if isinstance(sample.target, list) else [sample.target]
        answer = last.group(self.group)
        return right_or_wrong(plain(answer, self.case) in {plain(str(t), self.case) for t in listed}, answer)
