"""One backend hands over to another on a running node: nothing is lost, nothing is left."""

import asyncio
import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import netlab
import pytest

from moorings_core.agent.proxy import ProxyExchange
from moorings_core.client.resources import CONFIG_MAPS, ENDPOINT_SLICES, NODES, SERVICES
from moorings_core.kernel import bpf
from moorings_core.kernel.ipvs import MISSING, is_there
from moorings_core.kernel.nftables import wire
from moorings_core.ports.cluster import ClusterConfig, NetworkConfig, ServicesConfig
from moorings_core.ports.node import NodeContext
from moorings_core.ports.proxy import BACKEND, ERROR, ProxyError
from moorings_proxy import follow
from moorings_proxy.ebpf import EbpfProxy
from moorings_proxy.ebpf.source import missing
from moorings_proxy.family import Family
from moorings_proxy.follow import Follower
from moorings_proxy.ipvs import IpvsProxy
from moorings_proxy.layout import Layout
from moorings_proxy.nftables import NftablesProxy

pytestmark = pytest.mark.netns
CONFIG = ClusterConfig(network=NetworkConfig(pod_cidrs=("10.64.0.0/16",)), services=ServicesConfig(cidrs=("10.96.0.0/16",)))
VIP = "10.96.0.20"


class SecondProxy(NftablesProxy):
    """The same under another name: on every kernel there is something to be exchanged with."""

    table = "moorings_second"

    def _make_families(self):
        return [Family(Layout(f, self.table), self._settings, self._connection) for f in (wire.IPV4, wire.IPV6)]


class RefusingProxy:
    """One that this kernel is not good enough for."""

    def __init__(self, settings) -> None:
        raise ProxyError("this kernel lacks everything")


MADE = {"nftables": NftablesProxy, "second": SecondProxy, "ipvs": IpvsProxy, "ebpf": EbpfProxy, "refusing": RefusingProxy}


def config_map(backend: str) -> dict:
    return {"metadata": {"name": "moorings", "namespace": "kube-system"}, "data": {"cluster.yaml": f"services: {{backend: {backend}}}"}}


async def populate(client, *addresses: str) -> None:
    ports = [{"name": "t", "port": 80, "protocol": "TCP"}, {"name": "u", "port": 80, "protocol": "UDP"}]
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIPs": [VIP], "clusterIP": VIP, "ports": ports}}
    await client.create(SERVICES, service)
    metadata = {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
    slice_ports = [{"name": p["name"], "port": 8080, "protocol": p["protocol"]} for p in ports]
    endpoints = [{"addresses": [a], "conditions": {"ready": True}, "nodeName": "n1"} for a in addresses]
    await client.create(ENDPOINT_SLICES, {"metadata": metadata, "addressType": "IPv4", "ports": slice_ports, "endpoints": endpoints})
    await client.create(NODES, {"metadata": {"name": "n1"}})
    await client.create(CONFIG_MAPS, config_map("nftables"))


@contextlib.asynccontextmanager
async def exchanging(client, lab, cgroup: str = ""):
    context = NodeContext("n1", ("172.30.0.2",), client, CONFIG, Path("/nowhere"), Path("/nowhere"), cgroup)

    def make(name: str) -> Follower:
        return Follower(context, lambda settings: MADE[name](replace(settings, netns=lab.node)))

    task = asyncio.create_task(ProxyExchange(context, make).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def says(client, name: str, wanted: str | None) -> None:
    """Wait until the Node says so; the test's own timeout bounds it."""
    while (await client.get(NODES, "n1"))["metadata"].get("annotations", {}).get(name) != wanted:
        await asyncio.sleep(0.05)


class Traffic:
    """New connections and datagrams all the time."""

    def __init__(self, lab, where: str) -> None:
        self.lost: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(ask, where)) for ask in (lab.tcp, lab.udp)]

    def _ask(self, ask, where: str) -> None:
        while not self._stop.is_set():
            try:
                ask(where, VIP, 80, 5)
                self.answered += 1
            except OSError as error:
                self.lost.append(repr(error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture(params=["second", "ipvs", "ebpf"])
def other(request) -> str:
    """The backend that nftables is exchanged with."""
    if request.param == "ipvs" and not is_there():
        pytest.skip(f"{MISSING}; `make test-vm` runs this in a machine that has them")
    if request.param == "ebpf" and (lacking := missing()):
        pytest.skip(lacking)
    return request.param


@pytest.fixture
def cgroup(lab, other: str):
    with netlab.cgroup(lab) if other == "ebpf" else contextlib.nullcontext("") as name:
        yield name
        if name:
            left = bpf.FILE_SYSTEM / "moorings" / str(lab.cgroup.stat().st_ino)
            assert not left.exists()


async def test_a_proxy_is_exchanged_and_back_under_traffic_without_a_lost_connection(
    lab, client, other: str, cgroup: str, monkeypatch
) -> None:
    monkeypatch.setattr(follow, "LEAVE_EVERY", 0.5)
    pods = [lab.pod() for _ in range(3)]
    lab.serve("p1")
    lab.serve("p2")
    await populate(client, pods[0][1], pods[1][1])
    async with exchanging(client, lab, cgroup):
        await says(client, BACKEND, "nftables")
        streams = [await asyncio.to_thread(lab.connect, "p3", VIP, 80)]
        streams[0].recv(100)
        with Traffic(lab, "p3") as traffic:
            for backend in (other, "nftables"):
                await client.update(CONFIG_MAPS, config_map(backend))
                await says(client, BACKEND, backend)
                before = traffic.answered
                while traffic.answered < before + 20:
                    await asyncio.sleep(0.05)
                streams.append(await asyncio.to_thread(lab.connect, "p3", VIP, 80))
                streams[-1].recv(100)
                for stream in streams:
                    await asyncio.to_thread(stream.sendall, b"still there")
                    assert await asyncio.to_thread(stream.recv, 100) == b"still there"
        assert traffic.lost == []
        for stream in streams:
            stream.close()
        table = MADE[other].table
        while table in await asyncio.to_thread(lab.run, "node", "nft", "list tables"):
            await asyncio.sleep(0.1)
        assert "moorings_proxy" in await asyncio.to_thread(lab.run, "node", "nft", "list tables")


async def test_a_backend_that_cannot_work_here_is_told_and_the_present_one_goes_on(lab, client) -> None:
    pods = [lab.pod(), lab.pod()]
    lab.serve("p1")
    await populate(client, pods[0][1])
    async with exchanging(client, lab):
        await says(client, BACKEND, "nftables")
        with Traffic(lab, "p2") as traffic:
            await client.update(CONFIG_MAPS, config_map("refusing"))
            await says(client, ERROR, "refusing: this kernel lacks everything")
            await client.update(CONFIG_MAPS, config_map("nftables"))
            await says(client, ERROR, None)
        assert traffic.lost == [] and traffic.answered
        await says(client, BACKEND, "nftables")
