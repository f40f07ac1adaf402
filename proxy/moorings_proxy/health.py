"""The health check that an outer load balancer makes of a node: has this Service ready endpoints here?

One small HTTP server for each Service with a healthCheckNodePort: 200 with a local endpoint, else 503, and a JSON count.
Terminating endpoints don't count, even while they still serve. Source: Service API, spec.healthCheckNodePort.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial

from moorings_core.log import get_logger
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Delta

log = get_logger(__name__)
READ_TIMEOUT = 5.0


class HealthServers:
    """The servers by Service; `serve` makes them follow changes. Ports may be shared: while one backend takes over from another."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = list(addresses)
        self._servers: dict[tuple[Key, int], asyncio.Server] = {}
        self._told: dict[Key, tuple[int, int]] = {}
        """Service -> its health port and what is to be told there."""

    async def serve(self, delta: Delta) -> None:
        """Listen for the services that have a health port. One that can't be bound is logged and tried with the next change."""
        for name, entry in delta.items():
            if entry and entry.health_port:
                self._told[name] = entry.health_port, entry.local_ready
            else:
                self._told.pop(name, None)
        wanted = {(name, port) for name, (port, _) in self._told.items()}
        for gone in self._servers.keys() - wanted:
            self._servers.pop(gone).close()
        for name, port in wanted - self._servers.keys():
            try:
                self._servers[name, port] = await asyncio.start_server(partial(self._answer, name), self._addresses, port, reuse_port=True)
            except OSError as error:
                log.warning("health port not served", service=name, port=port, error=str(error))

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            server.close()
        self._servers = {}

    async def _answer(self, name: Key, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._reply(name))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _reply(self, name: Key) -> bytes:
        _, count = self._told.get(name, (0, 0))
        body = json.dumps({"service": {"namespace": name.namespace, "name": name.name}, "localEndpoints": count}).encode()
        status = "200 OK" if count else "503 Service Unavailable"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        return head.encode() + f"X-Load-Balancing-Endpoint-Weight: {count}\r\n\r\n".encode() + body
