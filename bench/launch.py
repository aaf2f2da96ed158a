"""``bench run``: Hydra composes, the pooled launcher gathers, the pipeline executes."""

from __future__ import annotations

import math
import os
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn
from hydra.types import RunMode
from omegaconf import DictConfig

from bench.compose import PRIMARY, experiment_of, user_folders
from bench.config import Experiment
from bench.domain import ConfigError
from bench.explain import explain
from bench.loader import Loader
from bench.secret_words import secret_place

DEMO = "experiment=demo"


class CellValue(float):
    """What one job gives back to Hydra: its mean score (NaN without one), for sweepers that optimise.

    It carries ``exit_code`` and the ``problems`` that refused it through launchers that run jobs elsewhere.
    """

    exit_code: int
    problems: tuple[str, ...]

    def __new__(cls, value: float, exit_code: int = 0, problems: tuple[str, ...] = ()) -> CellValue:
        """A float with its job's exit code."""
        made = super().__new__(cls, value)
        made.exit_code, made.problems = exit_code, problems
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return CellValue, (float(self), self.exit_code, self.problems)


@dataclass(frozen=True)
class Task:
    """Hydra's task function. A pooled launcher calls it once with all experiments, others once per job's config."""

    command: tuple[str, ...]

    def __call__(self, jobs: DictConfig | Sequence[Experiment]) -> Any:
        """Execute; one :class:`CellValue` per experiment, or the one of a single config."""
        from bench.pipeline import execute

        if not isinstance(jobs, DictConfig):
            result = execute(list(jobs), self.command)
            return [_cell_value(value, result.exit_code) for value in result.cell_values]
        try:
            result = execute([experiment_of(jobs)], self.command)
        except ConfigError as error:  # Hydra prints exceptions of jobs in its own way; main() raises this one again
            return CellValue(math.nan, 2, error.problems)
        return _cell_value(result.cell_values[0] if result.cell_values else None, result.exit_code)


def _cell_value(value: float | None, exit_code: int) -> CellValue:
    return CellValue(math.nan if value is None else value, exit_code)


def main(argv: list[str]) -> int:
    """``bench run [overrides] [-m]``, with Hydra's own flags; without any argument it is the demo.

    Raises:
        ConfigError: an override, preset or value that does not fit; nothing was sent.
    """
    parser = get_args_parser()
    parser.prog = "bench run"
    args = parser.parse_intermixed_args(argv or [DEMO])
    refuse_secrets(args.overrides)
    folders = user_folders(args.config_dir)
    try:
        loader = Loader(folders)
        hydra = Hydra(task_name=PRIMARY, config_loader=loader)
        GlobalHydra.instance().clear()
        GlobalHydra.instance().initialize(hydra)
        return _dispatch(hydra, loader, args, ("bench", "run", *argv))
    except ConfigError:
        raise
    except Exception as error:
        if _while_executing(error):
            raise
        raise ConfigError(*explain(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _while_executing(error: Exception) -> bool:
    """Whether a run was under way: then it is no error of the configuration, whatever its type."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code is Task.__call__.__code__ for frame in frames)


def _dispatch(hydra: Hydra, loader: Loader, args: Namespace, command: tuple[str, ...]) -> int:
    name, overrides = args.config_name or PRIMARY, list(args.overrides)
    if args.config_path:
        raise ConfigError("--config-path: the shipped conf is always there; add yours with --config-dir FOLDER")
    if args.experimental_rerun:
        raise ConfigError("--experimental-rerun: a run is finished with `bench resume RUN`")
    if args.run and args.multirun:
        raise ConfigError("--run and --multirun exclude each other")
    if args.help:
        from bench.help import run_help

        print(run_help(loader))
    elif args.hydra_help:
        hydra.hydra_help(config_name=name, args_parser=get_args_parser(), args=args)
    elif args.cfg:
        hydra.show_cfg(name, overrides, cfg_type=args.cfg, package=args.package, resolve=args.resolve)
    elif args.info:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come to us, not to Hydra's printer
        hydra.show_info(args.info, config_name=name, overrides=overrides)
    elif args.shell_completion:
        hydra.shell_completion(config_name=name, overrides=overrides)
    else:
        return _start(hydra, loader, name, overrides, args.multirun, Task(command))
    return 0


def _start(hydra: Hydra, loader: Loader, name: str, overrides: list[str], multirun: bool, task: Task) -> int:
    if not multirun and loader.mode(name, overrides) is not RunMode.MULTIRUN:
        loader.check(overrides, name)
        return exit_code(hydra.run(config_name=name, task_function=task, overrides=overrides))
    if "hydra.mode=MULTIRUN" not in overrides:
        overrides = [*overrides, "hydra.mode=MULTIRUN"]
    return exit_code(hydra.multirun(config_name=name, task_function=task, overrides=overrides))


def exit_code(returned: Any) -> int:
    """The worst exit code among what Hydra's launchers returned.

    Raises:
        ConfigError: jobs that ran elsewhere were refused.
    """
    values = [job.return_value for job in _jobs(returned) if isinstance(job.return_value, CellValue)]
    problems = dict.fromkeys(problem for value in values for problem in value.problems)
    if problems:
        raise ConfigError(*problems)
    return max((value.exit_code for value in values), default=0)


def _jobs(returned: Any) -> Iterator[JobReturn]:
    if isinstance(returned, JobReturn):
        yield returned
    elif isinstance(returned, (list, tuple)):
        for item in returned:
            yield from _jobs(item)


def refuse_secrets(overrides: Sequence[str]) -> None:
    """Hydra and launchers write overrides to disk, so a key must never be one; the value is never repeated.

    Raises:
        ConfigError: naming the overridden keys that look like secrets.
    """
    places = (secret_place(override, os.environ) for override in overrides)
    problems = [
        f"{place}: looks like a secret, which must not stand on the command line; put it into an environment "
        "variable, for example MY_KEY, and give provider.api_key_env=MY_KEY"
        for place in places
        if place is not None
    ]
    if problems:
        raise ConfigError(*problems)
