"""What a run says of its SLO: the section of the report and the sentence under the summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.judge.attainment import TARGET, SloVerdict, Standing, TermVerdict
from bench.judge.proof import CONFIDENCE, needed_for_proof, proof
from bench.show.markdown import escaped, table
from bench.show.table import number, short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from bench.judge.rows import RunRows
    from bench.show.summary import SummaryTable

READING = (
    "Goodput counts requests that were served and meet every bound, per second; `in time` is their share of all that "
    "were tried, failed ones included, with Clopper and Pearson's 95% interval, and `at least` its one-sided 95% lower "
    f"bound. Bounds without a percentile must hold for {TARGET:.0%} of the requests. A term is met or missed when both "
    "ends of its 95% interval say so, undecided in between. `proof` is "
    f"MLPerf's early stopping: so few late requests among so many prove the bound with {CONFIDENCE:.0%} confidence, "
    "whatever the shape of the latencies; if not, from how many requests on they would, were no further one late."
)


def slo_section(run: RunRows, summary: SummaryTable) -> str:
    """Goodput per cell, and every term with its verdict and proof; empty without an SLO."""
    judged = [(cell, run.rows_of(cell).slo_verdict) for cell in run.cells]
    found = [(cell.label, verdict) for cell, verdict in judged if verdict is not None]
    if not found or summary.frame.empty:
        return ""
    labels = short_labels([printable(label, 200) for label, _ in found], 60)
    verdicts = [verdict for _, verdict in found]
    names = dict.fromkeys(str(verdict.slo) for verdict in verdicts)
    headers = ["cell", "verdict", "goodput req/s", "in time", "at least"]
    rows = [[label, *_goodput(verdict)] for label, verdict in zip(labels, verdicts, strict=True)]
    terms = [
        [label, term.term, *_term(verdict, place)]
        for label, verdict in zip(labels, verdicts, strict=True)
        for place, term in enumerate(verdict.terms)
    ]
    tables = [table([*headers], rows, 2), table(["cell", "term", "verdict", "measured", "late", "proof"], terms, 3)]
    return "\n\n".join([f"## Service level: {escaped('; '.join(names))}", *tables, READING])


def _goodput(verdict: SloVerdict) -> Iterator[str]:
    good = verdict.goodput
    yield str(verdict.standing)
    yield number(good.per_s)
    share = good.attainment
    if share.value is None or share.low is None or share.high is None:
        yield number(None)
    else:
        yield f"{share.value:.1%} [{share.low * 100:.1f}, {share.high * 100:.1f}]"
    yield number(None) if good.lower95 is None else f"{good.lower95:.1%}"


def _term(verdict: SloVerdict, place: int) -> Iterator[str]:
    term = verdict.terms[place]
    estimate = term.estimate
    yield str(term.standing)
    if estimate.value is None:
        yield number(None) if estimate.needs is None else f"needs {estimate.needs}"
    else:
        yield f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
    yield f"{term.late} of {term.n}"
    yield _proof(term, _share_that_must_meet(verdict, term))


def _share_that_must_meet(verdict: SloVerdict, judged: TermVerdict) -> float | None:
    """The share of requests that a term demands within its bound; ``None`` for the failure rate, which has no bound."""
    for term in verdict.slo.terms:
        if str(term) == judged.term:
            if term.percentile is None:
                return None
            return term.percentile if term.sign in ("<", "<=") else 1 - term.percentile
    return TARGET


def _proof(term: TermVerdict, share: float | None) -> str:
    if share is None or term.n == 0:
        return number(None)
    if proof(term.late, term.n, share):
        return "proved"
    if term.late > (1 - share) * term.n:
        return "no"
    return f"from {needed_for_proof(term.late, share):,} on"


def slo_note(frame: pd.DataFrame) -> str | None:
    """How many cells meet the SLO, and where most requests per second are in time; ``None`` without an SLO."""
    held = frame[frame["slo"].notna()] if "slo" in frame else frame.iloc[:0]
    if held.empty:
        return None
    slo = "; ".join(dict.fromkeys(map(str, held["slo"])))
    counts = held["slo_standing"].value_counts()
    if len(held) == 1:
        said = f"SLO {slo}: {held['slo_standing'].iloc[0]}"
    else:
        parts = [f"{standing} by {counts[str(standing)]}" for standing in Standing if str(standing) in counts.index]
        said = f"SLO {slo}: {', '.join(parts)} of {len(held)} cells".replace("undecided by", "undecided for")
    known = held[held["goodput_req_per_s"].notna()]
    if known.empty:
        return f"{said}."
    best = max(known.to_dict("records"), key=lambda row: float(row["goodput_req_per_s"]))
    where = f" at {best['label']}" if len(held) > 1 else ""
    return f"{said}; most goodput {number(best['goodput_req_per_s'])} req/s{where}, {best['attainment']:.1%} in time."
