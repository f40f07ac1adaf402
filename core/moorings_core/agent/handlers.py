"""Handlers of probes and lifecycle hooks: a command in the container, an HTTP request, a TCP connection, gRPC health, a sleep."""

from __future__ import annotations

import asyncio
import os
import ssl

from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime

PROBE_MOST = 10 * 1024
EXEC_SECONDS = 3600.0


class HandlerError(MooringsError):
    """A handler cannot even be tried."""


class Handlers:
    """Runs handlers for the containers of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self, handler: Object, container: Object, container_id: str, address: str) -> tuple[bool, str]:
        """Run a handler; return (success, what was seen). Raises OSError, RuntimeFailure, HandlerError."""
        if handler.get("exec"):
            timeout = float(handler.get("timeoutSeconds", EXEC_SECONDS))
            result = await self._runtime.exec(container_id, handler["exec"].get("command", ()), timeout)
            return result.code == 0, (result.stdout + result.stderr)[:PROBE_MOST].decode(errors="replace")
        if handler.get("httpGet"):
            return await _http(handler["httpGet"], container, address)
        if handler.get("tcpSocket"):
            return await _tcp(handler["tcpSocket"], container, address)
        if handler.get("grpc"):
            return await _grpc(handler["grpc"], address)
        if handler.get("sleep"):
            await asyncio.sleep(handler["sleep"]["seconds"])
            return True, ""
        raise HandlerError(f"no handler is known for {sorted(handler)}")


def port_number(port: int | str, container: Object) -> int:
    """Return a port by number or by the name that the container gives it. Raises HandlerError."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    raise HandlerError(f"couldn't find port named {port!r}")


async def _tcp(given: Object, container: Object, address: str) -> tuple[bool, str]:
    host, port = given.get("host") or address, port_number(given["port"], container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return False, _refusal(host, port, error)
    writer.close()
    return True, ""


def _refusal(host: str, port: int, error: OSError) -> str:
    """Say why nobody is there, as upstream's probes do."""
    return f"dial tcp {host}:{port}: connect: {os.strerror(error.errno).lower() if error.errno else error}"


async def _http(given: Object, container: Object, address: str) -> tuple[bool, str]:
    host, port = given.get("host") or address, port_number(given["port"], container)
    context = None
    if given.get("scheme") == "HTTPS":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the machine's authorities would be read for nothing each time
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError as error:
        return False, _refusal(host, port, error)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.37", "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: h["value"] for h in given.get("httpHeaders") or ()}
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        path = given.get("path") or "/"
        writer.write(f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1\r\n{lines}\r\n".encode())
        await writer.drain()
        first = (await reader.readline()).decode("latin-1").split()
        if len(first) < 2 or not first[1].isdigit():
            return False, "malformed HTTP response"
        code = int(first[1])
        return 200 <= code < 400, f"HTTP probe failed with statuscode: {code}"
    finally:
        writer.close()


async def _grpc(given: Object, address: str) -> tuple[bool, str]:
    import grpc
    import grpc.aio

    service = (given.get("service") or "").encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    async with grpc.aio.insecure_channel(f"{address}:{given['port']}") as channel:
        try:
            answer: bytes = await channel.unary_unary("/grpc.health.v1.Health/Check")(request)
        except grpc.aio.AioRpcError as error:
            return False, f"rpc error: code = {error.code().name}: {error.details()}"
    return answer == b"\x08\x01", f"service unhealthy (responded with {answer!r})"
