"""A gate's verdict as text: for the terminal, a pull request, a CI server, and programs."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bench.judge.comparing import p_text
from bench.judge.gate import Verdict
from bench.judge.gate_plan import GatePlan, PlanRow
from bench.show.markdown import escaped, folded, table
from bench.show.table import number
from bench.show.terminal import printable, shorten, width_of
from bench.show.verdict import Finding, Shown

HEADERS = ["", "verdict", "baseline", "candidate", "worse by", "at most", "margin", "p"]
#: columns that a narrow terminal goes without, the first of them first
SPARE = ("baseline", "candidate", "p")
READING = (
    "Worse by: positive is worse. At most: one-sided 95% bound. p: one-sided, adjusted over all metrics and models "
    "(Benjamini-Hochberg). REGRESSION: p at most 0.05 and worse by the margin; PASS: the bound is below the margin."
)
#: what XML 1.0 cannot hold
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(shown: Shown, width: int) -> str:
    """For a terminal: the verdict, a table with the worst first, reasons and notes."""
    lines = [*_wrapped(f"{shown.verdict}: {headline(shown)}", width), *_wrapped(shown.about, width), ""]
    for model, found in _by_model(shown.findings).items():
        lines.append(printable(model, 120))
        lines += _plain(HEADERS, [_row(one) for one in found], width, SPARE)
        said = {one.reason: one for one in found if one.reason and one.verdict is Verdict.INCONCLUSIVE}
        lines += [line for reason in said for line in _wrapped(f"* {_metrics_of(found, reason)}: {reason}", width)]
        lines += [""] if said else []
    lines += [line for note in shown.notes for line in _wrapped(f"* {note}", width)]
    return "\n".join([*lines, *_wrapped(shown.reading or READING, width)])


def headline(shown: Shown) -> str:
    """What the verdict stands on, in one sentence."""
    if not shown.findings:
        return "there is nothing to judge."
    for verdict in (Verdict.REGRESSION, Verdict.INCONCLUSIVE):
        found = shown.with_verdict(verdict)
        if found:
            named = ", ".join(
                f"{printable(one.model, 60)} {one.metric}" + (f" {one.change}" if one.change != "-" else "")
                for one in found[:4]
            )
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            worse = "worse" if verdict is Verdict.REGRESSION else "cannot be told"
            return f"{worse}: {named}{more}."
    return f"none of {len(shown.findings)} metrics got worse by its margin."


def _by_model(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    order = [Verdict.REGRESSION, Verdict.INCONCLUSIVE, Verdict.PASS]
    found: dict[str, list[Finding]] = {}
    for one in sorted(findings, key=lambda one: order.index(one.verdict)):
        found.setdefault(one.model, []).append(one)
    return found


def _metrics_of(findings: Sequence[Finding], reason: str) -> str:
    names = [one.metric for one in findings if one.reason == reason and one.verdict is Verdict.INCONCLUSIVE]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _row(one: Finding) -> list[str]:
    rates = one.metric.endswith("_rate") or one.metric == "accuracy"
    figures = [
        "-" if value is None else f"{value:.1%}" if rates else number(value) for value in (one.baseline, one.candidate)
    ]
    return [one.metric, str(one.verdict), *figures, one.change, one.upper, one.margin, p_text(one.p)]


def _plain(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, spare: Sequence[str]) -> list[str]:
    """A table that fits: ``spare`` columns are left out in turn, and named; as a last resort lines are cut."""
    left_out: list[str] = []
    for name in ("", *spare):
        left_out += [name] if name else []
        lines = _drawn([header for header in _told(headers, rows) if header not in left_out], headers, rows)
        if max(map(width_of, lines)) <= width:
            break
    told = f"not shown at {width} columns: {', '.join(left_out)}"
    return [*(line if width_of(line) <= width else shorten(line, width) for line in lines),
            *(_wrapped(told, width) if left_out else []), ""]  # fmt: skip


def _told(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns that say something of some row."""
    return [name for place, name in enumerate(headers) if any(row[place] != "-" for row in rows)]


def _drawn(kept: Sequence[str], headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    from tabulate import tabulate

    places = [headers.index(name) for name in kept]
    texts = [[printable(row[place], 80) for place in places] for row in rows]
    alignment = ["left", "left"] + ["right"] * (len(kept) - 2)
    return tabulate([list(kept), *texts], tablefmt="plain", disable_numparse=True, colalign=alignment).splitlines()


def _wrapped(sentence: str, width: int) -> list[str]:
    indented = "  " if sentence.startswith("* ") else ""
    return textwrap.wrap(printable(sentence, 2000), max(width, 20), subsequent_indent=indented)


def markdown(shown: Shown) -> str:
    """For a pull-request comment: what did not pass in sight, the rest folded."""
    marks = {Verdict.PASS: "✅", Verdict.REGRESSION: "❌", Verdict.INCONCLUSIVE: "❔"}
    parts = [f"### {marks[shown.verdict]} {shown.verdict}", escaped(headline(shown), 1000), escaped(shown.about)]
    bad = [one for one in shown.findings if one.verdict is not Verdict.PASS]
    good = shown.with_verdict(Verdict.PASS)
    if bad:
        parts.append(_table(bad))
        reasons = dict.fromkeys(f"{one.model} {one.metric}: {one.reason}" for one in bad if one.reason)
        parts += ["\n".join(f"- {escaped(reason, 500)}" for reason in [*reasons][:20])] if reasons else []
    if good:
        parts.append(folded(f"{len(good)} passed", _table(good)))
    parts += ["\n".join(f"- {escaped(note, 1000)}" for note in shown.notes)] if shown.notes else []
    runs = [f"{name}: {escaped(', '.join(ids), 600)}" for name, ids in _sides(shown)]
    return "\n\n".join([*parts, folded("Runs", "\n\n".join([*runs, escaped(shown.reading or READING, 1000)]))]) + "\n"


def _sides(shown: Shown) -> list[tuple[str, tuple[str, ...]]]:
    return [("Baseline", shown.baseline), ("Candidate", shown.candidate)]


def _table(findings: Sequence[Finding]) -> str:
    rows = [_row(one) for one in findings]
    places = [HEADERS.index(name) for name in _told(HEADERS, rows)]
    shown = [[one.model, *(row[place] for place in places)] for one, row in zip(findings, rows, strict=True)]
    return table(["model", *(HEADERS[place] or "metric" for place in places)], shown, left=3)


def junit(shown: Shown) -> str:
    """JUnit XML: a test case per metric and model; REGRESSION is a failure, INCONCLUSIVE is skipped with its reason."""
    counts = {verdict: len(shown.with_verdict(verdict)) for verdict in Verdict}
    totals = {
        "tests": str(len(shown.findings)),
        "failures": str(counts[Verdict.REGRESSION]),
        "errors": "0",
        "skipped": str(counts[Verdict.INCONCLUSIVE]),
    }
    suites = Element(
        # the schema of Jenkins has no count of skipped ones here
        "testsuites",
        {"name": "bench gate"} | {name: count for name, count in totals.items() if name != "skipped"},
    )
    suite = SubElement(suites, "testsuite", {"name": f"bench gate: {shown.verdict}", **totals})
    properties = SubElement(suite, "properties")
    about = {"verdict": str(shown.verdict), "about": shown.about}
    for name, value in [*about.items(), *((name.lower(), ", ".join(ids)) for name, ids in _sides(shown))]:
        SubElement(properties, "property", {"name": name, "value": _xml(value)})
    for one in shown.findings:
        case = SubElement(suite, "testcase", {"classname": _xml(one.model), "name": _xml(one.metric)})
        said = _xml(
            f"worse by {one.change} ("
            + (f"at most {one.upper}, " if one.upper != "-" else "")
            + f"margin {one.margin}"
            + ("" if one.p is None else f", p {p_text(one.p)}")
            + ")"
            + (f"; {one.reason}" if one.reason else "")
        )
        if one.verdict is Verdict.REGRESSION:
            SubElement(case, "failure", {"type": str(one.verdict), "message": said})
        elif one.verdict is Verdict.INCONCLUSIVE:
            SubElement(case, "skipped", {"message": said})
        else:
            SubElement(case, "system-out").text = said
    SubElement(suite, "system-out").text = _xml("\n".join([headline(shown), *shown.notes]))
    indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def as_plain(shown: Shown) -> dict[str, Any]:
    """Everything as JSON holds it: no infinities."""
    return {
        "verdict": str(shown.verdict),
        "headline": headline(shown),
        "about": shown.about,
        "baseline": list(shown.baseline),
        "candidate": list(shown.candidate),
        "notes": list(shown.notes),
        "findings": [
            {name: _finite(value) for name, value in asdict(one).items() if name not in ("margin_line", "value_title")}
            for one in shown.findings
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


PLANNED = ["", "margin", "varies by", "needs", "requests", "cost", "time"]
PLAN_SPARE = ("varies by", "margin", "time")


def render_plan(plan: GatePlan, width: int) -> str:
    """What a verdict takes, for a terminal."""
    lines: list[str] = []
    for model in dict.fromkeys(row.model for row in plan.rows):
        lines.append(printable(model, 120))
        lines += _plain(PLANNED, [_planned(row) for row in plan.rows if row.model == model], width, PLAN_SPARE)
    share = f"{plan.power:.0%}"
    sentences = [
        f"So many that an unchanged candidate is a PASS in {share} of gates,",
        f"and one worse by twice the margin a REGRESSION in {share}.",
        "What is worse by the margin itself is found half of the time, however many runs.",
        f"Pairs are of runs of the present size ({plan.requests_per_run:,} requests each), judged once (--look 0).",
        "Requests, cost and time are of both sides together.",
    ]
    if any(row.assumed for row in plan.rows):
        sentences.append("~: assumed, because too few pairs are at hand to see how they vary; plan again after four.")
    return "\n".join([*lines, *_wrapped(" ".join(sentences), width)])


def _planned(row: PlanRow) -> list[str]:
    by_questions = row.metric == "accuracy"
    needs = "unknown"
    if row.pairs is not None:
        needs = f"{row.pairs} pairs"
    elif row.questions is not None:
        needs = f"{row.questions:,} questions x {row.replies}"
    elif row.spread is not None and not by_questions:
        needs = "over 400 pairs"
    unit = 100.0
    return [
        row.metric,
        f"{unit * row.margin:g} {'point' if row.margin == 0.01 else 'points'}"
        if by_questions
        else f"{unit * row.margin:g}%",
        "-"
        if row.spread is None
        else f"{'~' if row.assumed else ''}{unit * row.spread:.1f}{' points' if by_questions else '%'}",
        needs,
        "-" if row.requests is None else f"{row.requests:,}",
        "-" if row.cost is None else f"{number(row.cost)} {row.currency}",
        "-" if row.seconds is None else f"{row.seconds / 60:,.0f} min",
    ]
