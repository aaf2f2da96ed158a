"""What an A/B gate compares: pairs of runs of a baseline and a candidate, reduced to times, scores and rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.domain import ConfigError
from bench.judge.metrics.requests import NS_PER_S
from bench.judge.rows import CellInfo, RunRows, read_run
from bench.judge.sides import Side, pairs_by, pairs_of_runs

if TYPE_CHECKING:
    import pandas as pd

#: labels whose shares are gated, and why they are not accuracy: they say that extractor or token limit bites
SHARES = ("unparsed", "truncated")


@dataclass(frozen=True)
class ArmRun:
    """One run of one arm, or one repeat of it.

    Attributes:
        requests, not_ok: measured requests, and those of them without a reply.
        times: latency column -> milliseconds of each served request, indexed by prompt.
        rates: throughput by name; empty where the run has no window of its own.
        cost: of a served request on average, in ``currency``; ``None`` without a price.
        scores: by prompt, one per reply; ``labelled``: by label of :data:`SHARES`, 1 for such a reply and 0 for others.
        window_s: first send to last end.
        invalid: whether the run's measurement of times was found invalid.
    """

    run_id: str
    requests: int
    not_ok: int
    times: Mapping[str, pd.Series[float]]
    rates: Mapping[str, float]
    cost: float | None
    currency: str | None
    scores: Mapping[str, list[float]]
    labelled: Mapping[str, Mapping[str, list[float]]]
    window_s: float | None
    invalid: bool

    @property
    def error_rate(self) -> float:
        """Share of requests without a reply; 0 without requests."""
        return self.not_ok / self.requests if self.requests else 0.0

    @property
    def served(self) -> int:
        """Requests with a reply."""
        return self.requests - self.not_ok


@dataclass(frozen=True)
class Matched:
    """The cell of a baseline and the cell of a candidate that belong together.

    Attributes:
        model: what the pair is called.
        names: of baseline and candidate.
        pairs: runs of (baseline, candidate) in order of time.
        clusters: of the questions, by prompt; empty where each stands alone.
        prompt_hash: of the prompt set that all runs were asked.
        one_run: whether the pairs are repeats within one run.
    """

    model: str
    names: tuple[str, str]
    pairs: tuple[tuple[ArmRun, ArmRun], ...]
    clusters: Mapping[str, str]
    prompt_hash: str | None
    one_run: bool

    def arm(self, side: int) -> Iterator[ArmRun]:
        """The runs of the baseline (0) or of the candidate (1)."""
        return (pair[side] for pair in self.pairs)


@dataclass(frozen=True)
class Arms:
    """Both arms of a gate.

    Attributes:
        matched: pairs of cells.
        runs: run ids of the baseline and of the candidate, in order of time.
        notes: what a reader must know about how the runs were made.
    """

    matched: tuple[Matched, ...]
    runs: tuple[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...]


def read_arms(
    baseline: Sequence[Path], candidate: Sequence[Path], cell_a: str | None = None, cell_b: str | None = None
) -> Arms:
    """Pair the runs of both arms in order of time, the first with the first, and their cells by label.

    Args:
        cell_a, cell_b: part of the label of the one cell to take of each baseline and of each candidate.

    Raises:
        ConfigError: numbers of runs differ, a run is there twice or unfinished, the prompts, the scorers, the loads or
            the meaning of the columns differ, or it is not plain which cells belong together.
    """
    if len(baseline) != len(candidate):
        raise ConfigError(
            f"{len(candidate)} runs of the candidate and {len(baseline)} of the baseline: they go by pairs, so name as "
            "many of each"
        )
    paths = [*baseline, *candidate]
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)}: the same run is named twice; two cells of one run compare with --by KEY"
        )
    old, new = (sorted(map(_finished, side), key=_started) for side in (baseline, candidate))
    first: RunRows | None = None
    cells: dict[tuple[str, str], tuple[Side, Side]] = {}
    pairs: dict[tuple[str, str], list[tuple[ArmRun, ArmRun]]] = {}
    for a, b in zip(old, new, strict=True):
        if first is None:
            first = a
        else:
            pairs_of_runs(first, a, cell_a, cell_a)
        found = pairs_of_runs(a, b, cell_a, cell_b)
        for left, right in found:
            _same_measurement(left, right)
            key = (left.cell.label, right.cell.label)
            cells.setdefault(key, (left, right))
            pairs.setdefault(key, []).append((_reduced(left), _reduced(right)))
        if {(left.cell.label, right.cell.label) for left, right in found} != set(cells):
            raise ConfigError(f"{a.path.name} and {b.path.name}: have other cells than the pairs of runs before them")
    matched = [_matched(*cells[key], pairs[key], one_run=False) for key in cells]
    return Arms(tuple(matched), (_ids(old), _ids(new)), tuple(_order_notes(old, new)))


def read_one_run(path: Path, key: str | None, baseline: str | None) -> Arms:
    """Cells of one run that differ in one swept parameter alone, interleaved there: each repeat is a pair.

    Raises:
        ConfigError: the run is unfinished, has no such parameter or value, or prompts, scorers or loads differ.
    """
    run = _finished(path)
    matched = []
    for left, right in pairs_by(run, key, baseline):
        _same_measurement(left, right)
        repeats = sorted(set(_requests(left)["repeat"]) & set(_requests(right)["repeat"]))
        pairs = [(_reduced(left, int(turn)), _reduced(right, int(turn))) for turn in repeats]
        matched.append(_matched(left, right, pairs, one_run=True))
    note = (
        "Each repeat of this run is a pair: both arms were asked at the same time, so throughput, which they shared, "
        "is not compared, and what differs from one start of a server to the next is not seen."
    )
    return Arms(tuple(matched), (_ids([run]), _ids([run])), (note,))


def _matched(left: Side, right: Side, pairs: Sequence[tuple[ArmRun, ArmRun]], one_run: bool) -> Matched:
    names = (_called(left.cell), _called(right.cell))
    model = names[1] if names[0] == names[1] else f"{names[1]} against {names[0]}"
    return Matched(model, names, tuple(pairs), right.run.clusters_of(right.cell), left.prompt_hash, one_run)


def _called(cell: CellInfo) -> str:
    return cell.label or str(cell.param("model.name") or cell.cell_id)


def _finished(path: Path) -> RunRows:
    run = read_run(path)
    state = run.header.get("state")
    if state != "finished":
        raise ConfigError(f"{path.name}: the run is {state}; finish it with: bench resume {path.name}")
    return run


def _started(run: RunRows) -> tuple[str, str]:
    return str(run.header.get("started_at", "")), run.path.name


def _ids(runs: Sequence[RunRows]) -> tuple[str, ...]:
    return tuple(run.path.name for run in runs)


def _same_measurement(a: Side, b: Side) -> None:
    """Refuse what would compare two definitions instead of two servers."""
    versions = [side.run.header.get("schema_version") for side in (a, b)]
    if versions[0] != versions[1]:
        raise ConfigError(
            f"{a.run.path.name} has columns of schema_version {versions[0]}, {b.run.path.name} of {versions[1]}: their "
            "names mean other things; make both runs with one version"
        )
    loads: list[dict[str, Any]] = [dict(side.cell.config.get("load") or {}) for side in (a, b)]
    keys = sorted(key for key in {**loads[0], **loads[1]} if loads[0].get(key) != loads[1].get(key))
    if keys:
        said = "; ".join(f"load.{key} {loads[0].get(key)} against {loads[1].get(key)}" for key in keys)
        raise ConfigError(
            f"{a.name} and {b.name} ran under different loads ({said}): their times and throughputs do not compare; "
            "run both under the same load"
        )


def _order_notes(old: Sequence[RunRows], new: Sequence[RunRows]) -> Iterator[str]:
    order = sorted([(_started(run), "A") for run in old] + [(_started(run), "B") for run in new])
    letters = "".join(letter for _, letter in order)
    if len(old) > 1 and ("AAA" in letters or "BBB" in letters):
        yield (
            f"The runs were not interleaved (in order of time: {letters}, A the baseline): a drift of the service "
            "counts as a change. Make them in the order ABBA."
        )


def _requests(side: Side, repeat: int | None = None) -> pd.DataFrame:
    rows = side.run.requests
    rows = rows[rows["cell_id"] == side.cell.cell_id]
    return rows if repeat is None else rows[rows["repeat"] == repeat]


def _reduced(side: Side, repeat: int | None = None) -> ArmRun:
    import pandas as pd

    rows = _requests(side, repeat)
    served = rows[(rows["outcome"] == "ok") & ~rows["cached"].astype(bool)]
    scores = side.run.scores_of(side.cell)
    if repeat is not None:
        scores = scores[scores["repeat"] == repeat]
    columns = ("due_ttft_ms", "due_e2e_ms") if side.cell.is_open else ("ttft_ms", "e2e_ms")
    prompts = pd.Index(served["sample_id"].astype(str), dtype=object)  # many times as fast to look up as text of Arrow
    times = {column: served[column].set_axis(prompts).dropna() for column in columns}
    seconds = float((rows["end_ns"].max() - rows["sent_ns"].min()) / NS_PER_S) if len(served) else 0.0
    window_s = seconds if seconds > 0 else None
    units = served["currency"].dropna().unique()
    costs = served["cost"].dropna()
    return ArmRun(
        run_id=side.run.path.name,
        requests=len(rows),
        not_ok=int((rows["outcome"] != "ok").sum()),
        times={column: found[found > 0] for column, found in times.items() if len(found)},
        rates={} if window_s is None or repeat is not None else _rates(served, window_s),
        cost=float(costs.mean()) if len(costs) and len(units) == 1 else None,
        currency=str(units[0]) if len(units) == 1 else None,
        scores=_by_prompt(scores, scores["value"]),
        labelled={label: _by_prompt(scores, (scores["label"] == label).astype("float64")) for label in SHARES},
        window_s=window_s,
        invalid=(side.run.header.get("validity") or {}).get("standing") == "invalid",
    )


def _rates(served: pd.DataFrame, window_s: float) -> dict[str, float]:
    tokens = served["completion_tokens"].dropna()
    found = {"throughput_req_per_s": len(served) / window_s}
    return found | ({"throughput_tok_per_s": float(tokens.sum()) / window_s} if tokens.sum() > 0 else {})


def _by_prompt(scores: pd.DataFrame, values: pd.Series[Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, value in zip(scores["sample_id"].astype(str), values, strict=True):
        found.setdefault(name, []).append(float(value))
    return found
