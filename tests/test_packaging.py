"""The wheel carries what an installed copy needs, and such a copy works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def outside(command: Sequence[str], cwd: Path, copy: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command where the checkout is not importable; ``copy`` is put in front of the import path.

    Python's own ``-P`` is not enough: the environment may hold an editable install, which the copy must hide.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BENCH"))}
    if copy is not None:
        env["PYTHONPATH"] = str(copy)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files of the checkout by the declared backend, without an isolated environment or a network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = outside([*pip, "--wheel-dir", str(folder), str(ROOT)], folder)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package and nothing else of it."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    done = outside([*pip, str(wheel)], target)
    assert done.returncode == 0, done.stderr
    return target


def bench(copy: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return outside([sys.executable, "-m", "bench", *arguments], cwd, copy)


def test_the_wheel_carries_every_preset_and_prompt_set_and_the_launcher(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "datasets"):
        own = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        missing = {f"bench/shipped/{folder}/{path.relative_to(ROOT / folder)}" for path in own} - names
        assert own
        assert not missing
    assert {"hydra_plugins/bench_launcher/__init__.py", "bench/py.typed"} <= names
    assert "hydra_plugins/__init__.py" not in names, "Hydra's plug-ins share this name: it must stay a namespace"


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bench", "hydra_plugins"}


def test_an_installed_copy_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    done = outside([sys.executable, "-c", "import bench; print(bench.__file__)"], tmp_path, installed)
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_an_installed_copy_plans_the_demonstration_from_any_folder(installed: Path, tmp_path: Path) -> None:
    done = bench(installed, tmp_path, "run", "experiment=demo", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "qwen3" in done.stdout.lower()
    assert list(tmp_path.iterdir()) == [], "a dry run leaves nothing behind"


def test_an_installed_copy_finds_its_prompt_sets(installed: Path, tmp_path: Path) -> None:
    done = bench(installed, tmp_path, "datasets")
    assert done.returncode == 0, done.stderr
    assert "arithmetic" in done.stdout


def test_a_users_own_folder_extends_the_installed_presets(installed: Path, tmp_path: Path) -> None:
    preset = tmp_path / "conf" / "sampling" / "mine.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("temperature: 0.123\nmax_tokens: 7\n", encoding="utf-8")
    done = bench(installed, tmp_path, "run", "sampling=mine", "dry_run=true")
    assert done.returncode == 0, done.stderr
    shown = bench(installed, tmp_path, "run", "sampling=mine", "--cfg", "job")
    assert "temperature: 0.123" in shown.stdout, shown.stderr
