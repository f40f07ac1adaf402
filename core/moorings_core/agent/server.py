"""The agent's HTTPS server, with the kubelet's paths: logs, exec, attach, port-forward, pods, health, metrics.

Who may call, `callers` says. Upgraded connections leave HTTP here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import parse_qsl

import orjson

from moorings_core import measures, websocket
from moorings_core.api.http.message import Request, Response, Takeover
from moorings_core.api.http.server import HttpServer
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, BadRequest, NotFound
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime, RuntimeFailure

from .callers import Callers
from .pods import PodManager
from .streams import logs, pipe
from .streams.forward import FORWARD, ForwardSession, ports_of
from .streams.remote import PLAIN, PROTOCOLS, Channels, RemoteSession, dial_spdy
from .usage import Usage

log = get_logger(__name__)
LOG_PROTOCOLS = ("binary.k8s.io",)
TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD = "portforward.k8s.io"
CHUNK = 64 * 1024


class AgentServer:
    """Answers the API server, and whom it lets in."""

    def __init__(self, pods: PodManager, runtime: Runtime, callers: Callers, usage: Usage) -> None:
        self._pods, self._runtime, self._callers, self._usage = pods, runtime, callers, usage
        self.http = HttpServer(self.answer)

    async def answer(self, request: Request) -> Response:
        """Answer a request; errors become Status objects or plain text as the kubelet gives them."""
        try:
            if request.path == "/healthz":
                return Response(200, b"ok", {"Content-Type": "text/plain"})
            await self._callers.admit(request)
            return await self._route(request)
        except ApiError as error:
            return Response(error.code, orjson.dumps(error.status()), {"Content-Type": "application/json"})
        except RuntimeFailure as error:
            failed = ApiError(str(error))
            return Response(500, orjson.dumps(failed.status()), {"Content-Type": "application/json"})

    async def _route(self, request: Request) -> Response:
        match request.path.strip("/").split("/"):
            case ["containerLogs", namespace, name, container]:
                return await self._logs(request, self._pods.find(namespace, name), container)
            case ["exec" | "attach" as verb, namespace, name, container]:
                return await self._remote(request, verb, self._pods.find(namespace, name), container)
            case ["portForward", namespace, name]:
                return await self._port_forward(request, self._pods.find(namespace, name))
            case ["metrics"]:
                return Response(200, await asyncio.to_thread(measures.text), {"Content-Type": "text/plain; version=0.0.4"})
            case ["metrics", "resource"]:
                return Response(200, await self._usage.resources(), {"Content-Type": "text/plain; version=0.0.4"})
            case ["stats", "summary"]:
                return Response(200, orjson.dumps(await self._usage.summary()), {"Content-Type": "application/json"})
            case ["pods"]:
                items = list(self._pods.pods.items.values())
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
                return Response(200, orjson.dumps(body), {"Content-Type": "application/json"})
        raise NotFound(f"the node agent serves no {request.path}")

    async def _logs(self, request: Request, pod: Object, container: str) -> Response:
        query = request.query
        options = logs.LogOptions.of(query, time.time())
        run = await self._pods.run_of(pod, container, query.get("previous") == "true")
        stream: AsyncIterator[bytes] = logs.read(run.log, options, lambda: self._pods.is_running(run))
        if request.headers.get("upgrade", "").lower() == "websocket":
            return _websocket(request, LOG_PROTOCOLS, _Taken(partial(pipe.send, stream)))
        return Response(200, headers={"Content-Type": "text/plain"}, stream=stream)

    async def _remote(self, request: Request, verb: str, pod: Object, container: str) -> Response:
        query, given = request.query, request.target.partition("?")[2]
        channels = Channels(*(query.get(name) in ("true", "1") for name in ("stdin", "stdout", "stderr", "tty")))
        identity = await self._pods.container_id(pod, container)
        streams = {"stdin": channels.stdin, "stdout": channels.stdout, "stderr": channels.stderr, "tty": channels.tty}
        if verb == "exec":
            command = [value for name, value in parse_qsl(given, keep_blank_values=True) if name == "command"]
            if not command:
                raise BadRequest("you must specify at least one command for the container")
            url = await self._runtime.exec_url(identity, command, **streams)
        else:
            url = await self._runtime.attach_url(identity, **streams)
        if request.headers.get("upgrade", "").lower() == "websocket":
            plain = _chosen(request, PROTOCOLS) in ("", PLAIN)
            return _websocket(request, PROTOCOLS, _Taken(RemoteSession(url, channels, plain=plain).run))
        return await _spdy(request, url, request.headers.get("x-stream-protocol-version", "v4.channel.k8s.io"))

    async def _port_forward(self, request: Request, pod: Object) -> Response:
        url = await self._runtime.port_forward_url(await self._pods.sandbox_id(pod), ())
        if request.headers.get("upgrade", "").lower() != "websocket":
            return await _spdy(request, url, PORT_FORWARD)
        if _chosen(request, (TUNNEL, FORWARD)) != TUNNEL:
            session = ForwardSession(url, ports_of(request.target.partition("?")[2]))
            return _websocket(request, (FORWARD,), _Taken(session.run))
        runtime = await dial_spdy(url, PORT_FORWARD)

        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await pipe.join((reader, writer), runtime, tunnelled=True)

        return _websocket(request, (TUNNEL,), _Taken(run))


class _Taken:
    """Turns a taken-over transport into streams for a session, and closes it at the end."""

    def __init__(self, run: pipe.Copy) -> None:
        self._run = run

    async def __call__(self, transport: asyncio.Transport, leftover: bytes) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if leftover:
            reader.feed_data(leftover)
        try:
            await self._run(reader, writer)
        except (ConnectionError, websocket.WebSocketError) as error:
            log.debug("stream ended", error=str(error))
        finally:
            writer.close()


def _websocket(request: Request, known: tuple[str, ...], takeover: Takeover) -> Response:
    chosen, key = _chosen(request, known), request.headers.get("sec-websocket-key")
    if chosen is None or key is None:
        raise BadRequest(f"none of the offered subprotocols is served; served are {', '.join(known)}")
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": websocket.accept_key(key)}
    return Response(101, headers=headers | ({"Sec-WebSocket-Protocol": chosen} if chosen else {}), takeover=takeover)


def _chosen(request: Request, known: tuple[str, ...]) -> str | None:
    """Return the subprotocol that is spoken, "" where the client offers none and takes the simplest, None where none fits."""
    offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",") if p.strip()]
    return next((p for p in known if p in offered), None) if offered else ""


async def _spdy(request: Request, url: str, protocol: str) -> Response:
    chosen = protocol.split(",")[0].strip()
    runtime = await dial_spdy(url, chosen)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pipe.join((reader, writer), runtime, tunnelled=False)

    headers = {"Upgrade": "SPDY/3.1", "Connection": "Upgrade", "X-Stream-Protocol-Version": chosen}
    return Response(101, headers=headers, takeover=_Taken(run))
