"""Cells whose questions were answered several times: what the further replies are worth, and how far they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from bench import record
from bench.judge.answers import Answers, answers_of
from bench.judge.intervals import Estimate
from bench.judge.rows import CellInfo, RunRows
from bench.judge.statistics.means import Components, advise_repeats, variance_components
from bench.judge.statistics.repeats import (
    Determinism,
    determinism,
    distinct_samples,
    majority_at_k,
    pass_at_k,
    pass_hat_k,
)
from bench.judge.statistics.score_means import score_mean

#: up to so many replies pass@k is told for every k, beyond it for these alone and the most there are
_EVERY_K = 8
_CHOSEN_K = (1, 2, 4, 8, 10, 16, 32, 64, 100, 200)


@dataclass(frozen=True)
class AtK:
    """Figures of ``k`` replies to a question, over questions; ``majority`` is ``None`` without extracted answers."""

    k: int
    pass_at: Estimate
    pass_hat: Estimate
    majority: Estimate | None


@dataclass(frozen=True)
class Repeated:
    """One cell whose questions have several scored replies.

    Attributes:
        fewest, most: scored replies of a question; ``short``: how many questions have fewer than asked for.
        asked: replies asked for per question, repeats times ``n``.
        components: mean with the variance within and between questions.
        advised: replies per question beyond which more questions say more.
        at_k: pass@k, pass^k and maj@k for k up to ``fewest``.
        duplicated: questions of which two replies or more are the same text; ``effective``: independent replies per
            question that all of them are worth, copies counted as one.
        raw, parsed: agreement of texts (TARr) and of extracted answers (TARa) at temperature 0; ``None`` otherwise.
    """

    cell: CellInfo
    questions: int
    fewest: int
    most: int
    asked: int
    short: int
    components: Components
    advised: int
    at_k: tuple[AtK, ...]
    duplicated: int
    effective: float
    raw: Determinism | None
    parsed: Determinism | None


@dataclass(frozen=True)
class _Reply:
    label: str
    extracted: str | None
    text_hash: bytes


def repeated_cells(run: RunRows) -> list[Repeated]:
    """Every cell with two scored replies to a question or more."""
    several = {
        cell.cell_id: answers_of(run, cell) for cell in run.cells if run.scores_of(cell)["sample_id"].duplicated().any()
    }
    replies = _replies(run, set(several)) if several else {}
    return [
        _repeated(cell, several[cell.cell_id], replies[cell.cell_id]) for cell in run.cells if cell.cell_id in several
    ]


def _asked(cell: CellInfo) -> int:
    return int(cell.param("sampling.n") or 1) * int(cell.param("repeats") or 1)


def _repeated(cell: CellInfo, answers: Answers, replies: Mapping[str, list[_Reply]]) -> Repeated:
    counts = [len(row) for row in answers.by_question.values()]
    components = variance_components(list(answers.by_question.values()))
    worth = [distinct_samples([one.text_hash for one in found]) for found in replies.values()]
    is_greedy = cell.param("sampling.temperature") == 0
    return Repeated(
        cell=cell,
        questions=len(counts),
        fewest=min(counts),
        most=max(counts),
        asked=_asked(cell),
        short=sum(count < _asked(cell) for count in counts),
        components=components,
        advised=advise_repeats(components.within, components.between),
        at_k=tuple(_at_k(answers, replies, k) for k in _ks(min(counts))),
        duplicated=sum(kinds < len(found) for (kinds, _), found in zip(worth, replies.values(), strict=True)),
        effective=sum(size for _, size in worth) / len(worth),
        raw=determinism([[one.text_hash for one in found] for found in replies.values()]) if is_greedy else None,
        parsed=determinism([[one.extracted for one in found] for found in replies.values()]) if is_greedy else None,
    )


def _ks(fewest: int) -> list[int]:
    chosen = range(1, fewest + 1) if fewest <= _EVERY_K else [k for k in _CHOSEN_K if k < fewest]
    return sorted({*chosen, fewest})


def _at_k(answers: Answers, replies: Mapping[str, list[_Reply]], k: int) -> AtK:
    names = list(replies)
    samples = [len(replies[name]) for name in names]
    right = [sum(one.label == "correct" for one in replies[name]) for name in names]
    clusters = answers.cluster_names(names)
    return AtK(
        k,
        _mean(pass_at_k(samples, right, k).per_task, clusters),
        _mean(pass_hat_k(samples, right, k).per_task, clusters),
        _majority(replies, k, clusters),
    )


def _majority(replies: Mapping[str, list[_Reply]], k: int, clusters: Sequence[Hashable] | None) -> Estimate | None:
    """Votes by extracted answer; right ones are one answer however they are written. None without such answers."""
    rows = list(replies.values())
    if not any(one.extracted is not None for row in rows for one in row):
        return None
    votes = [[_vote(one) for one in row] for row in rows]
    return _mean([majority_at_k(row, ("right",), k) for row in votes], clusters)


def _vote(reply: _Reply) -> Hashable | None:
    if reply.label == "correct":
        return ("right",)
    return None if reply.extracted is None else ("wrong", reply.extracted)


def _mean(per_task: Sequence[float | None], clusters: Sequence[Hashable] | None) -> Estimate:
    known = [value for value in per_task if value is not None]
    return score_mean(known, False, clusters) if len(known) == len(per_task) else Estimate(None)


def _replies(run: RunRows, wanted: set[str]) -> dict[str, dict[str, list[_Reply]]]:
    """Cell -> question -> its scored replies in order of repeat and choice."""
    scorers = {cell.cell_id: cell.scorer for cell in run.cells}
    texts: dict[tuple[str, int], bytes] = {}
    for batch in record.read_choices(run.path):
        for one in batch:
            if one.cell_id in wanted:
                said = repr((one.choice.text, one.choice.tool_calls)).encode("utf-8", "surrogatepass")
                texts[one.request_id, one.choice.index] = hashlib.blake2b(said, digest_size=12).digest()
    read: dict[tuple[str, int, str], str | None] = {}
    for batch in record.iter_batches(run.path, "scores", ["request_id", "choice", "scorer", "extracted"]):
        for row in batch.to_pylist():
            if (row["request_id"], row["choice"]) in texts:
                read[row["request_id"], row["choice"], row["scorer"]] = row["extracted"]
    found: dict[str, dict[str, list[_Reply]]] = {cell_id: {} for cell_id in wanted}
    rows = run.scores[run.scores["cell_id"].isin(wanted)].sort_values(["repeat", "choice"], kind="stable")
    for row in rows.to_dict("records"):
        cell_id, request, choice = str(row["cell_id"]), str(row["request_id"]), int(row["choice"])
        if row["scorer"] == scorers[cell_id]:
            extracted = read.get((request, choice, str(row["scorer"])))
            reply = _Reply(str(row["label"]), extracted, texts.get((request, choice), b""))
            found[cell_id].setdefault(str(row["sample_id"]), []).append(reply)
    return found
