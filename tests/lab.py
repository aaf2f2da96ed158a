"""What the product's clocks are worth: ``python tests/lab.py`` compares them with an independent server.

The server (``truthd.c``, C, one thread) logs when each request arrived and each token was written. It is compiled from
the file given with ``--truthd``, or from ``../shared/lab`` beside the checkout, and runs on one core; the product runs
on the other. CPU seconds are the operating system's own. Figures are medians of three runs (``--quick``: of one).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lab_truth import Cost, Errors, build, errors, run_counted, serving

from bench.calibration import read as read_calibration
from bench.record import read_header

FOUND_AT = Path(__file__).resolve().parents[2] / "shared" / "lab" / "truthd.c"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``holds`` is ``None`` where there is no target."""

    what: str
    target: str
    measured: str
    holds: bool | None = None


@dataclass
class Lab:
    """Where things are, and the rows so far."""

    truthd: Path
    floor: Path
    folder: Path
    runs: int
    cores: tuple[int, int]
    rows: list[Row] = field(default_factory=list)

    def add(
        self, what: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None
    ) -> None:
        """A figure, with its target if it has one."""
        target, holds = "", None
        if most is not None:
            target, holds = f"<= {most:g}{unit}", value <= most
        elif least is not None:
            target, holds = f">= {least:g}{unit}", value >= least
        self.rows.append(Row(what, target, f"{value:.3g}{unit}" if abs(value) < 1000 else f"{value:.0f}{unit}", holds))

    def bench(self, base_url: str, cores: Sequence[int], *overrides: str, report: str = "none") -> tuple[Path, Cost]:
        """One complete ``bench run`` against the server: its folder and its cost."""
        results = Path(tempfile.mkdtemp(dir=self.folder))
        command = [sys.executable, "-m", "bench", "run", "provider=compatible", f"provider.base_url={base_url}"]
        command += ["model=custom", "model.name=truth", "scorer=none", f"report={report}", f"results_dir={results}"]
        cost = run_counted([*command, *overrides], cores)
        (run,) = (path.parent for path in results.glob("*/*/run.json"))
        return run, cost


def medians(runs: int, once: Callable[[], Sequence[float]]) -> list[float]:
    """Column by column over several runs."""
    return [statistics.median(column) for column in zip(*(once() for _ in range(runs)), strict=True)]


def quantiles(found: Errors) -> list[float]:
    """Absolute TTFT error p50 and p99 in ms, and the relative TPOT error p50 in percent."""
    ttft = np.abs(found.ttft_ms)
    return [
        float(np.quantile(ttft, 0.5)),
        float(np.quantile(ttft, 0.99)),
        float(np.quantile(np.abs(found.tpot), 0.5)) * 100,
    ]


def measure_burst(lab: Lab, streams: int, processes: int) -> None:
    """``streams`` requests started at once: 100 ms to the first token, 20 ms between tokens, 100 tokens."""
    server, client = lab.cores
    cores = (client,) if processes == 1 else lab.cores
    worst_valid: list[float] = []

    def once() -> list[float]:
        with serving(lab.truthd, (server,), ttft_ms=100, itl_ms=20, tokens=100) as truth:
            run, cost = lab.bench(
                truth.base_url,
                cores,
                "load=closed",
                f"load.concurrency={streams}",
                f"load.requests={streams}",
                "sampling.max_tokens=100",
                f"engine.processes={processes}",
                report="quick",
            )
        found = errors(run, truth)
        header = read_header(run)
        verdict = header["validity"]["standing"]
        off = [abs(float(np.median(found.ttft_ms))) / 100, abs(float(np.median(found.tpot)))]
        worst_valid.append(max(off) if verdict == "valid" else 0.0)
        cpu = sum(one["cpu_s"] for one in header["vitals"])
        lag = max(one["lag_max_ms"] for one in header["vitals"])
        print(f"  {streams} x {processes}: verdict {verdict}, {cost.cpu_s:.2f} s CPU", file=sys.stderr)
        held = truth.summary["max_active"]
        return [*quantiles(found), held, cpu * 1e6 / truth.summary["chunks"], lag, truth.summary["late_ms_max_p99"]]

    p50, p99, tpot, held, per_chunk, lag, late = medians(lab.runs, once)
    where = f"{streams} at once, {processes} process{'es' if processes > 1 else ''}"
    strict = {(500, 1): (3, 40), (500, 2): (None, 15), (1000, 1): (10, None)}.get((streams, processes), (None, None))
    lab.add(f"{where}: TTFT error p50", p50, " ms", most=strict[0])
    lab.add(f"{where}: TTFT error p99", p99, " ms", most=strict[1])
    lab.add(f"{where}: TPOT error", tpot, " %", most=1)
    lab.add(f"{where}: streams truly held", held, least=490 if streams == 500 else None)
    lab.add(f"{where}: CPU per chunk", per_chunk, " us")
    lab.add(f"{where}: client's worst loop lag", lag, " ms")
    lab.add(f"{where}: server's own lateness p99", late, " ms")
    lab.add(f"{where}: worst error called valid", max(worst_valid) * 100, " %", most=10)


def json_reader(folder: Path) -> Path:
    """A folder to import ``orjson`` from: the floor wants it; msgspec, which costs the same here, stands in for it."""
    found = folder / "json"
    found.mkdir(exist_ok=True)
    if importlib.util.find_spec("orjson") is None:
        (found / "orjson.py").write_text("from msgspec.json import decode as loads\n")
    return found


def measure_cost(lab: Lab) -> None:
    """2,000 x 128 tokens without pacing at 64 in flight, against the hand-written floor in the same run."""
    server, client = lab.cores
    fast = {"ttft_ms": 0, "itl_ms": 0, "tokens": 128}

    def floor(base_url: str, requests: int) -> float:
        out = tempfile.mkdtemp(dir=lab.folder)
        told = {"URL": base_url.removesuffix("/v1"), "CONC": "64", "NREQ": str(requests), "OSL": "128", "OUT": out}
        told["PYTHONPATH"] = os.pathsep.join([str(json_reader(lab.folder)), os.environ.get("PYTHONPATH", "")])
        return run_counted([sys.executable, str(lab.floor), "rawjson"], (client,), told).cpu_s

    def product(base_url: str, requests: int) -> tuple[float, float]:
        asked = (f"load.requests={requests}", "load.concurrency=64", "sampling.max_tokens=128", "engine.processes=1")
        run, cost = lab.bench(base_url, (client,), "load=closed", *asked)
        return sum(one["cpu_s"] for one in read_header(run)["vitals"]), cost.cpu_s

    def once() -> list[float]:
        with serving(lab.truthd, (server,), **fast) as truth:
            least = (floor(truth.base_url, 2000) - floor(truth.base_url, 1)) / 2
            load_phase, whole = product(truth.base_url, 2000)
            _, start = product(truth.base_url, 1)
        return [least, load_phase / 2, (whole - start) / 2, load_phase / 2 / least, (whole - start) / 2 / least]

    least, load_phase, whole, ratio, whole_ratio = medians(max(lab.runs, 3), once)
    where = "2,000 x 128, 64 in flight"
    lab.add(f"{where}: floor rawjson, per 1,000", least, " s")
    lab.add(f"{where}: load phase, per 1,000", load_phase, " s")
    lab.add(f"{where}: load phase / floor", ratio, most=1.5)
    lab.add(f"{where}: run less start-up (Parquet, scores, summary), per 1,000", whole, " s")
    lab.add(f"{where}: run less start-up / floor", whole_ratio)


def measure_small_job(lab: Lab) -> None:
    """Ten requests, start to exit."""
    server, client = lab.cores

    def once() -> list[float]:
        with serving(lab.truthd, (server,), ttft_ms=10, itl_ms=1, tokens=10) as truth:
            _, cost = lab.bench(truth.base_url, (client,), "load=closed", "load.requests=10")
        return [cost.cpu_s, cost.max_rss_mb]

    cpu, rss = medians(lab.runs, once)
    lab.add("10 requests, start to exit: CPU", cpu, " s", most=2)
    lab.add("10 requests, start to exit: peak memory", rss, " MB", most=150)


def measure_claim(lab: Lab) -> None:
    """Whether the error that ``bench calibrate`` claims for 100 streams holds against this server as well."""
    streams, seconds = 100, 4

    def once() -> list[float]:
        results = tempfile.mkdtemp(dir=lab.folder)
        asked = ["--levels", str(streams), "--seconds", str(seconds), "--processes", "1", "--results-dir", results]
        run_counted([sys.executable, "-m", "bench", "calibrate", *asked], lab.cores)
        made = read_calibration(Path(results))
        assert made is not None
        (claimed,) = made.levels
        rate = claimed.requests_per_s
        with serving(lab.truthd, lab.cores, ttft_ms=100, itl_ms=20, tokens=100) as truth:
            load = ("load=constant", f"load.rate={rate:.3f}", f"load.requests={claimed.requests}", "engine.processes=1")
            run, _ = lab.bench(truth.base_url, lab.cores, *load, "sampling.max_tokens=100")
        p50, p99, tpot = quantiles(errors(run, truth))
        return [claimed.ttft_error_ms_p50, claimed.ttft_error_ms_p99, claimed.tpot_error_p50 * 100, p50, p99, tpot]

    claimed50, claimed99, claimed_tpot, p50, p99, tpot = medians(lab.runs, once)
    where = f"{streams} streams"
    lab.add(f"{where}: TTFT error p50 that calibrate claims", claimed50, " ms")
    lab.add(f"{where}: TTFT error p99 that calibrate claims", claimed99, " ms")
    lab.add(f"{where}: TPOT error that calibrate claims", claimed_tpot, " %")
    lab.add(f"{where}: TTFT error p50", p50, " ms", most=round(claimed50 + 0.5, 1))
    lab.add(f"{where}: TTFT error p99", p99, " ms", most=round(claimed99 + 2, 1))
    lab.add(f"{where}: TPOT error", tpot, " %", most=round(claimed_tpot + 0.5, 1))


PARTS: dict[str, Callable[[Lab], None]] = {
    "50": lambda lab: measure_burst(lab, 50, 1),
    "500": lambda lab: measure_burst(lab, 500, 1),
    "500x2": lambda lab: measure_burst(lab, 500, 2),
    "1000": lambda lab: measure_burst(lab, 1000, 1),
    "cost": measure_cost,
    "small": measure_small_job,
    "claim": measure_claim,
}


def print_table(rows: Sequence[Row]) -> None:
    """Target beside measured."""
    width = max(len(row.what) for row in rows) + 2
    print(f"{'':<{width}}{'target':>12}{'measured':>14}")
    for row in rows:
        mark = {True: "", False: "  MISSED", None: ""}[row.holds]
        print(f"{row.what:<{width}}{row.target:>12}{row.measured:>14}{mark}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 when a target is missed, 2 when the lab cannot run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truthd", type=Path, default=FOUND_AT, help="the source of the truth server")
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("parts", nargs="*", help=f"only some of: {', '.join(PARTS)}")
    options = parser.parse_args(argv)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    floor = options.truthd.with_name("floor.py")
    for needed in (options.truthd, floor):
        if not needed.is_file():
            print(f"{needed}: is not there; give the server's source with --truthd", file=sys.stderr)
            return 2
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or shutil.which("taskset") is None:
        print("the lab needs two cores and taskset: one core for the server, one for the client", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lab = Lab(build(options.truthd, folder), floor, folder, 1 if options.quick else 3, (cores[0], cores[1]))
        for part in options.parts or PARTS:
            PARTS[part](lab)
    print_table(lab.rows)
    return 1 if any(row.holds is False for row in lab.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
