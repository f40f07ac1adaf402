"""Quotas on a real server with SQLite under it: 64 clients at once, and a crash in between, never take more than there is."""

from __future__ import annotations

import asyncio

import aiohttp

from .raw_client import Client

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
CLIENTS = 64


async def quota(ask, hard):
    spec = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    assert (await ask("POST", QUOTAS, spec))[0] == 201
    status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    assert (await ask("PATCH", f"{QUOTAS}/q/status", status, MERGE))[0] == 200


async def used(ask):
    return (await ask("GET", f"{QUOTAS}/q"))[1]["status"]["used"]


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def test_sixty_four_clients_get_what_there_is_and_no_more(api):
    async with Client(api) as ask:
        await quota(ask, {"count/configmaps": "20", "configmaps": "30"})
        answers = await asyncio.gather(*(ask("POST", MAPS, config_map(f"m{i}")) for i in range(CLIENTS)))
        codes = [code for code, _ in answers]
        assert (codes.count(201), codes.count(403)) == (20, CLIENTS - 20)
        told = next(answer["message"] for code, answer in answers if code == 403)
        assert "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=20, limited: count/configmaps=20" in told
        assert await used(ask) == {"count/configmaps": "20", "configmaps": "20"}
        assert len((await ask("GET", MAPS))[1]["items"]) == 20


async def test_a_crash_leaves_the_quota_and_what_it_counts_alike(api):
    async with Client(api) as ask:
        await quota(ask, {"count/configmaps": "1000"})
        made = asyncio.Event()

        async def write(who):
            for i in range(20):
                try:
                    code, _ = await ask("POST", MAPS, config_map(f"m{who}-{i}"))
                except aiohttp.ClientError:
                    return
                assert code == 201
                made.set()

        writing = [asyncio.create_task(write(who)) for who in range(CLIENTS)]
        await asyncio.wait_for(made.wait(), 30)
        await api.kill()
        await asyncio.gather(*writing)
    await api.start()
    async with Client(api) as ask:
        items = (await ask("GET", MAPS))[1]["items"]
        assert items
        assert await used(ask) == {"count/configmaps": str(len(items))}
