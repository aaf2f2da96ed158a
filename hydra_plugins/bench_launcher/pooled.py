"""The ``pooled`` launcher and sweeper: every job of ``--multirun`` in one run.

All cells of a sweep then share one worker pool, one rate limiter, one progress bar and one record. Hydra finds
launchers only in the ``hydra_plugins`` namespace package, and loads this module in every Hydra program of the same
environment: so it imports nothing of ``bench`` until it is used.
"""

# No deferred annotations here: Hydra runs this file before it is in sys.modules, where dataclasses would look them up.
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


def _loader(context: HydraContext | None) -> Any:
    loader = context.config_loader if context else None
    if not hasattr(loader, "compose"):
        raise HydraException("hydra/launcher=pooled and hydra/sweeper=pooled are for `bench run`")
    return loader


class PooledLauncher(Launcher):
    """Composes all jobs, then calls the task function once with the list of their experiments."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what :meth:`launch` needs."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One pooled run; each job's return value is its cell's mean score, for optimising sweepers.

        Raises:
            ConfigError: the problems of all jobs at once.
        """
        from bench.sweep import experiments_of

        # interpolations such as ${hydra:runtime.cwd} look here
        HydraConfig.instance().set_config(self.config)
        loader, hydra = _loader(self.hydra_context), self.config.hydra
        jobs = [[*hydra.overrides.hydra, *job] for job in job_overrides]
        cells, cell_of_job = experiments_of(loader, jobs, hydra.job.config_name)
        values = self.task_function(cells)
        return [
            JobReturn(
                overrides=list(job),
                task_name=hydra.job.name,
                status=JobStatus.COMPLETED,
                _return_value=values[cell],
            )
            for job, cell in zip(job_overrides, cell_of_job, strict=True)
        ]


class PooledSweeper(BasicSweeper):
    """Hydra's sweep syntax, without composing every job twice and without writing ``multirun.yaml``."""

    def sweep(self, arguments: list[str]) -> Any:
        """Expand the sweep and hand all jobs to the launcher at once.

        Raises:
            ConfigError: a sweep without values, or a job that does not compose.
        """
        from bench.sweep import experiments_of, jobs_of, preset_lines

        assert self.config is not None
        assert self.launcher is not None
        loader = _loader(self.hydra_context)
        parser = OverridesParser.create(config_loader=loader)
        params = OmegaConf.to_container(OmegaConf.create(dict(self.params)))
        assert isinstance(params, dict)
        presets = parser.parse_overrides(preset_lines({str(key): value for key, value in params.items()}))
        jobs = jobs_of(loader, presets, parser.parse_overrides(arguments))
        if type(self.launcher).__name__ != PooledLauncher.__name__:
            # a pooled launcher composes all jobs itself before it starts; others would find errors one by one, late
            hydra = self.config.hydra
            experiments_of(loader, [[*hydra.overrides.hydra, *job] for job in jobs], hydra.job.config_name)
        size = self.max_batch_size or len(jobs)
        launch = self.launcher.launch
        starts = range(0, len(jobs), size)
        return [launch(jobs[start : start + size], initial_job_idx=start) for start in starts]


@dataclass
class PooledLauncherConf:
    """``hydra/launcher=pooled``."""

    _target_: str = f"{__name__}.PooledLauncher"


@dataclass
class PooledSweeperConf:
    """``hydra/sweeper=pooled``; ``params`` are the sweep of an experiment preset, which the command line overrides.

    ``max_batch_size`` splits the sweep into several runs of at most so many cells; by default it is one run.
    """

    _target_: str = f"{__name__}.PooledSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] = field(default_factory=dict)


_store = ConfigStore.instance()
_store.store(group="hydra/launcher", name="pooled", node=PooledLauncherConf, provider="bench")
_store.store(group="hydra/sweeper", name="pooled", node=PooledSweeperConf, provider="bench")
