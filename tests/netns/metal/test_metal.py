"""A Service of type LoadBalancer on bare metal, from the API to a client on the same link."""

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from moorings_cloud.metal.controller import MetalController
from moorings_cloud.metal.pools import parse_pools
from moorings_cloud.metal.speaker import Speaker, lease_name
from moorings_core.client.resources import ENDPOINT_SLICES, EVENTS, LEASES, NODES, SERVICES
from moorings_core.kernel.nftables.netns import call_in
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.node import NodeContext
from moorings_proxy.follow import Follower
from moorings_proxy.nftables import NftablesProxy

pytestmark = pytest.mark.netns
POOLS = parse_pools({"pools": ["172.31.0.200-172.31.0.201"]})
ADDRESS, OTHER = "172.31.0.200", "172.31.0.201"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


class Cut:
    """A client whose link to the API can be cut."""

    def __init__(self, client) -> None:
        self.client, self.down = client, False

    def __getattr__(self, name: str):
        function = getattr(self.client, name)

        async def call(*args, **kwargs):
            if self.down:
                raise OSError("no route to the API")
            return await function(*args, **kwargs)

        return function if name == "watch" else call


class Node:
    """Speaker and proxy of one node, and its plug."""

    def __init__(self, segment, client, name: str, number: int) -> None:
        self.segment, self.name, self.api = segment, name, Cut(client)
        path = segment.path(name)
        context = NodeContext(name, (f"172.31.0.{number}",), self.api, ClusterConfig(), Path("/x"), Path("/x"))
        self.speaker = Speaker(context, open_socket=lambda f, k, p: call_in(path, lambda: socket.socket(f, k, p)))
        self.proxy = Follower(context, lambda settings: NftablesProxy(replace(settings, netns=path)))
        self.tasks = [asyncio.create_task(c.run()) for c in (self.speaker, self.proxy)]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def power_off(self) -> None:
        self.api.down = True
        self.segment.ip("switch", f"link set {self.name} down")
        await self.stop()


@contextlib.asynccontextmanager
async def cluster(segment, client, **spec):
    nodes = {}
    controller = asyncio.create_task(MetalController(client, POOLS).run())
    try:
        endpoints = []
        for name, number in (("n1", 11), ("n2", 12)):
            segment.serve(name)
            await client.create(NODES, {"metadata": {"name": name}, "status": READY})
            endpoints.append({"addresses": [f"172.31.0.{number}"], "nodeName": name})
            nodes[name] = Node(segment, client, name, number)
        metadata = {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
        ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
        await client.create(ENDPOINT_SLICES, {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports})
        await client.create(SERVICES, load_balancer("web", "10.96.0.20", **spec))
        yield nodes
    finally:
        controller.cancel()
        await asyncio.gather(controller, *(n.stop() for n in nodes.values()), return_exceptions=True)


def load_balancer(name: str, ip: str, **spec) -> dict:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "clusterIPs": [ip], "ports": ports, **spec},
    }


async def answer(segment, *, but: str = "") -> str:
    """Connect until one answers (and not `but`), and return its name."""
    while True:
        with contextlib.suppress(OSError):
            name = (await asyncio.to_thread(segment.tcp, "client", ADDRESS, 80, 0.5)).split()[0]
            if name != but:
                return name
        await asyncio.sleep(0.02)


async def test_an_address_is_assigned_answered_for_by_one_node_and_moves_when_that_is_powered_off(segment, client) -> None:
    async with cluster(segment, client, externalTrafficPolicy="Local") as nodes:
        first = await answer(segment)
        second = {"n1": "n2", "n2": "n1"}[first]
        assert segment.neighbour(ADDRESS) == segment.mac(first)
        (lease,) = client.objects["leases"].values()
        assert lease["spec"]["holderIdentity"] == first
        assert lease["metadata"]["name"] == lease_name(await client.get(SERVICES, "web", "default"))
        for _ in range(20):
            assert (await asyncio.to_thread(segment.tcp, "client", ADDRESS, 80)).split()[0] == first
        await nodes[first].power_off()
        assert await answer(segment, but=first) == second
        assert segment.neighbour(ADDRESS) == segment.mac(second)
        (lease,) = client.objects["leases"].values()
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == (second, 1)


async def test_a_node_that_stops_or_is_no_longer_ready_hands_over(segment, client) -> None:
    async with cluster(segment, client, externalTrafficPolicy="Local") as nodes:
        first = await answer(segment)
        await client.patch(NODES, first, "", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, subresource="status")
        second = await answer(segment, but=first)
        await client.patch(NODES, first, "", {"status": READY}, subresource="status")
        await nodes[second].stop()
        assert await answer(segment, but=second) == first


async def test_a_node_cut_off_from_the_api_falls_silent(segment, client) -> None:
    async with cluster(segment, client, externalTrafficPolicy="Local") as nodes:
        first = await answer(segment)
        nodes[first].api.down = True  # its link to clients is fine
        second = await answer(segment, but=first)
        segment.run("client", "ip", "neigh", "flush", "to", ADDRESS)
        for _ in range(5):
            assert await answer(segment) == second
        assert segment.neighbour(ADDRESS) == segment.mac(second)


async def test_without_an_endpoint_a_node_does_not_compete(segment, client) -> None:
    async with cluster(segment, client, externalTrafficPolicy="Local"):
        first = await answer(segment)
        piece = await client.get(ENDPOINT_SLICES, "web-1", "default")
        piece["endpoints"] = [e for e in piece["endpoints"] if e["nodeName"] != first]
        await client.update(ENDPOINT_SLICES, piece)
        second = await answer(segment, but=first)
        (lease,) = client.objects["leases"].values()
        assert lease["spec"]["holderIdentity"] == second


async def test_addresses_are_given_back_and_a_dry_pool_is_told(client) -> None:
    controller = asyncio.create_task(MetalController(client, POOLS).run())

    async def addresses(name: str, *wanted: str) -> None:
        while True:
            status = (await client.get(SERVICES, name, "default")).get("status", {}).get("loadBalancer", {})
            if [i["ip"] for i in status.get("ingress", [])] == list(wanted):
                return
            await asyncio.sleep(0.01)

    try:
        for name in ("a", "b"):
            await client.create(SERVICES, load_balancer(name, "10.96.0.20"))
        await addresses("a", ADDRESS)
        await addresses("b", OTHER)
        await client.create(SERVICES, load_balancer("c", "10.96.0.22"))
        while not any(e["reason"] == "AllocationFailed" for e in client.objects[EVENTS.plural].values()):
            await asyncio.sleep(0.01)
        (event,) = [e for e in client.objects["events"].values() if e["reason"] == "AllocationFailed"]
        assert event["involvedObject"]["name"] == "c" and "no free IPv4 address" in event["message"]
        await addresses("c")
        await client.delete(SERVICES, "a", "default")
        await addresses("c", ADDRESS)
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)
        writes = client.writes
        controller = asyncio.create_task(MetalController(client, POOLS).run())
        await asyncio.sleep(0.3)  # nothing may happen
        assert client.writes == writes
        changed = await client.get(SERVICES, "b", "default")
        changed["spec"]["type"] = "ClusterIP"
        await client.update(SERVICES, changed)
        await addresses("b")
        assert LEASES.plural not in client.objects
    finally:
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)
