"""Series of nights: a metric of a model on a prompt set, watched by the nightly monitor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from bench.judge.history.accepted import Accepted
from bench.judge.monitor import SEED_NIGHTS, Monitored, NightState, alarm_threshold, monitor
from bench.judge.night import SCORER, CellNight
from bench.judge.night_metrics import NIGHT_METRICS, NightMetric, prompt_medians, statistic, worse_by
from bench.judge.statistics.change_points import change_points

#: nights that trend and change points look back on
TREND_NIGHTS = 30
CHANGE_NIGHTS = 120

Place = tuple[str, str, str, str]


@dataclass(frozen=True)
class Stretch:
    """Nights that compare with each other in one metric, in order.

    Attributes:
        references: the pinned model's nights by run, empty where nothing is subtracted.
        broken_by: why the series starts anew with the first night; ``None`` for the first stretch.
        current: the newest night of the place belongs to it.
    """

    name: str
    model: str
    dataset: str
    variant: str
    metric: NightMetric
    nights: tuple[CellNight, ...]
    references: Mapping[str, CellNight]
    broken_by: str | None
    current: bool

    @property
    def id(self) -> str:
        """What the series is called: ``name:model:dataset[variant]:metric``."""
        return ":".join(_named(self.name, self.model, self.dataset, self.variant, self.metric.name))

    @property
    def referenced(self) -> bool:
        """Whether a pinned reference is subtracted."""
        return bool(self.references)

    @property
    def is_known(self) -> bool:
        """Whether the last night can have a number."""
        return self._has_number(self.nights[-1])

    @property
    def was_known(self) -> bool:
        """Whether any night can: a cost without a price is no series."""
        return any(map(self._has_number, reversed(self.nights)))

    def _has_number(self, night: CellNight) -> bool:
        if self.metric.time is not None:
            return bool((night.latency_ms(self.metric.time) > 0).any())
        figure = night.figures.get(self.metric.figure)
        return figure is not None and (figure > 0 or not self.metric.is_log)


@dataclass(frozen=True)
class Change:
    """A change found in hindsight: the night it shows from, and by how much worse (a share where logs, else points)."""

    night: int
    by: float


@dataclass(frozen=True)
class Series:
    """A stretch with what the monitor makes of it.

    Attributes:
        x: the compared number of each night, larger is worse; NaN for a missing one.
        threshold: evidence that pages.
        seeded_from: the night that the level begins with: after an accepted change not the first.
        accepted: that change.
        monitored: of the nights from there on.
    """

    stretch: Stretch
    x: tuple[float, ...]
    threshold: float
    seeded_from: int
    accepted: Accepted | None
    monitored: Monitored = field(repr=False)

    @property
    def id(self) -> str:
        """See :attr:`Stretch.id`."""
        return self.stretch.id

    @property
    def metric(self) -> NightMetric:
        """What is compared."""
        return self.stretch.metric

    @property
    def nights(self) -> tuple[CellNight, ...]:
        """In order of time."""
        return self.stretch.nights

    @property
    def figures(self) -> list[float | None]:
        """The figure of each night as it is shown: not set against usual latencies or a reference."""
        return [night.figures.get(self.metric.figure) for night in self.nights]

    @property
    def state(self) -> NightState:
        """Of the last night."""
        return self.monitored.nights[-1].state if self.monitored.nights else NightState.MISSING

    @property
    def pages(self) -> bool:
        """Whether the last night alarms in a metric that pages."""
        return self.state is NightState.ALARM and self.metric.pages

    @property
    def suspected_from(self) -> int | None:
        """The night at which the change began that the last night alarms for; ``None`` without one."""
        start = self.monitored.nights[-1].start if self.state is NightState.ALARM else None
        return None if start is None else self.seeded_from + start

    @property
    def shift(self) -> float | None:
        """By how much it is worse since then: a share where logs are compared, else points as a share of 1."""
        found = self.monitored.nights[-1].shift if self.state is NightState.ALARM else None
        return None if found is None else math.expm1(found) if self.metric.is_log else found

    @property
    def seed_nights(self) -> int:
        """Nights with a number since the level began, at most those that seed it."""
        return min(sum(math.isfinite(x) for x in self.x[self.seeded_from :]), SEED_NIGHTS)

    @cached_property
    def trend(self) -> float | None:
        """How much worse it gets in 30 nights by the median slope of the last 30 (Sen 1968, JASA 63:1379)."""
        known = [(night, x) for night, x in enumerate(self.x) if math.isfinite(x)][-TREND_NIGHTS:]
        if len(known) < 5:
            return None
        slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(known, 2))
        slope = (slopes[(len(slopes) - 1) // 2] + slopes[len(slopes) // 2]) / 2 * TREND_NIGHTS
        return math.expm1(slope) if self.metric.is_log else slope

    @cached_property
    def changes(self) -> list[Change]:
        """Changes of at least the gate in the last nights, found in hindsight; for the eye, never for a page."""
        known = [night for night, x in enumerate(self.x) if math.isfinite(x)][-CHANGE_NIGHTS:]
        level = [math.exp(self.x[night]) if self.metric.is_log else self.x[night] for night in known]
        found = []
        for point in change_points(level) if len(level) > 4 else ():
            if self.metric.is_log:
                by = point.mean_after / point.mean_before - 1
                enough = abs(math.log1p(by)) >= self.metric.gate
            else:
                by = point.mean_after - point.mean_before
                enough = abs(by) >= self.metric.gate
            if enough:
                found.append(Change(known[point.index], by))
        return found


def _named(name: str, model: str, dataset: str, variant: str, metric: str) -> tuple[str, str, str, str]:
    return name, model, f"{dataset}[{variant}]" if variant else dataset, metric


def lay_out(nights: Iterable[CellNight]) -> list[Stretch]:
    """Every stretch of every series. Nights are in order of time; one run is one night.

    Nights whose prompt set, scorer, definitions, sampling, provider, load or reference differ never share a stretch.
    """
    places: dict[Place, list[CellNight]] = {}
    pinned: dict[tuple[str, str, str], CellNight] = {}
    for night in nights:
        places.setdefault((night.name, night.model, night.dataset, night.variant), []).append(night)
        if night.is_reference:
            pinned[night.run, night.dataset, night.variant] = night
    return [
        stretch
        for place in sorted(places)
        for metric in NIGHT_METRICS
        for stretch in _stretches(place, metric, places[place], pinned)
    ]


def _stretches(
    place: Place, metric: NightMetric, nights: Sequence[CellNight], pinned: Mapping[tuple[str, str, str], CellNight]
) -> list[Stretch]:
    compared = list(metric.must_equal())
    parts: dict[tuple[str | None, ...], list[CellNight]] = {}
    begun: dict[tuple[str | None, ...], str | None] = {}
    before: tuple[str | None, ...] | None = None
    for night in nights:
        key = tuple(night.hashes.get(name) for name in compared)
        if before is not None and SCORER in compared and not night.figures.get("scored"):
            # nothing was scored, so no version of a scorer is known: a missing night, no new series
            key = before
        if key not in parts:
            begun[key] = None if before is None else _difference(compared, before, key)
        parts.setdefault(key, []).append(night)
        before = key
    found = []
    for key, part in parts.items():
        subtracts = metric.references and part[0].reference is not None and not part[0].is_reference
        references = {
            night.run: pinned[night.run, night.dataset, night.variant]
            for night in part
            if subtracts and (night.run, night.dataset, night.variant) in pinned
        }
        found.append(Stretch(*place, metric, tuple(part), references, begun[key], key == before))
    return found


def _difference(names: Sequence[str], old: Sequence[str | None], new: Sequence[str | None]) -> str:
    """``prompt set 3f2a… instead of 9c1d…``."""
    return "; ".join(
        f"another {name}: {_short(right)}, before {_short(left)}"
        for name, left, right in zip(names, old, new, strict=True)
        if left != right
    )


def _short(value: str | None) -> str:
    return "none" if value is None else value if len(value) <= 40 else f"{value[:12]}…"


def paging_series(stretches: Iterable[Stretch], name: str) -> int:
    """How many series of the runs of a name can page tonight: what the threshold is set for."""
    return sum(one.metric.pages and one.current and one.name == name and one.is_known for one in stretches)


def watch(stretch: Stretch, paging: int = 1, accepted: Iterable[Accepted] = ()) -> Series:
    """The series that a stretch makes, its level beginning with the last accepted change.

    Args:
        paging: series that can page together; see :func:`paging_series`.
        accepted: changes of any series; those of others are passed over.
    """
    place_of = {night.run: place for place, night in enumerate(stretch.nights)}
    own = [one for one in accepted if one.series == stretch.id and one.since in place_of]
    last = max(own, key=lambda one: place_of[one.since], default=None)
    start = 0 if last is None else place_of[last.since]
    x = _compared(stretch, start)
    threshold = alarm_threshold(paging, stretch.referenced or stretch.metric.stable)
    return Series(stretch, tuple(x), threshold, start, last, monitor(x[start:], threshold, stretch.metric.gate))


def _compared(stretch: Stretch, start: int) -> list[float]:
    metric = stretch.metric
    own = _levels(stretch.nights, start, metric)
    if not stretch.referenced:
        return own
    # aligned with the nights: a night without the reference has no number
    theirs = [stretch.references.get(night.run) for night in stretch.nights]
    known = [night for night in theirs if night is not None]
    skip = sum(night is not None for night in theirs[:start])
    levels = iter(_levels(known, skip, metric))
    return [mine - next(levels) if night is not None else math.nan for mine, night in zip(own, theirs, strict=True)]


def _levels(nights: Sequence[CellNight], start: int, metric: NightMetric) -> list[float]:
    """The compared number of each night, before a reference is subtracted.

    A baseline night is set against the medians of the other baseline nights: against its own its tail would be shorter
    than that of any later night, and the first night after the baseline a step up.
    """
    if metric.time is None:
        return [worse_by(metric, statistic(night, metric)) for night in nights]
    base = nights[start : start + SEED_NIGHTS]
    usual = prompt_medians(base, metric.time)
    found = []
    for place, night in enumerate(nights):
        own = usual
        if start <= place < start + SEED_NIGHTS and len(base) > 1:
            own = prompt_medians((one for one in base if one is not night), metric.time)
        found.append(worse_by(metric, statistic(night, metric, own)))
    return found
