"""The verb ``score``: recorded replies judged again, sending nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from bench.compose import AUTO, prepare, user_folders
from bench.config import ReportConfig, plain
from bench.domain import ConfigError
from bench.explain import explain
from bench.judge.judged import judging_scorers
from bench.places import shipped
from bench.record import amend_header, find_run, read_header
from bench.registry import build, plugins, typed, unknown
from bench.scorers.several import further_scorers, named_scorer


def main(argv: Sequence[str]) -> int:
    """``bench score RUN [scorer=NAME] [scorer.KEY=VALUE] [also=[NAME, ...]]``: score a finished run again.

    Raises:
        ConfigError: no such run, or it is not finished; a scorer that does not exist, takes no such options or lacks
            what it needs. The run stays as it was.
    """
    parser = argparse.ArgumentParser(
        prog="bench score",
        description="Score the recorded replies of a finished run again, sending nothing, and refresh its report. "
        "The new verdicts replace the old ones; run.json says what they were made with.",
        epilog="for example: bench score latest scorer=numeric scorer.abs_tol=0.1 also=[exact]",
    )
    parser.add_argument("run", help="a run folder, 'latest', or an unambiguous part of its name")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="scorer=NAME, scorer.KEY=VALUE, also=[NAME]")
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    parser.add_argument("--config-dir", help="a conf folder of your own, for its scorers and presets")
    options = parser.parse_args(list(argv))
    folders = user_folders(options.config_dir)
    prepare(folders)
    path = find_run(options.run, Path(options.results_dir))
    header = read_header(path)
    if header.get("state") != "finished":
        raise ConfigError(f"{path}: the run is {header.get('state')}; finish it first with: bench resume {path}")
    overrides = _parsed(options.overrides)
    configs = {
        cell["cell_id"]: _asked(cell["config"], overrides, (*folders, shipped("conf"))) for cell in header["cells"]
    }
    if any(judging_scorers([config]) for config in configs.values()):
        from bench.pipeline import INTERRUPTED, ask_judges_of

        stopped = ask_judges_of(path, configs, ("bench", "score", *argv))
        if stopped is not None:
            print(f"{stopped} while a judge was asked; what it said is saved. Go on with the same command")
            return INTERRUPTED
        header = read_header(path)
    _rescore(path, header, configs)
    _show(path, header)
    return 0


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
    from bench.judge.disagreement import disagreement_lines
    from bench.judge.rows import read_run
    from bench.show.judges import judges_text
    from bench.show.report import write_files
    from bench.show.summary import render_terminal, summary_of

    run = read_run(path)
    summary = summary_of(run)
    print(render_terminal(summary))
    for line in disagreement_lines(run):
        print(line)
    if judged := judges_text(run):
        print(judged, end="\n\n")
    wanted = header["cells"][0]["config"].get("report") if header["cells"] else None
    for written in write_files(run, summary, typed(ReportConfig, wanted or {}, "report")):
        print(written)
