"""What a packet pays for each network mode and for a Service: TCP and UDP throughput, round trips, and the first packet of a flow.

Everything as a ratio to one plain veth pair between two namespaces of the same run. Run: python -m tests.bench.bench_paths
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "netns/cni"))

from cni_support import Fabric, sh

from moorings_core.kernel.bpf import cgroups
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.ebpf import EbpfProxy
from moorings_proxy.ebpf.source import missing
from moorings_proxy.nftables import NftablesProxy
from tests.bench import report
from tests.netns.proxy import netlab
from tests.traffic import Echo

MODES = ("vxlan", "routed", "underlay")
SECONDS, TRIPS, FIRSTS, PORT, IPERF = 3, 5000, 500, 7777, 5201
VIRTUAL, OTHERS = "10.96.200.1", 10_000
UNITS = {"TCP": "Gbit/s", "UDP of 1,400 bytes": "Gbit/s", "round trip, p50": "us", "first packet and its answer, p50": "us"}
Figures = Mapping[str, float]


@contextmanager
def serving(netns: str) -> Iterator[None]:
    """An echo server and iperf3 in a namespace."""
    echo = Echo(netns, PORT)
    command = ["nsenter", f"--net={netns}", "iperf3", "-s", "-p", str(IPERF)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        echo.close()


def iperf(netns: str, address: str, *more: str) -> float:
    """Return the Gbit/s that arrive."""
    command = ["nsenter", f"--net={netns}", "iperf3", "-c", address, "-p", str(IPERF), "-t", str(SECONDS), "-J", *more]
    for _ in range(20):  # it may not listen yet
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        told = json.loads(done.stdout)
        if done.returncode == 0 and "error" not in told:  # it may end well and say that nobody listens
            end = told["end"]
            received = end["sum_received"]["bits_per_second"] if "sum_received" in end else end["sum"]["bits_per_second"]
            return float(received) / 1e9
        time.sleep(0.1)
    raise SystemExit(f"iperf3 to {address}: {told.get('error')}")


def trips(netns: str, address: str, count: int, *, fresh: bool) -> float:
    """Return the median microseconds of a datagram and its answer; fresh: each from a socket of its own, a flow that nobody knows."""

    def work() -> list[float]:
        took = []
        kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kept.connect((address, PORT))
        for _ in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if fresh else kept
            sock.settimeout(2)
            start = time.perf_counter()
            if fresh:
                sock.connect((address, PORT))  # where some choose the endpoint
            sock.send(b"?" * 64)
            sock.recv(200)
            took.append(1e6 * (time.perf_counter() - start))
            if fresh:
                sock.close()
        kept.close()
        return took

    return statistics.median(call_in(netns, work))


def measure(netns: str, address: str) -> Figures:
    """Return the figures of one path."""
    trips(netns, address, 100, fresh=False)
    values = (
        iperf(netns, address),
        iperf(netns, address, "-u", "-b", "0", "-l", "1400"),
        trips(netns, address, TRIPS, fresh=False),
        trips(netns, address, FIRSTS, fresh=True),
    )
    return dict(zip(UNITS, values, strict=True))


def tell(name: str, figures: Figures, plain: Figures) -> None:
    """Print figures, and how they stand to those of the plain pair."""
    for what, value in figures.items():
        report.figure(f"{name}: {what}", value, UNITS[what])
        if figures is not plain:
            report.figure(f"{name}: {what}, to a plain veth pair", value / plain[what], "times")


def plain_pair() -> Figures:
    """Measure a veth pair between two namespaces, with nothing else in them."""
    one, two = (f"bp{os.getpid()}{side}" for side in "ab")
    try:
        for name in (one, two):
            sh("ip", "netns", "add", name)
        sh("ip", "-n", one, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", two)
        for number, name in enumerate((one, two), 1):
            sh("ip", "-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            sh("ip", "-n", name, "link", "set", "eth0", "up")
        with serving(f"/run/netns/{two}"):
            return measure(f"/run/netns/{one}", "192.0.2.2")
    finally:
        for name in (one, two):
            subprocess.run(["ip", "netns", "del", name], check=False)


def mode(name: str, plain: Figures) -> None:
    """Measure from a pod to one on another node."""
    with tempfile.TemporaryDirectory() as directory:
        fabric = Fabric(Path(directory), backend=name)
        try:
            here, there = (node.pod().add() for node in fabric.nodes)
            with serving(there.path):
                tell(f"pod to pod of another node, {name}", measure(here.path, there.ip), plain)
        finally:
            fabric.close()


def service(plain: Figures) -> None:
    """Measure from a pod to another one of the same node, by its address and by a Service's among 10,000 others."""
    with netlab.lab() as lab:
        (here, _, _), (there, address, _) = lab.pod(), lab.pod()
        with serving(lab.path(there)):
            direct = measure(lab.path(here), address)
            tell("pod to pod of its node, by its address", direct, plain)
            ports = tuple(
                ServicePort(protocol, port, 0, (Endpoint(address, port, True),)) for port in (PORT, IPERF) for protocol in ("TCP", "UDP")
            )
            table = {Key("d", f"s{n}"): _other(n) for n in range(OTHERS)} | {Key("d", "measured"): ServiceEntry(ports, (VIRTUAL,))}
            settings = ProxySettings(("10.64.0.0/16",), ("10.96.0.0/16",), netns=lab.node)
            with serving_table(NftablesProxy(settings), table):
                tell("pod to pod of its node, by a Service (nftables)", measure(lab.path(here), VIRTUAL), plain)
            if lacking := missing():
                print(f"by a Service (ebpf): {lacking}", flush=True)
            else:
                with in_cgroup() as name, serving_table(EbpfProxy(replace(settings, cgroup=name)), table):
                    tell("pod to pod of its node, by a Service (ebpf)", measure(lab.path(here), VIRTUAL), plain)
    if not Path("/proc/net/ip_vs").exists():
        print("by a Service (ipvs): this kernel has no ip_vs", flush=True)


def _other(number: int) -> ServiceEntry:
    endpoints = tuple(Endpoint(f"10.65.{number >> 8 & 255}.{number & 255}", 8080 + n) for n in range(5))
    return ServiceEntry((ServicePort("TCP", 80, 0, endpoints),), (f"10.96.{number >> 8}.{number & 255}",))


@contextmanager
def serving_table(proxy: NftablesProxy, table: Mapping[Key, ServiceEntry]) -> Iterator[None]:
    """Serve a table; nothing of it stays."""

    async def leave() -> None:
        await proxy.handover()
        await proxy.close()

    asyncio.run(proxy.sync(table))
    try:
        yield
    finally:
        asyncio.run(leave())


@contextmanager
def in_cgroup() -> Iterator[str]:
    """Move this process, and what it starts, into a cgroup of v2 of its own; yield its name."""
    root = cgroups()
    assert root
    group = root / f"bench{os.getpid()}"
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    before = root / next(line for line in lines if line.startswith("0:")).split(":", 2)[2].lstrip("/")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield group.name
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (before / "cgroup.procs").write_text(pid)
        group.rmdir()


def main() -> None:
    """Measure and print."""
    if shutil.which("iperf3") is None:
        print("bench_paths: no iperf3 (labs/setup.sh tests brings it)", file=sys.stderr)
        return
    plain = plain_pair()
    tell("plain veth pair", plain, plain)
    for name in MODES:
        mode(name, plain)
    service(plain)


if __name__ == "__main__":
    main()
