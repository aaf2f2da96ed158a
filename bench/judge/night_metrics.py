"""One number per night and metric: what is compared from night to night, larger is worse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.judge.monitor import ACCURACY_GATE, RATIO_GATE
from bench.judge.night import DEFINITIONS, LOAD, PROMPTS, PROVIDER, REFERENCE, SAMPLING, SCORER, CellNight
from bench.judge.statistics.outcomes import ERROR_LIMIT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: what must be equal for two nights to compare in a metric
_ASKED = (PROMPTS, DEFINITIONS, SAMPLING, PROVIDER)
_TIMED = (*_ASKED, LOAD)
_SCORED = (*_ASKED, SCORER)


@dataclass(frozen=True)
class NightMetric:
    """A metric that nights are compared by.

    Attributes:
        name, unit, definition: ``unit`` is of the shown figure.
        figure: the figure that is shown, of :attr:`~bench.judge.night.CellNight.figures`.
        is_log: the compared number is a logarithm, so differences are shares; otherwise points.
        more_is_worse: which way is worse; the compared number is negated where less is.
        time, q: latency and quantile that is divided by each prompt's usual latency; ``None`` for the plain figure.
        hashes: what must be equal for two nights to compare.
        references: whether a pinned reference of the same night is subtracted.
        pages: whether its alarm pages.
        stable: no errors may hide in it: nights with more than 1% of errors have no number. Its nights vary by
            sampling alone, not with the hour of the service, so the lower threshold holds for it.
    """

    name: str
    unit: str
    definition: str
    figure: str
    is_log: bool
    more_is_worse: bool
    hashes: tuple[str, ...]
    time: str | None = None
    q: float | None = None
    references: bool = False
    pages: bool = True
    stable: bool = False

    @property
    def gate(self) -> float:
        """The smallest change worth a word: 3%, or a point."""
        return RATIO_GATE if self.is_log else ACCURACY_GATE

    def must_equal(self) -> tuple[str, ...]:
        """Names of hashes, the reference's with them where it is subtracted."""
        return (*self.hashes, REFERENCE) if self.references else self.hashes


def _latency(time: str, q: str) -> NightMetric:
    said = "time to first token" if time == "ttft" else "end-to-end time"
    normal = q != "p99"
    return NightMetric(
        name=f"{time}_{q}",
        unit="ms",
        definition=f"{q} of the {said}"
        + (", each request's divided by its prompt's median over the baseline nights" if normal else ", raw"),
        figure=f"{time}_{q}_ms",
        is_log=True,
        more_is_worse=True,
        hashes=_TIMED,
        time=time if normal else None,
        q=float(q[1:]) / 100 if normal else None,
        references=True,
        pages=normal,
    )


def _share(name: str, said: str, hashes: tuple[str, ...], pages: bool = True) -> NightMetric:
    return NightMetric(name, "share", said, name, False, True, hashes, pages=pages)


NIGHT_METRICS: tuple[NightMetric, ...] = (
    *(_latency(time, q) for time in ("ttft", "e2e") for q in ("p50", "p95", "p99")),
    NightMetric(
        "throughput",
        "tokens/s",
        "completion tokens over the window of the cell",
        "throughput_tok_per_s",
        True,
        False,
        _TIMED,
    ),
    NightMetric("cost", "per request", "mean list price of a served request", "cost", True, True, _ASKED),
    NightMetric(
        "accuracy",
        "share",
        "mean score with the question as unit; unknown on nights with more than 1% of errors",
        "accuracy",
        False,
        False,
        _SCORED,
        stable=True,
    ),
    _share("failure_rate", "requests that are not ok", _TIMED),
    _share("unparsed_rate", "replies in which the scorer found no answer", _SCORED),
    _share("truncated_rate", "replies cut by the token limit before a right answer", _SCORED),
    _share("refused_rate", "replies that decline to answer", _SCORED, pages=False),
)
METRICS_BY_NAME = {metric.name: metric for metric in NIGHT_METRICS}


@dataclass(frozen=True)
class Usual:
    """Each prompt's usual latency.

    Attributes:
        questions: hashes of the prompts, ascending; ``ms``: the median latency of each.
    """

    questions: NDArray[np.int64]
    ms: NDArray[np.float64]

    def of(self, questions: NDArray[np.int64]) -> NDArray[np.float64]:
        """The usual latency of each question, NaN where there is none."""
        import numpy as np

        if self.questions.size == 0:
            return np.full(questions.size, math.nan)
        place = np.minimum(np.searchsorted(self.questions, questions), self.questions.size - 1)
        return np.where(self.questions[place] == questions, self.ms[place], math.nan)


def prompt_medians(nights: Iterable[CellNight], time: str) -> Usual:
    """Each prompt's median latency over all its requests of some nights, ``time`` being ``ttft`` or ``e2e``."""
    import numpy as np

    kept = [(night.asked.question, night.latency_ms(time)) for night in nights]
    question = np.concatenate([one for one, _ in kept] or [np.empty(0, np.int64)])
    latency = np.concatenate([one for _, one in kept] or [np.empty(0, np.float32)]).astype(np.float64)
    known = latency > 0
    question, latency = question[known], latency[known]
    order = np.lexsort((latency, question))
    question, latency = question[order], latency[order]
    names, first, count = np.unique(question, return_index=True, return_counts=True)
    middle = (latency[first + (count - 1) // 2] + latency[first + count // 2]) / 2
    return Usual(names, middle)


def normalised(night: CellNight, time: str, usual: Usual) -> NDArray[np.float64]:
    """Latency of each request over its prompt's usual one; prompts that have none are left out."""
    import numpy as np

    ratio = night.latency_ms(time).astype(np.float64) / usual.of(night.asked.question)
    return ratio[np.isfinite(ratio) & (ratio > 0)]


def statistic(night: CellNight, metric: NightMetric, usual: Usual | None = None) -> float | None:
    """The metric of a night before logarithm and sign: a ratio to the usual latency, or the figure itself.

    Args:
        usual: :func:`prompt_medians` of the baseline nights; needed where ``metric.time`` is set.

    Returns:
        ``None`` where the night has no such number, or one that supports no claim.

    Raises:
        ValueError: ``usual`` is missing.
    """
    if night.invalid is not None and LOAD in metric.hashes and metric.is_log:
        return None
    if metric.stable and (night.figures.get("error_rate") or 0.0) > ERROR_LIMIT:
        return None
    if metric.time is None or metric.q is None:
        return night.figures.get(metric.figure)
    import numpy as np

    if usual is None:
        raise ValueError(f"{metric.name} is set against the usual latency of each prompt, which was not given.")
    ratios = normalised(night, metric.time, usual)
    # with fewer the quantile is the largest value, which says nothing of it
    return float(np.quantile(ratios, metric.q)) if ratios.size * (1 - metric.q) >= 1 else None


def worse_by(metric: NightMetric, value: float | None) -> float:
    """A statistic as the compared number: logarithm where ``is_log``, negated where less is worse; NaN for none."""
    if value is None or not math.isfinite(value) or (metric.is_log and value <= 0):
        return math.nan
    number = math.log(value) if metric.is_log else value
    return number if metric.more_is_worse else -number
