"""Service level objectives as expressions.

An SLO is one or more terms joined by ``and``: ``ttft_ms_p99 <= 500 and tpot_ms_p95 <= 50 and failure_rate <= 0.01``.
A term with a percentile bounds that percentile of all requests; one without bounds each request. A request that
failed meets no term, whatever the metric.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.domain import ConfigError

FAILURE_RATE = "failure_rate"
#: what a term can bound: the columns derived per request, by the names of ``bench.judge.metrics``, and the failures
METRICS = (
    "ttft_ms",
    "ttfa_ms",
    "e2e_ms",
    "due_ttft_ms",
    "due_e2e_ms",
    "tpot_ms",
    "queue_ms",
    "send_lag_ms",
    "output_tok_per_s",
    FAILURE_RATE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_TERM = re.compile(r"\s*([^\s<>=!]+)\s*([<>=!]+)\s*(\S+)\s*")
_PERCENTILE = re.compile(r"(\w+?)_p(\d+(?:\.\d+)?)(_ms|)")
_EXAMPLE = "ttft_ms_p99 <= 500 and tpot_ms_p95 <= 50"


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: ``metric [percentile] sign bound``; ``percentile`` is a share in 0..1, ``None`` per request."""

    metric: str
    percentile: float | None
    sign: str
    bound: float

    def __str__(self) -> str:
        suffix = "" if self.percentile is None else f"_p{round(100 * self.percentile, 6):g}"
        return f"{self.metric}{suffix} {self.sign} {self.bound:g}"

    def met_by(self, value: Any) -> Any:
        """Whether a value, or each of an array, meets the bound; NaN does not."""
        return _COMPARE[self.sign](value, self.bound)

    @property
    def worst(self) -> float:
        """What a failed request counts as."""
        return float("inf") if self.sign in ("<=", "<") else float("-inf")


@dataclass(frozen=True, slots=True)
class Slo:
    """A parsed expression; ``str`` gives it back in one spelling."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " and ".join(str(term) for term in self.terms)


def parse_slo(text: str, key: str = "slo") -> Slo:
    """Read an SLO expression. ``ttft_p99_ms``, the name of the summary's column, also means ``ttft_ms_p99``.

    Raises:
        ConfigError: one sentence for each term that cannot be read; ``key`` says where the expression stands.
    """
    terms: list[Term] = []
    problems: list[str] = []
    for part in re.split(r"\band\b", text, flags=re.IGNORECASE):
        try:
            terms.append(_parse_term(part, key))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return Slo(tuple(terms))


def _parse_term(part: str, key: str) -> Term:
    found = _TERM.fullmatch(part)
    if found is None:
        said = f"'{part.strip()}'" if part.strip() else "an empty term"
        raise ConfigError(
            f"{key}: cannot read {said}; write terms 'metric <= number' joined by 'and', such as '{_EXAMPLE}'."
        )
    name, sign, number = found.groups()
    if sign not in _COMPARE:
        raise ConfigError(f"{key}: unknown operator '{sign}' in '{part.strip()}'; there are {', '.join(_COMPARE)}.")
    metric, percentile = _parse_name(name, key)
    try:
        bound = float(number)
    except ValueError:
        bound = float("nan")
    if not abs(bound) < float("inf"):
        raise ConfigError(f"{key}: '{number}' in '{part.strip()}' is not a number; units are those of the metric.")
    return Term(metric, percentile, sign, bound)


def _parse_name(name: str, key: str) -> tuple[str, float | None]:
    split = _PERCENTILE.fullmatch(name)
    metric = split[1] + split[3] if split else name
    percentile = float(split[2]) / 100 if split else None
    if metric not in METRICS:
        raise ConfigError(
            f"{key}: unknown metric '{name}'; there are {', '.join(METRICS)}, each but {FAILURE_RATE} with a "
            "percentile such as _p99, or without one to bound every request."
        )
    if percentile is not None and metric == FAILURE_RATE:
        raise ConfigError(f"{key}: {FAILURE_RATE} is one figure per cell and has no percentiles; leave '_p...' out.")
    if percentile is not None and not 0 < percentile < 1:
        raise ConfigError(f"{key}: the percentile of '{name}' must lie between 0 and 100.")
    return metric, percentile
