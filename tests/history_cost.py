"""CPU seconds that ``bench history`` takes over made runs: ``python tests/history_cost.py FOLDER [--runs 1000]``.

Two models on 100 prompts, twice each, every run. Printed are the seconds of the first reading, of one by the index, and
of the whole command by the index. The folder is made where it does not exist and read where it does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from made_nights import MODEL, PINNED, Nights, Service

from bench.judge.history.reading import read_history
from bench.record.results import open_results


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs where there are none, read them twice, and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args(argv)
    if not options.folder.exists():
        for night in range(options.runs):
            Nights(questions=100).write(options.folder, night, {MODEL: Service(), PINNED: Service()})
    results = open_results(str(options.folder))
    told = {}
    for name, rebuild in (("first reading, CPU s", True), ("by the index, CPU s", False)):
        start = time.process_time()
        history = read_history(results, rebuild)
        told[name] = round(time.process_time() - start, 2)
    told["runs"] = len({night.run for night in history.nights})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bench", "history", "series", "--results", str(options.folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told["bench history series, CPU s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
