"""The API server under load: ready time, memory, writes, reads, fan-out. Run with `python -m tests.bench.bench_api`.

With MOORINGS_BENCH_PEERS set (`make bench-peers`) the same is done to upstream's control plane in the same run, one after the other.
All of API, store, controllers and scheduler run on both; the clients are on the same cores: figures are of both together.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import wrk
from .api_load import MANY
from .api_servers import Server, built, moorings, upstream
from .report import PEER, PEERS, figure

MAPS = "/api/v1/namespaces/default/configmaps"
SETTLE_SECONDS = 10.0


def main() -> None:
    """Measure ours, then upstream's where that is wanted."""
    servers = [moorings]
    if os.environ.get(PEERS):
        if not built():
            sys.exit("upstream's programs are not built: `make bench-peers` builds them")
        servers.append(upstream)
    subprocess.run([sys.executable, "-m", "moorings_core.cli", "server", "--help"], check=True, stdout=subprocess.DEVNULL)  # compiles it
    for run in servers:
        with tempfile.TemporaryDirectory() as folder, run(Path(folder)) as server:
            if server.peer:
                os.environ[PEER] = server.peer
            measure(server)
            os.environ.pop(PEER, None)


def measure(server: Server) -> None:
    """Print the figures of a server."""
    figure("server, from its start to ready", server.ready, "s", "<= 1")
    time.sleep(SETTLE_SECONDS)
    figure("server, idle, no node, RSS", server.resident(), "MB", "<= 120")
    spent = server.cpu_seconds()
    created = tell("API creates of 2 KB, 64 connections", wrk.creates(server.port, MAPS, 64, "a"), ">= 3300")
    figure("API creates of 2 KB, 64 connections, CPU of the server for one", (server.cpu_seconds() - spent) / created * 1e6, "us")
    tell("API creates of 2 KB, 1 connection", wrk.creates(server.port, MAPS, 1, "b"))
    spent = server.cpu_seconds()
    read = tell("API gets of 2 KB, 32 connections, TLS", wrk.gets(server.port, f"{MAPS}/a-10", 32), ">= 13000")
    figure("API gets of 2 KB, 32 connections, TLS, CPU of the server for one", (server.cpu_seconds() - spent) / read * 1e6, "us")
    for part in ("lists", "fan-out", "services"):
        work(server, part)
    before = server.resident()
    work(server, "many")
    figure(f"server, RSS for {MANY} objects of 2 KB more", server.resident() - before, "MB", "<= 1000")


def tell(name: str, rate: wrk.Rate, budget: str = "") -> float:
    """Print a rate and its latencies; return the number of requests."""
    figure(name, rate.rate, "/s", budget)
    figure(f"{name}, p50", rate.p50, "ms")
    figure(f"{name}, p99", rate.p99, "ms")
    return rate.rate * wrk.SECONDS


def work(server: Server, part: str) -> None:
    """Let the client process do a part of its work."""
    subprocess.run([sys.executable, "-m", "tests.bench.api_load", str(server.folder), str(server.port), part], check=True, timeout=900)


if __name__ == "__main__":
    main()
