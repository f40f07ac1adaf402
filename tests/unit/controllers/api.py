"""A real API in memory with some controllers running on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from moorings_core.api.context import SYSTEM
from moorings_core.api.core import ApiCore
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import NAMESPACES, SERVICE_ACCOUNTS
from moorings_core.controllers.manager import Manager
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.store.memory import MemoryStore


@asynccontextmanager
async def running(tmp_path, *controllers):
    """Yield (core, client) of an API with the namespace d."""
    store = await MemoryStore.open(tmp_path, {})
    core = ApiCore(ClusterConfig(), store)
    await core.cache.load()
    following = asyncio.create_task(core.cache.follow())
    client = LocalClient(core, SYSTEM)
    await client.create(NAMESPACES, {"metadata": {"name": "d"}})
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "d"}})
    manager = Manager(client, ClusterConfig(), resources=[])
    manager.controllers = list(controllers)
    controlling = asyncio.create_task(manager.run())
    try:
        yield core, client
    finally:
        controlling.cancel()
        await asyncio.gather(controlling, return_exceptions=True)
        await store.close()
        await following


async def until(holds):
    """Wait until a condition on the cache holds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)
