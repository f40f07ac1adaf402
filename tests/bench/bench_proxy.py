"""How long the nftables proxy takes: cold, and for one change; and what memory. Run: python -m tests.bench.bench_proxy [SERVICES ENDPOINTS]

Needs root; makes a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from moorings_core.client.resources import ENDPOINT_SLICES, SERVICES
from moorings_core.kernel.nftables import Monitor
from moorings_core.ports.client import ObjectList, WatchEvent
from moorings_core.ports.cluster import ClusterConfig, NetworkConfig, ServicesConfig
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Key, Resource
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.follow import Follower
from moorings_proxy.model import SERVICE_NAME, Place, service_entry
from moorings_proxy.nftables import NftablesProxy
from tests.bench import report
from tests.netns.proxy.memory import MemoryClient

CONFIG = ClusterConfig(network=NetworkConfig(pod_cidrs=("10.64.0.0/14",)), services=ServicesConfig(cidrs=("10.96.0.0/12",)))


def objects(number: int, endpoints: int) -> tuple[dict, dict]:
    """Return a Service and its EndpointSlice."""
    name, ip = f"s{number}", f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    service = {"metadata": {"name": name, "namespace": "d"}, "spec": {"clusterIPs": [ip], "ports": [{"port": 80}]}}
    numbers = (number * endpoints + n for n in range(endpoints))
    pods = [{"addresses": [f"10.64.{n >> 8 & 255}.{n & 255}"]} for n in numbers]
    return service, {"metadata": {"name": name}, "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": pods}


async def measure(settings: ProxySettings, services: int, endpoints: int) -> None:
    """Print the figures."""
    pairs = [objects(n, endpoints) for n in range(services)]
    start = time.perf_counter()
    table: dict[Key, ServiceEntry] = {}
    for service, piece in pairs:
        entry = service_entry(service, [piece], Place("node"))
        assert entry
        table[Key("d", service["metadata"]["name"])] = entry
    size = f"{services} services x {endpoints} endpoints"
    report.figure(f"service table, {size}, model", 1000 * (time.perf_counter() - start), "ms")
    proxy = NftablesProxy(settings)
    for label, budget in (("cold", "<= 600"), ("again, nothing to do", "")):
        start = time.perf_counter()
        await proxy.sync(table)
        report.figure(f"service table, {size}, {label}", 1000 * (time.perf_counter() - start), "ms", budget)
    again = NftablesProxy(settings)
    start = time.perf_counter()
    await again.sync(table)
    report.figure(f"service table, {size}, after a restart", 1000 * (time.perf_counter() - start), "ms")
    await again.close()
    report.spread("one endpoint changed, in process", await one_change(proxy, table, endpoints), "ms", "<= 1")
    await proxy.close()
    report.figure("service table, peak RSS with the test's own objects", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


async def one_change(proxy: NftablesProxy, table: dict[Key, ServiceEntry], endpoints: int) -> list[float]:
    """Replace one endpoint 200 times and return the milliseconds of each."""
    took = []
    for n in range(200):
        name = Key("d", f"s{n % len(table)}")
        old = table[name].ports[0].endpoints
        fresh = tuple(sorted([*old[: endpoints - 1], Endpoint(f"10.65.{n >> 8}.{n & 255}", 8080)]))
        entry = ServiceEntry((ServicePort("TCP", 80, 0, fresh),), table[name].cluster_ips)
        start = time.perf_counter()
        await proxy.change({name: entry})
        took.append(1000 * (time.perf_counter() - start))
    return took


async def event_to_rule(netns: str, services: int, endpoints: int) -> list[float]:
    """Change one EndpointSlice 50 times; return the milliseconds from each write to the kernel's word that the table changed."""
    client = MemoryClient()
    for service, piece in (objects(n, endpoints) for n in range(services)):
        labels = {SERVICE_NAME: service["metadata"]["name"]}
        piece["metadata"] |= {"namespace": "d", "labels": labels}
        await client.create(SERVICES, service)
        await client.create(ENDPOINT_SLICES, piece)
    context = NodeContext("n1", (), client, CONFIG, Path("/nowhere"), Path("/nowhere"))
    follower = asyncio.create_task(Follower(context, lambda settings: NftablesProxy(replace(settings, netns=netns))).run())
    monitor = Monitor(netns=netns)
    try:
        await quiet(monitor)
        return [await one_event(client, monitor, f"s{n}", f"10.66.0.{n}") for n in range(50)]
    finally:
        monitor.close()
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def quiet(monitor: Monitor) -> None:
    """Return when the table has been made and nothing has changed it for a second."""
    await monitor.changes()
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(1):
                await monitor.changes()


async def one_event(client: MemoryClient, monitor: Monitor, name: str, address: str) -> float:
    piece = await client.get(ENDPOINT_SLICES, name, "d")
    piece["endpoints"][0]["addresses"] = [address]
    start = time.perf_counter()
    await client.update(ENDPOINT_SLICES, piece)
    await monitor.changes()
    return 1000 * (time.perf_counter() - start)


class Paged:
    """An API that makes its objects when a page of them is asked for: so what a process holds is what its follower keeps."""

    def __init__(self, services: int, endpoints: int) -> None:
        self.services, self.endpoints = services, endpoints

    async def list(self, resource: Resource, namespace: str = "", limit: int = 0, continue_: str = "0", **more: str) -> ObjectList:
        which = {"services": 0, "endpointslices": 1}.get(resource.plural)
        if which is None:
            return ObjectList([], "1")
        numbers = range(int(continue_), min(self.services, int(continue_) + limit))
        made = [full(n, self.endpoints)[which] for n in numbers]
        return ObjectList(made, "1", str(numbers.stop) if numbers.stop < self.services else "")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield


def full(number: int, endpoints: int) -> tuple[dict, dict]:
    """Return a Service and its EndpointSlice with the fields that an API server gives them."""
    service, piece = objects(number, endpoints)
    name, spec = service["metadata"]["name"], service["spec"]
    service["metadata"] |= {"uid": f"uid-{number}", "resourceVersion": str(1_000_000 + number), "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec |= {"type": "ClusterIP", "clusterIP": spec["clusterIPs"][0], "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
    spec |= {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}], "selector": {"app": name}, "ipFamilies": ["IPv4"]}
    labels, version = {SERVICE_NAME: name, "app": name}, str(2_000_000 + number)
    piece["metadata"] = {"name": f"{name}-x7k2p", "namespace": "d", "labels": labels, "uid": f"slice-{number}", "resourceVersion": version}
    piece["ports"] = [{"name": "", "port": 8080, "protocol": "TCP"}]
    for n, each in enumerate(piece["endpoints"]):
        each |= {"conditions": {"ready": True, "serving": True, "terminating": False}, "nodeName": f"node-{n % 50}"}
    return service, piece


async def resident(netns: str, services: int, endpoints: int) -> None:
    """Serve from an API, and print what the process takes then: all of it (RSS), and its share of what others use too (PSS)."""
    context = NodeContext("n1", (), Paged(services, endpoints), CONFIG, Path("/nowhere"), Path("/nowhere"))
    follower = Follower(context, lambda settings: NftablesProxy(replace(settings, netns=netns)))
    task = asyncio.create_task(follower.run())
    await follower.serving.wait()
    text = Path("/proc/self/smaps_rollup").read_text()
    for name in ("Rss", "Pss"):
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        assert found
        report.figure(f"a proxy's process, {services} services x {endpoints} endpoints", int(found[1]) / 1024, f"MiB {name.upper()}")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def main() -> None:
    """Make a namespace, measure, remove it."""
    if sys.argv[1:2] == ["resident"]:
        asyncio.run(resident(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
        return
    services, endpoints = (int(word) for word in (*sys.argv[1:], 10000, 5)[:2])
    name = f"bench{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        settings = ProxySettings(("10.64.0.0/15",), ("10.96.0.0/12",), netns=f"/run/netns/{name}")
        asyncio.run(measure(settings, services, endpoints))
        took = asyncio.run(event_to_rule(f"/run/netns/{name}", services, endpoints))
        report.spread("one endpoint changed, event to rule", took, "ms", "<= 15")
        for number in (0, services):
            run = [sys.executable, "-m", "tests.bench.bench_proxy", "resident", f"/run/netns/{name}", str(number), str(endpoints)]
            subprocess.run(run, check=True)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


if __name__ == "__main__":
    main()
