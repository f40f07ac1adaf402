"""How many questions a node's DNS answers: beside dnsperf on the same cores. Run: python -m tests.bench.bench_dns [SERVICES]

The server runs in a process of its own, on loopback; dnsperf is Debian's.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report

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
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bench_dns", "serve", str(services)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout
            port = server.stdout.readline().strip()
            command = ["dnsperf", "-s", "127.0.0.1", "-p", port, "-d", file.name, "-c", str(CLIENTS), "-T", "1", "-l", str(SECONDS)]
            text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
            status = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
        finally:
            server.kill()
            server.wait()
    rate, lost = (re.search(pattern, text) for pattern in (r"Queries per second:\s+([\d.]+)", r"Queries lost:\s+(\d+)"))
    latency, memory = re.search(r"Average Latency \(s\):\s+([\d.]+)", text), re.search(r"Pss:\s+(\d+)", status)
    assert rate and lost and latency and memory, text
    report.figure(f"DNS, {services} services, {CLIENTS} clients beside it", float(rate[1]), "queries/s", BUDGET)
    report.figure("DNS, mean latency under that load", 1000 * float(latency[1]), "ms")
    report.figure("DNS, lost of it", float(lost[1]), "queries")
    report.figure("DNS, memory of the whole process", int(memory[1]) / 1024, "MiB PSS")


if __name__ == "__main__":
    main()
