"""What is wrong with a configuration or a file is said before anything is sent, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from bench_process import children
from measured import read_truth

from bench.cli import main
from bench.record import read_header, read_table

GOOD = '{"id": "a", "prompt": "What is 1 + 1?", "target": 2}\n'
FILES = {
    "good.jsonl": GOOD.encode(),
    "empty.jsonl": b"",
    "blank.jsonl": b"\n\n",
    "lacks.jsonl": GOOD.encode() + b'\n{"id": "b", "question": "?"}\n',
    "utf8.jsonl": GOOD.encode() + b'{"id": "b", "prompt": "\xff\xfe"}\n',
    "twice.jsonl": GOOD.encode() + b'{"id": "b", "prompt": "x"}\n{"id": "a", "prompt": "y"}\n',
    "json.jsonl": GOOD.encode() + b'{"id": "b" "prompt": "x"}\n',
}
SET = ["dataset=jsonl", "dataset.path=good.jsonl"]


def of(name: str) -> list[str]:
    return ["dataset=jsonl", f"dataset.path={name}"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files above."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SILICONFLOW_API_KEY", raising=False)
    return tmp_path


CASES: dict[str, tuple[list[str], list[str]]] = {
    "misspelt key": (["sampling.temprature=0.5"], ["sampling.temprature", "temperature?"]),
    "unknown key": ([*SET, "speed=3"], ["speed=3", "there is no key 'speed'"]),
    "unknown preset": (["model=qwen3-8x"], ["qwen3-8x", "qwen3-8b"]),
    "wrong type": (["sampling.temperature=hot"], ["sampling.temperature='hot'", "number"]),
    "wrong whole number": (["sampling.n=1.5"], ["sampling.n=1.5", "whole number"]),
    "all ranges at once": (
        ["sampling.temperature=3", "sampling.thinking_budget=10", "sampling.n=0"],
        ["Qwen/Qwen3-8B", "sampling.temperature=3", "0 and 2", "sampling.thinking_budget=10", "128", "sampling.n=0"],
    ),
    "one bad cell of a sweep": (["-m", "sampling.top_p=0.5,7"], ["sampling.top_p=7", "0 and 1"]),
    "a knob out of range": (["provider.knobs.faults.cut=2"], ["provider.knobs.faults.cut=2"]),
    "a load without its rate": (["load=poisson"], ["load.rate"]),
    "no dataset named": (["dataset=jsonl"], ["dataset.path is not set"]),
    "missing dataset": (of("nowhere.jsonl"), ["dataset.path=nowhere.jsonl", "no such file"]),
    "empty dataset": (of("empty.jsonl"), ["empty", "no rows"]),
    "blank dataset": (of("blank.jsonl"), ["blank", "no rows"]),
    "a row without its prompt": (of("lacks.jsonl"), ["lacks.jsonl:3", "`prompt`", "question"]),
    "a template's missing field": (
        [*SET, "dataset.prompt='{{ question }}'"],
        ["good.jsonl:1", "'question' is undefined"],
    ),
    "invalid UTF-8": (of("utf8.jsonl"), ["utf8.jsonl:2", "invalid UTF-8"]),
    "invalid JSON": (of("json.jsonl"), ["json.jsonl:2", "invalid JSON"]),
    "duplicate ids": (of("twice.jsonl"), ["twice.jsonl:3", "'a'", "good.jsonl:1".replace("good", "twice")]),
    "missing key": ([*SET, "provider=siliconflow"], ["environment variable SILICONFLOW_API_KEY is not set"]),
    "unreachable server": (
        [*SET, "provider=compatible", "provider.base_url=http://127.0.0.1:1/v1"],
        ["http://127.0.0.1:1/v1 cannot be reached"],
    ),
    "unwritable results": ([*SET, "results_dir=good.jsonl"], ["good.jsonl/run", "cannot write results", "results_dir"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    arguments, expected = CASES[case]
    before, here = children(os.getpid()), sorted(folder.iterdir())
    truth = folder / "truth.log"
    knobs = [] if any(line.startswith("provider=") for line in arguments) else [f"provider.knobs.truth_log={truth}"]
    assert main(["run", *arguments, *knobs]) == 2
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines), lines
    assert [part for part in expected if part not in told.err] == [], told.err
    assert told.out == ""
    assert not truth.exists() or read_truth(truth) == []
    assert sorted(path for path in folder.iterdir() if path != truth) == here
    assert children(os.getpid()) == before


FROZEN = """
import datetime, sys
import bench.record.writer as writer
class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)
writer.datetime = Frozen
from bench.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_runs_of_the_same_second(folder: Path) -> None:
    async def both() -> list[int | None]:
        arguments = ["run", *SET, "provider.knobs.speed=0", "report=none"]
        twins = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", FROZEN, *arguments, stderr=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        told = await asyncio.gather(*(twin.communicate() for twin in twins))
        assert all(b"1 ok" in err for _, err in told), told
        return [twin.returncode for twin in twins]

    assert asyncio.run(both()) == [0, 0]
    first, second = (folder / "results" / "run").iterdir()
    assert first.name[:17] == second.name[:17] == "20260102T030405Z-"
    for path in (first, second):
        assert read_header(path)["counts"] == {"ok": 1}
        assert read_table(path, "requests").num_rows == 1
