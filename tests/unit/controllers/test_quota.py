"""The quota controller on a real API in memory: what is given back is counted, and never while somebody takes."""

from __future__ import annotations

import asyncio

import pytest

from moorings_core.client.resources import CONFIG_MAPS, PODS, RESOURCE_QUOTAS
from moorings_core.controllers.quota import QuotaController
from moorings_core.ports.client import Create, Delete
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Key

from .api import running, until


def counting(tmp_path):
    """An API whose only controller counts quotas."""
    return running(tmp_path, QuotaController([PODS, CONFIG_MAPS, RESOURCE_QUOTAS]))


async def used(core, expected):
    """Wait until the quota says so."""

    def holds():
        stored = core.cache.collection("", "resourcequotas").get(Key("d", "q"))
        return stored is not None and (stored.object.get("status") or {}).get("used") == expected

    await until(holds)


def pod(name):
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def quota(**hard):
    return {"metadata": {"name": "q", "namespace": "d"}, "spec": {"hard": hard}}


async def test_a_quota_follows_what_is_there(tmp_path):
    async with counting(tmp_path) as (core, client):
        await client.commit([Create(PODS, pod(f"p{i}")) for i in range(3)])
        await client.create(RESOURCE_QUOTAS, quota(pods="5", **{"count/pods": "9"}))
        await used(core, {"pods": "3", "count/pods": "3"})
        await client.patch(PODS, "p0", "d", {"status": {"phase": "Succeeded"}}, subresource="status")
        await used(core, {"pods": "2", "count/pods": "3"})
        await client.delete(PODS, "p1", "d", grace=0)
        await used(core, {"pods": "1", "count/pods": "2"})
        await client.patch(RESOURCE_QUOTAS, "q", "d", {"spec": {"hard": {"pods": None, "configmaps": "1", "count/pods": "1"}}})
        await used(core, {"configmaps": "0", "count/pods": "2"})
        await client.create(CONFIG_MAPS, {"metadata": {"name": "m", "namespace": "d"}})
        with pytest.raises(ApiError, match="exceeded quota"):
            await client.create(PODS, pod("p9"))


async def test_counting_while_others_take_and_give_back_never_lets_too_many_in(tmp_path):
    async with counting(tmp_path) as (core, client):
        await client.create(RESOURCE_QUOTAS, quota(pods="5"))
        await used(core, {"pods": "0"})
        most = 0

        def look(change):
            nonlocal most
            most = max(most, len(core.cache.collection("", "pods").items))

        core.cache.collection("", "pods").listeners[look] = None

        async def come_and_go(who):
            for i in range(10):
                created = await client.commit([Create(PODS, pod(f"p{who}-{i}"))])
                if not isinstance(created[0], ApiError):
                    await client.commit([Delete(PODS, "d", f"p{who}-{i}", grace=0)])

        await asyncio.gather(*(come_and_go(who) for who in range(16)))
        assert 1 <= most <= 5
        await used(core, {"pods": "0"})


async def test_a_kind_that_comes_later_is_counted(tmp_path):
    controller = QuotaController([PODS, RESOURCE_QUOTAS])
    async with running(tmp_path, controller) as (core, client):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "m", "namespace": "d"}})
        await client.create(RESOURCE_QUOTAS, quota(**{"count/configmaps": "5", "pods": "1"}))
        await used(core, {"pods": "0"})
        watch = controller.adopt(CONFIG_MAPS)
        assert watch is not None
        await client.patch(RESOURCE_QUOTAS, "q", "d", {"spec": {"hard": {"pods": "2"}}})
        await used(core, {"pods": "0", "count/configmaps": "1"})
