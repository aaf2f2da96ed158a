"""The command line: verbs, exit codes, and a start that imports nothing heavy."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench import __version__, cli
from bench.domain import ConfigError

HEAVY = ("hydra", "omegaconf", "aiohttp", "pandas", "numpy", "pyarrow", "matplotlib", "scipy", "jinja2", "yaml")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in cli.VERBS)
    assert max(map(len, text.splitlines())) <= 110


def test_only_verbs_that_exist_are_listed() -> None:
    for target, _ in cli.VERBS.values():
        assert importlib.util.find_spec(target.split(":")[0]) is not None, target


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["rnu"]])
def test_start_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; from bench.cli import main; main({arguments}); print('|', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("|")[2].split())
    assert "bench.cli" in loaded
    assert not loaded.intersection(HEAVY)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bench {__version__}\n"


def test_module_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bench {__version__}\n"


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("rnu", "did you mean `bench run`?"),
        ("reports", "did you mean `bench report`?"),
        ("model=qwen3-8b", "did you mean `bench run model=qwen3-8b`?"),
        ("zzz", "there are: run, resume, score, report, compare, calibrate, serve, models, datasets"),
    ],
)
def test_unknown_verb_suggests(verb: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb]) == 2
    assert capsys.readouterr().err == f"error: there is no verb {verb!r}; {hint}\n"


def raising(error: BaseException) -> Callable[[], int]:
    def call() -> int:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("first wrong.", "second wrong."), 2, "error: first wrong.\nerror: second wrong.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("said elsewhere"), 2, "said elsewhere\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(error)) == code
    assert capsys.readouterr().err == said


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(ZeroDivisionError("so it is"))) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: so it is" in err


def test_verbs_get_the_rest_of_the_line_and_give_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def verb(arguments: list[str]) -> int:
        seen.append(arguments)
        return 3

    monkeypatch.setitem(sys.modules, "bench.pipeline", type("M", (), {"resume": staticmethod(verb)}))
    assert cli.main(["resume", "latest", "--flag"]) == 3
    assert seen == [["latest", "--flag"]]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        command = [sys.executable, "-m", "bench", *arguments]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
