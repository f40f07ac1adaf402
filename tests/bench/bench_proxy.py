"""How long the nftables proxy takes: cold, and for one change. Run: python tests/bench/bench_proxy.py [SERVICES] [ENDPOINTS]

Needs root; makes a network namespace of its own. Prints milliseconds; nothing is asserted.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time

from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.model import Place, service_entry
from moorings_proxy.nftables import NftablesProxy


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
    print(f"model of {services} services x {endpoints} endpoints: {1000 * (time.perf_counter() - start):.0f} ms")
    proxy = NftablesProxy(settings)
    for label in ("cold", "again, nothing to do"):
        start = time.perf_counter()
        await proxy.sync(table)
        print(f"sync, {label}: {1000 * (time.perf_counter() - start):.0f} ms")
    again = NftablesProxy(settings)
    start = time.perf_counter()
    await again.sync(table)
    print(f"sync after a restart (dump and compare): {1000 * (time.perf_counter() - start):.0f} ms")
    await again.close()
    print(f"one endpoint replaced: {await one_change(proxy, table, endpoints)}")
    await proxy.close()
    print(f"peak RSS: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


async def one_change(proxy: NftablesProxy, table: dict[Key, ServiceEntry], endpoints: int) -> str:
    """Replace one endpoint 200 times and return the statistics."""
    took = []
    for n in range(200):
        name = Key("d", f"s{n % len(table)}")
        old = table[name].ports[0].endpoints
        fresh = tuple(sorted([*old[: endpoints - 1], Endpoint(f"10.65.{n >> 8}.{n & 255}", 8080)]))
        entry = ServiceEntry((ServicePort("TCP", 80, 0, fresh),), table[name].cluster_ips)
        start = time.perf_counter()
        await proxy.change({name: entry})
        took.append(1000 * (time.perf_counter() - start))
    took.sort()
    return f"p50 {statistics.median(took):.3f} ms, p99 {took[-3]:.3f} ms, most {took[-1]:.3f} ms"


def main() -> None:
    """Make a namespace, measure, remove it."""
    services, endpoints = (int(word) for word in (*sys.argv[1:], 10000, 5)[:2])
    name = f"bench{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        settings = ProxySettings(("10.64.0.0/15",), ("10.96.0.0/12",), netns=f"/run/netns/{name}")
        asyncio.run(measure(settings, services, endpoints))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


if __name__ == "__main__":
    main()
