"""The verbs ``run`` and ``resume``: measure, score, show, one after the other."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.compose import prepare, user_folders
from bench.config import Experiment, WhenInvalid
from bench.courses import check_searches, course_of
from bench.domain import Cell, ConfigError, ErrorKind, Outcome
from bench.measure.ceiling import Ceiling, ceilings
from bench.measure.crew import WorkerDiedError
from bench.measure.header import make_header
from bench.measure.plan import Plan, make_plan
from bench.measure.run import Measured, measure, unsent
from bench.measure.servers import Servers
from bench.measure.stop import Stop
from bench.record import Record, find_run, is_scored, read_header, read_table, spare_pandas
from bench.scorers.judging import Judging
from bench.scorers.several import further_scorers
from bench.sweep import Parser

if TYPE_CHECKING:
    from bench.show.summary import SummaryTable

DONE, TOLERANCE, INTERRUPTED = 0, 3, 130


@dataclass(frozen=True)
class RunResult:
    """How a run ended. ``cell_values`` holds the mean score of each experiment, in their order."""

    exit_code: int
    path: Path | None = None
    cell_values: list[float | None] = field(default_factory=list)


def execute(experiments: Sequence[Experiment], command: Sequence[str]) -> RunResult:
    """One pooled run of all experiments.

    Raises:
        ConfigError: something is wrong with the configuration or a server cannot be reached; nothing was sent.
    """
    check_searches(experiments)
    if experiments and experiments[0].dry_run:
        from bench.show.preview import print_plan

        plan = make_plan(experiments)
        course_of(plan, print)  # raises what a rule for stopping has against the plan
        print_plan(ceilings(plan), plan.notes, _foreseen(plan))
        return RunResult(DONE, None, [None] * len(experiments))
    with Servers(experiments) as servers:  # they start up while we plan
        plan = make_plan(experiments)
        _foreseen(plan)
        _say(*plan.notes)
        return _measured(plan, servers, lambda: _new_record(plan, command))


def _new_record(plan: Plan, command: Sequence[str]) -> Record:
    config = plan.experiment
    record = Record.create(Path(config.results_dir), config.name, make_header(plan, command))
    try:
        record.write_cells(plan.cells)
        record.write_samples({key: one.kept for key, one in plan.samples.items()})
    except OSError as error:
        record.close()
        shutil.rmtree(record.path, ignore_errors=True)
        folder = record.path.parent
        raise ConfigError(
            f"{folder}: cannot write results there ({error.strerror or error}); make room, or set results_dir"
        ) from error
    return record


def resume(argv: Sequence[str]) -> int:
    """``bench resume RUN``: send only what has no terminal row yet."""
    parser = argparse.ArgumentParser(
        prog="bench resume", description="Finish an interrupted run: only what has no terminal row is sent."
    )
    parser.add_argument("run", help="a run folder, 'latest', or an unambiguous part of its name")
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    parser.add_argument("--config-dir", help="the conf folder of your own that the run was started with")
    options = parser.parse_args(argv)
    prepare(user_folders(options.config_dir))  # the run may use plug-ins of the user's
    path = find_run(options.run, Path(options.results_dir))
    header = read_header(path)
    typed = Parser()
    # the cells of a search are its tries; what was asked for stands apart
    experiments = [typed.parse(asked["config"]) for asked in header.get("search") or header["cells"]]
    if header.get("state") == "finished" and not is_scored(path):  # it was killed between its last request and its end
        return _judged(make_plan(experiments), path, Stop()).exit_code
    with Servers(experiments) as servers:
        plan = make_plan(experiments)
        _check_same(plan, header, path)
        return _measured(plan, servers, lambda: Record.reopen(path), header.get("search", ())).exit_code


def _check_same(plan: Plan, header: dict[str, Any], path: Path) -> None:
    was = {cell["cell_id"]: cell["label"] for cell in header.get("search") or header["cells"]}
    known = {cell.cell_id for cell in plan.cells}
    gone = [label for cell_id, label in was.items() if cell_id not in known]
    if gone:
        raise ConfigError(
            f"{path}: the run cannot go on, because its datasets or presets changed since it started "
            f"(cells that are no longer the same: {', '.join(gone[:5])}); put them back, or start a new run"
        )


def _measured(
    plan: Plan, servers: Servers, open_record: Callable[[], Record], earlier: Sequence[dict[str, Any]] = ()
) -> RunResult:
    """Measure, finish the record and judge it. ``earlier`` is the trace of a search that is resumed."""
    sent = _sent(plan, servers, open_record, earlier)
    return RunResult(INTERRUPTED) if sent is None else _judged(plan, *sent)


def _sent(
    plan: Plan, servers: Servers, open_record: Callable[[], Record], earlier: Sequence[dict[str, Any]] = ()
) -> tuple[Path, Stop] | None:
    """Measure and finish the record; ``None`` where a worker died."""
    from bench.show.progress import Bars

    servers.wait()  # before signals mean an orderly stop, so that Ctrl-C ends the wait at once
    progress = Bars()
    try:
        course = course_of(plan, progress.note, earlier)
        measured = measure(plan, servers, progress, open_record, course)
    except WorkerDiedError as error:
        _say(f"{error}; finished requests are saved. Go on with: bench resume latest")
        return None
    finally:
        progress.close()
    record, stop = measured.record, measured.stop
    if _is_bare(plan.experiment):
        spare_pandas()
    try:
        _finish(plan, measured, course.told())
    finally:
        record.close()
    return record.path, stop


def ask_judges_of(path: Path, configs: Mapping[str, Mapping[str, Any]], command: Sequence[str]) -> str | None:
    """Ask the judges among the scorers of a finished run, each in a run of its own; why one stopped early, or ``None``.

    Args:
        path: the judged run.
        configs: plain configs (``scorer`` and ``also``) by cell id.
        command: what the judge's run says it was started with.

    Raises:
        ConfigError: as :func:`bench.judging.ask_judges`.
    """
    from bench.judging import Means, ask_judges

    return ask_judges(path, configs, command, Means(_sent, _new_record, _check_same))


def _is_bare(config: Experiment) -> bool:
    """Whether the run is to leave the data alone: no table, no report, and no verdict that the exit code needs."""
    return not any(vars(config.report).values()) and config.tolerance.invalid is not WhenInvalid.fail


def _finish(plan: Plan, measured: Measured, told: Mapping[str, Any]) -> None:
    record, stop = measured.record, measured.stop
    state = "finished" if stop.reason is None else "interrupted"
    try:
        vitals = [{**one.row(), "start_ns": one.start_ns - record.origin_ns} for one in measured.vitals]
        held_s = _added(record.header.get("held_s", {}), measured.held_s)
        record.update(vitals=[*record.header.get("vitals", []), *vitals], held_s=held_s, **told)
        record.finish(state=state, unsent=unsent(plan, record, stop.reason or "not reached"))
    except OSError as error:
        stop.disk_error = stop.disk_error or error
        stop.set(f"the record cannot be written: {error.strerror or error}")
    except KeyboardInterrupt:
        _say(f"interrupted while the tables were written; finish with: bench resume {record.path}")
        raise


def _added(earlier: dict[str, dict[str, float]], more: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What held the run back in its earlier sessions and in this one."""
    sums = {key: Counter(earlier.get(key, {})) for key in {**earlier, **more}}
    for key, held in more.items():
        sums[key].update(held)
    return {key: dict(held) for key, held in sums.items()}


def _judged(plan: Plan, path: Path, stop: Stop) -> RunResult:
    """Scores, summary and report; then what the exit code says."""
    if stop.disk_error is not None:
        _say(f"{stop.reason}; what was finished is safe in {path}. Make room, then: bench resume {path}")
        return RunResult(INTERRUPTED, path)
    from bench.judge.score import score_run

    try:
        if stop.reason is None and (why := _asked_judges(plan, path)) is not None:
            _say(f"{why} while a judge was asked; what it said is saved. Go on with: bench score {path}")
            return RunResult(INTERRUPTED, path)
        values = score_run(path)
        summary = None if _is_bare(plan.experiment) else _show(plan, path)
    except BrokenPipeError:
        raise
    except (ConfigError, OSError) as error:  # requests were sent, so this is no refusal of the configuration
        go_on = "report" if stop.reason is None and is_scored(path) else "resume"
        if any(map(asks_judges, plan.cells)) and stop.reason is None:
            go_on = "score"
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        _say(f"{said}; the replies are safe, but not yet judged. Put that right, then: bench {go_on} {path}")
        return RunResult(INTERRUPTED, path)
    if summary is not None:
        values = {str(key): value for key, value in summary.frame.set_index("cell_id")["accuracy"].dropna().items()}
    asked = [values.get(cell_id) for cell_id in plan.asked]
    if stop.reason is not None:
        _say(f"{stop.reason}; finished requests are saved. Go on with: bench resume {path}")
        return RunResult(INTERRUPTED, path, asked)
    return RunResult(_verdict(plan, path), path, asked)


def asks_judges(cell: Cell) -> bool:
    """Whether a model judges the replies of a cell."""
    config: Experiment = cell.config
    return any(isinstance(one, Judging) for one in (config.scorer, *further_scorers(config.also, config.scorer)))


def _foreseen(plan: Plan) -> list[Ceiling]:
    """What judges will take once the run is over; they are checked before anything is sent."""
    if not any(map(asks_judges, plan.cells)):
        return []
    from bench.foreseen import foresee

    return foresee(plan)


def _asked_judges(plan: Plan, path: Path) -> str | None:
    if not any(map(asks_judges, plan.cells)):
        return None
    header = read_header(path)
    return ask_judges_of(path, {cell["cell_id"]: cell["config"] for cell in header["cells"]}, header["command"])


def _show(plan: Plan, path: Path) -> SummaryTable:
    """Judge the measurement, print the summary and write the report."""
    from bench.judge.rows import read_run
    from bench.judge.validity import keep_validity
    from bench.show.judges import judges_text
    from bench.show.report import write_files
    from bench.show.summary import render_terminal, summary_of

    run = read_run(path)
    summary = summary_of(run)
    keep_validity(path, summary.validity[summary.run_id])
    if plan.experiment.report.summary:
        print(render_terminal(summary))
        if judged := judges_text(run):
            print(judged, end="\n\n")
    for written in write_files(run, summary, plan.experiment.report):
        print(written)
    return summary


def _verdict(plan: Plan, path: Path) -> int:
    """What the rows say of the run's own tolerance. Neither warm-up counts, nor what a budget or a rule for stopping
    kept from being sent: a run that stops where it was told to has not failed."""
    header, tolerance = read_header(path), plan.experiment.tolerance
    rows = read_table(path, "requests", ["warmup", "outcome", "error_kind", "error_detail"])
    measured = [row for warm, *row in zip(*(column.to_pylist() for column in rows.columns), strict=True) if not warm]
    outcomes = [outcome for outcome, kind, _ in measured if kind != ErrorKind.BUDGET]
    asked, failed = len(outcomes), sum(outcome != Outcome.OK for outcome in outcomes)
    refused = []
    # a search drives the server beyond what it can take: failures are what it looks for
    is_search = plan.experiment.load.is_adaptive
    if measured and not asked:
        refused.append(f"no request was measured: {measured[0][2]}")
    if asked and failed / asked > tolerance.failure_rate and not is_search:
        refused.append(
            f"{failed} of {asked} requests did not end ok ({failed / asked:.1%}), more than "
            f"tolerance.failure_rate={tolerance.failure_rate:g}; see the failures in {path / 'report.md'}"
        )
    if tolerance.invalid is WhenInvalid.fail and header["validity"]["standing"] == "invalid":
        refused.append("the measurement is invalid (tolerance.invalid=fail); see validity above and in run.json")
    _say(*refused)
    return TOLERANCE if refused else DONE


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
