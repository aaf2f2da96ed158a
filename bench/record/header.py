"""``run.json``: what a run is, in one object, replaced atomically."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.domain import ConfigError
from bench.record.folder import HEADER, sync_folder
from bench.record.rows import mended

#: of run.json and of every table; a change of meaning of a name raises it
SCHEMA_VERSION = 1

STATES = ("running", "finished", "interrupted")


def complete(header: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """A run's header with what every header has.

    ``origin_ns`` is the monotonic time that all marks count from, ``origin_unix_ns`` the wall clock at that instant,
    ``boot_id`` tells whether a later session can still use the same monotonic clock.
    """
    origin_ns = int(header.get("origin_ns", time.monotonic_ns()))
    defaults = {
        "run_id": run.name,
        "name": run.parent.name,
        "state": "running",
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "created_unix_ns": time.time_ns(),
        "origin_ns": origin_ns,
        "origin_unix_ns": time.time_ns() - (time.monotonic_ns() - origin_ns),
        "boot_id": boot_id(),
    }
    return {"schema_version": SCHEMA_VERSION, **defaults, **header}


def boot_id() -> str | None:
    """Names this boot of the machine, ``None`` where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def session_origin_ns(header: Mapping[str, Any]) -> int:
    """What this session's monotonic times count from, so that they go on where the run's earlier times ended.

    The run's own origin while the machine has not been booted since; after that the clocks have nothing in common and
    the wall clock bridges them.
    """
    origin_ns = int(header["origin_ns"])
    same_clock = header.get("boot_id") == boot_id() and time.monotonic_ns() >= origin_ns
    if same_clock or "origin_unix_ns" not in header:
        return origin_ns
    return time.monotonic_ns() - (time.time_ns() - int(header["origin_unix_ns"]))


def write_header(run: Path, header: Mapping[str, Any]) -> None:
    """Replace ``run.json`` atomically; enums and paths are written as text.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file stays.
    """
    text = mended(json.dumps(dict(header), ensure_ascii=False, indent=1, default=str))
    part = run / f".{HEADER}.tmp"
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, run / HEADER)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(run)


def amend_header(run: Path, **changes: Any) -> None:
    """Change keys of ``run.json`` of a finished run, which nothing else writes any more; atomically.

    Raises:
        ConfigError: as :func:`read_header`.
        ValueError: the run is not finished: its :class:`~bench.record.Record` owns the file.
        OSError: the folder cannot be written; the old file stays.
    """
    header = read_header(run)
    if header.get("state") != "finished":
        raise ValueError(f"{run}: the run is {header.get('state')}, so its header is not to be amended")
    write_header(run, {**header, **changes})


def read_header(run: Path) -> dict[str, Any]:
    """``run.json`` of a run folder.

    Raises:
        ConfigError: no run folder, a damaged file, or a file of a newer version.
    """
    path = run / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{run}: is not a run folder (it has no {HEADER})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is damaged ({error}); the tables beside it may still be good") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int):
        raise ConfigError(f"{path}: has no schema_version, so it is not a run of this program")
    if version > SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version {version} is newer than {SCHEMA_VERSION}; update the program")
    return dict(header)
