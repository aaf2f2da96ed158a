"""What the product promises when everything goes wrong: ``python tests/chaos.py`` breaks things and prints a table.

Three parts, each judged by the simulator's own log of what arrived and what was sent:

* ``faults``: 2,000 requests, every kind of fault at 5 % each, limits on requests and tokens per minute (4 minutes).
* ``kills``: 100 kills with SIGKILL at seeded random moments, each resumed (10 minutes).
* ``caps``: budgets under concurrency; the API key in nothing that a run leaves behind (1 minute).

The exit code is 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import chaos_caps
import chaos_faults
import chaos_kills
from chaos_table import Table


def main(argv: Sequence[str] | None = None) -> int:
    """Break things and print what held; exit code 1 when something did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills in all (default 100)")
    parser.add_argument("--seed", type=int, default=20261122, help="of faults, moments and targets")
    parser.add_argument("--requests", type=int, default=200, help="requests of each run that is killed (default 200)")
    parser.add_argument("--keep", type=Path, help="leave the run folders in this new folder")
    parser.add_argument("parts", nargs="*", help="only some of: faults, kills, caps")
    options = parser.parse_args(argv)
    parts: dict[str, Callable[[Path, Table], None]] = {
        "faults": lambda folder, table: chaos_faults.chaos(folder, chaos_faults.Size(seed=options.seed), table),
        "kills": lambda folder, table: chaos_kills.chaos(folder, options.kills, options.seed, options.requests, table),
        "caps": chaos_caps.chaos,
    }
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(parts)}")
    if options.kills < 1 or options.requests < 1:
        parser.error("--kills and --requests must be at least 1")
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        place = options.keep or Path(name)
        for part in options.parts or parts:
            folder = place / part
            folder.mkdir(parents=True)
            table = Table()
            parts[part](folder, table)
            print(f"{part}, seed {options.seed}\n{table.text()}\n", flush=True)
            broken += len(table.broken)
    print(f"{broken} broken" if broken else "every promise holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
