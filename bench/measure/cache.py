"""Replies kept on disk, so that a request that was answered once need not be sent again.

One file per reply, named by a hash of all that can change an answer. Off unless ``cache`` names a folder. Several runs
and processes may share one: an entry appears whole or not at all, and one that is damaged is a miss.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.config import Experiment, plain
from bench.domain import ConfigError, Exchange, Outcome, Reply, Request, Timeline
from bench.measure.body import encoded_body
from bench.measure.canonical import canonical
from bench.measure.ceiling import price_of

#: part of every key: entries of another format are never found
FORMAT = 1
#: where ``cache=true`` keeps replies, from the folder in which a run starts
DEFAULT_FOLDER = ".cache/bench"
#: a longer reply is not kept, and a longer file is no entry
MOST_BYTES = 4 * 1024 * 1024
#: damaged entries that are named one by one
MOST_NAMED = 3

#: what of a provider cannot change an answer
_NOT_MEANING = ("name", "api_key_env", "verify_tls")


@dataclass(frozen=True)
class Kept:
    """What is stored of an answer: the reply without its times, and the status."""

    reply: Reply
    status: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode


def cache_folder(cache: Any) -> Path | None:
    """The folder that the key ``cache`` names; ``None`` where it is off."""
    if not cache:
        return None
    return Path(DEFAULT_FOLDER if cache is True else str(cache)).expanduser()


def open_cache(experiment: Experiment, note: Callable[[str], None]) -> Cache | None:
    """The run's cache, its folder made where there is none yet; ``None`` where it is off.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    folder = cache_folder(experiment.cache)
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / _scratch("probe")
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cache={experiment.cache}: replies cannot be kept in {folder.absolute()} ({error.strerror or error}); "
            f"make it a folder that can be written, or leave cache off"
        ) from error
    return Cache(folder, note)


class Cache:
    """Replies by the content of their requests.

    Args:
        folder: exists and can be written.
        note: shows a person a line.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._servers: dict[int, tuple[Experiment, str]] = {}
        self._damaged = 0
        self._full = False

    def answered(self, request: Request, due_ns: int) -> Exchange | None:
        """The exchange of a request that need not be sent; ``None`` where it must be."""
        kept = self.find(self.key(request))
        return None if kept is None else _from_cache(request, kept, due_ns)

    def saw(self, exchange: Exchange) -> None:
        """Keep what was served; replies that came from here, failures and partial replies are left."""
        if exchange.outcome is Outcome.OK and not exchange.cached and exchange.failure is None and exchange.reply:
            self.keep(self.key(exchange.request), Kept(_without_times(exchange.reply), exchange.status))

    def key(self, request: Request) -> str:
        """Hex digest of what can change an answer: format, server and how it is asked, body, and repeat."""
        config: Experiment = request.cell.config
        known = self._servers.get(id(config))
        if known is None:
            known = self._servers[id(config)] = (config, _server_text(config))
        digest = hashlib.sha256(f"{FORMAT}\n{known[1]}\n{request.repeat}\n".encode("utf-8", "surrogatepass"))
        digest.update(encoded_body(request))
        return digest.hexdigest()

    def find(self, key: str) -> Kept | None:
        """The answer under a key; ``None`` when there is none, or only a damaged one, which is said."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say_damaged(path, error.strerror or str(error))
            return None
        digest, _, payload = content.partition(b"\n")
        if digest != _digest(key, payload):
            self._say_damaged(path, "its content does not have its hash")
            return None
        try:
            return _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._say_damaged(path, str(error))
            return None

    def keep(self, key: str, kept: Kept) -> None:
        """Store an answer. One that is too long, or that JSON cannot hold as it is, is not kept."""
        payload = None if self._full else _payload(kept)
        if payload is None:
            return
        path = self._path(key)
        scratch = path.with_name(_scratch(key[:16]))
        try:
            path.parent.mkdir(exist_ok=True)
            scratch.write_bytes(_digest(key, payload) + b"\n" + payload)
            os.replace(scratch, path)
        except OSError as error:
            self._full = True
            self._note(f"no further reply is kept in the cache {self._folder} ({error.strerror or error})")
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:]

    def _say_damaged(self, path: Path, why: str) -> None:
        self._damaged += 1
        if self._damaged <= MOST_NAMED:
            self._note(f"{path}: a damaged entry of the cache ({why}); its request is sent instead")
        elif self._damaged == MOST_NAMED + 1:
            self._note(f"{self._folder}: more damaged entries; their requests are sent instead")


def _from_cache(request: Request, kept: Kept, due_ns: int) -> Exchange:
    """The exchange of a request that was not sent: marked, without times, and free where the model has a price."""
    price = request.cell.config.model.price
    cost = price_of(price, 0, 0)
    return Exchange(
        request,
        Outcome.OK,
        Timeline(due_ns=due_ns),
        reply=kept.reply,
        status=kept.status,
        cost=cost,
        currency=None if cost is None else price.currency,
        cached=True,
    )


def _server_text(config: Experiment) -> str:
    return canonical({name: value for name, value in plain(config.provider).items() if name not in _NOT_MEANING})


def _without_times(reply: Reply) -> Reply:
    """The reply without event marks: they belong to the run that measured them."""
    return replace(reply, choices=tuple(replace(choice, event_ns=(), event_kind=()) for choice in reply.choices))


def _payload(kept: Kept) -> bytes | None:
    """The answer as JSON, if it comes back the same and is not too long."""
    try:
        payload = _encode(kept)
        same = len(payload) <= MOST_BYTES - 65 and _decode(payload) == kept
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, RecursionError, TypeError):
        return None
    return payload if same else None


def _digest(key: str, payload: bytes) -> bytes:
    """Of the key too, so that an entry under a wrong name is a damaged one."""
    return hashlib.sha256(key.encode() + payload).hexdigest().encode()


def _scratch(name: str) -> str:
    return f".{name}-{os.getpid()}-{os.urandom(4).hex()}"
