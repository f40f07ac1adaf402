"""DNS as a pod sees it: dig in a pod's namespace, through the virtual address, to the server of the node."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from moorings_core.kernel.nftables.netns import call_in
from moorings_core.ports.cluster import ClusterConfig, DnsConfig, NetworkConfig, ServicesConfig
from moorings_core.ports.node import NodeContext
from moorings_proxy.dns.component import DnsComponent, cluster_dns_address
from moorings_proxy.dns.forward import Forwarder
from moorings_proxy.dns.server import Resolver, Server
from moorings_proxy.follow import Follower
from moorings_proxy.nftables import NftablesProxy

pytestmark = pytest.mark.netns
CONFIG = ClusterConfig(
    network=NetworkConfig(pod_cidrs=("10.64.0.0/16",)), services=ServicesConfig(cidrs=("10.96.0.0/16",), dns=DnsConfig())
)
DNS_IP, NODE = "10.96.0.10", "172.30.0.2"


@contextlib.asynccontextmanager
async def running(*components) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(c.run()) for c in components]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def parts(client, lab, upstreams=()) -> tuple[DnsComponent, Follower]:
    context = NodeContext("n1", (NODE,), client, CONFIG, Path("/nowhere"), Path("/nowhere"))
    dns_part = DnsComponent(context, lambda: upstreams, open_socket=lambda f, k: call_in(lab.node, lambda: socket.socket(f, k)))
    # The health ports of the proxy would be opened in the test's own namespace: there are none here.
    return dns_part, Follower(context, lambda settings: NftablesProxy(replace(settings, netns=lab.node)))


async def dig(lab, *arguments: str, server: str = DNS_IP, where: str = "p1") -> str:
    return (await asyncio.to_thread(lab.run, where, "dig", f"@{server}", "+tries=1", "+time=2", *arguments, check=False)).strip()


async def eventually_dig(lab, wanted: str, *arguments: str, **more) -> None:
    while await dig(lab, "+short", *arguments, **more) != wanted:
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[tuple[tuple[str, int], list[str]]]:
    """A DNS server of dnspython's making on loopback: example.org has an address, the rest does not exist."""
    asked: list[str] = []

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            query = dns.message.from_wire(data)
            name = query.question[0].name.to_text()
            asked.append(name.lower())
            answer = dns.message.make_response(query)
            if name.lower() == "example.org.":
                answer.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.7"))
            else:
                answer.set_rcode(3)
            self.transport.sendto(answer.to_wire(), address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname"), asked
    finally:
        transport.close()


async def test_a_pod_asks_the_virtual_address(lab, client) -> None:
    lab.pod()
    await client.create(NODES, {"metadata": {"name": "n1"}})
    spec = {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    await client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    async with upstream() as (server, asked), running(*parts(client, lab, [server])):
        await eventually_dig(lab, "10.96.0.20", "web.default.svc.cluster.local")
        assert await dig(lab, "+short", "+tcp", "WEB.default.svc.Cluster.local") == "10.96.0.20"
        assert "status: NXDOMAIN" in await dig(lab, "nosuch.default.svc.cluster.local")
        assert await dig(lab, "+short", "-x", "10.96.0.20") == "web.default.svc.cluster.local."
        assert await dig(lab, "+short", "example.org") == "192.0.2.7"
        assert await dig(lab, "+short", "EXAMPLE.org") == "192.0.2.7"
        assert asked == ["example.org."]
        assert "status: NXDOMAIN" in await dig(lab, "nosuch.example")
        spec = {"type": "ExternalName", "externalName": "example.org"}
        await client.create(SERVICES, {"metadata": {"name": "out", "namespace": "default"}, "spec": spec})
        await eventually_dig(lab, "example.org.\n192.0.2.7", "out.default.svc.cluster.local")
        await client.delete(SERVICES, "web", "default")
        await eventually_dig(lab, "", "web.default.svc.cluster.local")


async def test_many_addresses_come_by_tcp(lab, client) -> None:
    lab.pod()
    await client.create(NODES, {"metadata": {"name": "n1"}})
    spec = {"clusterIP": "None", "clusterIPs": ["None"], "ports": []}
    await client.create(SERVICES, {"metadata": {"name": "many", "namespace": "default"}, "spec": spec})
    addresses = [f"10.64.1.{n}" for n in range(150)]
    metadata = {"name": "many-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "many"}}
    endpoints = [{"addresses": [a]} for a in addresses]
    await client.create(ENDPOINT_SLICES, {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": []})
    async with running(*parts(client, lab)):
        await eventually_dig(lab, "\n".join(addresses), "many.default.svc.cluster.local")
        short = await dig(lab, "+ignore", "+noedns", "many.default.svc.cluster.local")
        assert " tc" in short and short.count("10.64.1.") < 40
        assert "status: SERVFAIL" in await dig(lab, "example.org")  # there is no upstream


async def test_the_service_and_the_slice_are_made_kept_and_not_made_twice(lab, client) -> None:
    node = await client.create(NODES, {"metadata": {"name": "n1"}})
    assert cluster_dns_address("10.96.0.0/16") == DNS_IP

    async def published(**wanted) -> dict:
        while True:
            found = client.objects.get("endpointslices", {}).get(("kube-system", "kube-dns-n1"))
            if found and all(found.get(k) == v for k, v in wanted.items()) and found["metadata"]["ownerReferences"][0]["uid"] == uid:
                return found
            await asyncio.sleep(0.02)

    uid = node["metadata"]["uid"]
    async with running(parts(client, lab)[0]):
        piece = await published()
        assert piece["endpoints"][0]["addresses"] == [NODE] and piece["endpoints"][0]["nodeName"] == "n1"
        assert [p["port"] for p in piece["ports"]] == [53, 53]
        service = await client.get(SERVICES, "kube-dns", "kube-system")
        assert (service["spec"]["clusterIP"], service["spec"]["internalTrafficPolicy"]) == (DNS_IP, "Local")
        assert "selector" not in service["spec"]
        await client.delete(ENDPOINT_SLICES, "kube-dns-n1", "kube-system")
        await published()
        await client.delete(SERVICES, "kube-dns", "kube-system")
        while ("kube-system", "kube-dns") not in client.objects["services"]:
            await asyncio.sleep(0.02)
    writes = client.writes
    async with running(parts(client, lab)[0]):
        await asyncio.sleep(0.3)  # nothing may happen, so there is nothing to wait for
    assert client.writes == writes
    await client.delete(NODES, "n1")
    uid = (await client.create(NODES, {"metadata": {"name": "n1"}}))["metadata"]["uid"]
    async with running(parts(client, lab)[0]):
        await published()


async def test_when_port_53_is_taken_the_slice_names_another(lab, client) -> None:
    lab.pod()
    await client.create(NODES, {"metadata": {"name": "n1"}})
    with call_in(lab.node, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as taken:
        taken.bind((NODE, 53))
        taken.listen()
        async with running(*parts(client, lab)):
            await eventually_dig(lab, DNS_IP, "kube-dns.kube-system.svc.cluster.local")
            ports = {p["port"] for p in client.objects["endpointslices"]["kube-system", "kube-dns-n1"]["ports"]}
            assert len(ports) == 1 and 53 not in ports
            assert await dig(lab, "+short", "+tcp", "kube-dns.kube-system.svc.cluster.local") == DNS_IP


async def test_a_forwarding_loop_ends() -> None:
    """Two servers on loopback that name each other as upstream."""

    class Nothing:
        def lookup(self, name, kind):
            return None

    ports: list[int] = []
    servers = [Server(Resolver(Nothing(), Forwarder(lambda other=1 - n: [("127.0.0.1", ports[other])]))) for n in range(2)]
    for server in servers:
        ports.append(await server.listen(["127.0.0.1"], 0))
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    class Ask(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            answer.set_result(dns.message.from_wire(data))

    transport, _ = await loop.create_datagram_endpoint(Ask, remote_addr=("127.0.0.1", ports[0]))
    transport.sendto(dns.message.make_query("example.org", "A").to_wire())
    assert (await asyncio.wait_for(answer, 20)).rcode() in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)
    transport.close()
    for server in servers:
        await server.close()
