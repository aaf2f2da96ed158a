"""What this machine can measure: the product's own measuring path against the simulator, level by level.

Requests of a level arrive evenly, as many a second as keep its streams open at once. Started all at once they would
queue at the simulator, whose delay nobody could tell from the client's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.calibration import Burst, Calibration, Level, ceilings
from bench.config import Experiment, parse
from bench.domain import ConfigError
from bench.measure.discrepancies import Stream, bunched_share, cpu_share, lag_p99_ms, matched, most_held, quantile
from bench.measure.header import make_header
from bench.measure.plan import make_plan
from bench.measure.run import measure, process_count, unsent
from bench.measure.servers import ServerProcess, Servers
from bench.measure.vitals import Vitals
from bench.progress import Figures
from bench.providers.sim import ModelKnobs, Sim, SimKnobs, ThinkingStyle, UsageStyle
from bench.record import Record, read_table
from bench.registry import discover

LEVELS = (10, 50, 100, 250, 500)
SECONDS = 5.0

TTFT_MS = 100.0
TOKEN_INTERVAL_MS = 20.0
TOKENS = 100
#: what one stream takes by its schedule
STREAM_S = (TTFT_MS + (TOKENS - 1) * TOKEN_INTERVAL_MS) / 1e3
MODEL = "calibration"
BURST_CONCURRENCY = 64
PROMPTS = 100


@dataclass(frozen=True)
class Asked:
    """What to calibrate: streams at once for about ``seconds`` per level; ``processes`` as ``engine.processes``."""

    levels: tuple[int, ...] = LEVELS
    seconds: float = SECONDS
    processes: int | str = "auto"

    def __post_init__(self) -> None:
        problems = [
            f"--levels: {level} streams cannot be held; give whole numbers from 1" for level in self.levels if level < 1
        ]
        if not self.levels:
            problems.append("--levels: names no level; give numbers of streams, for example 10,100,500")
        if not 0 < self.seconds <= 600:
            problems.append(f"--seconds {self.seconds:g}: must be above 0 and at most 600")
        if self.processes != "auto" and not (isinstance(self.processes, int) and self.processes >= 1):
            problems.append(f"--processes {self.processes}: must be a whole number from 1, or auto")
        if problems:
            raise ConfigError(*problems)


def calibrate(asked: Asked, say: Callable[[str], None]) -> Calibration:
    """Measure every level and a burst without pacing; nothing is left behind.

    Args:
        asked: what to measure.
        say: told what is being measured.

    Raises:
        ConfigError: the simulator did not start, or answered nothing.
    """
    discover()
    with TemporaryDirectory(prefix="chatbench-calibrate-") as name:
        folder = Path(name)
        _write_prompts(folder / "prompts.jsonl")
        with _simulator(folder, speed=1.0) as simulator:
            bench = _Bench(folder, simulator, asked.processes)
            _warm_up(bench)
            levels = []
            for streams in sorted(set(asked.levels)):
                say(f"{streams} streams at once, {TOKEN_INTERVAL_MS:g} ms between tokens")
                levels.append(_level(bench, streams, asked.seconds))
        with _simulator(folder, speed=0.0) as simulator:
            bench = _Bench(folder, simulator, asked.processes)
            say(f"no pacing, {BURST_CONCURRENCY} at once")
            burst = _burst(bench, asked.seconds)
        header, processes = bench.header, bench.processes(_steady(max(asked.levels), asked.seconds))
    return Calibration(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=header["host"],
        versions=header["versions"],
        processes=processes,
        token_interval_ms=TOKEN_INTERVAL_MS,
        levels=tuple(levels),
        burst=burst,
        ceilings=ceilings(tuple(levels)),
    )


@dataclass(frozen=True)
class _Simulator:
    """A running simulator, and the log of what it truly sent."""

    process: ServerProcess
    log: Path


@contextmanager
def _simulator(folder: Path, speed: float) -> Iterator[_Simulator]:
    model = ModelKnobs(
        usage_style=UsageStyle.trailing,
        role_repeat=False,
        thinking=ThinkingStyle.always,
        # reasoning longer than max_tokens, so that every reply has as many events
        max_tokens_counts_reasoning=True,
        reasoning_tokens=4 * TOKENS,
        ttft_ms=TTFT_MS,
        prefill_tok_per_s=1e9,
        output_tok_per_s=1e3 / TOKEN_INTERVAL_MS,
    )
    log = folder / f"truth-{speed:g}.jsonl"
    knobs = SimKnobs(speed=speed, slots_per_model=1_000_000, models={MODEL: model}, truth_log=str(log))
    command = Sim(knobs=knobs).server_command()
    assert command is not None
    process = ServerProcess(command, "the simulator")
    try:
        process.base_url()
        yield _Simulator(process, log)
    finally:
        process.close()


@dataclass(frozen=True)
class _Taken:
    """One load that was measured."""

    streams: list[Stream]
    failed: int
    vitals: list[Vitals]
    simulator_cpu_share: float | None

    @property
    def seconds(self) -> float:
        """From the first request's arrival to the last event."""
        return (max(s.true_ns[-1] for s in self.streams) - min(s.accepted_ns for s in self.streams)) / 1e9

    @property
    def events(self) -> int:
        return sum(len(stream.true_ns) for stream in self.streams)


class _Bench:
    """The measuring path against one simulator. ``header`` is that of the last run."""

    def __init__(self, folder: Path, simulator: _Simulator, processes: int | str) -> None:
        self._folder, self._simulator, self._processes = folder, simulator, processes
        self._read_to = 0
        self.header: dict[str, Any] = {}

    def processes(self, load: Mapping[str, Any]) -> int:
        """How many worker processes such a load gets."""
        return process_count(make_plan([self._experiment(load)]))

    def take(self, load: Mapping[str, Any]) -> _Taken:
        """Measure one load, complete with its record, and match it with what was truly sent."""
        experiment = self._experiment(load)
        plan = make_plan([experiment])

        def open_record() -> Record:
            return Record.create(self._folder, "calibrate", make_header(plan, ("bench", "calibrate")))

        cpu_s = self._simulator.process.cpu_s()
        with Servers([experiment]) as servers:
            done = measure(plan, servers, _Silent(), open_record)
        used_s = self._simulator.process.cpu_s()
        done.record.finish(state="finished", unsent=unsent(plan, done.record, done.stop.reason or "not reached"))
        if done.stop.reason is not None:
            raise KeyboardInterrupt
        self.header = done.record.header
        columns = ["request_id", "response_id", "sent_ns", "outcome"]
        rows = read_table(done.record.path, "requests", columns).to_pylist()
        choices = read_table(done.record.path, "choices", ["request_id", "event_ns"]).to_pylist()
        streams = matched(rows, choices, self._truth(), self.header["origin_ns"])
        if not streams:
            raise ConfigError("the simulator's replies did not come through: nothing can be said of this machine")
        wall_s = max(one.wall_s for one in done.vitals)
        share = None if cpu_s is None or used_s is None else (used_s - cpu_s) / wall_s
        return _Taken(streams, len(rows) - len(streams), done.vitals, share)

    def _truth(self) -> list[dict[str, Any]]:
        """What the log holds since the last call."""
        with self._simulator.log.open("rb") as file:
            file.seek(self._read_to)
            lines = file.read()
        self._read_to += len(lines)
        return [json.loads(line) for line in lines.splitlines()]

    def _experiment(self, load: Mapping[str, Any]) -> Experiment:
        return parse(
            {
                "model": {"name": MODEL, "thinking": "always"},
                "provider": {"kind": "sim", "name": "sim", "base_url": self._simulator.process.base_url()},
                "dataset": {"kind": "jsonl", "name": "prompts", "path": str(self._folder / "prompts.jsonl")},
                "sampling": {"max_tokens": TOKENS},
                "load": dict(load),
                "limits": {"retries": 0},
                "engine": {"processes": self._processes},
            }
        )


class _Silent:
    """A display that shows nothing."""

    def start(self, total: int | None, done: int, label: str) -> None: ...

    def finished(self, figures: Figures) -> None: ...

    def note(self, text: str) -> None: ...

    def throttled(self, by: str | None) -> None: ...

    def close(self) -> None: ...


def _warm_up(bench: _Bench) -> None:
    """The first run pays for imports and caches on both sides."""
    bench.take(_closed(4, 4))


def _steady(streams: int, seconds: float) -> dict[str, Any]:
    """Arrivals that hold ``streams`` open once the first have ended, for at least that long."""
    rate = streams / STREAM_S
    return {"kind": "constant", "rate": rate, "requests": max(streams, round(rate * seconds))}


def _closed(concurrency: int, requests: int) -> dict[str, Any]:
    return {"kind": "closed", "concurrency": concurrency, "requests": requests}


def _level(bench: _Bench, streams: int, seconds: float) -> Level:
    taken = bench.take(_steady(streams, seconds))
    ttft = [stream.ttft_error_ms for stream in taken.streams]
    delays = [delay for stream in taken.streams for delay in stream.delays_ms]
    tpot = [abs(error) for stream in taken.streams if (error := stream.tpot_error) is not None]
    return Level(
        streams=streams,
        held=most_held(taken.streams),
        requests=len(taken.streams),
        failed=taken.failed,
        requests_per_s=len(taken.streams) / taken.seconds,
        events_per_s=taken.events / taken.seconds,
        ttft_error_ms_p50=quantile(ttft, 0.5),
        ttft_error_ms_p99=quantile(ttft, 0.99),
        delay_ms_p50=quantile(delays, 0.5),
        delay_ms_p99=quantile(delays, 0.99),
        tpot_error_p50=quantile(tpot, 0.5),
        tpot_error_p99=quantile(tpot, 0.99),
        client_cpu_share=cpu_share(taken.vitals),
        lag_ms_p99=lag_p99_ms(taken.vitals),
        lag_ms_max=max(one.lag_max_ms for one in taken.vitals),
        simulator_cpu_share=taken.simulator_cpu_share,
        bunched_share=bunched_share(taken.streams),
    )


def _burst(bench: _Bench, seconds: float) -> Burst:
    """A short burst tells how many requests fill the time, then those are sent."""
    _warm_up(bench)
    short = bench.take(_closed(BURST_CONCURRENCY, 2 * BURST_CONCURRENCY))
    count = max(2 * BURST_CONCURRENCY, min(20_000, round(len(short.streams) / short.seconds * seconds)))
    taken = bench.take(_closed(BURST_CONCURRENCY, count))
    return Burst(
        concurrency=BURST_CONCURRENCY,
        requests=len(taken.streams),
        requests_per_s=len(taken.streams) / taken.seconds,
        events_per_s=taken.events / taken.seconds,
        client_cpu_share=cpu_share(taken.vitals),
        simulator_cpu_share=taken.simulator_cpu_share,
    )


def _write_prompts(path: Path) -> None:
    rows: Sequence[dict[str, str]] = [
        {"id": f"prompt-{number:03d}", "prompt": f"Count from 1 to {number}, in words."} for number in range(PROMPTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
