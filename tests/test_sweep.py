"""Sweeps: Hydra's syntax, one pooled run, few compositions; and other launchers and sweepers, one run per job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from run_probe import Probe, probe, refused

from bench.cli import main
from bench.config import parse
from bench.domain import ConfigError
from bench.launch import CellValue, Task, exit_code
from bench.loader import Loader
from bench.places import shipped
from bench.sweep import MAX_PROBLEMS, Parser, experiments_of, jobs_of
from hydra_plugins.bench_launcher.pooled import PooledLauncher

__all__ = ["probe"]  # a fixture


@pytest.fixture(scope="module")
def loader() -> Loader:
    """One loader of the shipped presets for all tests that only compose."""
    return Loader()


def expand(loader: Loader, *lines: str, presets: tuple[str, ...] = ()) -> list[list[str]]:
    parser = OverridesParser.create(config_loader=loader)
    return jobs_of(loader, parser.parse_overrides(list(presets)), parser.parse_overrides(list(lines)))


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- syntax


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("seed=1,2", ["1", "2"]),
        ("seed=choice(1,2,3)", ["1", "2", "3"]),
        ("seed=range(1,4)", ["1", "2", "3"]),
        ("sampling.temperature=range(0,1.1,0.5)", ["0.0", "0.5", "1.0"]),
        ("sampling.temperature=range(0,1,0.2)", ["0.0", "0.2", "0.4", "0.6", "0.8"]),
        ("sampling.temperature=range(1e-7,4e-7,1e-7)", ["1e-07", "2e-07", "3e-07"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("seed=int(choice(1.0,2.0))", ["1", "2"]),
        ("sampling.stop=[a,b],[c]", ["[a,b]", "[c]"]),
        ("sampling.response_format={type: text},null", ["{type:text}", "null"]),
        ("sampling=default,greedy", ["default", "greedy"]),
        ("sampling=glob(gr*)", ["greedy"]),
        ("sampling=glob([creative,g*])", ["creative", "greedy"]),
        ("name='a,b','c d'", ["'a,b'", "'c d'"]),
        ("name='a,b'", ["'a,b'"]),
        ("seed=5", ["5"]),
    ],
)
def test_syntax(line: str, values: list[str], loader: Loader) -> None:
    key = line.split("=")[0]
    assert expand(loader, line) == [[f"{key}={value}"] for value in values]


def test_shuffled_values_are_all_there(loader: Loader) -> None:
    assert sorted(expand(loader, "seed=shuffle(1,2,3)")) == [["seed=1"], ["seed=2"], ["seed=3"]]


def test_product_in_the_order_written(loader: Loader) -> None:
    jobs = expand(loader, "seed=1,2", "name=x", "repeats=3,4")
    assert jobs == [[f"seed={s}", "name=x", f"repeats={r}"] for s in (1, 2) for r in (3, 4)]


def test_the_command_line_replaces_a_presets_sweep_of_the_same_key(loader: Loader) -> None:
    presets = ("model=qwen3-8b,qwen3-14b", "seed=1,2,3", "+sampling.extra.a=1,2")
    jobs = expand(loader, "++seed=9", "model=qwen3-32b", "sampling.extra.a=5", presets=presets)
    assert jobs == [["model=qwen3-32b", "++seed=9", "sampling.extra.a=5"]]


def test_glob_leaves_out_what_cannot_stand_alone(loader: Loader, capsys: pytest.CaptureFixture[str]) -> None:
    models = [job[0] for job in expand(loader, "model=glob(*)")]
    assert len(models) >= 56
    assert "model=custom" not in models
    assert capsys.readouterr().err == "note: model=glob(*) leaves out 'custom', which needs model.name\n"
    assert ["model=custom"] in expand(loader, "model=glob([custom,qwen3-8b])")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sampling.temperature=interval(0,1)", "an interval has no list of values; write range(start, stop, step)"),
        ("sampling=glob(zz*)", "sampling=glob(zz*): gives no values; sampling has creative, default, greedy"),
        ("seed=range(5,1)", "seed=range(5,1): gives no values"),
        ("sampling.temperature=range(0,1,0.0)", "sampling.temperature=range(0,1,0.0): Invalid range values"),
        ("seed=range(0,1,0)", "seed=range(0,1,0): "),
    ],
)
def test_sweeps_without_values_are_refused(line: str, said: str, loader: Loader) -> None:
    with pytest.raises(ConfigError) as refusal:
        expand(loader, line)
    assert said in str(refusal.value)


# -- one pooled run


def test_all_jobs_are_one_run(probe: Probe, tmp_path: Path) -> None:
    cells = probe.run("model=qwen3-8b,qwen3-14b", "sampling.temperature=0,0.5,1", "name=mine", "-m")
    assert [(cell.model.name, cell.sampling.temperature) for cell in cells] == [
        (f"Qwen/Qwen3-{size}B", temperature) for size in (8, 14) for temperature in (0.0, 0.5, 1.0)
    ]
    assert {cell.name for cell in cells} == {"mine"}
    assert probe.commands[-1][:3] == ("bench", "run", "model=qwen3-8b,qwen3-14b")
    assert everything_below(tmp_path) == []


def test_an_experiment_preset_is_a_sweep_without_a_flag(probe: Probe, tmp_path: Path) -> None:
    assert len(probe.run("experiment=demo")) == 4
    assert len(probe.run("experiment=demo", "-m")) == 4
    cells = probe.run("experiment=demo", "model=qwen3-8b", "sampling.temperature=0.3,0.4,0.5")
    assert [cell.sampling.temperature for cell in cells] == [0.3, 0.4, 0.5]
    assert {cell.name for cell in cells} == {"demo"}
    assert everything_below(tmp_path) == []


def test_a_preset_may_list_the_values_of_its_sweep(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(
        """# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      model: [qwen3-8b, pro-deepseek-v3.1]
      sampling.stop: [[a, "b, c"], "it's", null]
      sampling.extra: [{x: true}]
      sampling.top_k: 5
""",
        encoding="utf-8",
    )
    cells = probe.run("experiment=mine")
    assert len(cells) == 6
    assert [cell.sampling.stop for cell in cells[:3]] == [["a", "b, c"], "it's", None]
    assert {(cell.sampling.top_k, str(cell.sampling.extra)) for cell in cells} == {(5, "{'x': True}")}


def test_values_may_fit_only_what_is_swept(probe: Probe) -> None:
    cells = probe.run("load=constant,poisson", "load.rate=7", "results_dir=elsewhere", "-m")
    assert [(cell.load.kind, getattr(cell.load, "rate", None)) for cell in cells] == [
        ("constant", 7.0),
        ("poisson", 7.0),
    ]
    assert {cell.results_dir for cell in cells} == {"elsewhere"}


def test_a_single_job_with_the_flag(probe: Probe) -> None:
    assert len(probe.run("seed=4", "-m")) == 1


def test_the_same_overrides_twice_are_one_cell(probe: Probe) -> None:
    assert [cell.seed for cell in probe.run("seed=1,2,1", "-m")] == [1, 2]


def test_interpolations_between_sections(probe: Probe) -> None:
    cells = probe.run("seed=1,2", "repeats=${seed}", "name=of-${hydra:job.name}", "-m")
    assert [(cell.repeats, cell.name) for cell in cells] == [(1, "of-bench"), (2, "of-bench")]


def test_problems_of_all_cells_come_at_once(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "sampling.temperature=0,warm,hot", "load.concurency=3", "model=qwen3-8b,qwen3-9b", "-m")
    assert len(said) == 4
    assert sum("concurency" in line for line in said) == 1
    assert probe.calls == []


def test_problems_are_bounded(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, f"repeats=range(-{MAX_PROBLEMS + 4},1)", "-m")
    assert len(said) == MAX_PROBLEMS + 1
    assert said[-1] == "and 5 more problems"


def test_a_sweep_without_values_is_refused(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gives no values" in refused(capsys, "model=glob(zz*)", "-m")[0]
    assert probe.calls == []


# -- work


def test_each_set_of_group_choices_is_composed_once() -> None:
    loader = Loader()
    models = [name for name in loader.options("model") if name.startswith("qwen3")]
    jobs = [
        [f"model={m}", f"sampling.temperature={t / 10}", f"seed={s}"] for m in models for t in range(5) for s in (1, 2)
    ]
    experiments, cell_of_job = experiments_of(loader, jobs, "bench")
    assert len(experiments) == len(jobs) == len(models) * 10
    assert cell_of_job == list(range(len(jobs)))
    assert loader.compositions == len(models)


def test_many_values_of_one_model_need_one_composition() -> None:
    loader = Loader()
    jobs = [["model=qwen3-8b", f"sampling.temperature={t / 100}"] for t in range(100)]
    experiments, _ = experiments_of(loader, jobs, "bench")
    assert [e.sampling.temperature for e in experiments] == [t / 100 for t in range(100)]
    assert loader.compositions == 1


def test_cells_parsed_together_equal_cells_parsed_alone(loader: Loader) -> None:
    parser = Parser()
    changes = [
        "seed=1",
        "seed=2",
        "sampling.n=2",
        "load.concurrency=3",
        "scorer=exact",
        "model=glm-4.5",
        "dataset.limit=2",
    ]
    for overrides in (
        [],
        *([change] for change in changes),
        changes,
        ["dataset.scorer=exact"],
        ["dataset.scorer=numeric"],
    ):
        config = loader.compose(overrides)
        assert parser.parse(config) == parse(config)
    for wrong in (["repeats=0", "seed=1"], ["repeats=0", "load.requests=-1"], ["dataset.scorer=zzz", "limits.rpm=-1"]):
        config = loader.compose(wrong) | {"zzz": 1} if "seed=1" in wrong else loader.compose(wrong)
        with pytest.raises(ConfigError) as alone:
            parse(config)
        with pytest.raises(ConfigError) as together:
            parser.parse(config)
        assert together.value.problems == alone.value.problems


# -- what comes back


def test_each_job_returns_its_cells_score(probe: Probe, loader: Loader) -> None:
    probe.value, probe.exit_code = 0.75, 3
    launcher = PooledLauncher()
    context = SimpleNamespace(config_loader=loader)
    config = loader.load_configuration("bench", ["hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN)
    launcher.setup(hydra_context=context, task_function=Task(("bench", "run")), config=config)  # type: ignore[arg-type]
    returned = launcher.launch([["seed=1"], ["seed=2"], ["seed=1"]], initial_job_idx=0)
    assert [float(job.return_value) for job in returned] == [0.75, 0.75, 0.75]
    assert [list(job.overrides or ()) for job in returned] == [["seed=1"], ["seed=2"], ["seed=1"]]
    assert len(probe.calls[-1]) == 2
    assert exit_code([returned]) == 3


def test_exit_code_is_the_worst_of_all_jobs() -> None:
    def job(value: object) -> JobReturn:
        return JobReturn(status=JobStatus.COMPLETED, _return_value=value)

    assert exit_code([[job(CellValue(0.5)), job(CellValue(0.5, 3))], [job(CellValue(1.0))]]) == 3
    assert exit_code(job(CellValue(0.5, 130))) == 130
    assert exit_code(None) == 0
    with pytest.raises(ConfigError) as refusal:
        exit_code([[job(CellValue(0.5, 2, ("one.", "two."))), job(CellValue(0.5, 2, ("one.",)))]])
    assert refusal.value.problems == ("one.", "two.")


# -- other launchers and sweepers


PLUGIN = """
import json, os, sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from bench.registry import plugin
from bench.scorers import Scorer

@plugin("scorer", "joblib_test")
@dataclass(frozen=True)
class JoblibTest(Scorer):
    kind: str = "joblib_test"

def execute(experiments, command):
    (cell,) = experiments
    told = {"pid": os.getpid(), "seed": cell.seed, "scorer": cell.scorer.kind, "provider": cell.provider.kind}
    Path(f"told-{cell.seed}.json").write_text(json.dumps(told))
    return SimpleNamespace(exit_code=3 if cell.seed == 2 else 0, cell_values=[None], path=Path())

module = ModuleType("bench.pipeline")
module.execute = execute
sys.modules["bench.pipeline"] = module
"""


@pytest.mark.slow
def test_joblib_runs_each_job_in_a_process_of_its_own(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "conf/plugins").mkdir(parents=True)
    (tmp_path / "conf/plugins/joblib_test.py").write_text(PLUGIN, encoding="utf-8")
    arguments = ["seed=1,2", "scorer=joblib_test", "provider=auto", "model=smollm2", "-m"]
    assert main(["run", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *arguments]) == 3
    told = [json.loads((tmp_path / f"told-{seed}.json").read_text(encoding="utf-8")) for seed in (1, 2)]
    assert [(t["seed"], t["scorer"], t["provider"]) for t in told] == [
        (1, "joblib_test", "local"),
        (2, "joblib_test", "local"),
    ]
    assert os.getpid() not in {t["pid"] for t in told}
    left = {name.split("/")[0] for name in everything_below(tmp_path)}
    assert left == {"conf", "results", "told-1.json", "told-2.json"}
    assert {name.split("/")[1] for name in everything_below(tmp_path) if name.startswith("results/")} == {".sweeps"}


@pytest.mark.parametrize("choice", ["hydra/launcher=basic", "hydra/launcher=joblib"])
def test_other_launchers_refuse_before_the_first_job(
    choice: str, probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, choice, "seed=1,2", "repeats=1,0", "-m") == ["repeats=0: must be greater than 0"]
    assert probe.calls == []
    assert everything_below(tmp_path) == []


def test_the_basic_launcher_is_one_run_for_each_job(probe: Probe, tmp_path: Path) -> None:
    assert main(["run", "hydra/launcher=basic", "seed=1,2", "-m"]) == 0
    assert [[cell.seed for cell in call] for call in probe.calls] == [[1], [2]]
    assert {name.split("/")[0] for name in everything_below(tmp_path)} == {"results"}


def test_the_basic_sweeper_with_the_pooled_launcher(probe: Probe) -> None:
    assert [cell.seed for cell in probe.run("hydra/sweeper=basic", "seed=1,2", "-m")] == [1, 2]


def test_batches_are_runs_of_their_own(probe: Probe) -> None:
    assert main(["run", "hydra.sweeper.max_batch_size=2", "seed=1,2,3", "-m"]) == 0
    assert [[cell.seed for cell in call] for call in probe.calls] == [[1, 2], [3]]


def test_sweeps_stand_only_in_experiment_presets() -> None:
    sweeping = [path for path in shipped("conf").rglob("*.yaml") if "params:" in path.read_text(encoding="utf-8")]
    assert sweeping
    assert {path.parent.name for path in sweeping} == {"experiment"}
