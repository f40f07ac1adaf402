"""The way from the API to node agents: plain requests are relayed, upgraded connections piped byte for byte.

Upstream's UpgradeAwareHandler and the kubelet's URL layout are the model; the API's own client certificate opens the
agent's door.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from moorings_core.client.transport import Dial
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, BadRequest, NotFound, ServiceUnavailable
from moorings_core.ports.objects import Object

from .http.message import Request, Response

log = get_logger(__name__)
AGENT_PORT = 10250
DIAL_SECONDS = 10.0
HEAD_SECONDS = 60.0
CHUNK = 256 * 1024
HOP = {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade", "authorization", "host"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect; tls None is plain TCP."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str = ""
    dial: Dial | None = None
    """Another way there than the machine's own routes"""


class NodeRelay:
    """Relays requests to agents, pods and services."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls

    @property
    def opens_agents(self) -> bool:
        """Whether there is a certificate that agents believe."""
        return self._tls is not None

    def agent(self, node: Object) -> Endpoint:
        """Return the agent of a node. Raises ServiceUnavailable where it has told no address."""
        status = node.get("status", {})
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", AGENT_PORT)
        for address in status.get("addresses", ()):
            if address["type"] == "InternalIP":
                return Endpoint(address["address"], port, self._tls)
        raise ServiceUnavailable(f"node {node['metadata']['name']} has no address yet")

    async def relay(self, endpoint: Endpoint, path: str, request: Request, extra: Mapping[str, str] | None = None) -> Response:
        """Send a request on, with extra headers, and return the answer; a connection that switches protocols is piped from then on."""
        reader, writer = await self._dial(endpoint)
        try:
            upgrading = "upgrade" in request.headers.get("connection", "").lower()
            writer.write(_head(endpoint, path, request, upgrading, extra or {}) + request.body)
            await writer.drain()
            async with asyncio.timeout(HEAD_SECONDS):
                status, headers = await _read_head(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            writer.close()
            raise ServiceUnavailable(f"error dialing backend {endpoint.host}:{endpoint.port}: {error}") from error
        kept = {k: v for k, v in headers.items() if k not in HOP and k != "content-length"}
        if status == 101:
            switched = {k: headers[k] for k in ("upgrade", "connection") if k in headers}
            return Response(101, headers=kept | switched, takeover=_pipe(reader, writer))
        return Response(status, headers=kept, stream=_body(reader, writer, headers))

    async def _dial(self, endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = endpoint.server_name or endpoint.host if endpoint.tls else None
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                if endpoint.dial is not None:
                    sock = await endpoint.dial()
                    return await asyncio.open_connection(sock=sock, ssl=endpoint.tls, server_hostname=name, limit=CHUNK)
                return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.tls, server_hostname=name, limit=CHUNK)
        except (OSError, TimeoutError) as error:
            text = f"error dialing backend: dial tcp {endpoint.host}:{endpoint.port}: {error or 'timed out'}"
            raise ApiError(text, code=500) from error


def container_path(verb: str, pod: Object, container: str, query: Mapping[str, str], raw_query: str) -> str:
    """Return the agent's path for logs, exec, attach or portForward of a pod. Raises BadRequest, NotFound."""
    metadata = pod["metadata"]
    where = f"{quote(metadata['namespace'])}/{quote(metadata['name'])}"
    if verb == "portForward":
        return f"/portForward/{where}?{raw_query}"
    return f"/{verb}/{where}/{quote(_container(pod, container))}?{raw_query}"


def _container(pod: Object, wanted: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    known = [c["name"] for f in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(f) or ()]
    if wanted:
        if wanted not in known:
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    default = pod["metadata"].get("annotations", {}).get("kubectl.kubernetes.io/default-container")
    if default in known:
        return str(default)
    if len(spec["containers"]) == 1:
        return str(known[0])
    listed = " ".join(c["name"] for c in spec["containers"])
    raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{listed}]")


def assigned_node(pod: Object) -> str:
    """Return the node that a pod runs on. Raises BadRequest where it has none."""
    node = pod["spec"].get("nodeName")
    if not node:
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(node)


def missing_node(name: str) -> NotFound:
    """Return the error for a node that is gone."""
    return NotFound(f'nodes "{name}" not found', details={"name": name, "kind": "nodes"})


def _head(endpoint: Endpoint, path: str, request: Request, upgrading: bool, extra: Mapping[str, str]) -> bytes:
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {endpoint.host}:{endpoint.port}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name not in HOP and name != "content-length"]
    lines += [f"{name}: {value}" for name, value in extra.items()]
    if upgrading:
        lines += ["Connection: Upgrade", f"Upgrade: {request.headers.get('upgrade', '')}"]
    else:
        lines += ["Connection: close"]
    lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = text.strip().split("\r\n")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split()[1]), headers


async def _body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            return
        left = int(headers["content-length"]) if "content-length" in headers else -1
        while left != 0 and (data := await reader.read(CHUNK if left < 0 else min(left, CHUNK))):
            left -= len(data) if left > 0 else 0
            yield data
    finally:
        writer.close()


class _pipe:
    """Joins a client's connection with the one to a node, both ways, until either side ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def __call__(self, transport: asyncio.Transport, leftover: bytes) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        client = asyncio.StreamWriter(transport, protocol, reader, loop)
        if leftover:
            self._writer.write(leftover)
        copies = [
            asyncio.create_task(_copy(reader, self._writer)),
            asyncio.create_task(_copy(self._reader, client)),
        ]
        try:
            await copies[1]
        finally:
            for task in copies:
                task.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            self._writer.close()
            client.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except (ConnectionError, ssl.SSLError) as error:
        log.debug("pipe ended", error=str(error))
