"""What a rule is: a named check of one field of a request body, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeGuard

Body = Mapping[str, Any]


class Severity(StrEnum):
    """An error is refused by the service; a warning is legal and probably a mistake."""

    ERROR = "error"
    WARNING = "warning"


class ModelFacts(Protocol):
    """What the rules need to know of a model (:class:`bench.config.Model` has it all)."""

    @property
    def name(self) -> str: ...
    @property
    def context_tokens(self) -> int | None: ...
    @property
    def thinking(self) -> Enum: ...
    @property
    def tools(self) -> bool: ...
    @property
    def vision(self) -> bool: ...
    @property
    def min_p(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of one rule.

    Attributes:
        name: the rule's name in the table.
        field: the top-level field of the body that breaks it.
        path: where exactly, such as ``tools[3].function.name``.
        value: what stands there (``None`` when a required field is missing).
        rule: the rule in words, to follow "field=value: ".
        parameter_unsupported: the model does not take this parameter at all; leaving it out mends the request.
        severity: whether the service refuses it.
    """

    name: str
    field: str
    path: str
    value: Any
    rule: str
    parameter_unsupported: bool = False
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule looks at. ``estimated`` says that ``prompt_tokens`` is a guess, which no refusal may hang on."""

    body: Body
    model: ModelFacts | None
    prompt_tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Breach:
    """What a check found; the table adds the rule's name and field. ``at`` is the path below the field."""

    rule: str
    value: Any
    at: str = ""
    unsupported: bool = False
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        name: unique in the table.
        field: the top-level field of the body that it judges.
        check: yields what is wrong with the field's value.
        even_absent: judges a field that is absent or ``null`` as well (then ``check`` sees ``None``).
        everywhere: holds with any server, because the harness itself counts on it, and not with this service alone.
    """

    name: str
    field: str
    check: Callable[[Case, Any], Iterator[Breach]]
    even_absent: bool = False
    everywhere: bool = False

    def violations(self, case: Case) -> Iterator[Violation]:
        """Every breach of this rule."""
        value = case.body.get(self.field)
        if value is None and not self.even_absent:
            return
        for found in self.check(case, value):
            path = self.field + found.at
            yield Violation(self.name, self.field, path, found.value, found.rule, found.unsupported, found.severity)


def is_number(value: Any) -> TypeGuard[int | float]:
    """A JSON number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_int(value: Any) -> TypeGuard[int]:
    """A JSON number written as a whole one."""
    return isinstance(value, int) and not isinstance(value, bool)


Check = Callable[[Case, Any], Iterator[Breach]]


def number(low: float, high: float) -> Check:
    """A check that a value is a number in ``low..high``, both ends included."""

    def check(_: Case, value: Any) -> Iterator[Breach]:
        if not is_number(value):
            yield Breach("must be a number", value)
        elif not low <= value <= high:  # NaN lands here too
            yield Breach(f"must be between {low:g} and {high:g}", value)

    return check


def whole(low: int, high: int | None = None) -> Check:
    """A check that a value is a whole number in ``low..high``, both ends included."""

    def check(_: Case, value: Any) -> Iterator[Breach]:
        if not is_int(value):
            yield Breach("must be a whole number", value)
        elif value < low or (high is not None and value > high):
            yield Breach(f"must be at least {low}" if high is None else f"must be between {low} and {high}", value)

    return check


def boolean(_: Case, value: Any) -> Iterator[Breach]:
    """A check that a value is true or false."""
    if not isinstance(value, bool):
        yield Breach("must be true or false", value)


def items(value: Any) -> Sequence[Any]:
    """The items of a list; nothing where the value is no list."""
    return value if isinstance(value, list | tuple) else ()


def is_empty(value: Any) -> bool:
    """Whether a value is an empty list."""
    return isinstance(value, list | tuple) and not value
