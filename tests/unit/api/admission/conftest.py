"""An API in memory with namespaces, their accounts, and short ways to write to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from moorings_core.api.context import SYSTEM, Context, WriteOptions
from moorings_core.api.core import ApiCore
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import NAMESPACES, PODS, RESOURCE_QUOTAS, SERVICE_ACCOUNTS
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.objects import Key, Resource
from moorings_core.store.memory import MemoryStore


@dataclass
class Api:
    """A core, and what tests do with it."""

    core: ApiCore

    @property
    def client(self):
        return LocalClient(self.core, SYSTEM)

    async def create(self, resource: Resource, name, namespace="d", *, dry=False, metadata=None, **rest):
        context = Context(options=WriteOptions(dry_run=dry))
        body = {"metadata": {"name": name, **(metadata or {})}, **rest}
        return await self.core.writer.create(self.core.kind(resource), namespace if resource.namespaced else "", body, context)

    async def pod(self, name, namespace="d", *, dry=False, metadata=None, **spec):
        spec = {"containers": [{"name": "c", "image": "i"}], **spec}
        return await self.create(PODS, name, namespace, dry=dry, metadata=metadata, spec=spec)

    async def patch(self, resource: Resource, name, patch, namespace="d", subresource=""):
        key = Key(namespace if resource.namespaced else "", name)
        return await self.core.writer.patch(self.core.kind(resource), key, patch, "merge", Context(), subresource)

    async def quota(self, name, hard, used=None, **spec):
        await self.create(RESOURCE_QUOTAS, name, spec={"hard": hard, **spec})
        status = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
        await self.patch(RESOURCE_QUOTAS, name, {"status": status}, subresource="status")

    def used(self, name="q"):
        return self.core.reader.get(RESOURCE_QUOTAS, Key("d", name)).object["status"]["used"]


async def make(store):
    core = ApiCore(ClusterConfig(), store)
    await core.cache.load()
    return Api(core), asyncio.create_task(core.cache.follow())


@pytest.fixture
async def store(tmp_path):
    store = await MemoryStore.open(tmp_path, {})
    yield store
    await store.close()


@pytest.fixture
async def api(store):
    api, following = await make(store)
    for name in ("d", "e"):
        await api.create(NAMESPACES, name)
        await api.create(SERVICE_ACCOUNTS, "default", name)
    yield api
    await store.close()
    await following
