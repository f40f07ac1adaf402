"""Quotas: what counts, that nobody takes more than there is, however many come at once, and that a count is never wrong."""

from __future__ import annotations

import asyncio

import pytest

from moorings_core.client.resources import CONFIG_MAPS, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES
from moorings_core.ports.client import Create, Delete
from moorings_core.ports.errors import AlreadyExists, ApiError, Forbidden
from moorings_core.registry import quota
from moorings_core.registry.amounts import written

from .conftest import make

CONTAINER = {"name": "c", "image": "i"}
HIGH = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}


def asking(requests=None, limits=None):
    return [{**CONTAINER, "resources": {"requests": requests or {}, "limits": limits or {}}}]


async def attempt(work):
    try:
        return await work
    except ApiError as error:
        return error


async def test_what_exceeds_a_quota_is_refused_with_upstream_s_words(api):
    await api.quota("q", {"pods": "2", "requests.cpu": "1"})
    await api.pod("a", containers=asking({"cpu": "600m"}))
    with pytest.raises(Forbidden) as refused:
        await api.pod("b", containers=asking({"cpu": "500m"}))
    expected = 'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1'
    assert str(refused.value) == expected
    assert api.used() == {"pods": "1", "requests.cpu": "600m"}


async def test_a_pod_must_ask_for_what_is_counted(api):
    await api.quota("q", {"limits.memory": "1Gi", "cpu": "1"})
    with pytest.raises(Forbidden, match=r"failed quota: q: must specify cpu for: c; limits.memory for: c"):
        await api.pod("a")


async def test_a_quota_that_was_never_counted_lets_nothing_in(api):
    await api.quota("q", {"pods": "2"}, used={})
    with pytest.raises(Forbidden, match="status unknown for quota: q, resources: pods"):
        await api.pod("a")


async def test_a_dry_run_is_refused_but_takes_nothing(api):
    await api.quota("q", {"pods": "1"})
    await api.pod("a", dry=True)
    assert api.used() == {"pods": "0"}
    await api.pod("a")
    with pytest.raises(Forbidden):
        await api.pod("b", dry=True)


async def test_a_write_that_fails_takes_nothing(api):
    await api.quota("q", {"count/configmaps": "5"})
    made = [attempt(api.create(CONFIG_MAPS, "same")) for _ in range(8)]
    answers = await asyncio.gather(*made)
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 7
    assert api.used() == {"count/configmaps": "1"}


async def test_an_update_takes_the_difference(api):
    await api.quota("q", {"services.nodeports": "2", "services.loadbalancers": "0", "services": "1"})
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    await api.create(SERVICES, "s", spec={"ports": ports})
    await api.patch(SERVICES, "s", {"spec": {"type": "NodePort"}})
    assert api.used() == {"services": "1", "services.loadbalancers": "0", "services.nodeports": "2"}
    with pytest.raises(Forbidden, match=r"exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0"):
        await api.patch(SERVICES, "s", {"spec": {"type": "LoadBalancer"}})


@pytest.mark.parametrize("clients", [64])
async def test_many_clients_at_once_never_take_more_than_there_is(api, store, clients):
    await api.quota("q", {"pods": "10", "requests.memory": "1Gi"})
    await api.quota("other", {"count/pods": "100"})
    start = store.revision
    answers = await asyncio.gather(*(attempt(api.pod(f"p{i}", containers=asking({"memory": "64Mi"}))) for i in range(clients)))
    assert sum(isinstance(answer, dict) for answer in answers) == 10
    assert all("exceeded quota: q" in str(answer) for answer in answers if isinstance(answer, ApiError))
    assert api.used() == {"pods": "10", "requests.memory": "640Mi"}
    assert api.used("other") == {"count/pods": "10"}
    await _is_true_at_every_revision(store, start)


async def test_two_servers_on_one_store_never_take_more_than_there_is(api, store):
    await api.quota("q", {"pods": "20"})
    second, following = await make(store)
    answers = await asyncio.gather(*(attempt((api, second)[i % 2].pod(f"p{i}")) for i in range(60)))
    assert sum(isinstance(answer, dict) for answer in answers) == 20
    assert api.used() == {"pods": "20"}
    following.cancel()


async def test_one_batch_takes_no_more_than_there_is(api):
    await api.quota("q", {"pods": "7"})
    pods = [Create(PODS, {"metadata": {"name": f"p{i}", "namespace": "d"}, "spec": {"containers": [CONTAINER]}}) for i in range(30)]
    elsewhere = Create(PODS, {"metadata": {"name": "x", "namespace": "e"}, "spec": {"containers": [CONTAINER]}})
    answers = await api.client.commit([*pods, elsewhere])
    assert [isinstance(answer, dict) for answer in answers].count(True) == 8
    assert isinstance(answers[-1], dict)
    assert api.used() == {"pods": "7"}
    await api.client.commit([Delete(PODS, "e", "x", grace=0)])


async def _is_true_at_every_revision(store, start):
    """Whoever reads a quota sees no more used than there are pods, and after its own put exactly as many."""
    pods, last = 0, store.revision
    async for batch in store.watch("", start):
        for event in batch:
            pods += event.key.startswith("core/pods/d/")
            if event.key == "core/resourcequotas/d/q":
                assert f'"pods":"{pods}"'.encode() in event.value, "the quota and what it counts are one commit"
            if event.revision == last:
                return


def pod(phase="Running", **spec):
    return {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], **spec}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("kind", "obj", "used"),
    [
        (("", "pods"), pod(), {"count/pods": "1", "pods": "1"}),
        (("", "pods"), pod("Failed"), {"count/pods": "1"}),
        (
            ("", "pods"),
            pod(containers=asking({"cpu": "1", "example.com/gpu": "2"}, {"memory": "1Gi", "cpu": "2"}), overhead={"cpu": "100m"}),
            {"count/pods": "1", "pods": "1", "cpu": "1100m", "requests.cpu": "1100m", "requests.example.com/gpu": "2"}
            | {"limits.cpu": "2100m", "limits.memory": "1Gi"},
        ),
        (
            ("", "pods"),
            pod(containers=asking({"cpu": "1"}), initContainers=[{**CONTAINER, "resources": {"requests": {"cpu": "3"}}}]),
            {"count/pods": "1", "pods": "1", "cpu": "3", "requests.cpu": "3"},
        ),
        (
            ("", "persistentvolumeclaims"),
            {
                "metadata": {"name": "c"},
                "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}},
                "status": {"allocatedResources": {"storage": "2Gi"}},
            },
            {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "2Gi"}
            | {"gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/requests.storage": "2Gi"},
        ),
        (("", "secrets"), {"metadata": {}}, {"count/secrets": "1", "secrets": "1"}),
        (("apps", "deployments"), {"metadata": {}}, {"count/deployments.apps": "1"}),
    ],
    ids=str,
)
def test_what_an_object_takes(kind, obj, used):
    assert written(quota.measure(kind).usage(obj)) == dict(sorted(used.items()))
    assert set(quota.matching(kind, [*used, "other"])) == set(used)


@pytest.mark.parametrize(
    ("spec", "obj", "counts"),
    [
        ({"scopes": ["Terminating"]}, pod(activeDeadlineSeconds=0), True),
        ({"scopes": ["NotTerminating"]}, pod(), True),
        ({"scopes": ["BestEffort"]}, pod(), True),
        ({"scopes": ["BestEffort", "Terminating"]}, pod(), False),
        ({"scopes": ["NotBestEffort"]}, pod(containers=asking({"cpu": "1"})), True),
        ({"scopes": ["PriorityClass"]}, pod(), False),
        ({"scopes": ["CrossNamespacePodAffinity"]}, pod(), False),
        (
            {"scopes": ["CrossNamespacePodAffinity"]},
            pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}),
            True,
        ),
        (
            {"scopeSelector": {"matchExpressions": [_ := {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}},
            pod(),
            False,
        ),
        ({"scopeSelector": {"matchExpressions": [HIGH]}}, pod(priorityClassName="high"), True),
        ({"scopeSelector": {"matchExpressions": [{**HIGH, "operator": "NotIn"}]}}, pod(), True),
    ],
    ids=str,
)
def test_scopes(spec, obj, counts):
    assert quota.in_scopes(("", "pods"), spec, obj) is counts


async def test_a_claim_of_a_class_counts_for_the_class_alone(api):
    gold = "gold.storageclass.storage.k8s.io/requests.storage"
    await api.quota("q", {gold: "2Gi"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}, "storageClassName": "gold"}
    with pytest.raises(Forbidden, match=f"exceeded quota: q, requested: {gold}=3Gi, used: {gold}=0, limited: {gold}=2Gi"):
        await api.create(PERSISTENT_VOLUME_CLAIMS, "c", spec=spec)
    await api.create(PERSISTENT_VOLUME_CLAIMS, "c", spec={**spec, "storageClassName": "lead"})
    assert api.used() == {gold: "0"}


async def test_what_has_no_quota_costs_no_wait(api):
    assert not api.core.admission.concerns("CREATE", PODS, "", "d")
    await api.quota("q", {"count/configmaps": "1"})
    assert api.core.admission.concerns("CREATE", CONFIG_MAPS, "", "d")
    assert not any(
        api.core.admission.concerns(operation, resource, "", namespace)
        for operation, resource, namespace in [("CREATE", PODS, "d"), ("CREATE", CONFIG_MAPS, "e"), ("DELETE", CONFIG_MAPS, "d")]
    )
    assert not api.core.admission.concerns("CREATE", NAMESPACES, "", "")
    assert RESOURCE_QUOTAS.namespaced
