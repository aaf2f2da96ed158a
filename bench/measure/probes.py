"""Probes: cells that a search makes while it runs, each one rate tried on one cell of the plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.config import Experiment, plain
from bench.domain import Cell
from bench.measure.canonical import short_hash
from bench.measure.cells import flat
from bench.measure.loads.poisson import Poisson
from bench.measure.loads.search import Search


@dataclass(frozen=True)
class Probe:
    """One try of a search; plain values, so that a worker process can be told of it.

    Attributes:
        position: which of the plan's cells it varies.
        number: counts the cell's probes from 1.
        rate: Poisson arrivals per second.
        seconds: for how long requests come due.
        confirms: whether it is a confirming run.
    """

    position: int
    number: int
    rate: float
    seconds: float
    confirms: bool


def probe_cell(cell: Cell, probe: Probe, index: int) -> Cell:
    """The cell that a probe sends: the searched one under a Poisson load, with an id and arrivals of its own."""
    config: Experiment = cell.config
    searched = config.load
    assert isinstance(searched, Search), "only a search has probes"
    load = Poisson(
        rate=probe.rate,
        duration_s=probe.seconds,
        warmup=searched.warmup,
        max_concurrency=searched.max_concurrency,
        drop_after_s=searched.drop_after_s,
    )
    # each try is to meet the server alone: a limit that refusals of one try lowered would hold back the next
    limits = replace(config.limits, adaptive=False)
    tried = replace(config, load=load, limits=limits, slo=searched.slo or config.slo)
    kind = "confirm" if probe.confirms else "probe"
    name = f"search {probe.rate:g}/s {kind} {probe.number}"
    return replace(
        cell,
        # two tries at one rate are two cells, so the number counts
        cell_id=short_hash({"search": cell.cell_id, "number": probe.number, "load": plain(load)}),
        index=index,
        label=f"{cell.label} {name}" if cell.swept else name,
        params=dict(flat(plain(tried))),
        swept=(*cell.swept, "load.rate", "load.duration_s"),
        config=tried,
    )
