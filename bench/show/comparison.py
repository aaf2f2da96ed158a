"""A comparison as text: for the terminal, and as Markdown with every flip in full."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.judge.comparing import PairComparison, Standing, TagComparison, p_text
from bench.judge.flips import Flip, Said
from bench.judge.intervals import Estimate
from bench.judge.paired_times import Ratio
from bench.judge.statistics.outcomes import ANSWERED, UNANSWERED
from bench.show.markdown import code_block, escaped, table
from bench.show.table import number
from bench.show.terminal import printable, shorten, width_of

#: characters of a reply that the terminal and ``compare.md`` show
SHORT, LONG = 160, 6000
#: rows of tags that the terminal shows
MOST_TAGS = 12
#: pairs that the terminal shows in detail
MOST_PAIRS = 3
EXPLORATORY = "Exploratory: tags were not chosen before the answers were seen; p is adjusted (Benjamini-Hochberg)."
READING = (
    "A is the baseline; differences are B - A, on the questions that both sides answered. CI: 95%, of one pair alone. "
    "MDE: the smallest true difference that these questions would show in four of five such runs."
)


@dataclass(frozen=True)
class Compared:
    """A pair with its flips, the first of which are shown."""

    pair: PairComparison
    flips: Sequence[Flip]


def title_of(pair: PairComparison) -> str:
    """What the pair is called in headings."""
    return f"A: {pair.a.name}   B: {pair.b.name}"


def render(compared: Sequence[Compared], flips: int, width: int) -> str:
    """The comparison for a terminal: no line wider than ``width`` where words can be broken."""
    lines: list[str] = []
    if len(compared) > MOST_PAIRS:
        for one in compared:
            lines += _wrapped(f"* {one.pair.verdict}", width)
        lines += ["", *_wrapped("Every pair with its times, tags and flips is in compare.md.", width), ""]
    for one in compared if len(compared) <= MOST_PAIRS else ():
        pair = one.pair
        lines += [printable(title_of(pair), 300), *_wrapped(pair.verdict, width), ""]
        lines += _fitted(ACCURACY, [accuracy_rows(pair, digits) for digits in (1, 0, -1)], width)
        lines += _plain(TIMES, ratio_rows(pair.ratios), width)
        if pair.tags:
            shown = pair.tags[:MOST_TAGS]
            lines += _fitted(TAGS, [tag_rows(shown, digits) for digits in (1, 0, -1)], width)
            more = len(pair.tags) - len(shown)
            lines += [
                *_wrapped(f"{EXPLORATORY}{f' {more} smaller tags are in compare.md.' if more else ''}", width),
                "",
            ]
        lines += _flip_lines(one, flips, width)
        lines += [line for note in pair.notes for line in _wrapped(f"* {note}", width)]
        lines += [""] if pair.notes else []
    return "\n".join([*lines, *_wrapped(READING, width), *_wrapped(correction_text(compared), width)])


def correction_text(compared: Sequence[Compared]) -> str:
    """How the p-values of several pairs were adjusted; nothing for a single claim."""
    correction = compared[0].pair.correction
    if correction.startswith("none"):
        return ""
    claims = sum(one.pair.p is not None for one in compared)
    return f"p of the {claims} pairs is adjusted by {correction}; verdicts stand on the adjusted p."


ACCURACY = ["", "A", "B", "B - A"]
TIMES = ["per prompt", "A", "B", "B / A [95%]", "p"]
TAGS = ["tag", "questions", "A", "B", "B - A [95%]", "p"]


def accuracy_rows(pair: PairComparison, digits: int = 1) -> list[list[str]]:
    """Accuracy, its difference with p and MDE, and the shares of outcomes, as texts."""
    compared = pair.compared
    rows = [
        [
            "accuracy [95%]",
            share(pair.accuracy_a, digits),
            share(pair.accuracy_b, digits),
            difference(compared.estimate),
        ],
        [f"p ({compared.test})", "", "", p_text(compared.p)],
    ]
    if pair.p is not None and not pair.correction.startswith("none"):
        rows.append([f"p, adjusted ({pair.correction})", "", "", p_text(pair.p)])
    rows.append(["MDE, power 80%", "", "", "-" if compared.mde is None else f"{100 * compared.mde:.1f} points"])
    rows.append(["correlation", "", "", "-" if compared.correlation is None else f"{compared.correlation:.2f}"])
    rows.append(["ahead on", f"{compared.b_ahead:,}", f"{compared.a_ahead:,}", f"of {compared.estimate.n:,} questions"])
    if compared.clusters < compared.estimate.n:
        rows.append(["clusters of questions", "", "", f"{compared.clusters:,}"])
    if compared.dropped:
        rows.append(["answered by one side alone", "", "", f"{compared.dropped:,} questions, left out"])
    rows.append(["estimand", "", "", str(compared.estimand)])
    rows += _outcome_rows(pair, digits)
    return rows


def _outcome_rows(pair: PairComparison, digits: int) -> Iterator[list[str]]:
    a, b = pair.outcomes_a, pair.outcomes_b
    if a is None or b is None:
        return
    for name in (*ANSWERED, *UNANSWERED):
        left, right = a.rates[name], b.rates[name]
        if left.value or right.value or name in ("correct", "wrong"):
            yield [f"replies {name}", share(left, digits), share(right, digits), _gap(left, right)]
    if a.errors or b.errors:
        yield ["errors", share(a.error_rate, digits), share(b.error_rate, digits), _gap(a.error_rate, b.error_rate)]
        yield ["accuracy, errors wrong / right", _bounds(a.worst, a.best), _bounds(b.worst, b.best), ""]


def _gap(a: Estimate, b: Estimate) -> str:
    return "-" if a.value is None or b.value is None else f"{100 * (b.value - a.value):+z.1f} points"


def _bounds(worst: float | None, best: float | None) -> str:
    return "-" if worst is None or best is None else f"{worst:.1%} / {best:.1%}"


def ratio_rows(ratios: Sequence[Ratio]) -> list[list[str]]:
    """Times, tokens and cost per prompt as texts."""
    rows = []
    for one in ratios:
        middle = one.ratio
        times = f"needs {middle.needs} prompts" if middle.needs else number(middle.value)
        if middle.value is not None and middle.low is not None and middle.high is not None:
            times = f"{middle.value:.3g} [{middle.low:.3g}, {middle.high:.3g}]"
        digits = (f"{one.a:.3g}", f"{one.b:.3g}") if one.column == "cost" else (number(one.a), number(one.b))
        rows.append([one.said, *digits, times, p_text(one.p)])
    return rows


def tag_rows(tags: Sequence[TagComparison], digits: int = 1) -> list[list[str]]:
    """A row per tag as texts."""
    return [
        [
            one.tag,
            f"{one.a.n:,}",
            share(one.a, digits),
            share(one.b, digits),
            difference(one.compared.estimate),
            p_text(one.p),
        ]
        for one in tags
    ]


def share(estimate: Estimate, digits: int = 1) -> str:
    """``81.2% [78.0, 84.1]``; ``81% [78, 84]`` without digits, and ``81%`` alone with less than none."""
    if estimate.value is None:
        return "-"
    places = max(0, digits)
    value = f"{estimate.value:.{places}%}"
    if estimate.low is None or estimate.high is None or digits < 0:
        return value
    return f"{value} [{100 * estimate.low:.{places}f}, {100 * estimate.high:.{places}f}]"


def difference(estimate: Estimate) -> str:
    """``+4.2 [+1.1, +7.3] points``."""
    if estimate.value is None:
        return "-"
    ends = (
        ""
        if estimate.low is None or estimate.high is None
        else f" [{100 * estimate.low:+z.1f}, {100 * estimate.high:+z.1f}]"
    )
    return f"{100 * estimate.value:+z.1f}{ends}"


def _fitted(headers: Sequence[str], tables: Sequence[Sequence[Sequence[str]]], width: int) -> list[str]:
    """The first of several ways to write a table that fits; the last, cut, where none does."""
    drawn = [_plain(headers, rows, 10**6) for rows in tables]
    fitting = [lines for lines in drawn if max(map(width_of, lines), default=0) <= width]
    return fitting[0] if fitting else _plain(headers, tables[-1], width)


def _plain(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    from tabulate import tabulate

    if not rows:
        return []
    texts = [[printable(cell, 80) for cell in row] for row in rows]
    alignment = ["left"] + ["right"] * (len(headers) - 1)
    drawn = tabulate([list(headers), *texts], tablefmt="plain", disable_numparse=True, colalign=alignment)
    return [*(line if width_of(line) <= width else shorten(line, width) for line in drawn.splitlines()), ""]


def _wrapped(sentence: str, width: int) -> list[str]:
    indent = "  " if sentence.startswith("* ") else ""
    return textwrap.wrap(printable(sentence, 2000), max(width, 20), subsequent_indent=indent)


def _flip_lines(one: Compared, limit: int, width: int) -> Iterator[str]:
    if not one.flips:
        return
    lost = sum(not flip.gained for flip in one.flips)
    questions = "question" if lost == 1 else "questions"
    yield f"Flips: {lost:,} {questions} lost from A to B, {len(one.flips) - lost:,} gained"
    for flip in one.flips[:limit]:
        what = "gained" if flip.gained else "lost"
        target = "" if flip.target is None else f", target {flip.target}"
        yield shorten(printable(f"  {flip.sample_id} {what}{target}", 200), width)
        for name, said in (("A", flip.a), ("B", flip.b)):
            yield shorten(f"    {name} {_said(said)}: {printable(_end(said.text), SHORT)}", width)
    if len(one.flips) > limit:
        more = f"and {len(one.flips) - limit:,} more" if limit > 0 else "with both answers"
        yield f"  {more} in compare.md and flips.parquet"
    yield ""


def _said(said: Said) -> str:
    read = "" if said.extracted is None else f", read as {printable(said.extracted, 40)}"
    return f"{said.label}{read}"


def _end(text: str) -> str:
    """The end of a reply, where the answer stands."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT // 2 else "…" + flat[-SHORT // 2 :]


def markdown(compared: Sequence[Compared], most_flips: int) -> str:
    """The text of ``compare.md``: everything, with the flips in full (each reply cut at 6,000 characters)."""
    parts = [f"# Comparison: {len(compared)} pair{'s' * (len(compared) != 1)}"]
    parts += [f"**{escaped(one.pair.verdict, 2000)}**" for one in compared]
    parts += [READING, correction_text(compared)]
    for one in compared:
        pair = one.pair
        parts.append(f"## A: {escaped(pair.a.name)}, B: {escaped(pair.b.name)}")
        parts.append(f"A is of run {escaped(pair.a.run_id)}, B of run {escaped(pair.b.run_id)}.")
        parts += ["\n".join(f"- {escaped(note, 1000)}" for note in pair.notes)]
        if pair.standing is Standing.NOT_COMPARABLE:
            parts.append("The accuracies below stand for the record; they must not be compared.")
        parts.append(table(ACCURACY, accuracy_rows(pair)))
        if pair.ratios:
            parts += ["### Times, tokens and cost of the same prompts", table(TIMES, ratio_rows(pair.ratios))]
        if pair.tags:
            parts += ["### By tag", EXPLORATORY, table(TAGS, tag_rows(pair.tags))]
        parts += _flip_parts(one, most_flips)
    return "\n\n".join(part for part in parts if part) + "\n"


def _flip_parts(one: Compared, most: int) -> Iterator[str]:
    if not one.flips:
        return
    lost = sum(not flip.gained for flip in one.flips)
    yield f"### Flips: {lost:,} lost, {len(one.flips) - lost:,} gained"
    for flip in one.flips[:most]:
        what = "gained" if flip.gained else "lost"
        yield f"#### {escaped(flip.sample_id)}: {what}"
        facts = [("target", flip.target), ("tags", ", ".join(flip.tags) or None)]
        yield "\n".join(f"- {name}: {escaped(value, 300)}" for name, value in facts if value is not None)
        if flip.question is not None:
            yield quoted(flip.question)
        for name, said, mean in (("A", flip.a, flip.mean_a), ("B", flip.b, flip.mean_b)):
            yield f"{name}, {escaped(_said(said))} (mean score {mean:.3g}):"
            yield quoted(said.text)
    if len(one.flips) > most:
        yield f"{len(one.flips) - most:,} more are in flips.parquet."


def quoted(text: str) -> str:
    """A text from outside as a block that it cannot leave."""
    return code_block(text[:LONG] + ("\n(cut here)" if len(text) > LONG else ""), "text")
