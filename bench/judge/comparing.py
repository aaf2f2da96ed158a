"""Two sides on the same prompts: what the accuracies, times and amounts of a pair say, and what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.judge.answers import Answers, answers_of, difference_of, why_not
from bench.judge.intervals import CONFIDENCE, Estimate
from bench.judge.paired_times import Ratio, paired_ratios
from bench.judge.sides import Pair, Side
from bench.judge.statistics.comparison import Estimand, PairedComparison
from bench.judge.statistics.multiplicity import adjust_claims, benjamini_hochberg
from bench.judge.statistics.outcomes import OutcomeRates
from bench.judge.stopping import looks_taken

#: a claim is made below this adjusted p
ALPHA = 1 - CONFIDENCE


class Standing(StrEnum):
    """What a comparison of accuracies comes to."""

    A_BETTER = "A better"
    B_BETTER = "B better"
    NO_DIFFERENCE = "no difference shown"
    NOT_COMPARABLE = "not comparable"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TagComparison:
    """The questions of one tag; exploratory. ``p`` is adjusted over the tags of the pair."""

    tag: str
    a: Estimate
    b: Estimate
    compared: PairedComparison
    p: float | None


@dataclass(frozen=True)
class PairComparison:
    """One pair compared.

    Attributes:
        a, b: the sides; A is the baseline.
        accuracy_a, accuracy_b: on the questions that both sides have a score for.
        outcomes_a, outcomes_b: shares of all their replies; ``None`` where nothing was scored.
        compared: B minus A by question, so ``a_ahead`` there counts questions that B is ahead on.
        p, correction: adjusted over the pairs of the comparison, and by what.
        reasons: why the accuracies must not be compared; empty where they may be.
        standing, verdict: what it comes to, and that as a sentence.
        tags: of the questions, by how many they have.
        ratios: times and tokens per prompt, B over A.
        notes: what a reader must know.
    """

    a: Side
    b: Side
    accuracy_a: Estimate
    accuracy_b: Estimate
    outcomes_a: OutcomeRates | None
    outcomes_b: OutcomeRates | None
    compared: PairedComparison
    p: float | None
    correction: str
    reasons: tuple[str, ...]
    standing: Standing
    verdict: str
    tags: tuple[TagComparison, ...]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...]


def compare(pairs: Sequence[Pair], estimand: Estimand = Estimand.KIND_OF_TASK) -> list[PairComparison]:
    """Every pair on the questions that both sides answered, with p-values adjusted over the pairs.

    Holm's adjustment for at most five claims, Benjamini and Hochberg's for more. A pair whose unparsed or truncated
    shares differ by more than two points, or with more than 1% of errors on a side, makes no claim and counts for none.
    """
    found = [_compared(pair, estimand) for pair in pairs]
    adjusted, correction = adjust_claims([None if one.reasons else one.compared.p for one in found])
    if sum(p is not None for p in adjusted) < 2:
        correction = "none: one claim"
    return [_with_verdict(replace(one, p=p, correction=correction)) for one, p in zip(found, adjusted, strict=True)]


def _compared(pair: Pair, estimand: Estimand) -> PairComparison:
    a, b = pair
    left, right = answers_of(a.run, a.cell), answers_of(b.run, b.cell)
    asked = sorted(left.by_question.keys() | right.by_question.keys())
    common = [name for name in asked if name in left.by_question and name in right.by_question]
    return PairComparison(
        a=a,
        b=b,
        accuracy_a=left.mean(common),
        accuracy_b=right.mean(common),
        outcomes_a=left.outcomes,
        outcomes_b=right.outcomes,
        compared=difference_of(left, right, asked, estimand),
        p=None,
        correction="",
        reasons=tuple(why_not((a.name, left.outcomes), (b.name, right.outcomes))),
        standing=Standing.UNKNOWN,
        verdict="",
        tags=tuple(_by_tag(left, right, common, estimand)),
        ratios=tuple(paired_ratios(a, b)),
        notes=tuple(_notes(a, b)),
    )


def _by_tag(left: Answers, right: Answers, common: Sequence[str], estimand: Estimand) -> list[TagComparison]:
    questions: dict[str, list[str]] = {}
    for name in common:
        for tag in left.tags.get(name, ()):
            questions.setdefault(tag, []).append(name)
    # a tag of every question says what the whole says
    told = {tag: names for tag, names in questions.items() if len(names) < len(common)}
    compared = {tag: difference_of(left, right, names, estimand) for tag, names in told.items()}
    adjusted = benjamini_hochberg([one.p for one in compared.values()])
    found = [
        TagComparison(tag, left.mean(told[tag]), right.mean(told[tag]), one, p)
        for (tag, one), p in zip(compared.items(), adjusted, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.a.n, one.tag))


def _notes(a: Side, b: Side) -> list[str]:
    notes = []
    for side in {str(side.run.path): side for side in (a, b)}.values():
        if side.run.header.get("state") != "finished":
            notes.append(f"Run {side.run_id} is {side.run.header.get('state')}: only what it has so far is compared.")
        invalid = side.run.header.get("validity") or {}
        if invalid.get("standing") == "invalid":
            notes.append(f"The measurement of run {side.run_id} is invalid: its times support no claim.")
        notes += looks_taken(side.run.header, {a.cell.cell_id, b.cell.cell_id})
    loads = [side.cell.config.get("load") for side in (a, b)]
    if loads[0] != loads[1]:
        notes.append("The two sides ran under different loads: their times do not compare the servers.")
    if a.run.path != b.run.path:
        notes.append("The two runs were made at different times: a difference in speed may be the hour's.")
    differing = _settings_that_differ(a, b)
    if differing:
        notes.append(f"The sides were also asked differently (A, B): {differing}.")
    fingerprints = [_models_reported(side) for side in (a, b)]
    if a.cell.param("model.name") == b.cell.param("model.name") and fingerprints[0] != fingerprints[1]:
        notes.append(
            f"The server named itself otherwise: {fingerprints[0] or 'nothing'}, then {fingerprints[1] or 'nothing'}."
        )
    return notes


def _settings_that_differ(a: Side, b: Side) -> str:
    """What a request carries, beside the swept parameters, that is not the same on both sides."""
    known = {*a.cell.swept, *b.cell.swept} if a.run.path == b.run.path else set()
    keys = {f"sampling.{key}" for side in (a, b) for key in side.cell.config.get("sampling") or {}}
    values = {key: (a.cell.param(key), b.cell.param(key)) for key in sorted({*keys, "repeats"} - known)}
    return "; ".join(f"{key} {left}, {right}" for key, (left, right) in values.items() if left != right)


def _models_reported(side: Side) -> str:
    """Model and fingerprint as the server gave them."""
    rows = side.run.identities
    mine = rows[rows["cell_id"] == side.cell.cell_id]
    said = mine[["response_model", "system_fingerprint"]].drop_duplicates().astype(object).to_numpy().tolist()
    return "; ".join(sorted(" ".join(str(part) for part in pair if isinstance(part, str)) for pair in said)[:3])


def _with_verdict(one: PairComparison) -> PairComparison:
    standing = _standing(one)
    return replace(one, standing=standing, verdict=_sentence(one, standing))


def _standing(one: PairComparison) -> Standing:
    value = one.compared.estimate.value
    if one.reasons:
        return Standing.NOT_COMPARABLE
    if one.p is None or value is None:
        return Standing.UNKNOWN
    if one.p > ALPHA or value == 0:
        return Standing.NO_DIFFERENCE
    return Standing.B_BETTER if value > 0 else Standing.A_BETTER


def _sentence(one: PairComparison, standing: Standing) -> str:
    names = f"{one.a.name} and {one.b.name}"
    if standing is Standing.NOT_COMPARABLE:
        return f"{names} are not comparable in accuracy. {' '.join(one.reasons)}"
    questions = f"{one.compared.estimate.n:,} questions"
    if standing is Standing.UNKNOWN:
        why = one.compared.estimate.method.removeprefix("none: ") or "too few questions"
        return f"Nothing can be said of {names} in accuracy ({questions}): {why}."
    sign = p_text(one.p).replace("<", "< ") if p_text(one.p).startswith("<") else f"= {p_text(one.p)}"
    figures = f"{points(one.compared.estimate)}, p {sign} ({one.compared.test}), {questions}"
    if standing is Standing.NO_DIFFERENCE:
        mde = one.compared.mde
        unseen = (
            "" if mde is None else f" A true difference below {100 * mde:.1f} points would most likely stay unseen."
        )
        return f"No difference in accuracy shown between {names}: {figures}.{unseen}"
    better, worse = (one.b, one.a) if standing is Standing.B_BETTER else (one.a, one.b)
    return f"{better.name} answers better than {worse.name}: B - A {figures}."


def points(estimate: Estimate) -> str:
    """A difference of shares in percentage points with its interval: ``+4.2 [1.1, 7.3] points``."""
    if estimate.value is None:
        return "unknown"
    ends = ""
    if estimate.low is not None and estimate.high is not None:
        ends = f" [{100 * estimate.low:+z.1f}, {100 * estimate.high:+z.1f}]"
    return f"{100 * estimate.value:+z.1f}{ends} points"


def p_text(p: float | None) -> str:
    """A p-value in two digits, never as a bare zero."""
    if p is None:
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"
