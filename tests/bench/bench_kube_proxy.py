"""`moorings proxy` and upstream's kube-proxy on one API server, one after the other, in the same run.

Run: python -m tests.bench.bench_kube_proxy [SERVICES ENDPOINTS]; `labs/upstream.sh kube-proxy` builds the peer. Everything is in a network
namespace of its own: the API server (moorings'), the proxies and their tables. Times of syncs are what the proxies say themselves,
under the same metric names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from moorings_proxy.ebpf.hooks import Hooks, directory_of
from moorings_proxy.ebpf.source import missing
from tests.bench import report
from tests.bench.bench_paths import in_cgroup
from tests.bench.bench_proxy import objects
from tests.differential import peers
from tests.token_kubeconfig import KUBECONFIG

KUBE_PROXY = peers.UPSTREAM / "kube-proxy"
PROXIES = ("moorings nftables", "moorings ebpf", "kube-proxy")
SIZES = ((1000, 5), (10000, 5))
CHANGES, AT_ONCE, SECONDS = 5, 32, 120.0
PARTIAL = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
METRICS = "http://127.0.0.1:10249/metrics"


def command(name: str, kubeconfig: Path, cgroup: str) -> list[str]:
    """Return how a proxy is started; "moorings BACKEND" is ours."""
    common = ["--kubeconfig", str(kubeconfig), "--hostname-override", "n1", "--cluster-cidr", "10.64.0.0/14"]
    ours, _, backend = name.partition(" ")
    if ours == "moorings":
        more = ["--backend", backend, "--cgroup", cgroup, "--log-level", "ERROR"]
        return [sys.executable, "-m", "moorings_core.cli", "proxy", *common, *more]
    unneeded = ["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"]
    return [str(KUBE_PROXY), "--proxy-mode=nftables", *common, *unneeded]


def metric(name: str) -> float:
    """Return a metric of the proxy that runs, 0 while it does not say it."""
    try:
        with urllib.request.urlopen(METRICS, timeout=30) as answer:
            found = re.search(rf'^{name}{{ip_family="IPv4"}} (\S+)$', answer.read().decode(), re.MULTILINE)
    except OSError:
        return 0
    return float(found[1]) if found else 0


@contextlib.contextmanager
def running(name: str, kubeconfig: Path, log: Path, cgroup: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a proxy; it is killed, so that its table stays."""
    with log.open("ab") as out:
        process = subprocess.Popen(command(name, kubeconfig, cgroup), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def first_sync(process: subprocess.Popen[bytes], log: Path) -> float:
    """Wait for the first full sync; return its seconds, as the proxy says."""
    end = time.monotonic() + SECONDS
    while not metric("kubeproxy_sync_full_proxy_rules_duration_seconds_count"):
        if process.poll() is not None or time.monotonic() > end:
            raise TimeoutError(f"no sync within {SECONDS:.0f} s: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    count = metric("kubeproxy_sync_full_proxy_rules_duration_seconds_count")
    return metric("kubeproxy_sync_full_proxy_rules_duration_seconds_sum") / count


async def populate(client: HttpClient, services: int, endpoints: int) -> None:
    """Create everything."""
    await client.create(NODES, {"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.64.0.0/14"], "podCIDR": "10.64.0.0/14"}})
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]  # kube-proxy waits for one
    await client.patch(NODES, "n1", "", {"status": {"addresses": addresses}}, subresource="status")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        service, piece = objects(number, endpoints)
        service["metadata"]["namespace"] = "default"
        service["spec"]["clusterIP"] = service["spec"]["clusterIPs"][0]
        labels = {"kubernetes.io/service-name": service["metadata"]["name"]}
        piece["metadata"] |= {"namespace": "default", "labels": labels}
        piece["ports"][0]["name"] = ""
        async with gate:
            await client.create(SERVICES, service)
            await client.create(ENDPOINT_SLICES, piece)

    await asyncio.gather(*(one(n) for n in range(20, services + 20)))


async def change(client: HttpClient, name: str, number: int) -> float:
    """Give a service another endpoint; return the milliseconds until the proxy says that it has synced once more."""
    before = await asyncio.to_thread(metric, PARTIAL + "_count")
    patch = [{"op": "replace", "path": "/endpoints/0/addresses/0", "value": f"10.{66 + PROXIES.index(name)}.0.{number}"}]
    start = time.perf_counter()
    await client.patch(ENDPOINT_SLICES, f"s{number + 20}", "default", patch, type="json")
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(metric, PARTIAL + "_count") == before:
            await asyncio.sleep(0.002)
    return 1000 * (time.perf_counter() - start)


async def measure(name: str, client: HttpClient, kubeconfig: Path, size: str, log: Path, cgroup: str) -> None:
    """Print what one proxy takes: cold, for changes, after a restart, in memory."""
    with running(name, kubeconfig, log, cgroup) as process:
        report.figure(f"{name}, {size}, cold", 1000 * await asyncio.to_thread(first_sync, process, log), "ms")
        took = [await change(client, name, n + 1) for n in range(CHANGES)]
        report.figure(f"{name}, {size}, one change, write to synced, p50", statistics.median(took), "ms")
        seconds, count = metric(PARTIAL + "_sum"), metric(PARTIAL + "_count")
        report.figure(f"{name}, {size}, one change, its sync", 1000 * seconds / count, "ms")
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        assert resident
        report.figure(f"{name}, {size}, memory", int(resident[1]) / 1024, "MiB RSS")
    with running(name, kubeconfig, log, cgroup) as process:
        report.figure(f"{name}, {size}, restart with its table there", 1000 * await asyncio.to_thread(first_sync, process, log), "ms")
    subprocess.run(["nft", "flush", "ruleset"], check=True)


@contextlib.asynccontextmanager
async def api(directory: Path) -> AsyncIterator[tuple[HttpClient, Path]]:
    """Run moorings' API server; yield a client of it and a kubeconfig."""
    server = await asyncio.to_thread(peers.moorings, directory / "api", "10.96.0.0/12")
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG % (server.port, peers.TOKEN))
    client = HttpClient.from_kubeconfig(kubeconfig)
    try:
        yield client, kubeconfig
    finally:
        await client.close()
        server.close()


async def inside(services: int, endpoints: int) -> None:
    """Do all of it for one size."""
    with tempfile.TemporaryDirectory() as name:
        async with api(Path(name)) as (client, kubeconfig):
            await populate(client, services, endpoints)
            for proxy in PROXIES:
                try:
                    with pinned(proxy) as cgroup:
                        await measure(proxy, client, kubeconfig, f"{services} x {endpoints}", Path(name) / f"{proxy}.log", cgroup)
                except TimeoutError as error:
                    print(f"{proxy}: {error}", flush=True)


@contextlib.contextmanager
def pinned(name: str) -> Iterator[str]:
    """Give the backend ebpf a cgroup, and take away what it has pinned for it; yield the cgroup's name."""
    if not name.endswith("ebpf"):
        yield ""
        return
    if lacking := missing():
        raise TimeoutError(lacking)
    with in_cgroup() as cgroup:
        try:
            yield cgroup
        finally:
            Hooks(directory_of(cgroup)).remove()


def main() -> None:
    """Make a namespace, measure in it, remove it."""
    if sys.argv[1:2] == ["inside"]:
        asyncio.run(inside(*map(int, sys.argv[2:4])))
        return
    if not KUBE_PROXY.exists() or not shutil.which("nft"):
        print(f"bench_kube_proxy: no {KUBE_PROXY} (labs/upstream.sh kube-proxy builds it)", file=sys.stderr)
        return
    sizes = [tuple(map(int, sys.argv[1:3]))] if len(sys.argv) > 2 else SIZES
    for size in sizes:
        name = f"bench{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            run = [sys.executable, "-m", "tests.bench.bench_kube_proxy", "inside", *map(str, size)]
            subprocess.run(["nsenter", f"--net=/run/netns/{name}", *run], check=True)  # `ip netns exec` would hide cgroups
        finally:
            subprocess.run(["ip", "netns", "del", name], check=True)


if __name__ == "__main__":
    main()
