"""How many questions a node's DNS answers: beside dnsperf on the same cores. Run: python -m tests.bench.bench_dns [SERVICES]

The server runs in a process of its own, on loopback; dnsperf is Debian's. With --peers CoreDNS is asked the same, on an API server
with the same Services.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report
from tests.differential import peers
from tests.token_kubeconfig import KUBECONFIG

COREDNS = peers.UPSTREAM / "coredns"
COREFILE = """
.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig} c
        pods insecure
    }}
    cache 30
    loadbalance
}}
"""
"""As clusters have it, but for what leads to the rest of the world"""
SECONDS, CLIENTS = 5, 8
BUDGET = ">= 30000"


def serve(services: int) -> None:
    """Answer on a free port of loopback, and print it."""
    import uvloop

    from moorings_core.client.resources import SERVICES
    from moorings_core.log import setup_logging
    from moorings_core.ports.cluster import ClusterConfig
    from moorings_core.ports.node import NodeContext
    from moorings_proxy.dns.component import DnsComponent
    from tests.netns.proxy.memory import MemoryClient

    async def body() -> None:
        client = MemoryClient()
        for n in range(services):
            spec = {"clusterIPs": [f"10.96.{n >> 8}.{n & 255}"], "ports": [{"name": "http", "port": 80}]}
            await client.create(SERVICES, {"metadata": {"name": f"s{n}", "namespace": "d"}, "spec": spec})
        where = NodeContext("n1", ("127.0.0.1",), client, ClusterConfig(), Path("/nowhere"), Path("/nowhere"))
        component = DnsComponent(where, list)
        task = asyncio.create_task(component.run())
        while not component.port:
            await asyncio.sleep(0.01)
        print(component.port, flush=True)
        await task

    setup_logging("ERROR")
    uvloop.run(body())


def questions(services: int) -> str:
    """Return a day's mix: addresses of both families, ports, and names that are not there."""
    lines: Sequence[str] = [
        f"s{n}.d.svc.cluster.local {kind}" if kind != "SRV" else f"_http._tcp.s{n}.d.svc.cluster.local SRV"
        for n in range(services)
        for kind in ("A", "AAAA", "A", "SRV")
    ]
    return "\n".join([*lines, *(f"s{n}.d.svc.cluster.local.d.svc.cluster.local A" for n in range(services // 2))])


def load(port: str, process: subprocess.Popen[str], file: str, services: int) -> float:
    """Ask for some seconds, print what came of it, return the rate."""
    command = ["dnsperf", "-s", "127.0.0.1", "-p", port, "-d", file, "-c", str(CLIENTS), "-T", "1", "-l", str(SECONDS)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    status = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    rate, lost = (re.search(pattern, text) for pattern in (r"Queries per second:\s+([\d.]+)", r"Queries lost:\s+(\d+)"))
    latency, memory = re.search(r"Average Latency \(s\):\s+([\d.]+)", text), re.search(r"Pss:\s+(\d+)", status)
    assert rate and lost and latency and memory, text
    report.figure(f"DNS, {services} services, {CLIENTS} clients beside it", float(rate[1]), "queries/s", BUDGET)
    report.figure("DNS, mean latency under that load", 1000 * float(latency[1]), "ms")
    report.figure("DNS, lost of it", float(lost[1]), "queries")
    report.figure("DNS, memory of the whole process", int(memory[1]) / 1024, "MiB PSS")
    return float(rate[1])


def ours(services: int, file: str) -> float:
    """Measure moorings' server."""
    command = [sys.executable, "-m", "tests.bench.bench_dns", "serve", str(services)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        return load(server.stdout.readline().strip(), server, file, services)
    finally:
        server.kill()
        server.wait()


def coredns(services: int, file: str) -> float:
    """Measure CoreDNS with its kubernetes plugin and its cache, on an API server that has the same Services."""
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), str(peers.free_port())
        api = peers.moorings(directory / "api")
        try:
            _create(api, services)
            (directory / "kubeconfig").write_text(KUBECONFIG % (api.port, peers.TOKEN))
            (directory / "Corefile").write_text(COREFILE.format(port=port, kubeconfig=directory / "kubeconfig"))
            process = subprocess.Popen([str(COREDNS), "-conf", str(directory / "Corefile"), "-quiet"], text=True)
            try:
                _wait_for_answer(port, f"s{services - 1}.d.svc.cluster.local")
                return load(port, process, file, services)
            finally:
                process.kill()
                process.wait()
        finally:
            api.close()


def _create(api: peers.Peer, services: int) -> None:
    namespace = {"metadata": {"name": "d"}}
    wanted = [peers.Request("POST", "/api/v1/namespaces", namespace)]
    for number in range(services):
        metadata = {"name": f"s{number}"}
        spec = {"ports": [{"name": "http", "port": 80}]}
        wanted.append(peers.Request("POST", "/api/v1/namespaces/d/services", {"metadata": metadata, "spec": spec}))
    for answer in api.ask_all(wanted):
        assert answer.code == 201, answer.body


def _wait_for_answer(port: str, name: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        command = ["dig", "+short", "+tries=1", "+time=1", "@127.0.0.1", "-p", port, name]
        if subprocess.run(command, capture_output=True, text=True).stdout.startswith("10.96."):
            return
        time.sleep(0.1)
    raise SystemExit(f"CoreDNS does not know {name}")


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 2 and sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
        return
    if shutil.which("dnsperf") is None:
        print("bench_dns: no dnsperf (Debian's package dnsperf; labs/setup.sh tests brings it)", file=sys.stderr)
        return
    services = int((*sys.argv[1:], 1000)[0])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(questions(services))
        file.flush()
        mine = ours(services, file.name)
        if report.PEERS not in os.environ:
            return
        if not COREDNS.exists():
            print(f"bench_dns: no {COREDNS} (labs/upstream.sh coredns builds it)", file=sys.stderr)
            return
        os.environ[report.PEER] = "CoreDNS 1.15.0"
        theirs = coredns(services, file.name)
        del os.environ[report.PEER]
        report.figure("DNS, questions a second, to CoreDNS' on the same machine", mine / theirs, "times")


if __name__ == "__main__":
    main()
