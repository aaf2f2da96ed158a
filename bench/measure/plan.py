"""The planner: experiments to cells, stages and a seeded, interleaved, streamed order of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from bench.config import Experiment, plain
from bench.domain import Cell, ConfigError, Request
from bench.measure.canonical import canonical, short_hash
from bench.measure.cells import make_cells
from bench.measure.check import check_experiments
from bench.measure.probes import Probe, probe_cell
from bench.samples import SampleSet, load_samples, repeats_told

#: settings of the run as a whole; they cannot differ between the cells of one run
SHARED = (
    *("name", "results_dir", "seed", "dry_run", "engine", "budget"),
    *("stop", "report", "tolerance", "slo", "cache", "reference"),
)

#: what of a provider says how it is asked and read, not who is asked
_NOT_ACCOUNT = ("extra_body", "max_tokens_field", "usage_in_stream", "usage_covers_n")


@dataclass(frozen=True)
class Stage:
    """Cells that run at the same time. Stages run one after another. ``probe`` is set where a search made the stage."""

    index: int
    cells: tuple[Cell, ...]
    probe: Probe | None = None

    @property
    def load(self) -> object:
        """The load that all cells of the stage share."""
        return self.cells[0].config.load


@dataclass(frozen=True)
class Plan:
    """Everything that will be asked, without a list of requests: those are made one at a time.

    Attributes:
        samples: dataset key -> its samples.
        notes: what a person should know before the run: dropped parameters, warnings.
        asked: the cell id of each experiment, in order; two may share a cell once parameters were dropped.
    """

    cells: tuple[Cell, ...]
    stages: tuple[Stage, ...]
    samples: Mapping[str, SampleSet]
    seed: int
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """The first cell's configuration, for the settings that all cells share."""
        config: Experiment = self.cells[0].config
        return config

    def count(self, cell: Cell) -> int | None:
        """How many requests the cell plans; ``None`` when a duration decides."""
        config: Experiment = cell.config
        if config.load.requests is not None or config.load.is_finite:
            return config.load.planned()
        if config.load.duration_s is not None or config.load.is_adaptive:
            return None
        return len(self.samples[cell.dataset_key].samples) * config.repeats

    @property
    def total(self) -> int | None:
        """Planned requests of the run; ``None`` when a duration decides."""
        counts = [self.count(cell) for cell in self.cells]
        return None if None in counts else sum(c for c in counts if c is not None)

    def stage(self, index: int, probe: Probe | None = None) -> Stage:
        """The planned stage of that index, or the one that a probe makes; the same in every process."""
        if probe is None:
            return self.stages[index]
        return Stage(index, (probe_cell(self.cells[probe.position], probe, index),), probe)

    def lanes(self, stage: Stage) -> dict[str, Iterator[Request]]:
        """The stage's requests as one ordered stream per lane.

        A lane is one model of one provider account: what a rate limit holds back. Within a lane and across lanes,
        ``order`` follows the seeded interleaving.
        """
        return {key: self._lane(stage, positions) for key, positions in lane_members(stage).items()}

    def requests(self) -> Iterator[Request]:
        """Every planned request, stage by stage and lane by lane (for durations: without end)."""
        for stage in self.stages:
            for lane in self.lanes(stage).values():
                yield from lane

    def _lane(self, stage: Stage, positions: Sequence[int]) -> Iterator[Request]:
        streams = {i: self._cell_requests(stage.cells[i], stage, i) for i in positions}
        block = 0
        while streams:
            for position in block_order(self.seed, stage.index, block, len(stage.cells)):
                if position in streams:
                    request = next(streams[position], None)
                    if request is None:
                        del streams[position]
                    else:
                        yield request
            block += 1

    def _cell_requests(self, cell: Cell, stage: Stage, position: int) -> Iterator[Request]:
        config: Experiment = cell.config
        samples = self.samples[cell.dataset_key].samples
        width, count = len(stage.cells), self.count(cell)
        arrivals = config.load.arrivals(Random(f"{self.seed}:{cell.cell_id}:due"))
        order = ((i, 0) for i in range(len(samples))) if config.load.keeps_order else self._sample_order(cell)
        offset = sum(self._width(s) for s in self.stages[: stage.index])
        end_ns = None if config.load.duration_s is None else int(config.load.duration_s * 1e9)
        for number, ((index, repeat), (due_ns, warmup)) in enumerate(zip(order, arrivals, strict=False)):
            if (count is not None and number >= count) or (end_ns is not None and due_ns > end_ns):
                return
            sample = samples[index]
            rank = block_order(self.seed, stage.index, number, width).index(position)
            yield Request(
                request_id=f"{cell.cell_id}:{sample.sample_id}:{repeat}",
                cell=cell,
                sample=sample,
                repeat=repeat,
                order=offset + number * width + rank,
                due_ns=due_ns,
                warmup=warmup,
            )

    def _width(self, stage: Stage) -> int:
        """Room for the ``order`` numbers of a stage (exact when its cells plan equally many requests)."""
        return len(stage.cells) * max((self.count(cell) or 0) for cell in stage.cells)

    def _sample_order(self, cell: Cell) -> Iterator[tuple[int, int]]:
        """Sample index and repeat, each pass over the set in its own seeded order, the same for all cells of a dataset.

        All samples come once before any comes again, so a run that stops early is still a random sample of the set;
        and cells see the same samples at about the same time, so they stay comparable pair by pair. Under a rule for
        stopping, which counts whole questions, the repeats of a sample follow each other.
        """
        config, turn = cell.config, 0
        together = config.repeats if config.stop.is_set else 1
        while True:
            for index in self.sample_order(cell.dataset_key, turn):
                for number in range(together):
                    yield index, turn * together + number
            turn += 1

    def sample_order(self, dataset_key: str, turn: int = 0) -> list[int]:
        """The samples of a dataset, by index, in the order in which a pass over the set asks them."""
        order = list(range(len(self.samples[dataset_key].samples)))
        Random(f"{self.seed}:{dataset_key}:{turn}:order").shuffle(order)
        return order


@lru_cache(maxsize=4096)
def block_order(seed: int, stage: int, block: int, width: int) -> tuple[int, ...]:
    """The seeded order in which the cells of a stage take turns in one block: each exactly once.

    Blocked randomisation: a drift of the service meets every cell alike, and every prefix of the run holds equally
    many requests of each cell, give or take one.
    """
    order = list(range(width))
    if width > 1:
        Random(f"{seed}:{stage}:{block}:block").shuffle(order)
    return tuple(order)


def account_key(experiment: Experiment) -> str:
    """Names the server and account a request goes to."""
    provider = experiment.provider
    knobs = {k: v for k, v in plain(provider).items() if k not in _NOT_ACCOUNT}
    return f"{provider.name or provider.kind}-{short_hash(knobs, 8)}"


def lane_key(experiment: Experiment) -> str:
    """Names the account and model that limits apply to."""
    return f"{account_key(experiment)} {experiment.model.name}"


def lane_members(stage: Stage) -> dict[str, list[int]]:
    """The keys of a stage's lanes, and at which positions of the stage each one's cells stand."""
    members: dict[str, list[int]] = {}
    for position, cell in enumerate(stage.cells):
        members.setdefault(lane_key(cell.config), []).append(position)
    return members


def make_plan(experiments: Sequence[Experiment]) -> Plan:
    """Load the samples, name the cells and lay out the stages.

    Raises:
        ConfigError: a dataset that cannot be read, settings that cannot differ within a run, two equal cells.
    """
    if not experiments:
        raise ConfigError("the sweep has no cells: nothing to run")
    _check_shared(experiments)
    keys, sets = _load_sets(experiments)
    checked = check_experiments(experiments, [sets[key] for key, _ in keys])
    asked = make_cells(checked, keys)
    cells, merged = _distinct(asked)
    repeats = [note for key, found in sets.items() if (note := repeats_told(key, found)) is not None]
    notes = (*dict.fromkeys(note for one in checked for note in one.notes), *merged, *repeats)
    return Plan(
        cells=cells,
        stages=_stages(cells),
        samples=sets,
        seed=experiments[0].seed,
        notes=notes,
        asked=tuple(cell.cell_id for cell in asked),
    )


def _load_sets(experiments: Sequence[Experiment]) -> tuple[list[tuple[str, str]], dict[str, SampleSet]]:
    """Each distinct dataset configuration is read once; the key is its name and content."""
    loaded: dict[str, tuple[str, SampleSet]] = {}
    keys: list[tuple[str, str]] = []
    problems: list[str] = []
    for experiment in experiments:
        identity = canonical(plain(experiment.dataset))
        if identity not in loaded:
            try:
                sample_set = load_samples(experiment.dataset)
            except ConfigError as error:
                problems += error.problems
                loaded[identity] = ("", SampleSet((), "", 0))
                continue
            name = experiment.dataset.name or experiment.dataset.kind
            loaded[identity] = (f"{name}-{sample_set.content_hash[:8]}", sample_set)
        key, sample_set = loaded[identity]
        keys.append((key, sample_set.content_hash))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return keys, dict(loaded.values())


def _check_shared(experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    problems = [
        f"{key}: belongs to the run as a whole and cannot be swept; give it one value, or use another launcher "
        f"(hydra/launcher=basic) for one run per value"
        for key in SHARED
        if any(getattr(e, key) != getattr(first, key) for e in experiments)
    ]
    if len({e.load.is_adaptive for e in experiments}) > 1:
        problems.append("load: a search cannot be swept together with other loads; use one run for each")
    limits: dict[str, object] = {}
    problems += [
        f"limits: they hold per account and model for the whole run, but differ between cells of "
        f"{experiment.model.name}; to sweep concurrency use load.concurrency"
        for experiment in experiments
        if limits.setdefault(lane_key(experiment), experiment.limits) != experiment.limits
    ]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))


def _distinct(cells: Sequence[Cell]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The cells without those that became equal to another by dropping unsupported parameters, and notes on them.

    Raises:
        ConfigError: two cells mean the same although nothing was dropped.
    """
    seen: dict[str, Cell] = {}
    problems, notes = [], []
    for cell in cells:
        other = seen.setdefault(cell.cell_id, cell)
        if other is cell:
            continue
        if cell.dropped or other.dropped:
            notes.append(f"cell {cell.index} ({cell.label}) asks the same as cell {other.index}; it is asked once")
            continue
        differing = [k for k in cell.params if cell.params[k] != other.params.get(k)]
        problems.append(
            f"cells {other.index} and {cell.index} ({cell.label}) mean the same"
            + (f": {', '.join(differing[:5])} does not change what is measured" if differing else "")
            + "; remove one of them from the sweep"
        )
    if problems:
        raise ConfigError(*problems)
    return tuple(seen.values()), tuple(notes)


def _stages(cells: Sequence[Cell]) -> tuple[Stage, ...]:
    """All cells together when they share one closed load; else each with the machine to itself."""
    loads = {canonical(plain(cell.config.load)) for cell in cells}
    load = cells[0].config.load
    if len(loads) == 1 and not load.is_open and not load.isolate:
        return (Stage(0, tuple(cells)),)
    return tuple(Stage(i, (cell,)) for i, cell in enumerate(cells))
