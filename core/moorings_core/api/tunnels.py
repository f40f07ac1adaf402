"""The way from the API server to pods: through their node's agent, by port-forwarding, as a server has no route to the pods' network.

A tunnel is a socket pair: one end is the caller's, who may put TLS on it, the other is joined with a WebSocket to the agent.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Mapping
from urllib.parse import quote

from moorings_core import websocket
from moorings_core.client.transport import Connection, ConnectionBroken, Dial
from moorings_core.client.transport import Endpoint as Way
from moorings_core.duplex import messages, until_one_ends
from moorings_core.log import get_logger
from moorings_core.ports.errors import ServiceUnavailable
from moorings_core.ports.objects import Key, Object

from .cache import Cache
from .nodes import NodeRelay

log = get_logger(__name__)
PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
CHUNK = 64 * 1024
OPEN_SECONDS = 10.0


class Tunnels:
    """Opens ways to pods."""

    def __init__(self, cache: Cache, relay: NodeRelay) -> None:
        self._cache, self._relay = cache, relay
        self._joined: set[asyncio.Task[None]] = set()

    def to_pod(self, pod: Object, port: int) -> Dial | None:
        """Return the way to a pod's port, None where the machine's own routes lead there: the pod has its node's addresses."""
        spec = pod["spec"]
        node = self._cache.collection("", "nodes").get(Key("", spec.get("nodeName", "")))
        if spec.get("hostNetwork") or node is None or not self._relay.opens_agents:
            return None
        return lambda: self._open(node.object, pod["metadata"], port)

    def to_endpoint(self, endpoint: Object, port: int) -> Dial | None:
        """Return the way to an endpoint of a service, None where it is no pod."""
        target: Mapping[str, str] = endpoint.get("targetRef") or {}
        if target.get("kind") != "Pod":
            return None
        pod = self._cache.collection("", "pods").get(Key(target.get("namespace", ""), target.get("name", "")))
        return self.to_pod(pod.object, port) if pod is not None else None

    async def _open(self, node: Object, metadata: Object, port: int) -> socket.socket:
        agent = self._relay.agent(node)
        tls = agent.tls
        connection = await Connection.open(Way(agent.host, agent.port, (lambda: tls) if tls else None))
        path = f"/portForward/{quote(metadata['namespace'])}/{quote(metadata['name'])}?port={port}"
        headers = {
            "Host": f"{agent.host}:{agent.port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": PROTOCOL,
        }
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await _upgrade(connection, path, headers)
        except (ConnectionBroken, asyncio.IncompleteReadError, OSError, TimeoutError) as error:
            connection.close()
            raise ServiceUnavailable(f"no way to pod {metadata['name']} through its node: {error or 'timed out'}") from error
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        joined = asyncio.create_task(_join(connection, theirs))
        self._joined.add(joined)
        joined.add_done_callback(self._joined.discard)
        return ours


async def _upgrade(connection: Connection, path: str, headers: Mapping[str, str]) -> None:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    connection.writer.write("\r\n".join(lines).encode("latin-1"))
    head = await connection.reader.readuntil(b"\r\n\r\n")
    first = head.split(b"\r\n", 1)[0].decode("latin-1")
    if " 101" not in first:
        rest = await connection.reader.read(CHUNK)
        raise ConnectionError(f"the node's agent answers {first}: {rest.decode(errors='replace')}")


async def _join(connection: Connection, sock: socket.socket) -> None:
    """Carry bytes between a WebSocket and a socket until either ends."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=CHUNK)
    try:
        await until_one_ends(_up(reader, connection.writer), _down(connection, writer))
    finally:
        writer.close()
        connection.close()


async def _up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(websocket.masked_frame(bytes([DATA]) + data))
        await writer.drain()


async def _down(connection: Connection, writer: asyncio.StreamWriter) -> None:
    named = set[int]()
    async for data in messages(connection.reader, connection.writer):
        if data[0] not in named:  # the first message of a channel names its port
            named.add(data[0])
        elif data[0] == DATA:
            writer.write(data[1:])
            await writer.drain()
        elif data[0] == ERROR:
            log.info("pod not reached", error=data[1:].decode(errors="replace"))
            return
