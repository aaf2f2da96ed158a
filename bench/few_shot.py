"""Worked examples before a question: listed in the configuration, or drawn from a file by seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bench.datasets import Dataset, FewShot
from bench.datasets.cells import kind_of, needed
from bench.domain import ConfigError, JsonObject
from bench.files import Problems
from bench.registry import typed
from bench.row_fields import Row, canonical, compiled, derived, permuted, renamed
from bench.templates import template


@dataclass(frozen=True)
class Shots:
    """The examples that a question may be given.

    Attributes:
        listed: those that every question gets.
        groups: candidates in the order in which they are taken, by the value of the field ``per``.
        count: how many of them a question gets.
    """

    listed: tuple[Row, ...] = ()
    groups: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    count: int = 0
    per: str | None = None

    @property
    def any(self) -> bool:
        """Whether there are examples at all."""
        return bool(self.listed or self.groups)

    def of(self, row: JsonObject, place: str) -> list[Row]:
        """The examples of a question; one that asks the same thing is passed over, for the next one if there is any.

        Raises:
            ConfigError: fewer examples than wanted.
        """
        if not self.groups:
            return list(self.listed)
        group = _group(row, self.per, place)
        asked = _content(row)
        members = self.groups.get(group, ())
        found = list(islice((one for one in members if _content(one[1]) != asked), self.count))
        if len(members) < self.count:
            where = f" with {self.per}={group}" if self.per else ""
            raise ConfigError(
                f"{place}: the file of dataset.few_shot has {len(members)} examples{where}, not {self.count}"
            )
        return found


def shots_of(dataset: Dataset, problems: Problems, check: Callable[[JsonObject, str], object]) -> Shots:
    """The examples of a dataset; what is wrong is noted.

    Args:
        check: raises ``ConfigError`` on a listed example that cannot be rendered.
    """
    given = dataset.few_shot
    try:
        if isinstance(given, Mapping):
            return _drawn(dataset, typed(FewShot, given, "dataset.few_shot"), problems)
        if given is not None and not isinstance(given, list):
            raise ConfigError("dataset.few_shot: must be a list of examples, or a mapping that says where they are")
    except ConfigError as error:
        problems.add(*error.problems)
        return Shots()
    return Shots(listed=tuple(_listed(given or [], problems, check)))


def _listed(given: list[object], problems: Problems, check: Callable[[JsonObject, str], object]) -> list[Row]:
    rows: list[Row] = []
    for position, example in enumerate(given):
        place = f"dataset.few_shot[{position}]"
        if not isinstance(example, Mapping):
            problems.add(f"{place}: must be a mapping with the fields of `prompt` and an `answer`")
            continue
        row = {str(key): value for key, value in example.items()}
        try:
            answer = needed(row, "answer", place)
            if not isinstance(answer, str | int | float):
                raise ConfigError(f"{place}: `answer` must be a text, it is {kind_of(answer)}")
            check(row, place)
            rows.append((place, {**row, "answer": str(answer)}))
        except ConfigError as error:
            problems.add(*error.problems)
    return rows


def _drawn(dataset: Dataset, spec: FewShot, problems: Problems) -> Shots:
    if spec.count < 1:
        raise ConfigError(
            f"dataset.few_shot.count={spec.count}: must be at least 1; dataset.few_shot=null asks without"
        )
    answer = template(spec.answer, "dataset.few_shot.answer", problems)
    expressions = compiled(dataset.derive, Problems())  # noted where the rows themselves are derived
    rows = renamed(list(dataset.example_rows(spec)), dataset.fields, problems)
    groups: dict[str, list[Row]] = {}
    for place, raw in rows:
        row = derived(raw, place, expressions)
        if answer is not None:
            row["answer"] = answer(row, place)
        groups.setdefault(_group(row, spec.per, place), []).append((place, row))
    if spec.seed is not None:
        for name, members in groups.items():
            order = permuted(len(members), random.Random(f"{spec.seed}/{name}"))
            groups[name] = [members[i] for i in order]
    return Shots(groups=groups, count=spec.count, per=spec.per)


def _group(row: JsonObject, per: str | None, place: str) -> str:
    return "" if per is None else str(needed(row, per, place))


def _content(row: JsonObject) -> str:
    """What a row asks, whichever file it stands in: without its answer, number and file."""
    asked: JsonObject = {key: row[key] for key in ("prompt", "question", "messages") if key in row}
    if asked and isinstance(row.get("options"), list):
        asked["options"] = sorted(map(str, row["options"]))  # they may have been shuffled
    return canonical(asked or {key: value for key, value in row.items() if key not in ("answer", "id")})
