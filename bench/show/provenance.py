"""What was run and how to repeat it: the parts of the report that say where its figures come from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.show.markdown import code_block

if TYPE_CHECKING:
    from bench.judge.rows import RunRows

_SAMPLING = ("temperature", "top_p", "max_tokens", "n", "stream", "enable_thinking")
_LOAD = ("load.kind", "load.concurrency", "load.rate", "repeats")
_ASKED_FIRST = ("model.name", "provider.name", "provider.base_url", *_LOAD, *(f"sampling.{key}" for key in _SAMPLING))


def facts(header: Mapping[str, Any], run: RunRows) -> list[tuple[str, object]]:
    """Names and values: the run, its machine and software, its data, and the settings that all cells share."""
    host: Mapping[str, Any] = header.get("host") or {}
    found: list[tuple[str, object]] = [
        ("run", header.get("run_id", run.path.name)),
        ("state", header.get("state")),
        ("started", header.get("started_at")),
        ("seed", header.get("seed")),
        ("versions", ", ".join(f"{name} {version}" for name, version in (header.get("versions") or {}).items())),
        ("git commit", header.get("git_commit")),
        ("host", ", ".join(f"{host[key]}" for key in ("node", "system", "machine") if host.get(key))),
        ("CPUs", host.get("cpus")),
        ("connections", _connections(run)),
    ]
    for key, dataset in (header.get("datasets") or {}).items():
        digest = dataset.get("content_hash") or dataset.get("sha256")
        found.append((f"dataset {key}", f"{dataset.get('samples', dataset.get('rows'))} samples, sha256 {digest}"))
    for key, values in _fixed(run).items():
        found.append((key, values))
    return [(name, value) for name, value in found if value not in (None, "")]


def _connections(run: RunRows) -> str | None:
    """How many requests had to open a connection, and what that took: it is in no latency."""
    sent = run.requests[run.requests["sent_ns"].notna()]
    if sent.empty:
        return None
    opened_ms = sent["connect_ns"].dropna() / 1e6
    if opened_ms.empty:
        return f"all {len(sent):,} requests went over connections that were open"
    took = f"{len(opened_ms):,} opened by a request (median {opened_ms.median():.3g} ms, in no latency)"
    return f"{took}, {len(sent) - len(opened_ms):,} used again"


def _fixed(run: RunRows) -> dict[str, str]:
    """Settings that a reader asks for first, where all cells share them and none is swept."""
    found = {}
    for key in _ASKED_FIRST:
        values = {str(cell.param(key)) for cell in run.cells}
        if len(values) == 1 and values != {"None"}:
            found[key] = values.pop()
    return found


def repeat(header: Mapping[str, Any], run: RunRows) -> list[str]:
    """The commands that make the run and its report again, and the one that finishes it where it is not finished."""
    command = header.get("command") or ()
    # the first word may be the path of the console script on the machine that ran it
    words = ["bench", *[str(word) for word in list(command)[1:]]] if command else []
    parts = [code_block(shlex.join(words))] if words else []
    if header.get("state") != "finished":
        parts.append("The run is not finished. This sends only what has no outcome yet:")
        parts.append(code_block(f"bench resume {shlex.quote(run.path.name)}"))
    parts.append("Every figure here comes from the Parquet files beside this report; this makes it again from them:")
    parts.append(code_block(f"bench report {shlex.quote(run.path.name)}"))
    return parts
