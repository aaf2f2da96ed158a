"""``bench calibrate`` on the terminal: what this machine can measure, level by level, and its ceilings."""

from __future__ import annotations

from collections.abc import Iterable

from bench.calibration import Calibration, Ceiling, Level
from bench.show.terminal import printable

_COLUMNS = (
    "streams", "held", "requests/s", "events/s", "TTFT error p50", "p99", "delay p50", "p99", "TPOT error p50",
    "client CPU", "lag p99", "worst", "simulator CPU",
)  # fmt: skip


def rendered(calibration: Calibration) -> str:
    """The whole text."""
    burst, host = calibration.burst, calibration.host
    processes = f"{calibration.processes} worker process{'es' if calibration.processes > 1 else ''}"
    machine = f"{printable(host.get('node'))}, {printable(host.get('cpus'))} processors, {processes}"
    unpaced = f"{burst.requests_per_s:,.0f} requests/s, {burst.events_per_s:,.0f} events/s"
    lines = [
        f"{machine}, {calibration.taken_at}",
        f"streams of one event every {calibration.token_interval_ms:g} ms; errors in ms, reported minus true",
        "",
        *_aligned([_COLUMNS, *(_cells(level) for level in calibration.levels)]),
        "",
        f"no pacing, {burst.concurrency} at once: {unpaced}{_at_least(burst.simulator_limited)}",
        *(_ceiling_line(ceiling) for ceiling in calibration.ceilings),
    ]
    if any(level.simulator_limited for level in calibration.levels):
        lines += [
            "",
            "* the simulator itself was late or out of processor: the client is at least as true as this says",
        ]
    return "\n".join(lines)


def _cells(level: Level) -> tuple[str, ...]:
    server = level.simulator_cpu_share
    return (
        f"{level.streams}{'*' if level.simulator_limited else ''}",
        f"{level.held}",
        f"{level.requests_per_s:.1f}",
        f"{level.events_per_s:,.0f}",
        f"{level.ttft_error_ms_p50:.2f}",
        f"{level.ttft_error_ms_p99:.2f}",
        f"{level.delay_ms_p50:.2f}",
        f"{level.delay_ms_p99:.2f}",
        f"{level.tpot_error_p50:.2%}",
        f"{level.client_cpu_share:.0%}",
        f"{level.lag_ms_p99:g}",
        f"{level.lag_ms_max:.0f}",
        "unknown" if server is None else f"{server:.0%}",
    )


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    kept = list(rows)
    widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in kept]


def _ceiling_line(ceiling: Ceiling) -> str:
    within = f"TTFT error p99 within {ceiling.tolerance_ms:g} ms"
    if not ceiling.streams:
        return f"{within}: at no level{_at_least(ceiling.lower_bound)}"
    return (
        f"{within}: up to {ceiling.streams} streams, {ceiling.events_per_s:,.0f} events/s, "
        f"{ceiling.requests_per_s:,.0f} requests/s{_at_least(ceiling.lower_bound)}"
    )


def _at_least(lower_bound: bool) -> str:
    return " (a lower bound)" if lower_bound else ""
