"""``bench history``: every finished run of a results folder, its series, and the changes one accepts."""

from __future__ import annotations

import argparse
import getpass
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase

from bench.domain import ConfigError
from bench.judge.history.accepted import Accepted, accept, read_accepted
from bench.judge.history.drift import find_drift
from bench.judge.history.reading import History, read_history
from bench.judge.history.series import Series, Stretch, lay_out, paging_series, watch
from bench.judge.night import CellNight
from bench.judge.night_metrics import METRICS_BY_NAME
from bench.record.results import open_results
from bench.show.nights import (
    notice_text,
    run_as_plain,
    runs_table,
    said_of,
    series_as_plain,
    series_table,
    skipped_text,
)
from bench.show.terminal import printable

ACTIONS = ("runs", "series", "accept")
SHOWN_RUNS = 20
#: runs whose signs of drift are shown
DRIFT_RUNS = 10


def main(argv: Sequence[str]) -> int:
    """``bench history [runs|series|accept]``; 0 when it could be read, whatever it says.

    Raises:
        ConfigError: no such folder, run or series; a wrong date; a file that cannot be read or written.
    """
    arguments = list(argv)
    action = arguments.pop(0) if arguments and arguments[0] in ACTIONS else "runs"
    options = _parser(action).parse_args(arguments)
    if action != "accept":
        options.since = _day(options.since)
        if not any(_matches(name, options.metric) for name in METRICS_BY_NAME):
            raise ConfigError(f"--metric {options.metric}: is no metric; there are: {', '.join(METRICS_BY_NAME)}")
    if action == "runs" and options.limit < 0:
        raise ConfigError(f"--limit {options.limit}: must be 0, for all runs, or more")
    results = open_results(options.results)
    history = read_history(results, options.rebuild, lambda text: print(text, file=sys.stderr))
    accepted = read_accepted(results)
    if action == "accept":
        return _accept(history, accepted, options)
    return (_series if action == "series" else _runs)(history, accepted, options)


def _parser(action: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench history" if action == "runs" else f"bench history {action}",
        description="Every finished run under the results folder: the runs (bench history), the series of each metric, "
        "model and prompt set with the nightly monitor's state (bench history series), and changes that are to be the "
        "new normal (bench history accept SERIES).",
        epilog="for example: bench history series --metric 'e2e_*' --model qwen3-8b; bench history --results "
        "s3://bucket/results --since 2026-11-01",
        allow_abbrev=False,
    )
    if action == "accept":
        parser.add_argument("series", metavar="SERIES", help="its name, a pattern with *, or a part of its name")
        parser.add_argument("--since", metavar="RUN", help="the run that the new level begins with (default: what the "
                            "alarm suspects)")  # fmt: skip
        parser.add_argument("--why", default="", metavar="TEXT", help="kept with the change")
        parser.add_argument("--by", default=None, metavar="NAME", help="who accepts it (default: the user's name)")
        parser.add_argument("--all", action="store_true", help="accept for every series that SERIES matches")
    else:
        parser.add_argument("--model", metavar="M", help="only models of this name, part or pattern")
        parser.add_argument("--dataset", metavar="D", help="only prompt sets of this name, part or pattern")
        parser.add_argument("--name", metavar="N", help="only runs of this name, part or pattern")
        parser.add_argument("--since", metavar="DATE", help="only runs from this day on (UTC, YYYY-MM-DD)")
        parser.add_argument("--metric", metavar="M", help=f"only these series: {', '.join(METRICS_BY_NAME)}")
        parser.add_argument("--json", action="store_true", help="print JSON")
    if action == "runs":
        parser.add_argument("--limit", type=int, default=SHOWN_RUNS, metavar="N", help="newest runs to show; 0 for all")
    if action == "series":
        parser.add_argument("--all", action="store_true", help="also series that have ended, with why")
    parser.add_argument("--results", "--results-dir", default="results", metavar="DIR", help="where runs lie: a folder "
                        "or an address such as s3://bucket/folder (default: results)")  # fmt: skip
    parser.add_argument("--rebuild", action="store_true", help="read every run again instead of trusting the index")
    return parser


def _runs(history: History, accepted: Sequence[Accepted], options: argparse.Namespace) -> int:
    nights = [night for night in history.nights if _wanted(night, options)]
    runs = list(dict.fromkeys(night.run for night in nights))
    kept = set(runs[-options.limit :] if options.limit > 0 else runs)
    shown = [night for night in nights if night.run in kept]
    if options.json:
        skipped = [{"run": one.run, "reason": one.reason} for one in history.skipped]
        print(json.dumps({"runs": [run_as_plain(night) for night in shown], "skipped": skipped}, indent=1))
        return 0
    if not nights:
        _warn(history)
        print(f"{options.results}: no finished run there" + (" that was asked for" if history.nights else ""))
        return 0
    print(runs_table(shown))
    left = len(runs) - len(kept)
    print(
        f"{len(runs):,} finished {'run' if len(runs) == 1 else 'runs'}"
        + (f", the last {len(kept)} shown; --limit 0 shows all" if left else "")
    )
    series = _watched(history, accepted, options, False)
    told: dict[str, int] = {}
    for one in series:
        told[str(one.state)] = told.get(str(one.state), 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in sorted(told.items()))
    print(f"{len(series):,} series: {counts}; bench history series shows them")
    _tell(history, series, nights)
    return 0


def _series(history: History, accepted: Sequence[Accepted], options: argparse.Namespace) -> int:
    series = _watched(history, accepted, options, options.all)
    nights = [night for night in history.nights if _wanted(night, options)]
    if options.json:
        told = [notice_text(one) for one in find_drift(nights)]
        skipped = [{"run": one.run, "reason": one.reason} for one in history.skipped]
        plain = {"series": [series_as_plain(one) for one in series], "notices": told, "skipped": skipped}
        print(json.dumps(plain, indent=1))
        return 0
    if series:
        # what is read by a program or from a file keeps all columns
        print(series_table(series, shutil.get_terminal_size((0, 0)).columns or None))
        print("Trend and changes: in 30 nights, and found in hindsight. A state is the nightly monitor's.")
    else:
        print("no such series")
    _tell(history, series, nights)
    return 0


def _tell(history: History, series: Sequence[Series], nights: Sequence[CellNight]) -> None:
    """Alarms and notices after the table; runs left out go to standard error."""
    last = set(list(dict.fromkeys(night.run for night in nights))[-DRIFT_RUNS:])
    notices = find_drift(nights, last)
    for line in said_of(series, notices, ()):
        print(line)
    _warn(history)


def _warn(history: History) -> None:
    for one in history.skipped:
        print(printable(skipped_text(one), 600), file=sys.stderr)


def _watched(history: History, accepted: Sequence[Accepted], options: argparse.Namespace, ended: bool) -> list[Series]:
    """The wanted series. What pages together is counted over all, whatever is shown."""
    stretches = lay_out(history.nights)
    paging = {name: paging_series(stretches, name) for name in {one.name for one in stretches}}
    return [
        watch(one, paging[one.name], accepted)
        for one in stretches
        if (one.current or ended)
        and one.was_known
        and _of_series(one, options)
        and one.nights[-1].started_at >= options.since
    ]


def _of_series(one: Stretch, options: argparse.Namespace) -> bool:
    return _wanted(one.nights[-1], options, False) and _matches(one.metric.name, getattr(options, "metric", None))


def _wanted(night: CellNight, options: argparse.Namespace, dated: bool = True) -> bool:
    return (
        _matches(night.model, options.model)
        and _matches(night.dataset, options.dataset)
        and _matches(night.name, options.name)
        and (not dated or night.started_at >= options.since)
    )


def _matches(text: str, wanted: str | None) -> bool:
    """Whether a name, a part of it in any case, or a pattern with ``*`` is meant."""
    if wanted is None:
        return True
    low, text = wanted.lower(), text.lower()
    return fnmatchcase(text, low) if any(sign in low for sign in "*?") else low in text


def _day(given: str | None) -> str:
    """The start of a day as times of start compare with it; empty, before all of them, without one."""
    if given is None:
        return ""
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError:
        raise ConfigError(f"--since {given}: is no day; write it as YYYY-MM-DD") from None


def _accept(history: History, accepted: Sequence[Accepted], options: argparse.Namespace) -> int:
    stretches = [one for one in lay_out(history.nights) if one.current]
    exact = [one for one in stretches if one.id == options.series]
    found = exact or [one for one in stretches if _matches(one.id, options.series)]
    if not found:
        raise ConfigError(f"{options.series}: there is no such series; `bench history series` lists them")
    if len(found) > 1 and not options.all:
        listed = "\n".join(f"  {printable(one.id)}" for one in found[:SHOWN_RUNS])
        raise ConfigError(f"{options.series}: matches {len(found)} series; name one, or add --all:\n{listed}")
    paging = {name: paging_series(stretches, name) for name in {one.name for one in stretches}}
    changes = []
    for one in found:
        since = _since(watch(one, paging[one.name], accepted), options.since)
        if since is None:
            if len(found) == 1:
                raise ConfigError(f"{one.id}: does not alarm; name the run that the new level begins with: --since RUN")
            continue
        by = options.by or getpass.getuser()
        changes.append(Accepted(one.id, since, datetime.now(UTC).isoformat(timespec="seconds"), by, options.why))
    if not changes:
        raise ConfigError(f"{options.series}: none of {len(found)} series alarms; name a run: --since RUN")
    for change in changes:
        accept(history.results, change)
        print(
            printable(f"accepted: {change.series} begins anew with {change.since}; it takes 20 nights to watch again")
        )
    return 0


def _since(series: Series, wanted: str | None) -> str | None:
    """The run that the new level begins with.

    Raises:
        ConfigError: none or several of the series' runs are meant.
    """
    if wanted is None:
        start = series.suspected_from
        return None if start is None else series.nights[start].run
    runs = [night.run for night in series.nights]
    found = [run for run in runs if wanted in (run, run.rpartition("/")[2])] or [run for run in runs if wanted in run]
    if len(found) != 1:
        raise ConfigError(f"--since {wanted}: matches {len(found) or 'no'} runs of {series.id}; name one of them")
    return found[0]
