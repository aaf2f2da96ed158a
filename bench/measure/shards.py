"""Shards: how one schedule is dealt over several senders with one record.

A shard takes the requests whose planned order falls to it, so that shards need to agree on nothing but the plan and
their number. One process runs one shard; the record and the progress display stay where the run was started.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.domain import Request


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` of ``count``."""

    index: int = 0
    count: int = 1


#: everything in one shard
WHOLE = Shard()


def shard_of(requests: Iterator[Request], shard: Shard) -> Iterator[Request]:
    """The shard's own requests, in planned order; every request falls to exactly one shard."""
    if shard.count == 1:
        return requests
    return (request for request in requests if request.order % shard.count == shard.index)


def share(whole: int, shard: Shard) -> int:
    """A shard's part of a whole number; the parts of all shards add up to it."""
    return whole // shard.count + (shard.index < whole % shard.count)
