"""Budgets and evictions on a real API in memory: how many may go is known, and no more go than that, however many ask."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from moorings_core.client.resources import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS
from moorings_core.controllers.disruption import DisruptionController
from moorings_core.ports.client import Create
from moorings_core.ports.errors import ApiError, TooManyRequests
from moorings_core.ports.objects import Key
from moorings_core.registry.kinds import built_in

from .api import running, until

CONTAINER = {"name": "c", "image": "i"}
LABELS = {"app": "web"}
NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]}


def counting(tmp_path):
    return running(tmp_path, DisruptionController(built_in()))


async def pods(client, count, owner=None):
    for i in range(count):
        metadata = {"name": f"p{i}", "namespace": "d", "labels": LABELS}
        if owner is not None:
            reference = {"apiVersion": "apps/v1", "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
            metadata["ownerReferences"] = [{**reference, "controller": True}]
        await client.create(PODS, {"metadata": metadata, "spec": {"containers": [CONTAINER]}})
        await client.patch(PODS, f"p{i}", "d", {"status": READY}, subresource="status")


async def budget(client, **spec):
    body = {"metadata": {"name": "b", "namespace": "d"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}
    await client.create(POD_DISRUPTION_BUDGETS, body)


def counts(core):
    status = core.cache.collection("policy", "poddisruptionbudgets").get(Key("d", "b")).object.get("status") or {}
    fields = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    return tuple(status.get(f) for f in fields) if status.get("observedGeneration") else None


def evict(client, name):
    return client.create(PODS, {"metadata": {"name": name, "namespace": "d"}}, subresource="eviction", name=name)


def workload(kind, replicas, owners=None):
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}
    metadata = {"name": "web", "namespace": "d", **({"ownerReferences": owners} if owners else {})}
    return {"metadata": metadata, "spec": {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 3, 2, 1)),
        ({"minAvailable": 5}, (3, 3, 5, 0)),
        ({"minAvailable": "50%"}, (4, 3, 2, 1)),
        ({"maxUnavailable": 1}, (4, 3, 3, 0)),
        ({"maxUnavailable": "50%"}, (4, 3, 2, 1)),
        ({"maxUnavailable": "100%"}, (4, 3, 0, 3)),
    ],
    ids=str,
)
async def test_numbers_are_of_the_pods_and_shares_of_what_their_owner_wants(tmp_path, spec, expected):
    async with counting(tmp_path) as (core, client):
        above = await client.create(DEPLOYMENTS, workload("Deployment", 4))
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": above["metadata"]["uid"], "controller": True}
        owner = await client.create(REPLICA_SETS, workload("ReplicaSet", 9, [reference]))
        await pods(client, 3, owner)
        await budget(client, **spec)
        await until(lambda: counts(core) == expected)


async def test_a_share_of_pods_that_nobody_owns_is_nothing(tmp_path):
    async with counting(tmp_path) as (core, client):
        await pods(client, 2)
        await budget(client, maxUnavailable=1)
        await until(lambda: counts(core) == (0, 2, 0, 0))


async def test_an_owner_that_is_gone_allows_nothing(tmp_path):
    async with counting(tmp_path) as (core, client):
        await pods(client, 2, {"kind": "ReplicaSet", "metadata": {"name": "gone", "uid": "1-2-3"}})
        await budget(client, maxUnavailable=1)

        def failed():
            stored = core.cache.collection("policy", "poddisruptionbudgets").get(Key("d", "b")).object
            told = (stored.get("status") or {}).get("conditions") or [{}]
            return told[0].get("reason") == "SyncFailed" and 'found no controllers for pod "p' in told[0]["message"]

        await until(failed)
        with pytest.raises(TooManyRequests):
            await evict(client, "p0")


async def test_no_more_pods_go_than_the_budget_lets_however_many_ask(tmp_path):
    async with counting(tmp_path) as (core, client):
        await pods(client, 10)
        await budget(client, minAvailable=7)
        await until(lambda: counts(core) == (10, 10, 7, 3))

        async def attempt(name):
            try:
                return await evict(client, name)
            except ApiError as error:
                return error

        answers = await asyncio.gather(*(attempt(f"p{i}") for i in range(10)))
        assert sum(isinstance(answer, dict) for answer in answers) == 3
        assert all(isinstance(answer, dict | TooManyRequests) for answer in answers)
        await until(lambda: counts(core) == (7, 7, 7, 0))
        with pytest.raises(TooManyRequests) as refused:
            await evict(client, next(iter(core.cache.collection("", "pods").items)).name)
        assert refused.value.details["causes"][0]["message"] == "The disruption budget b needs 7 healthy pods and has 7 currently"


async def test_a_batch_evicts_as_one_request_does(tmp_path):
    async with counting(tmp_path) as (core, client):
        await pods(client, 2)
        await budget(client, minAvailable=1)
        await until(lambda: counts(core) == (2, 2, 1, 1))
        bodies = [{"metadata": {"name": f"p{i}", "namespace": "d"}} for i in range(2)]
        answers = await client.commit([Create(PODS, body, subresource="eviction", name=body["metadata"]["name"]) for body in bodies])
        assert sorted(type(answer).__name__ for answer in answers) == ["TooManyRequests", "dict"]
