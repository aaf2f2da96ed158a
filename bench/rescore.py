"""The verb ``score``: recorded replies judged again, sending nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from bench.compose import AUTO, prepare, user_folders
from bench.config import Model, ReportConfig, plain
from bench.domain import ConfigError
from bench.explain import explain
from bench.judge.judged import judging_scorers
from bench.places import shipped
from bench.record import amend_header, find_run, read_header
from bench.registry import build, plugins, typed, unknown
from bench.scorers.several import further_scorers, named_scorer

INTERRUPTED = 130

#: what says how replies are got, which is done where they stand in a file
_OF_ASKING = {"provider", "load", "sampling", "repeats", "experiment", "stop", "cache", "dry_run"}


def main(argv: Sequence[str]) -> int:
    """``bench score RUN [scorer=NAME] [scorer.KEY=VALUE] [also=[NAME, ...]]``: score a finished run again.

    ``bench score FILE dataset=NAME [...]`` makes a run of replies that were collected elsewhere, and scores it.

    Raises:
        ConfigError: no such run, or it is not finished; a scorer that does not exist, takes no such options or lacks
            what it needs. The run stays as it was.
    """
    options = _arguments().parse_intermixed_args(list(argv))
    folders = user_folders(options.config_dir)
    file = Path(options.run)
    if file.is_file():
        return _score_file(file, options, folders, ("bench", "score", *argv))
    if options.by or options.text or options.rows_at:
        raise ConfigError(f"{options.run}: --by, --text and --rows-at say how a file of replies is read; it is no file")
    prepare(folders)
    path = find_run(options.run, Path(options.results_dir))
    header = read_header(path)
    if header.get("state") != "finished":
        raise ConfigError(f"{path}: the run is {header.get('state')}; finish it first with: bench resume {path}")
    overrides = _parsed(options.overrides)
    configs = {
        cell["cell_id"]: _asked(cell["config"], overrides, (*folders, shipped("conf"))) for cell in header["cells"]
    }
    if not _judges_asked(path, configs, ("bench", "score", *argv)):
        return INTERRUPTED
    header = read_header(path)
    _rescore(path, header, configs)
    _show(path, header)
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench score",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Score the recorded replies of a finished run again, sending nothing, and refresh its report.\n"
        "The new verdicts replace the old ones; run.json says what they were made with.\n\n"
        "Or score replies that another tool collected: a FILE (.jsonl, .json, .csv, .parquet) with a row per reply\n"
        "becomes a finished run over dataset=NAME. Its rows name their question by an id or by any field that the\n"
        "dataset has too, else their order does; several rows to one question are its repeats.",
        epilog="for example:\n"
        "  bench score latest scorer=numeric scorer.abs_tol=0.1 also=[exact]\n"
        "  bench score samples.jsonl dataset=humaneval scorer.allow_code=true\n"
        "  bench score outputs.jsonl dataset=gsm8k --by question --text model.solution model.name=my-model",
    )
    parser.add_argument(
        "run", metavar="RUN|FILE", help="a run folder, 'latest', part of its name; or a file of replies"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="scorer=NAME, scorer.KEY=VALUE, also=[NAME]; for a file dataset=NAME and what else `bench run` takes",
    )
    parser.add_argument("--by", default="", metavar="FIELD", help="of a file: the field that names the question")
    parser.add_argument("--text", default="", metavar="FIELD", help="of a file: the field, or a.b.0, of the reply")
    parser.add_argument("--rows-at", default="", metavar="KEY", help="of a .json file: where the list of rows is")
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    parser.add_argument("--config-dir", help="a conf folder of your own, for its scorers and presets")
    return parser


def _score_file(file: Path, options: argparse.Namespace, folders: Sequence[Path], command: tuple[str, ...]) -> int:
    """A run made of the replies in a file, scored and reported."""
    from bench.loader import Loader
    from bench.replies import Shape, record_replies
    from bench.sweep import Parser

    loader = Loader(folders)
    keys = {line.lstrip("+~").partition("=")[0].partition(".")[0] for line in options.overrides}
    if "dataset" not in keys:
        raise ConfigError(f"{file}: say what the replies answer, for example dataset=gsm8k dataset.path=FILE")
    if strange := sorted(keys & _OF_ASKING):
        raise ConfigError(*(f"{key}: replies from a file are not asked for; leave it out" for key in strange))
    experiment = Parser().parse(loader.compose(options.overrides))
    judges = judging_scorers([{"scorer": plain(experiment.scorer), "also": plain(experiment.also)}])
    if any(one.judge.provider is None for one in judges):
        raise ConfigError(
            f"{file}: there is no server that the replies came from and that could judge them; name one, for example "
            "scorer.judge.provider=auto for that of the judge's model"
        )
    if "model" not in keys:
        experiment = replace(experiment, model=Model(name=file.name.split(".")[0]))
    if "name" not in keys:
        experiment = replace(experiment, name=file.name.split(".")[0] or "replies")
    if "results_dir" not in keys:
        experiment = replace(experiment, results_dir=options.results_dir)
    path, notes = record_replies(file, experiment, Shape(options.by, options.text, options.rows_at), command)
    print(*notes, sep="\n", file=sys.stderr)
    header = read_header(path)
    configs = {cell["cell_id"]: cell["config"] for cell in header["cells"]}
    if not _judges_asked(path, configs, command):
        return INTERRUPTED
    _scored(path)
    _show(path, header)
    return 0


def _judges_asked(path: Path, configs: Mapping[str, Mapping[str, Any]], command: tuple[str, ...]) -> bool:
    """Ask the judges among the scorers; whether none of them was stopped."""
    if not any(judging_scorers([config]) for config in configs.values()):
        return True
    from bench.pipeline import ask_judges_of

    stopped = ask_judges_of(path, configs, command)
    if stopped is not None:
        print(f"{stopped} while a judge was asked; what it said is saved. Go on with: bench score {path}")
    return stopped is None


def _scored(path: Path) -> None:
    from bench.judge.score import score_run

    score_run(path)


def _parsed(texts: Sequence[str]) -> list[Override]:
    """The overrides, of the scorer and of ``also`` alone: nothing else can still change.

    Raises:
        ConfigError: one sentence per override that cannot be read or that has no place here.
    """
    try:
        found = OverridesParser.create().parse_overrides(list(texts))
    except OverrideParseException as error:
        raise ConfigError(*explain(error)) from error
    strange = [
        one.input_line
        for one in found
        if one.key_or_group.partition(".")[0] not in ("scorer", "also") or one.is_sweep_override() or one.is_delete()
    ]
    if strange:
        raise ConfigError(
            *(f"{text}: only scorer=NAME, scorer.KEY=VALUE and also=[NAME] can be given here" for text in strange)
        )
    return list(found)


def _asked(config: Mapping[str, Any], overrides: Iterable[Override], folders: Sequence[Path]) -> dict[str, Any]:
    """The plain ``scorer`` and ``also`` of one cell after the overrides, checked."""
    scorer = dict(config["scorer"])
    also: list[Any] = list(config.get("also") or ())
    values: list[tuple[str, Any]] = []
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key == "scorer":
            scorer = _preset(str(value), config, folders)
        elif key == "also":
            also = list(value) if isinstance(value, list) else [] if value is None else [value]
        else:
            values.append((key.removeprefix("scorer."), value))
    node = OmegaConf.create(scorer, flags={"allow_objects": True})
    for name, value in values:
        OmegaConf.update(node, name, value, force_add=True)
    made = build("scorer", {str(key): value for key, value in dict(OmegaConf.to_container(node) or {}).items()})  # type: ignore[arg-type]  # a mapping node gives a mapping
    return {"scorer": plain(made), "also": [plain(one) for one in further_scorers(also, made)]}


def _preset(name: str, config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """A scorer preset by name: a file of a conf folder, a kind, or ``auto`` for the dataset's own."""
    if name == AUTO:
        return dict(plain(named_scorer(build("dataset", config["dataset"]).scorer or "none")))
    for folder in folders:
        file = folder / "scorer" / f"{name}.yaml"
        if file.is_file():
            loaded = OmegaConf.to_container(OmegaConf.load(file))
            assert isinstance(loaded, dict)
            return {str(key): value for key, value in loaded.items() if key != "defaults"}
    if name not in plugins("scorer"):
        raise ConfigError(unknown("scorer", name, list(plugins("scorer"))))
    return {"kind": name}


def _rescore(path: Path, header: dict[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> None:
    """New verdicts first, whole or not at all; then what they were made with."""
    from bench.judge.score import score_run

    score_run(path, configs)
    cells = [{**cell, "config": {**cell["config"], **configs[cell["cell_id"]]}} for cell in header["cells"]]
    before = {
        cell["cell_id"]: {"scorer": cell["config"]["scorer"], "also": cell["config"].get("also") or []}
        for cell in header["cells"]
        if any(cell["config"].get(key) != value for key, value in configs[cell["cell_id"]].items())
    }
    entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "before": before}
    try:
        amend_header(path, cells=cells, rescored=[*header.get("rescored", []), entry])
    except OSError as error:
        raise ConfigError(
            f"{path}: the verdicts are new, but run.json cannot be written ({error.strerror}); score it again"
        ) from error


def _show(path: Path, header: Mapping[str, Any]) -> None:
    """The printed summary and the report, as after a run."""
    from bench.judge.rows import read_run
    from bench.show.judges import judges_text
    from bench.show.report import write_files
    from bench.show.summary import render_terminal, summary_of

    run = read_run(path)
    summary = summary_of(run)
    print(render_terminal(summary))
    if judged := judges_text(run):
        print(judged, end="\n\n")
    wanted = header["cells"][0]["config"].get("report") if header["cells"] else None
    for written in write_files(run, summary, typed(ReportConfig, wanted or {}, "report")):
        print(written)
