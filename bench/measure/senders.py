"""Opening what sends: one transport per server and deadlines, reachable and with warm connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.config import Experiment, plain
from bench.domain import ConfigError
from bench.measure.canonical import canonical
from bench.measure.plan import Plan
from bench.measure.servers import Servers, api_key
from bench.measure.shards import Shard, share
from bench.measure.transport import Transport

#: connections opened before the clock starts where the load sets no bound
DEFAULT_WARM = 64
MOST_WARM = 1024


async def open_transports(plan: Plan, servers: Servers, stack: AsyncExitStack) -> dict[str, Transport]:
    """The transport of each cell, by cell id.

    Raises:
        ConfigError: a key is missing, or an address cannot be used.
    """
    by_identity: dict[str, Transport] = {}
    senders: dict[str, Transport] = {}
    for cell in plan.cells:
        config: Experiment = cell.config
        identity = canonical([plain(config.provider), plain(config.timeout)])
        if identity not in by_identity:
            provider = replace(config.provider, base_url=servers.base_url(config.provider))
            transport = Transport(
                provider,
                config.timeout,
                api_key=api_key(config.provider),
                max_body_bytes=config.engine.max_body_bytes,
            )
            by_identity[identity] = await stack.enter_async_context(transport)
        senders[cell.cell_id] = by_identity[identity]
    return senders


async def check_reachable(senders: Mapping[str, Transport]) -> None:
    """Ask every server for something that spends no tokens.

    Raises:
        ConfigError: one sentence per server that cannot be reached.
    """
    problems = await asyncio.gather(*(transport.probe() for transport in _distinct(senders)))
    if found := [problem for problem in problems if problem]:
        raise ConfigError(*found)


async def warm(senders: Mapping[str, Transport], plan: Plan, shard: Shard) -> None:
    """Open connections before the clock starts: as many as the shard can have in use at once, within reason."""
    connections = share(_connections(plan), shard)
    await asyncio.gather(*(transport.warm(connections) for transport in _distinct(senders)))


def _distinct(senders: Mapping[str, Transport]) -> list[Transport]:
    return list({id(transport): transport for transport in senders.values()}.values())


def _connections(plan: Plan) -> int:
    config = plan.experiment
    wanted = max(cell.config.load.in_flight_bound or DEFAULT_WARM for cell in plan.cells)
    bounds = [wanted, MOST_WARM]
    if config.limits.concurrency is not None:
        bounds.append(config.limits.concurrency)
    if plan.total is not None:
        bounds.append(plan.total)
    return min(bounds)
