"""Which cell is best, said only where the data can tell: one sentence for accuracy, one for speed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.judge.answers import Answers, answers_of, difference_of, why_not
from bench.judge.intervals import CONFIDENCE, Estimate, needed_for_quantile
from bench.judge.metrics import CELL_METRICS
from bench.judge.rows import CellInfo, RunRows

MAX_NAMED = 3


def verdict(run: RunRows, why_invalid: str | None = None) -> list[str]:
    """Sentences that answer "which is best?"; empty for a run of one cell, which compares nothing.

    ``why_invalid`` is the reason for which times cannot be believed; then nothing is said of speed.
    """
    if len(run.cells) < 2:
        return []
    groups: dict[str, list[CellInfo]] = {}
    for cell in run.cells:
        groups.setdefault(_comparable(run, cell), []).append(cell)
    sentences = []
    for group in groups.values():
        sentence = best_accuracy(run, group)
        if sentence:
            name = (group[0].config.get("dataset") or {}).get("name")
            sentences.append(f"{name}: {sentence}" if len(groups) > 1 and name else sentence)
    if why_invalid is not None:
        return [*sentences, f"Speed: withheld, because the measurement is invalid ({why_invalid})."]
    # of unequal loads the lightest is the fastest, which says nothing of the servers
    loads = {str(cell.config.get("load")) for cell in run.cells}
    speed = fastest(run, run.cells) if len(loads) == 1 else None
    return [*sentences, speed] if speed else sentences


def _comparable(run: RunRows, cell: CellInfo) -> str:
    """Cells compare in quality when they answer the same questions under the same scorer."""
    dataset = (cell.config.get("dataset") or {}).get("name")
    return f"{dataset}\0{cell.scorer or ''}"


def best_accuracy(run: RunRows, cells: Sequence[CellInfo]) -> str | None:
    """The most accurate cell, if it beats every other one; else the cells that it cannot be told from.

    Two cells are told apart on the questions that both answered, never by whether their own intervals overlap; see
    :func:`bench.judge.statistics.comparison.compare_pairs` for the test. Winning against *every* other cell is an
    intersection-union test, so each comparison keeps its 95%. Cells whose accuracies do not compare get no verdict.
    """
    found = {cell.cell_id: answers_of(run, cell) for cell in cells}
    scored = [cell for cell in cells if found[cell.cell_id].by_question]
    if len(scored) < 2:
        return None
    means = {cell.cell_id: found[cell.cell_id].mean(list(found[cell.cell_id].by_question)) for cell in scored}
    ranked = sorted(scored, key=lambda cell: -(means[cell.cell_id].value or 0.0))
    best, rivals = ranked[0], ranked[1:]
    for rival in rivals:
        reasons = why_not(*((cell.label, found[cell.cell_id].outcomes) for cell in (best, rival)))
        if reasons:
            return f"Accuracy: {best.label} and {rival.label} do not compare. {reasons[0]}"
    tied = [cell for cell in rivals if not _ahead(found[best.cell_id], found[cell.cell_id])]
    top = means[best.cell_id]
    if not tied:
        return f"Best accuracy: {best.label}, {_share(top)} over {top.n} questions, ahead of every other cell on them."
    if len(tied) == len(rivals):
        span = f"{means[ranked[-1].cell_id].value:.1%} to {top.value:.1%}"
        return f"Accuracy: the {len(scored)} cells cannot be told apart at {top.n} questions ({span})."
    return (
        f"Accuracy: {best.label} leads with {_share(top)} but cannot be told from {_named(tied)} at {top.n} questions."
    )


def _ahead(best: Answers, other: Answers) -> bool:
    found = difference_of(other, best)
    return found.p is not None and found.p <= 1 - CONFIDENCE and (found.estimate.value or 0.0) > 0


def fastest(run: RunRows, cells: Sequence[CellInfo]) -> str | None:
    """The cell with the lowest median end-to-end time, if its interval lies below every other cell's.

    Failed requests count as infinitely slow. The interval of the median is the order-statistic one.
    """
    name = "due_e2e_p50_all_ms" if all(cell.is_open for cell in cells) else "e2e_p50_all_ms"
    metric = next(metric for metric in CELL_METRICS if metric.name == name)
    medians = [(metric.of(run.rows_of(cell)), cell) for cell in cells]
    known = [(estimate, cell) for estimate, cell in medians if estimate.n]
    if not any(estimate.value is not None for estimate, _ in known) and known:
        return f"Speed: too few requests to compare; a median needs {needed_for_quantile(0.5)} per cell."
    if len(known) < 2:
        return None
    known.sort(key=lambda pair: math.inf if pair[0].value is None else pair[0].value)
    (top, best), rivals = known[0], known[1:]
    tied = [cell for estimate, cell in rivals if not _below(top, estimate)]
    n = min(estimate.n for estimate, _ in known)
    if not tied:
        return f"Fastest: {best.label}, median end to end {_milliseconds(top)}, below every other cell."
    if len(tied) == len(rivals):
        return f"Speed: the {len(known)} cells cannot be told apart by median end-to-end time at {n} requests per cell."
    return f"Speed: {best.label} leads with {_milliseconds(top)} but cannot be told from {_named(tied)}."


def _below(top: Estimate, other: Estimate) -> bool:
    return top.high is not None and other.low is not None and top.high < other.low


def _share(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "no interval"
    return f"{estimate.value:.1%} [{estimate.low * 100:.1f}, {estimate.high * 100:.1f}]"


def _milliseconds(estimate: Estimate) -> str:
    return f"{estimate.value:,.0f} ms [{estimate.low:,.0f}, {estimate.high:,.0f}]"


def _named(cells: Sequence[CellInfo]) -> str:
    shown = [cell.label for cell in cells[:MAX_NAMED]]
    more = len(cells) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
