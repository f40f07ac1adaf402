"""Nodes: ranges, silence, taints, eviction, pods of nodes that are gone; and what every namespace has."""

from __future__ import annotations

import ipaddress

import pytest

from moorings_core.client.resources import (
    CONFIG_MAPS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICE_ACCOUNTS,
)
from moorings_core.controllers.accounts import RootCaPublisher, ServiceAccountController
from moorings_core.controllers.nodeipam import NodeIpamController
from moorings_core.controllers.nodelifecycle import NodeLifecycleController
from moorings_core.controllers.podgc import PodGarbageCollector
from moorings_core.controllers.protection import ClaimProtection, VolumeProtection
from moorings_core.controllers.tainteviction import TaintEvictionController, tolerates
from moorings_core.ports.cluster import NetworkConfig, Timing

from .simulator import Api, World, stamp

EVERY = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]


class Cluster:
    """Nodes that beat their hearts until told to stop."""

    def __init__(self, count=3):
        self.api = Api()
        self.silent = set()
        timing = Timing()
        controllers = [NodeLifecycleController(timing), TaintEvictionController(), PodGarbageCollector(timing)]
        self.sim = World(self.api, controllers)
        self.nodes = [f"n{i}" for i in range(count)]
        for name in self.nodes:
            self.join(name)

    def join(self, name):
        status = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "x"}]}
        self.api.create(NODES, {"metadata": {"name": name}, "spec": {}, "status": status})
        self.api.create(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": "0"}})

    async def run(self, seconds, step=10):
        """Let time pass; the nodes that are not silent renew, and report that they are ready."""
        for _ in range(int(seconds / step)):
            await self.sim.pass_time(step)
            for name in set(self.nodes) - self.silent:
                lease = self.api.read(LEASES, name, "kube-node-lease")
                self.api.update(LEASES, {**lease, "spec": {"renewTime": stamp(self.api.now)}})
                node = self.api.read(NODES, name)
                status = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": stamp(self.api.now)}]}
                self.api.update(NODES, {**node, "status": status}, "status")
            await self.sim.settle()

    def pod(self, name, node, tolerations=EVERY):
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        spec = {"nodeName": node, "tolerations": tolerations, "containers": []}
        return self.api.create(PODS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": status})

    def taints(self, node):
        found = self.api.read(NODES, node)["spec"].get("taints") or []
        return sorted((t["key"].split("/")[1], t["effect"]) for t in found)

    def ready(self, node):
        return next(c["status"] for c in self.api.read(NODES, node)["status"]["conditions"] if c["type"] == "Ready")

    def deleting(self, pod):
        return bool(self.api.read(PODS, pod, "d")["metadata"].get("deletionTimestamp"))


async def test_a_silent_node_loses_readiness_then_its_pods():
    cluster = Cluster()
    cluster.pod("a", "n0")
    cluster.pod("b", "n1")
    cluster.pod("short", "n0", [EVERY[0] | {"tolerationSeconds": 30}])
    cluster.pod("daemon", "n0", [{"operator": "Exists"}])
    await cluster.run(60)
    assert cluster.ready("n0") == "True" and cluster.taints("n0") == []
    cluster.silent.add("n0")
    await cluster.run(40)
    assert cluster.ready("n0") == "True", "still within the grace of 50 s"
    await cluster.run(20)
    assert cluster.ready("n0") == "Unknown" and cluster.ready("n1") == "True"
    assert cluster.taints("n0") == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]
    assert cluster.api.read(PODS, "a", "d")["status"]["conditions"][0]["status"] == "False", "no endpoint any more"
    assert not cluster.deleting("short")
    await cluster.run(40)
    assert cluster.deleting("short") and not cluster.deleting("a")
    await cluster.run(270)
    assert cluster.deleting("a") and not cluster.deleting("b") and not cluster.deleting("daemon")
    told = {c["type"]: c.get("reason") for c in cluster.api.read(PODS, "a", "d")["status"]["conditions"]}
    assert told["DisruptionTarget"] == "DeletionByTaintManager"
    assert cluster.api.read(PODS, "a", "d"), "while the node exists its pods are not removed by force"


async def test_a_node_that_comes_back_in_time_keeps_its_pods():
    cluster = Cluster()
    cluster.pod("a", "n0")
    cluster.silent.add("n0")
    await cluster.run(200)
    assert cluster.ready("n0") == "Unknown"
    cluster.silent.clear()
    await cluster.run(400)
    assert cluster.ready("n0") == "True" and cluster.taints("n0") == [] and not cluster.deleting("a")


async def test_when_all_nodes_are_silent_nothing_is_evicted():
    """More likely we are the one that is cut off."""
    cluster = Cluster()
    cluster.pod("a", "n0")
    cluster.silent.update(cluster.nodes)
    await cluster.run(1000)
    assert cluster.ready("n0") == "Unknown" and not cluster.deleting("a")
    assert cluster.taints("n0") == [("unreachable", "NoSchedule")]
    cluster.silent.remove("n1")
    await cluster.run(30)
    assert ("unreachable", "NoExecute") in cluster.taints("n0"), "one that lives shows that the others do not"


async def test_a_small_zone_mostly_down_is_not_evicted():
    cluster = Cluster(5)
    cluster.pod("a", "n0")
    cluster.silent.update(["n0", "n1", "n2"])
    await cluster.run(600)
    evicting = [n for n in cluster.nodes if ("unreachable", "NoExecute") in cluster.taints(n)]
    assert evicting == [], "three of five at once: rather the zone is cut off"
    cluster.api.update(NODES, {**cluster.api.read(NODES, "n4"), "spec": {"unschedulable": True}})
    await cluster.sim.settle()
    assert cluster.taints("n4") == [("unschedulable", "NoSchedule")]


async def test_pods_of_a_deleted_node_are_removed_after_a_while():
    cluster = Cluster()
    cluster.pod("a", "n0")
    cluster.pod("b", "n1")
    await cluster.run(30)
    cluster.nodes.remove("n0")
    cluster.api.delete(NODES, "n0")
    await cluster.run(20)
    assert len(cluster.api.all(PODS)) == 2
    await cluster.run(60)
    assert [p["metadata"]["name"] for p in cluster.api.all(PODS)] == ["b"]


async def test_out_of_service_removes_terminating_pods_by_force():
    cluster = Cluster()
    cluster.pod("a", "n0")
    cluster.silent.add("n0")
    await cluster.run(60)
    cluster.api.delete(PODS, "a", "d")
    await cluster.run(60)
    assert cluster.api.all(PODS)
    node = cluster.api.read(NODES, "n0")
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "x", "effect": "NoExecute", "timeAdded": stamp(cluster.api.now)}
    cluster.api.update(NODES, {**node, "spec": {"taints": [*node["spec"]["taints"], taint]}})
    await cluster.run(30)
    assert not cluster.api.all(PODS)


async def test_finished_pods_beyond_the_threshold_go_oldest_first():
    api = Api()
    sim = World(api, [PodGarbageCollector(Timing(), threshold=2)])
    for name in ("a", "b", "c", "d"):
        api.create(PODS, {"metadata": {"name": name, "namespace": "d"}, "spec": {}, "status": {"phase": "Succeeded"}})
    await sim.settle()
    assert sorted(p["metadata"]["name"] for p in api.all(PODS)) == ["c", "d"]


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "w"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"value": "v"}, False),
    ],
)
def test_tolerations(toleration, expected):
    assert tolerates(toleration, {"key": "k", "value": "v", "effect": "NoExecute"}) is expected


async def test_ranges_are_given_once_and_reused_after_deletion():
    api = Api()
    network = NetworkConfig(pod_cidrs=("10.64.0.0/22", "fd00::/56"), node_prefix=24)
    sim = World(api, [NodeIpamController(network)])
    for number in range(5):
        api.create(NODES, {"metadata": {"name": f"n{number}"}, "spec": {}})
    await sim.settle()
    given = {n["metadata"]["name"]: n["spec"].get("podCIDRs") for n in api.all(NODES)}
    ranges = [cidrs for cidrs in given.values() if cidrs]
    assert len(ranges) == 4 and len({cidrs[0] for cidrs in ranges}) == 4
    assert all(ipaddress.ip_network(c[0]).prefixlen == 24 and ipaddress.ip_network(c[1]).prefixlen == 64 for c in ranges)
    assert all(n["spec"]["podCIDR"] == n["spec"]["podCIDRs"][0] for n in api.all(NODES) if n["spec"].get("podCIDRs"))
    (without,) = [name for name, cidrs in given.items() if not cidrs]
    assert ("Warning", "CIDRNotAvailable") in {note[:2] for note in sim.recorder.told}
    freed = given["n0"][0]
    api.delete(NODES, "n0")
    await sim.settle()
    assert api.read(NODES, without)["spec"]["podCIDR"] == freed


async def test_every_namespace_has_its_account_and_the_ca():
    api = Api()
    sim = World(api, [ServiceAccountController(), RootCaPublisher("PEM")])
    api.create(NAMESPACES, {"metadata": {"name": "a"}})
    await sim.settle()
    assert api.read(SERVICE_ACCOUNTS, "default", "a")
    assert api.read(CONFIG_MAPS, "kube-root-ca.crt", "a")["data"] == {"ca.crt": "PEM"}
    api.update(CONFIG_MAPS, {**api.read(CONFIG_MAPS, "kube-root-ca.crt", "a"), "data": {"ca.crt": "evil"}})
    api.delete(SERVICE_ACCOUNTS, "default", "a")
    await sim.settle()
    assert api.read(SERVICE_ACCOUNTS, "default", "a")
    assert api.read(CONFIG_MAPS, "kube-root-ca.crt", "a")["data"] == {"ca.crt": "PEM"}
    api.delete(NAMESPACES, "a")
    await sim.settle()
    api.delete(SERVICE_ACCOUNTS, "default", "a")
    await sim.settle()
    assert not api.all(SERVICE_ACCOUNTS), "nothing is made in a namespace that goes"


async def test_claims_and_volumes_in_use_are_kept():
    api = Api()
    sim = World(api, [ClaimProtection(), VolumeProtection()])
    api.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "d"}, "spec": {}})
    api.create(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": {}, "status": {"phase": "Bound"}})
    volumes = [{"name": "x", "persistentVolumeClaim": {"claimName": "c"}}]
    api.create(PODS, {"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n", "volumes": volumes}})
    await sim.settle()
    api.delete(PERSISTENT_VOLUME_CLAIMS, "c", "d")
    api.delete(PERSISTENT_VOLUMES, "v")
    await sim.settle()
    assert api.all(PERSISTENT_VOLUME_CLAIMS) and api.all(PERSISTENT_VOLUMES)
    api.delete(PODS, "p", "d", grace=0)
    await sim.settle()
    assert not api.all(PERSISTENT_VOLUME_CLAIMS) and api.all(PERSISTENT_VOLUMES)
    api.update(PERSISTENT_VOLUMES, {**api.read(PERSISTENT_VOLUMES, "v"), "status": {"phase": "Released"}}, "status")
    await sim.settle()
    assert not api.all(PERSISTENT_VOLUMES)
