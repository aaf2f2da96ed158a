"""What ``bench calibrate`` found out about this machine, held against what a run asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import calibration
from bench.calibration import Calibration, Ceiling, Level
from bench.domain import ConfigError
from bench.judge.client_checks import TTFT_SHARE
from bench.judge.rows import RunRows
from bench.judge.watched import Finding, Standing, Watched, milliseconds


@dataclass(frozen=True)
class Calibrated:
    """The calibration that a run can be held against, if there is one; ``unusable`` says why one cannot be used."""

    calibration: Calibration | None = None
    unusable: str | None = None

    @classmethod
    def of(cls, run: RunRows) -> Calibrated:
        """The calibration in the results folder of a run, where it was taken on the run's machine."""
        try:
            found = calibration.read(run.path.parent.parent)
        except ConfigError as error:
            return cls(unusable=str(error))
        here = (run.header.get("host") or {}).get("node")
        if found is not None and found.host.get("node") != here:
            return cls(unusable=f"{calibration.FILE} was taken on another machine; run `bench calibrate` on this one")
        return cls(found)

    def check(self, seen: Watched) -> Iterator[Finding]:
        """How true this machine's clocks are at the run's load, and whether that was beyond what it can do."""
        if self.unusable is not None:
            yield Finding("calibration", Standing.VALID, self.unusable)
        if self.calibration is None:
            return
        streams, events = seen.together.streams, seen.together.events_per_s
        seen.figures.update({"streams": float(streams), "events_per_s": events})
        ceiling = self.calibration.ceiling(seen.limit_ms)
        asked = f"{streams:,} streams at {events:,.0f} events/s"
        if ceiling is not None and (streams > ceiling.streams or events > ceiling.events_per_s):
            yield _beyond(asked, ceiling, self.calibration.processes, streams / max(1, ceiling.streams))
        elif (level := self.calibration.level_at(streams)) is not None:
            yield _expected(asked, level, seen)


def _beyond(asked: str, ceiling: Ceiling, processes: int, excess: float) -> Finding:
    known = (
        f"{asked} are beyond the {ceiling.streams:,} streams at {ceiling.events_per_s:,.0f} events/s up to which this "
        f"machine keeps its error within {milliseconds(ceiling.tolerance_ms)} (bench calibrate, {processes} "
        f"process{'es' * (processes != 1)})"
    )
    if ceiling.lower_bound:
        text = f"{known}, but no higher level told: calibrate further up to know the error"
        return Finding("calibration", Standing.VALID, text, excess)
    text = f"{known}: lower the load, or raise engine.processes and calibrate with as many"
    return Finding("calibration", Standing.WARNED, text, excess)


def _expected(asked: str, level: Level, seen: Watched) -> Finding:
    error = f"{milliseconds(level.ttft_error_ms_p50)} (p99 {milliseconds(level.ttft_error_ms_p99)})"
    text = f"at {asked} a time to first token comes out at most {error} too long on this machine (bench calibrate)"
    ttft = float(seen.served["ttft_ms"].median()) if len(seen.served) else 0.0
    share = level.ttft_error_ms_p99 / ttft if ttft > 0 else 0.0
    if share > TTFT_SHARE:
        text += (
            f", over {TTFT_SHARE:.0%} of the median of {milliseconds(ttft)}: lower the load or raise engine.processes"
        )
        return Finding("calibration", Standing.WARNED, text, share / TTFT_SHARE)
    return Finding("calibration", Standing.VALID, text, share / TTFT_SHARE)
