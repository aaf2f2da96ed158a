"""The verb ``calibrate``: what this machine can measure, printed and stored beside the runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.calibration import write


def main(argv: Sequence[str]) -> int:
    """``bench calibrate``: measure, store ``calibration.json``, print; returns the exit code.

    Raises:
        ConfigError: an option is out of range, the simulator did not start, or the results folder cannot be written.
    """
    from bench.measure.calibrate import LEVELS, SECONDS, Asked, calibrate
    from bench.show.calibrate import rendered

    parser = argparse.ArgumentParser(
        prog="bench calibrate",
        description="What this machine can measure: how true its clocks are with so many streams at once, against the "
        "built-in simulator, which logs when it sent what. Takes about a minute; runs on an idle machine count.",
        allow_abbrev=False,
    )
    parser.add_argument("--levels", type=_whole_numbers, default=LEVELS, metavar="N,N", help="streams at once")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of a level (default: {SECONDS:g})")
    parser.add_argument("--processes", type=_processes, default="auto", help="worker processes, or auto")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--results-dir", default="results", help="where calibration.json goes (default: results)")
    options = parser.parse_args(argv)
    calibration = calibrate(
        Asked(tuple(options.levels), options.seconds, options.processes), lambda text: print(text, file=sys.stderr)
    )
    path = write(Path(options.results_dir), calibration)
    print(json.dumps(asdict(calibration), indent=1) if options.json else rendered(calibration))
    print(path, file=sys.stderr)
    return 0


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _processes(text: str) -> int | str:
    return text if text == "auto" else int(text)
