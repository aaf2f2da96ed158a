"""What this machine can measure: the stored result of ``bench calibrate``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.domain import ConfigError

FILE = "calibration.json"
SCHEMA_VERSION = 1

#: TTFT error p99 in milliseconds up to which a level counts for the ceiling of that tolerance
TOLERANCES_MS = (10.0, 50.0)


@dataclass(frozen=True)
class Level:
    """How true the clocks were with so many streams at once.

    Errors are what the client reported minus what the simulator says it did, on the same monotonic clock. The delay of
    the simulator's own reading and writing is part of them, so the client's own error is at most this.

    Attributes:
        streams: requests in flight that were asked for.
        held: requests that the simulator really had in flight at the same time, at most.
        requests: requests that ended well; ``failed`` did not.
        requests_per_s: over the time from the first request's arrival to the last event.
        events_per_s: likewise.
        ttft_error_ms_p50: reported minus true time to first token, in milliseconds; likewise ``_p99``.
        delay_ms_p50: from an event's write at the simulator to its stamp at the client; likewise ``_p99``.
        tpot_error_p50: the time per token's relative error, without sign; likewise ``_p99``.
        client_cpu_share: processor time over wall time of the busiest worker process; 1 is a full core.
        lag_ms_p99: lag of its event loop, rounded up to an edge of the histogram; ``lag_ms_max`` the worst reading.
        simulator_cpu_share: the same share of the simulator, ``None`` where the system does not tell.
        bunched_share: share of events that the simulator sent together with the one before although they were due
            apart: it was late itself.
    """

    streams: int
    held: int
    requests: int
    failed: int
    requests_per_s: float
    events_per_s: float
    ttft_error_ms_p50: float
    ttft_error_ms_p99: float
    delay_ms_p50: float
    delay_ms_p99: float
    tpot_error_p50: float
    tpot_error_p99: float
    client_cpu_share: float
    lag_ms_p99: float
    lag_ms_max: float
    simulator_cpu_share: float | None
    bunched_share: float

    @property
    def simulator_limited(self) -> bool:
        """Whether the simulator was the slower side, so that the errors say little about the client."""
        return self.bunched_share > 0.02 or (self.simulator_cpu_share or 0.0) > 0.9


@dataclass(frozen=True)
class Burst:
    """What goes through when nothing is paced: requests and events per second, and who was busy."""

    concurrency: int
    requests: int
    requests_per_s: float
    events_per_s: float
    client_cpu_share: float
    simulator_cpu_share: float | None

    @property
    def simulator_limited(self) -> bool:
        """Whether the simulator was the slower side."""
        return (self.simulator_cpu_share or 0.0) > self.client_cpu_share


@dataclass(frozen=True)
class Ceiling:
    """The highest level up to which every level kept TTFT error p99 within ``tolerance_ms``.

    ``streams`` is 0 where not even the lowest did. ``lower_bound``: no higher level was tried, or the simulator was the
    slower side in the first that failed.
    """

    tolerance_ms: float
    streams: int
    events_per_s: float
    requests_per_s: float
    lower_bound: bool


@dataclass(frozen=True)
class Calibration:
    """One calibration of one machine. ``processes`` worker processes timed the requests."""

    taken_at: str
    host: dict[str, Any]
    versions: dict[str, str]
    processes: int
    token_interval_ms: float
    levels: tuple[Level, ...]
    burst: Burst
    ceilings: tuple[Ceiling, ...]
    schema_version: int = SCHEMA_VERSION

    def ceiling(self, tolerance_ms: float = TOLERANCES_MS[0]) -> Ceiling | None:
        """The ceiling of the widest tolerance that is not wider than ``tolerance_ms``."""
        fitting = [one for one in self.ceilings if one.tolerance_ms <= tolerance_ms]
        return max(fitting, key=lambda one: one.tolerance_ms, default=None)

    def level_at(self, streams: int) -> Level | None:
        """The lowest level that held at least so many streams; ``None`` beyond the highest."""
        fitting = [level for level in self.levels if level.held >= streams]
        return min(fitting, key=lambda level: level.streams, default=None)


def ceilings(levels: tuple[Level, ...]) -> tuple[Ceiling, ...]:
    """The ceiling of every tolerance; levels may come in any order."""
    return tuple(_ceiling(sorted(levels, key=lambda level: level.streams), limit) for limit in TOLERANCES_MS)


def _ceiling(levels: list[Level], tolerance_ms: float) -> Ceiling:
    good: Level | None = None
    for level in levels:
        if level.failed or level.ttft_error_ms_p99 > tolerance_ms:
            lower_bound = level.simulator_limited
            break
        good = level
    else:
        lower_bound = True
    if good is None:
        return Ceiling(tolerance_ms, 0, 0.0, 0.0, lower_bound)
    return Ceiling(tolerance_ms, good.held, good.events_per_s, good.requests_per_s, lower_bound)


def write(results_dir: Path, calibration: Calibration) -> Path:
    """Replace the calibration of a results folder; gives the file.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = results_dir / FILE
    part = path.with_name(f".{FILE}.tmp")
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --results-dir") from error
    return path


def read(results_dir: Path) -> Calibration | None:
    """The calibration of a results folder, ``None`` where there is none.

    Raises:
        ConfigError: the file is damaged or of a newer version.
    """
    path = results_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{path}: is no calibration of this version ({error}); run `bench calibrate` again"
        ) from error
