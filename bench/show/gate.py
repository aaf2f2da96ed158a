"""``bench gate``: a candidate against a baseline, in three states and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.domain import ConfigError
from bench.judge.gate import Verdict
from bench.judge.gate_arms import Arms, read_arms, read_one_run
from bench.judge.gate_plan import plan_gate
from bench.judge.gate_rows import GATE_MARGINS
from bench.judge.gating import judge_arms
from bench.record import find_run
from bench.show.compare import ESTIMANDS
from bench.show.gate_text import as_plain, junit, markdown, render, render_plan
from bench.show.notify import notify, read_command
from bench.show.verdict import Finding, Shown

EXIT_CODES = {Verdict.PASS: 0, Verdict.REGRESSION: 4, Verdict.INCONCLUSIVE: 5}
HISTORY = "history"


@dataclass(frozen=True)
class Settings:
    """What the options and the settings file say together."""

    margins: Mapping[str, float] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    command: tuple[str, ...] | None = None
    timeout_s: float = 30.0


def main(argv: Sequence[str]) -> int:
    """``bench gate RUN... --baseline RUN...|history``: print the verdict, write its files, give its exit code.

    Raises:
        ConfigError: no such run; the sides were not asked the same prompts, not scored alike or not loaded alike; an
            option that does not fit; a file that cannot be written.
    """
    options = _parser().parse_args(list(argv))
    settings = _settings(options)
    width = shutil.get_terminal_size((120, 24)).columns
    if options.plan:
        names = ("look", "estimand", "junit", "markdown", "json", "plots", "notify")
        _refuse(options, "--plan: judges nothing", *names)
        print(render_plan(plan_gate(_arms(options), settings.margins, options.power or 0.8, settings.skip), width))
        return 0
    shown = _judged(options, settings)
    print(render(shown, width))
    _write(shown, options)
    if settings.command:
        problem = notify(settings.command, json.dumps(as_plain(shown)), settings.timeout_s)
        if problem:
            print(f"warning: {problem}", file=sys.stderr)
    return EXIT_CODES[shown.verdict]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench gate",
        description="Is the candidate worse than the baseline? REGRESSION, PASS or INCONCLUSIVE for each metric and "
        "model, and together. Exit code 0: PASS, 4: REGRESSION, 5: INCONCLUSIVE, 2: the runs do not compare.",
        epilog="for example: bench gate B1 B2 ... B8 --baseline A1 A2 ... A8; bench gate latest --by model.name "
        "--baseline qwen3-8b; bench gate latest --baseline history; add --plan to learn what a verdict would cost",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="runs of the candidate: folders, 'latest', or parts of names"
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        required=True,
        metavar="RUN_OR_HISTORY",
        help="as many runs of the baseline, made in turn with them (ABBA); or 'history': earlier nights of the same "
        "series; with --by the value that the others are compared with",
    )
    parser.add_argument("--by", metavar="KEY", help="pairs are the repeats of one run that swept this parameter")
    parser.add_argument("--cell", metavar="LABEL", help="the one cell of each candidate to take")
    parser.add_argument("--baseline-cell", metavar="LABEL", help="the one cell of each baseline to take")
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="NAME=SHARE",
        help="what may get worse before it counts; "
        + ", ".join(f"{name} {value:g}" for name, value in GATE_MARGINS.items()),
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="NAME", help="a metric, or a margin's name, to leave out"
    )
    parser.add_argument(
        "--estimand",
        choices=sorted(ESTIMANDS),
        help="kind_of_task: the questions stand for others like them (default); frozen_set: these questions alone, "
        "which takes two replies or more of each",
    )
    parser.add_argument(
        "--look",
        type=int,
        choices=(0, 1, 2),
        help="1 or 2 of two planned looks (p 0.0056, then 0.048), 0: a single one (0.05); default: 2 from 16 pairs on",
    )
    parser.add_argument(
        "--plan", action="store_true", help="say how many pairs and requests a verdict takes, and what they cost"
    )
    parser.add_argument("--power", type=float, metavar="SHARE", help="wanted power of --plan (default: 0.8)")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, a test case per metric and model")
    parser.add_argument("--markdown", metavar="FILE", help="write Markdown for a pull-request comment")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON")
    parser.add_argument("--plots", metavar="FOLDER", help="draw every metric that did not pass")
    parser.add_argument("--notify", metavar="COMMAND", help="run this with the verdict as JSON on its standard input")
    parser.add_argument("--config", metavar="FILE", help="YAML with margins, skip and notify {command, timeout_s}")
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    """The settings file with the options over it.

    Raises:
        ConfigError: an unknown name, a share out of range, or a file that cannot be read.
    """
    found = _read_settings(Path(options.config)) if options.config else Settings()
    margins = dict(found.margins)
    for text in options.margin:
        name, _, value = text.partition("=")
        margins[name] = _share(f"--margin {text}", name, value)
    if options.power is not None and not options.plan:
        raise ConfigError("--power: belongs to --plan")
    if options.power is not None and not 0 < options.power < 1:
        raise ConfigError(f"--power {options.power:g}: must lie between 0 and 1")
    command = read_command(options.notify, "--notify") if options.notify is not None else found.command
    return Settings(margins, found.skip | frozenset(options.skip), command, found.timeout_s)


def _read_settings(path: Path) -> Settings:
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    parts = {"margins": dict, "skip": list, "notify": dict}
    if not isinstance(loaded, dict) or set(loaded) - set(parts):
        raise ConfigError(f"{path}: must be a mapping with the keys {', '.join(parts)} alone")
    for name, kind in parts.items():
        if not isinstance(loaded.get(name, kind()), kind):
            raise ConfigError(f"{path}: {name} must be a {'mapping' if kind is dict else 'list'}")
    margins = {
        str(name): _share(f"{path}: margins", str(name), value) for name, value in loaded.get("margins", {}).items()
    }
    hook = loaded.get("notify", {})
    if set(hook) - {"command", "timeout_s"}:
        raise ConfigError(f"{path}: notify has the keys command and timeout_s alone")
    timeout_s = hook.get("timeout_s", 30.0)
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= 3600:
        raise ConfigError(f"{path}: notify.timeout_s must be seconds between 0 and 3600, not {timeout_s!r}")
    command = read_command(hook["command"], f"{path}: notify.command") if hook.get("command") else None
    return Settings(margins, frozenset(map(str, loaded.get("skip", []))), command, float(timeout_s))


def _share(where: str, name: str, value: object) -> float:
    if name not in GATE_MARGINS:
        raise ConfigError(f"{where}: there is no margin {name!r}; there are: {', '.join(GATE_MARGINS)}")
    try:
        share = float(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is no number; write a share, such as 0.05") from None
    if not 0 < share < 1:
        raise ConfigError(f"{where}: {share:g} must lie between 0 and 1; write 5% as 0.05")
    return share


def _arms(options: argparse.Namespace) -> Arms:
    results = Path(options.results_dir)
    if options.baseline == [HISTORY]:
        raise ConfigError("--plan: plans runs made in pairs; name runs of a baseline instead of history")
    paths = [find_run(name, results) for name in options.runs]
    if options.by is not None:
        _refuse(options, "--by: compares the cells that differ in it", "cell", "baseline_cell")
        if len(paths) > 1 or len(options.baseline) > 1:
            raise ConfigError("--by: takes one run, whose repeats are the pairs, and one value for --baseline")
        return read_one_run(paths[0], options.by, options.baseline[0])
    return read_arms([find_run(name, results) for name in options.baseline], paths, options.baseline_cell, options.cell)


def _judged(options: argparse.Namespace, settings: Settings) -> Shown:
    if options.baseline == [HISTORY]:
        from bench.show.gate_night import judge_latest

        names = ("by", "cell", "baseline_cell", "margin", "skip", "look", "estimand")
        _refuse(options, "the nightly monitor has rules of its own", *names)
        if settings.margins or settings.skip:
            given = [name for name in ("margins", "skip") if getattr(settings, name)]
            raise ConfigError(
                f"{options.config}: the nightly monitor has rules of its own, so {' and '.join(given)} would do "
                "nothing; keep notify alone in the file for --baseline history"
            )
        if len(options.runs) > 1:
            raise ConfigError("--baseline history: judges one run, the last night")
        return judge_latest(find_run(options.runs[0], Path(options.results_dir)), options.results_dir)
    gate = judge_arms(
        _arms(options), settings.margins, settings.skip, options.look, ESTIMANDS[options.estimand or "kind_of_task"]
    )
    findings = [Finding.of_row(row) for row in gate.rows]
    return Shown(
        gate.verdict,
        tuple(findings),
        gate.notes,
        gate.arms.runs[0],
        gate.arms.runs[1],
        _about(gate.look, gate.limit, gate.pairs),
    )


def _refuse(options: argparse.Namespace, why: str, *names: str) -> None:
    """Refuse options that would do nothing.

    Raises:
        ConfigError: naming them.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) not in (None, [])]
    if given:
        raise ConfigError(f"{why}, so {' and '.join(given)} would do nothing")


def _about(look: int, limit: float, pairs: int) -> str:
    which = "the only look" if look == 0 else f"look {look} of 2"
    return f"{pairs} {'pair' if pairs == 1 else 'pairs'} of runs, {which}, p limit {limit:g}"


def _write(shown: Shown, options: argparse.Namespace) -> None:
    texts: list[tuple[str | None, Any]] = [
        (options.junit, junit),
        (options.markdown, markdown),
        (options.json, lambda found: json.dumps(as_plain(found), indent=1, ensure_ascii=False) + "\n"),
    ]
    try:
        for name, make in texts:
            if name:
                _replaced(Path(name), make(shown))
        if options.plots:
            from bench.show.plots.gate_series import draw_findings

            for path in draw_findings(shown, Path(options.plots)):
                print(path)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or 'a file'}: cannot be written ({error.strerror or error}); the verdict stands: "
            f"{shown.verdict}"
        ) from error


def _replaced(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".tmp-{path.name}")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(part, path)
    print(path)
