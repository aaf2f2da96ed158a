"""Stand-in for the pipeline: `bench run` composes for real, and what it would execute is kept instead."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.config_store import ConfigStore

from bench import registry
from bench.cli import main
from bench.config import Experiment
from bench.registry import discover


@dataclass(frozen=True)
class Result:
    """The part of a run's result that launching looks at."""

    exit_code: int
    cell_values: list[float | None]
    path: Path = Path("results")


@dataclass
class Probe:
    """Calls of ``execute``, newest last; ``exit_code`` and ``value`` are what it gives back."""

    calls: list[list[Experiment]] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    exit_code: int = 0
    value: float | None = 0.5
    error: BaseException | None = None

    def execute(self, experiments: Sequence[Experiment], command: Sequence[str]) -> Result:
        """Keep the experiments; raise ``error`` where one is set."""
        self.calls.append(list(experiments))
        self.commands.append(tuple(command))
        if self.error is not None:
            raise self.error
        return Result(self.exit_code, [self.value] * len(experiments))

    def run(self, *arguments: str) -> list[Experiment]:
        """The experiments of one accepted `bench run` that executed exactly once."""
        before = len(self.calls)
        assert main(["run", *arguments]) == self.exit_code
        assert len(self.calls) == before + 1
        return self.calls[-1]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Probe]:
    """An empty working folder, and ``bench.pipeline`` replaced; plug-ins of the folder are forgotten afterwards."""
    made, module = Probe(), ModuleType("bench.pipeline")
    module.execute = made.execute  # type: ignore[attr-defined]  # a module made on the spot
    monkeypatch.setitem(sys.modules, "bench.pipeline", module)
    monkeypatch.chdir(tmp_path)
    discover()
    known = {group: set(kinds) for group, kinds in registry._classes.items()}
    yield made
    for group, kinds in registry._classes.items():
        for kind in set(kinds) - known[group]:
            del kinds[kind]
            ConfigStore.instance().repo[group].pop(f"{kind}.yaml", None)
    for name in [name for name in sys.modules if name.startswith("bench_user_plugins.")]:
        del sys.modules[name]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The messages of a `bench run` that was refused with exit code 2."""
    assert main(["run", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(("error: ", "note: ")) for line in lines), lines
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
