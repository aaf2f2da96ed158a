"""``bench report`` and what is written after a run: ``report.md``, ``plots/``, ``summary.parquet``."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ReportConfig
from bench.domain import ConfigError
from bench.judge.labelled import Labelled, held_against
from bench.judge.metrics import CELL_METRICS, REQUEST_METRICS
from bench.judge.repeated import repeated_cells
from bench.judge.rows import RunRows, read_run, with_slo
from bench.judge.validity import keep_validity
from bench.record import find_run
from bench.show.judges import judges_section, judges_text
from bench.show.labelled import labelled_section, labelled_text
from bench.show.markdown import escaped, table
from bench.show.objectives import slo_section
from bench.show.outcomes import outcome_section
from bench.show.percentiles import latency_section
from bench.show.provenance import facts, repeat
from bench.show.reconcile import OURS, check_metrics, reconcile_section, reconcile_text
from bench.show.repeated import repeated_section
from bench.show.search import trace
from bench.show.summary import SummaryTable, render_terminal, summary_of, write_summary
from bench.show.sweeps import sweep_section
from bench.show.table import Column, Detail, Layout, columns, validity_lines

if TYPE_CHECKING:
    from bench.show.plots import Drawn

MAX_FAILURE_ROWS = 50
_OPTION = re.compile(r"[a-z_.]+=")
PERCENTILES = (
    "Times are from marks on one monotonic clock. Percentiles are nearest ranks of served requests; their 95% "
    "order-statistic intervals stand under Latency, and where there is no such interval they are withheld."
)
#: what has a section of its own is left out of the first table
_PLAIN = Layout(Detail.PLAIN, True, 60, frozenset({"goodput", "attainment"}))
#: which metric defines a column of the printed table, by the column's key
DEFINED_BY = {
    "n": "planned",
    "accuracy": "accuracy",
    "ttft": "ttft_ms",
    "e2e": "e2e_ms",
    "tokens": "output_tok_per_s",
    "throughput": "throughput_tok_per_s",
    "cost": "cost",
    "failures": "failure_rate",
    "truncated": "truncated",
    "unparsed": "unparsed",
}


def main(argv: Sequence[str]) -> int:
    """``bench report RUN... [metrics=TOOL] [slo=EXPRESSION]``: write the reports again and print the tables.

    Raises:
        ConfigError: no such run or option, or a folder cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="bench report",
        description="Write report.md, plots/ and summary.parquet of runs again, and print their tables side by side.",
        epilog="metrics=vllm|guidellm|aiperf recomputes the same rows under that tool's definitions, to reconcile "
        "numbers; slo='ttft_ms_p99 <= 500 and tpot_ms <= 50' holds them against another service level.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN | metrics=TOOL | slo=EXPRESSION",
        help="a run folder, 'latest', or an unambiguous part of its name; and what to do differently",
    )
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    parser.add_argument("--labels", metavar="FILE", help="people's labels (.jsonl, .csv) to hold the scorers against")
    options = parser.parse_intermixed_args(list(argv))
    names, asked = _sorted_out(options.words)
    metrics = check_metrics(asked.get("metrics", OURS))
    paths = list(dict.fromkeys(find_run(name, Path(options.results_dir)) for name in names))
    if options.labels and len(paths) > 1:
        raise ConfigError("--labels: they belong to one run; name it alone")
    labelled = held_against(paths[0], Path(options.labels)) if options.labels else None
    opened = [read_run(path) for path in paths]
    if "slo" in asked:
        opened = [with_slo(run, asked["slo"]) for run in opened]
    summaries = [summary_of(run) for run in opened]
    shown = summaries[0] if len(summaries) == 1 else side_by_side(opened, summaries)
    print(render_terminal(shown))
    for text in filter(None, map(judges_text, opened)):
        print(text, end="\n\n")
    if labelled is not None:
        print(labelled_text(labelled), end="\n\n")
    for run, summary in zip(opened, summaries, strict=True):
        if metrics != OURS:
            print(reconcile_text(run, summary, metrics), end="\n\n")
        try:
            keep_validity(run.path, summary.validity[summary.run_id])
        except OSError as error:
            raise _unwritable(run, error) from error
        for written in write_files(run, summary, ReportConfig(), metrics, labelled):
            print(written)
    return 0


def _sorted_out(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names of runs, and options by key."""
    asked = dict(word.split("=", 1) for word in words if _OPTION.match(word))
    strange = [key for key in asked if key not in ("metrics", "slo")]
    if strange:
        raise ConfigError(
            *(f"{key}=: bench report takes no such option; there are metrics= and slo=" for key in strange)
        )
    names = [word for word in words if not _OPTION.match(word)]
    if not names:
        raise ConfigError("bench report: name a run: a run folder, 'latest', or an unambiguous part of its name")
    return names, asked


def write_report(path: Path, config: ReportConfig) -> list[Path]:
    """Write what ``config`` asks for into a run folder; gives the files written.

    Raises:
        ConfigError: the folder holds no recorded run, or cannot be written.
    """
    if not (config.summary or config.markdown or config.plots):
        return []
    run = read_run(path)
    return write_files(run, summary_of(run), config)


def write_files(
    run: RunRows,
    summary: SummaryTable,
    config: ReportConfig,
    metrics: str = OURS,
    labelled: Labelled | None = None,
) -> list[Path]:
    """:func:`write_report` of rows that are read and summed up already.

    Raises:
        ConfigError: the folder cannot be written.
    """
    from bench.show.plots import write_plots

    try:
        files = [write_summary(summary, run.path)] if config.summary else []
        drawn = write_plots(run, summary, run.path / "plots") if config.plots else []
        files += [file for plot in drawn for file in plot.files]
        if config.markdown:
            files.append(_write_text(run.path / "report.md", markdown(run, summary, drawn, metrics, labelled)))
    except OSError as error:
        raise _unwritable(run, error) from error
    return files


def _unwritable(run: RunRows, error: OSError) -> ConfigError:
    said = error.strerror or str(error)
    return ConfigError(f"{run.path}: the report cannot be written ({said}); make room or allow writing")


def _write_text(path: Path, text: str) -> Path:
    part = path.with_name(f".tmp-{path.name}")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def side_by_side(runs: Sequence[RunRows], summaries: Sequence[SummaryTable]) -> SummaryTable:
    """Several runs as one table with a column ``run``; nothing is compared, so there is no verdict."""
    import pandas as pd

    swept = tuple(dict.fromkeys(key for summary in summaries for key in summary.swept)) or ("cell",)
    frames = []
    for run, summary in zip(runs, summaries, strict=True):
        frame = summary.frame.assign(run=summary.run_id, cell=summary.frame["label"])
        frame["label"] = summary.run_id + " " + frame["label"]
        missing = [key for key in swept if key not in frame.columns]
        frames.append(frame.assign(**{key: [cell.param(key) for cell in run.cells] for key in missing}))
    return SummaryTable(
        run_id=" ".join(summary.run_id for summary in summaries),
        frame=pd.concat([frame.astype(object) for frame in frames], ignore_index=True).infer_objects(),
        swept=("run", *swept),
        failures=pd.concat([summary.failures for summary in summaries], ignore_index=True),
        notes=tuple(f"{summary.run_id}: {note}" for summary in summaries for note in summary.notes),
        verdict=(),
        latency_from="due" if all(summary.latency_from == "due" for summary in summaries) else "sent",
        validity={run_id: one for summary in summaries for run_id, one in summary.validity.items()},
    )


def markdown(
    run: RunRows,
    summary: SummaryTable,
    drawn: Sequence[Drawn] = (),
    metrics: str = OURS,
    labelled: Labelled | None = None,
) -> str:
    """The text of ``report.md``; ``metrics`` names a tool whose definitions get a section too."""
    header = run.header
    requests = f"{len(run.requests):,} request{'s' * (len(run.requests) != 1)}"
    cells = f"{len(run.cells)} cell{'s' * (len(run.cells) != 1)}"
    parts = [
        f"# {escaped(header.get('name', run.path.name))}: {cells}, {requests}",
        "\n\n".join(escaped(sentence, 1000) for sentence in validity_lines(summary)),
        "\n\n".join(f"**{escaped(sentence, 1000)}**" for sentence in summary.verdict),
        _results(summary),
        "\n".join(f"- {escaped(note, 1000)}" for note in summary.notes),
        outcome_section(summary),
        repeated_section(repeated_cells(run)),
        judges_section(run),
        labelled_section(labelled) if labelled is not None else "",
        slo_section(run, summary),
        sweep_section(run, summary),
        latency_section(summary),
        reconcile_section(run, summary, metrics) if metrics != OURS else "",
        _failed(summary),
        *trace(header),
        *_plots(drawn),
        "## What was run",
        table(["", ""], facts(header, run), left=2),
        "## How to repeat it",
        *repeat(header, run),
        *_definitions(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(summary: SummaryTable) -> str:
    if summary.frame.empty:
        return ""
    shown = _shown(summary)
    rows = list(zip(*(column.texts for column in shown), strict=True))
    headers = [column.header.replace("\n", " ") for column in shown]
    named = sum(column.left for column in shown)
    return "## Results\n\n" + table(
        [escaped(header) if i < named else header for i, header in enumerate(headers)], rows, named
    )


def _shown(summary: SummaryTable) -> list[Column]:
    return columns(summary, _PLAIN)


def _failed(summary: SummaryTable) -> str:
    rows = summary.failures
    if rows.empty:
        return ""
    clean = rows.astype(object).where(rows.notna(), "-")
    fields = ["label", "outcome", "error_kind", "example", "requests"]
    text = "## Failures\n\n" + table(
        ["cell", "outcome", "kind", "first message", "requests"],
        clean[fields].head(MAX_FAILURE_ROWS).to_numpy().tolist(),
        4,
    )
    more = len(rows) - MAX_FAILURE_ROWS
    return text + (f"\n\n{more} rarer rows are left out; all are in `requests.parquet`." if more > 0 else "")


def _plots(drawn: Sequence[Drawn]) -> list[str]:
    if not drawn:
        return []
    parts = ["## Plots"]
    for one in drawn:
        vector = next((file for file in one.files if file.suffix == ".svg"), None)
        parts.append(
            escaped(one.reason)
            if vector is None
            else f"![{one.plot.caption}](plots/{vector.name})\n\n{one.plot.caption}"
        )
    return parts


def _definitions(summary: SummaryTable) -> list[str]:
    known = {metric.name: metric.definition for metric in REQUEST_METRICS}
    known |= {metric.name: metric.definition for metric in CELL_METRICS}
    due = "due_" if summary.latency_from == "due" else ""
    lines: dict[str, str] = {}
    for column in _shown(summary) if not summary.frame.empty else []:
        name = DEFINED_BY.get(column.key, "")
        name = due + name if due + name in known else name
        if name:
            header = column.header.replace("\n", " ").replace(" p50", "")
            median = " The median of served requests." if column.key == "tokens" else ""
            lines.setdefault(column.key, f"- **{header}**: {known[name]}{median}")
    return [
        "## What the columns mean",
        PERCENTILES,
        "\n".join(lines.values()),
        "<details><summary>Every column of summary.parquet</summary>",
        "\n".join(f"- `{metric.name}` ({metric.unit}): {metric.definition}" for metric in CELL_METRICS),
        "</details>",
    ]
