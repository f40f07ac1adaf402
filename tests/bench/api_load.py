"""What a client process does to an API server besides wrk's plain requests: big lists, many watchers, many objects.

It runs in a process of its own (`python -m tests.bench.api_load`), on the same machine: figures are of both together.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from .report import figure

WATCHERS, WRITERS = 1000, 32
LISTED, SERVICES, MANY = 13_000, 9_000, 100_000
ROUNDS = 10
FILLER = "x" * 1900


class Connection:
    """One keep-alive connection that speaks just enough HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        """Write a request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, bytes]:
        """Return (code, body) of an answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        code = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" not in head:
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            return code, await self.reader.readexactly(length)
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readline()
        return code, b"".join(parts)

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request and return the body of an answer that is no refusal."""
        self.send(method, path, body)
        code, text = await self.answer()
        assert code < 300, text[:500]
        return text

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Load:
    """The client process's work against one server."""

    def __init__(self, folder: Path, port: int) -> None:
        self._tls = ssl.create_default_context(cafile=str(folder / "pki/ca.crt"))
        self._tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        self._port = port

    async def connect(self) -> Connection:
        """Open a connection."""
        return Connection(*await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls, limit=1 << 26))

    async def create(self, path: str, bodies: Sequence[dict[str, object]]) -> float:
        """Create objects on WRITERS connections; return the seconds that it took."""
        waiting = iter([json.dumps(body).encode() for body in bodies])
        connections = [await self.connect() for _ in range(WRITERS)]

        async def work(connection: Connection) -> None:
            for body in waiting:
                await connection.ask("POST", path, body)

        begun = time.perf_counter()
        await asyncio.gather(*(work(c) for c in connections))
        elapsed = time.perf_counter() - begun
        for connection in connections:
            connection.close()
        return elapsed

    async def maps(self, namespace: str, count: int) -> None:
        """Fill a namespace with ConfigMaps of 2 KB."""
        connection = await self.connect()
        await connection.ask("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": namespace}}).encode())
        connection.close()
        bodies = [{"metadata": {"name": f"c{n}"}, "data": {"v": FILLER}} for n in range(count)]
        await self.create(f"/api/v1/namespaces/{namespace}/configmaps", bodies)

    async def lists(self) -> None:
        """One list of everything in a namespace, and pages."""
        await self.maps("listed", LISTED)
        connection, path = await self.connect(), "/api/v1/namespaces/listed/configmaps"
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            text = await connection.ask("GET", path)
            times.append(time.perf_counter() - begun)
            assert text.count(FILLER.encode()) == LISTED
        figure(f"API list of {LISTED} x 2 KB", statistics.median(times), "s", "<= 0.2")
        connection.close()

    async def fan_out(self) -> None:
        """One event to many watchers: from the write to each having it."""
        path = "/api/v1/namespaces/kube-public/configmaps"
        watchers = [await self.connect() for _ in range(WATCHERS)]
        for watcher in watchers:
            watcher.send("GET", f"{path}?watch=true&fieldSelector=metadata.name%3Dnews")
            await watcher.reader.readuntil(b"\r\n\r\n")
        writer = await self.connect()
        body: dict[str, object] = {"metadata": {"name": "news"}, "data": {"v": FILLER}}
        await writer.ask("POST", path, json.dumps(body).encode())
        await asyncio.gather(*(w.reader.readuntil(b"}\n\r\n") for w in watchers))
        medians, lasts = [], []
        for number in range(ROUNDS):
            body["data"] = {"v": f"{number}{FILLER}"}
            begun = time.perf_counter()
            writer.send("PUT", f"{path}/news", json.dumps(body).encode())
            times = await asyncio.gather(*(_arrival(w, begun, f'"{number}x'.encode()) for w in watchers))
            await writer.answer()
            medians.append(statistics.median(times))
            lasts.append(max(times))
        figure(f"one event to {WATCHERS} watchers, half have it after", statistics.median(medians) * 1000, "ms", "<= 30")
        figure(f"one event to {WATCHERS} watchers, all have it after", statistics.median(lasts) * 1000, "ms")
        for connection in (*watchers, writer):
            connection.close()

    async def services(self) -> None:
        """Services and EndpointSlices for them, while the controllers look at each."""
        spec = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
        taken = await self.create(
            "/api/v1/namespaces/default/services", [{"metadata": {"name": f"s{n}"}, "spec": spec} for n in range(SERVICES)]
        )
        slices: list[dict[str, object]] = [
            {
                "metadata": {"name": f"s{n}-own", "labels": {"kubernetes.io/service-name": f"s{n}"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [f"10.64.{n >> 8}.{n & 255}"]}],
                "ports": [{"port": 8080}],
            }
            for n in range(SERVICES)
        ]
        taken += await self.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slices)
        figure(f"{SERVICES * 2} Services and EndpointSlices, controllers on", taken, "s", "<= 20")


async def _arrival(watcher: Connection, begun: float, mark: bytes) -> float:
    """Return the seconds until a watcher has its event."""
    event = await watcher.reader.readuntil(b"}\n\r\n")
    elapsed = time.perf_counter() - begun
    assert mark in event
    return elapsed


async def main(folder: Path, port: int, what: str) -> None:
    """Do one part of the work."""
    load = Load(folder, port)
    parts = {"lists": load.lists, "fan-out": load.fan_out, "services": load.services, "many": lambda: load.maps("many", MANY)}
    await parts[what]()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
