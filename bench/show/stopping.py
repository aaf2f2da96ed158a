"""What a rule for ending a run early came to, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.judge.statistics.sequential import Stop
from bench.judge.stopping import NARROW
from bench.show.terminal import printable


def stopping_notes(header: Mapping[str, Any]) -> list[str]:
    """One statement per rule of the run: which one, at which look it ended, what it saved, and what it found."""
    found: Sequence[Mapping[str, Any]] = header.get("stopping") or ()
    if not found:
        return []
    saved = {cell: pair for one in found for cell, *pair in zip(one["cells"], *_counts(one), strict=True)}
    requests, tokens = (sum(count or 0 for count in counts) for counts in zip(*saved.values(), strict=True))
    total = "Every planned request was sent."
    if requests:
        about = f" and about {tokens:,} tokens" if tokens else ""
        total = f"The rule saved {requests:,} requests{about}. They count neither as failures nor as missing."
    if len(found) > 1 and found[0]["rule"] == "compare":
        total += (
            f" {len(found)} pairs share alpha={found[0]['alpha']:g} (Bonferroni: {found[0]['alpha_each']:.2g} each); "
            "their intervals hold together."
        )
    if found[0]["rule"] == "compare":
        total += " These verdicts allow for every look; other tests of the same scores do not."
    return [*map(_statement, found), total]


def _counts(one: Mapping[str, Any]) -> tuple[Sequence[int], Sequence[int | None]]:
    return one["requests_saved"], one["tokens_saved"]


def _statement(one: Mapping[str, Any]) -> str:
    decision = one["decision"]
    name = " against ".join(printable(str(label), 80) for label in one["labels"])
    if decision is None:
        return f"{_rule(one)}, {name}: not decided; {one['answered']['questions']:,} questions were answered in full."
    asked = f"look {decision['look']} of {decision['looks']}, after {decision['questions']:,} of"
    parts = [f"{_rule(one)}, {name}: {_verdict(one)} at {asked} {one['planned_questions']:,} questions"]
    parts.append(_estimate(one, decision["estimate"], f", valid under this rule ({decision['estimate']['method']})"))
    if one["answered"]["questions"] > decision["questions"]:
        parts.append(f"with the replies that were in flight then, {_all(one)}")
    return "; ".join(parts) + "."


def _rule(one: Mapping[str, Any]) -> str:
    if one["rule"] == "half_width":
        return f"stop.half_width={one['half_width']:g}"
    return f"stop.compare={printable(str(one['compare']), 80)}" + (" (open-ended)" if one["open_ended"] else "")


def _verdict(one: Mapping[str, Any]) -> str:
    verdict, (first, *rest) = one["decision"]["verdict"], one["labels"]
    if verdict in (Stop.A_BETTER, Stop.B_BETTER):
        return f"{printable(str(first if verdict == Stop.A_BETTER else rest[0]), 80)} is better"
    if verdict == Stop.EQUAL:
        return f"equal within ±{100 * one['equal_within']:g} points"
    return "ended early, narrow enough" if verdict == NARROW else str(verdict)


def _estimate(one: Mapping[str, Any], found: Mapping[str, Any], after: str = "") -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "no question has a score"
    what = "accuracy" if one["rule"] == "half_width" else "difference"
    level = 1 - (0.05 if one["rule"] == "half_width" else one["alpha_each"])
    ends = "" if low is None else f", {100 * level:.4g}% interval {_points(one, low)} to {_points(one, high)}{after}"
    return f"{what} {_points(one, value)}{ends}"


def _points(one: Mapping[str, Any], share: float) -> str:
    return f"{share:.1%}" if one["rule"] == "half_width" else f"{100 * share:+z.1f} points"


def _all(one: Mapping[str, Any]) -> str:
    answered = one["answered"]
    mean = "without a score" if answered["mean"] is None else _points(one, answered["mean"])
    return f"{answered['questions']:,} questions: {mean}"
