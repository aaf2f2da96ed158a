"""Quiet nights on the simulator, then a slower model and a weaker one: after how many nights does each page?

A developer command, some minutes long: ``python tests/lab_nights.py FOLDER [--quiet 30] [--after 8]``. Every night is a
whole ``bench run experiment=nightly`` of one prompt set with two models, one of them the pinned reference. After the
quiet nights the history is continued twice: with the first model 15% slower, and with 4 points less skill.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.judge.history.reading import read_history
from bench.judge.history.verdict import judge_night
from bench.record.results import open_results

MODEL, REFERENCE = "Qwen/Qwen3-8B", "THUDM/GLM-4-9B-0414"
QUIET = {"ttft_ms": 300.0, "output_tok_per_s": 80.0, "skill": 0.8}
SLOWER = QUIET | {"ttft_ms": 300.0 * 1.15, "output_tok_per_s": 80.0 / 1.15}
WEAKER = QUIET | {"skill": 0.76}


def night(results: Path, seed: int, knobs: dict[str, float]) -> None:
    """One run: 80 questions 12 times, about the replies of 500 questions twice.

    The simulator draws every answer anew each night, so that accuracy varies from night to night as sampling makes it.
    """
    told: dict[str, Any] = {MODEL: knobs, REFERENCE: QUIET}
    models = ",".join(f"{name}:{{{','.join(f'{k}:{v}' for k, v in one.items())}}}" for name, one in told.items())
    command = [
        *(sys.executable, "-m", "bench", "run", "experiment=nightly", "-m"),
        *(
            "model=qwen3-8b,glm-4-9b-0414",
            "dataset=arithmetic",
            "sampling.temperature=0.7",
            "repeats=12",
            "report=none",
        ),
        *(f"results_dir={results}", "provider.knobs.speed=20", f"provider.knobs.seed={seed}"),
        "provider.knobs.answer_correlation=0",
        f"provider.knobs.models={{{models}}}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"night {seed} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def judged(results: Path) -> list[tuple[str, list[str]]]:
    """The outcome of each night, and what paged."""
    history = read_history(open_results(str(results)))
    runs = list(dict.fromkeys(one.run for one in history.nights))
    found = []
    for run in runs:
        verdict = judge_night(history.nights, [one for one in history.nights if one.run == run])
        found.append((str(verdict.outcome), [one.id for one in verdict.series if one.pages]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Make the nights and print when each change paged, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quiet", type=int, default=30)
    parser.add_argument("--after", type=int, default=8)
    options = parser.parse_args(argv)
    quiet = options.folder / "quiet"
    for seed in range(options.quiet):
        night(quiet, seed, QUIET)
    told: dict[str, Any] = {"quiet nights that page": sum(outcome == "FAIL" for outcome, _ in judged(quiet))}
    for name, knobs in (("15% slower", SLOWER), ("4 points weaker", WEAKER)):
        results = Path(shutil.copytree(quiet, options.folder / name.replace(" ", "-").replace("%", "")))
        for seed in range(options.quiet, options.quiet + options.after):
            night(results, seed, knobs)
        after = judged(results)[options.quiet :]
        pages = [series for _, series in after]
        told[name] = {
            "first page on night": next((at for at, found in enumerate(pages, 1) if found), None),
            "paged in the end": pages[-1],
        }
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
