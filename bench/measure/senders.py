"""Opening what sends: one transport per server and deadlines, reachable and with warm connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.config import Experiment, plain
from bench.domain import ConfigError
from bench.measure.canonical import canonical
from bench.measure.plan import Plan
from bench.measure.servers import Servers, api_key
from bench.measure.transport import Transport

#: connections opened before the clock starts where the load sets no bound
DEFAULT_WARM = 64
MOST_WARM = 1024


async def open_transports(plan: Plan, servers: Servers, stack: AsyncExitStack) -> dict[str, Transport]:
    """The transport of each cell, by cell id.

    Raises:
        ConfigError: one sentence per key that is missing and per server that cannot be reached.
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
    problems = await asyncio.gather(*(transport.probe() for transport in by_identity.values()))
    if found := [problem for problem in problems if problem]:
        raise ConfigError(*found)
    await asyncio.gather(*(t.warm(_connections(plan)) for t in by_identity.values()))
    return senders


def _connections(plan: Plan) -> int:
    """How many connections to open before the clock starts: as many as can be in use at once, within reason."""
    config = plan.experiment
    wanted = getattr(config.load, "concurrency", None) or config.load.max_concurrency or DEFAULT_WARM
    bounds = [int(wanted), MOST_WARM]
    if config.limits.concurrency is not None:
        bounds.append(config.limits.concurrency)
    if plan.total is not None:
        bounds.append(plan.total)
    return min(bounds)
