"""EndpointSlices and Endpoints: who is in them, in which condition, and how few slices a change writes."""

from __future__ import annotations

import random

import pytest

from moorings_core.client.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from moorings_core.controllers.endpoints import EndpointsController
from moorings_core.controllers.endpointslice import TRIGGERED, EndpointSliceController

from .simulator import Api, World


def service(**spec):
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    base = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"]}
    return {"metadata": {"name": "web", "namespace": "d", "labels": {"team": "x"}}, "spec": base | spec}


def pod(name, ip="10.0.0.1", ready=True, node="n1", labels=None, ports=(), **spec):
    container = {"name": "c", "image": "i", "ports": list(ports)}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    metadata = {"name": name, "namespace": "d", "labels": labels or {"app": "web"}}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [container]} | spec, "status": status}


def world(seed=0):
    api = Api(seed)
    api.create(NODES, {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    return api, World(api, [EndpointSliceController(), EndpointsController()])


def address(number):
    return f"10.1.{number // 250}.{number % 250 + 1}"


async def test_an_endpoint_carries_what_proxies_and_dns_need():
    api, sim = world()
    api.create(SERVICES, service())
    made = api.create(PODS, pod("p", hostname="h", subdomain="web"))
    await sim.settle()
    (found,) = api.all(ENDPOINT_SLICES)
    assert found["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "d", "name": "p", "uid": made["metadata"]["uid"]},
            "nodeName": "n1",
            "zone": "z1",
            "hostname": "h",
        }
    ]
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert found["addressType"] == "IPv4" and TRIGGERED in found["metadata"]["annotations"]
    assert found["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert found["metadata"]["ownerReferences"][0]["name"] == "web"
    (older,) = api.all(ENDPOINTS)
    assert [a["ip"] for a in older["subsets"][0]["addresses"]] == ["10.0.0.1"]
    assert older["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


@pytest.mark.parametrize("publish", [False, True])
async def test_conditions_follow_the_pod(publish):
    api, sim = world()
    api.create(SERVICES, service(publishNotReadyAddresses=publish))
    api.create(PODS, pod("p", ready=False))
    await sim.settle()

    def conditions():
        return api.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"]

    assert conditions() == {"ready": publish, "serving": False, "terminating": False}
    current = api.read(PODS, "p", "d")
    api.update(PODS, {**current, "status": pod("p")["status"]}, "status")
    await sim.settle()
    assert conditions() == {"ready": True, "serving": True, "terminating": False}
    api.delete(PODS, "p", "d")
    await sim.settle()
    assert conditions() == {"ready": publish, "serving": True, "terminating": True}
    api.delete(PODS, "p", "d", grace=0)
    await sim.settle()
    assert [s["endpoints"] for s in api.all(ENDPOINT_SLICES)] == [[]], "an empty slice says that there is nobody"


async def test_named_ports_that_differ_between_pods_make_two_groups():
    api, sim = world()
    api.create(SERVICES, service(ports=[{"name": "http", "port": 80, "targetPort": "web"}]))
    api.create(PODS, pod("a", "10.0.0.1", ports=[{"name": "web", "containerPort": 8080}]))
    api.create(PODS, pod("b", "10.0.0.2", ports=[{"name": "web", "containerPort": 9090}]))
    api.create(PODS, pod("c", "10.0.0.3", ports=[{"name": "other", "containerPort": 1}]))
    await sim.settle()
    got = {s["ports"][0]["port"]: [e["addresses"][0] for e in s["endpoints"]] for s in api.all(ENDPOINT_SLICES)}
    assert got == {8080: ["10.0.0.1"], 9090: ["10.0.0.2"]}
    assert len(api.all(ENDPOINTS)[0]["subsets"]) == 2


async def test_headless_without_ports_and_both_families():
    api, sim = world()
    api.create(SERVICES, service(clusterIP="None", ports=[], ipFamilies=["IPv4", "IPv6"]))
    both = pod("p")
    both["status"]["podIPs"] = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    api.create(PODS, both)
    await sim.settle()
    got = {s["addressType"]: (s["endpoints"][0]["addresses"], s["ports"]) for s in api.all(ENDPOINT_SLICES)}
    assert got == {"IPv4": (["10.0.0.1"], []), "IPv6": (["fd00::1"], [])}
    assert all("service.kubernetes.io/headless" in s["metadata"]["labels"] for s in api.all(ENDPOINT_SLICES))


async def test_a_service_without_selector_is_left_alone():
    api, sim = world()
    api.create(SERVICES, service(selector=None))
    api.create(PODS, pod("p"))
    await sim.settle()
    assert not api.all(ENDPOINT_SLICES) and not api.all(ENDPOINTS)


@pytest.mark.parametrize("seed", range(4))
async def test_one_pod_of_many_writes_one_slice(seed):
    api, sim = world(seed)
    api.create(SERVICES, service())
    for number in range(250):
        api.create(PODS, pod(f"p{number:03}", address(number)))
    await sim.settle()
    assert sorted(len(s["endpoints"]) for s in api.all(ENDPOINT_SLICES)) == [50, 100, 100]

    def writes():
        return sum(1 for resource, _, _ in api.log if resource == ENDPOINT_SLICES)

    before = writes()
    current = api.read(PODS, "p007", "d")
    api.update(PODS, {**current, "status": pod("x", address(7), ready=False)["status"]}, "status")
    await sim.settle()
    assert writes() - before == 1
    for victim in ("p008", "p108", "p208"):
        before = writes()
        api.delete(PODS, victim, "d", grace=0)
        api.create(PODS, pod(f"for-{victim}", "10.9.9.9"))
        await sim.settle()
        assert writes() - before == 1, "the new endpoint takes the place in the slice that changes anyway"


@pytest.mark.parametrize("seed", range(10))
async def test_no_endpoint_is_missing_or_doubled_after_random_changes(seed):
    rng = random.Random(seed)
    api, sim = world(seed)
    api.create(SERVICES, service())
    names = [f"p{n}" for n in range(230)]
    alive = set()

    def chance():
        for _ in range(rng.randint(1, 40)):
            name = rng.choice(names)
            if name in alive:
                api.delete(PODS, name, "d", grace=0)
                alive.discard(name)
            else:
                api.create(PODS, pod(name, address(names.index(name)), ready=rng.random() < 0.8))
                alive.add(name)

    def watch():
        for found in api.all(ENDPOINT_SLICES):
            assert len(found["endpoints"]) <= 100

    api.observer = watch
    await sim.storm(rng, 60, chance)
    await sim.settle()
    listed = [e["targetRef"]["name"] for s in api.all(ENDPOINT_SLICES) for e in s["endpoints"]]
    assert sorted(listed) == sorted(alive)
    subsets = api.all(ENDPOINTS)[0].get("subsets", [])
    older = [a["targetRef"]["name"] for s in subsets for k in ("addresses", "notReadyAddresses") for a in s.get(k, ())]
    assert sorted(older) == sorted(alive)
    written = api.version
    sim.restart()
    await sim.settle()
    assert api.version == written


@pytest.mark.parametrize(
    ("distribution", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameZone", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
    ],
)
async def test_ready_endpoints_are_meant_for_their_place_when_the_service_says_so(distribution, hints):
    api, sim = world()
    api.create(SERVICES, service(trafficDistribution=distribution))
    api.create(PODS, pod("a"))
    api.create(PODS, pod("b", ip="10.0.0.2", ready=False))
    await sim.settle()
    (found,) = api.all(ENDPOINT_SLICES)
    assert [e.get("hints") for e in found["endpoints"]] == [hints, None]
    changed = service(trafficDistribution="PreferSameZone")
    changed["metadata"]["resourceVersion"] = ""
    api.update(SERVICES, changed)
    await sim.settle()
    (found,) = api.all(ENDPOINT_SLICES)
    assert [e.get("hints") for e in found["endpoints"]] == [{"forZones": [{"name": "z1"}]}, None]


async def test_a_service_of_two_families_has_a_slice_for_each():
    api, sim = world()
    api.create(SERVICES, service(ipFamilies=["IPv6", "IPv4"]))
    both = pod("a")
    both["status"]["podIPs"].append({"ip": "fd64::1"})
    api.create(PODS, both)
    api.create(PODS, pod("b", ip="10.0.0.2"))
    await sim.settle()
    found = {s["addressType"]: sorted(e["addresses"][0] for e in s["endpoints"]) for s in api.all(ENDPOINT_SLICES)}
    assert found == {"IPv4": ["10.0.0.1", "10.0.0.2"], "IPv6": ["fd64::1"]}
    api.update(SERVICES, service(ipFamilies=["IPv6"]))
    await sim.settle()
    assert {s["addressType"] for s in api.all(ENDPOINT_SLICES)} == {"IPv6"}
