"""The API server under load: memory, writes, reads, fan-out of one event. Run with `python -m tests.bench.bench_api`.

The clients run in a process of their own, on the same machine: figures are of both together.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from moorings_core.pki.authority import Authority

from .report import figure

WRITERS, READERS, WATCHERS = 64, 32, 1000
SECONDS = 4.0
MAPS = "/api/v1/namespaces/default/configmaps"


class Connection:
    """One keep-alive connection that speaks just enough HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        """Write a request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, bytes]:
        """Return (code, body) of an answer with a length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Load:
    """The client process's work against one server."""

    def __init__(self, folder: Path, port: int, server: int) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(folder / "pki/ca.crt"))
        self._tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        self._port = port

    async def connect(self) -> Connection:
        """Open a connection."""
        return Connection(*await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls, limit=1 << 20))

    async def rate(self, count: int, one: Callable[[Connection, int, int], Awaitable[None]]) -> tuple[float, list[float], float]:
        """Return (requests a second, latencies, CPU seconds of the server for one) of `count` connections that go on for SECONDS."""
        connections = [await self.connect() for _ in range(count)]
        end, latencies = time.perf_counter() + SECONDS, list[float]()

        async def run(index: int) -> None:
            number = 0
            while (start := time.perf_counter()) < end:
                await one(connections[index], index, number)
                latencies.append(time.perf_counter() - start)
                number += 1

        begun, spent = time.perf_counter(), cpu_seconds(self._server)
        await asyncio.gather(*(run(i) for i in range(count)))
        elapsed, spent = time.perf_counter() - begun, cpu_seconds(self._server) - spent
        for connection in connections:
            connection.close()
        return len(latencies) / elapsed, latencies, spent / len(latencies)

    async def creates(self) -> None:
        """2 KB ConfigMaps."""
        filler = "x" * 1900

        async def one(connection: Connection, index: int, number: int) -> None:
            body = json.dumps({"metadata": {"name": f"c-{index}-{number}"}, "data": {"v": filler}}).encode()
            connection.send("POST", MAPS, body)
            code, text = await connection.answer()
            assert code == 201, text

        tell(f"API creates of 2 KB, {WRITERS} connections", *await self.rate(WRITERS, one), budget=">= 2200")

    async def reads(self) -> None:
        """Single objects."""

        async def one(connection: Connection, index: int, number: int) -> None:
            connection.send("GET", f"{MAPS}/c-{index}-0")
            assert (await connection.answer())[0] == 200

        tell(f"API gets of 2 KB, {READERS} connections, TLS", *await self.rate(READERS, one), budget=">= 13000")

    async def lists(self) -> None:
        """Pages of 500."""

        async def one(connection: Connection, index: int, number: int) -> None:
            connection.send("GET", f"{MAPS}?limit=500")
            assert (await connection.answer())[0] == 200

        tell("API lists of 500 x 2 KB, 4 connections", *await self.rate(4, one))

    async def fan_out(self) -> None:
        """One event to many watchers: from the write to each having it."""
        watchers = [await self.connect() for _ in range(WATCHERS)]
        query = "watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnews"
        for watcher in watchers:
            watcher.send("GET", f"/api/v1/namespaces/kube-public/configmaps?{query}")
            await watcher.reader.readuntil(b"\r\n\r\n")
        writer = await self.connect()
        body = {"metadata": {"name": "news"}, "data": {"v": "x" * 1900}}
        writer.send("POST", "/api/v1/namespaces/kube-public/configmaps", json.dumps(body).encode())
        await writer.answer()
        await asyncio.gather(*(w.reader.readuntil(b"}\n\r\n") for w in watchers))
        medians, lasts = [], []
        for round_ in range(10):
            begun = time.perf_counter()
            body["data"] = {"v": f"{round_}" + "x" * 1900}
            writer.send("PUT", "/api/v1/namespaces/kube-public/configmaps/news", json.dumps(body).encode())
            times = await asyncio.gather(*(arrival(w, begun, f'"{round_}x'.encode()) for w in watchers))
            await writer.answer()
            medians.append(statistics.median(times))
            lasts.append(max(times))
        figure(f"one event to {WATCHERS} watchers, half have it after", statistics.median(medians) * 1000, "ms", "<= 30")
        figure(f"one event to {WATCHERS} watchers, all have it after", statistics.median(lasts) * 1000, "ms")
        for connection in (*watchers, writer):
            connection.close()


async def arrival(watcher: Connection, begun: float, mark: bytes) -> float:
    """Return the seconds until a watcher has its event."""
    event = await watcher.reader.readuntil(b"}\n\r\n")
    elapsed = time.perf_counter() - begun
    assert mark in event
    return elapsed


def tell(name: str, rate: float, latencies: list[float], cost: float, budget: str = "") -> None:
    """Print a rate, its latencies, and what one costs the server: the figure that other load on the machine moves least."""
    figure(name, rate, "/s", budget)
    figure(f"{name}, p50", statistics.median(latencies) * 1000, "ms")
    figure(f"{name}, p99", statistics.quantiles(latencies, n=100)[98] * 1000, "ms")
    figure(f"{name}, CPU of the server for one", cost * 1e6, "us")


async def work(folder: Path, port: int, server: int) -> None:
    """The client process."""
    load = Load(folder, port, server)
    await load.creates()
    await load.reads()
    await load.lists()
    await load.fan_out()


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a whole server: API, controllers, scheduler."""
    config = folder / "cluster.yaml"
    config.write_text(f"server: {{port: {port}}}\nlab: {{profile: fast}}\n")
    command = ["server", "--config", str(config), "--data", str(folder), "--advertise", "127.0.0.1", "--bind", "127.0.0.1"]
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "moorings_core.cli", *command], stdout=log, stderr=log)
    log.close()
    end = time.monotonic() + 30
    while "controllers started" not in (folder / "server.log").read_text():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit((folder / "server.log").read_text())
        time.sleep(0.05)
    return process


def main() -> None:
    """Run everything once and print the figures."""
    port = 16443
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = serve(folder, port)
        try:
            figure("server, idle, no node, RSS", resident(process.pid), "MB", "<= 150")
            authority = Authority.load_or_create(folder / "pki", "moorings")
            authority.issue("admin", organizations=["system:masters"]).write(folder, "admin")
            subprocess.run([sys.executable, "-m", __spec__.name, str(folder), str(port), str(process.pid)], check=True)
            figure("server, RSS after all that", resident(process.pid), "MB")
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
