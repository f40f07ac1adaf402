"""A connection: llhttp parses, one request at a time is answered, the next waits in the socket.

Limits: header bytes, body bytes, seconds until a request is complete. A request with both Content-Length and Transfer-Encoding is
refused by the parser's strict mode (request smuggling). Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from typing import cast

import httptools

from moorings_core.log import get_logger

from .message import Handler, Peer, Request, Response, head

log = get_logger(__name__)
HEADER_MOST = 64 * 1024
BODY_MOST = 3 * 1024 * 1024
REQUEST_SECONDS = 60.0
IDLE_SECONDS = 300.0
SWEEP_SECONDS = 1.0
WRITE_HIGH = 4 * 1024 * 1024
WRITE_STALL_SECONDS = 60.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler, self._connections = handler, connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._peer: Peer = {}
        self._remote = ""
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call (getpid) before Python 3.12
        self._time = self._loop.time
        self._deadline = math.inf
        self._waiting: list[bytes] = []
        self._gone = False
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; read the client's certificate once."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._peer = _subject(transport.get_extra_info("peercert"))
        self._remote = str((transport.get_extra_info("peername") or ("",))[0])
        self._connections.add(self)
        self._arm(IDLE_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: whatever is being answered ends."""
        self._gone = True
        self._writable.set()
        self._disarm()
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; while a request is being answered, keep the bytes."""
        if self._task is not None:
            self._waiting.append(data)
            if self._transport is not None:
                self._transport.pause_reading()
            return
        self._feed(data)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Parser: a part of the request target."""
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser: one header."""
        self._count(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            self._repeated.setdefault(key, [self._headers[key]]).append(text)
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Parser: the head is whole."""
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY_MOST:
            self._refuse(413, "the request body is larger than 3 MiB")
        elif self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Parser: a part of the body."""
        self._body += data
        if len(self._body) > BODY_MOST:
            self._refuse(413, "the request body is larger than 3 MiB")

    def on_message_complete(self) -> None:
        """Parser: the request is whole."""
        if self._gone or self._refused:
            return
        self._disarm()
        method = self._parser.get_method().decode()
        request = Request(
            method, self._target.decode("latin-1"), self._headers, bytes(self._body), self._peer, self._repeated, self._remote
        )
        keep = self._parser.should_keep_alive()
        self._task = self._loop.create_task(self._answer(request, keep))

    async def _answer(self, request: Request, keep: bool) -> None:
        assert self._transport is not None
        response = await self._handle(request)
        if self._gone:
            return
        if response.takeover is not None:
            await self._hand_over(response)
            return
        self._transport.write(head(response, close=not keep) + (b"" if request.method == "HEAD" else response.body))
        if response.stream is not None and not await self._stream(response):
            return
        self._task = None
        if not keep:
            self._transport.close()
            return
        self._next()

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("handler failed", method=request.method, target=request.target.partition("?")[0])
            return Response(500, b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500}')

    async def _stream(self, response: Response) -> bool:
        """Send chunks as they come; return whether the connection can go on."""
        assert self._transport is not None
        assert response.stream is not None
        try:
            async for chunk in response.stream:
                if chunk:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if not self._writable.is_set():
                    async with asyncio.timeout(WRITE_STALL_SECONDS):
                        await self._writable.wait()
                if self._gone:
                    return False
        except TimeoutError:
            log.warning("slow client cut off")
            self._transport.abort()
            return False
        self._transport.write(b"0\r\n\r\n")
        return True

    async def _hand_over(self, response: Response) -> None:
        assert self._transport is not None
        assert response.takeover is not None
        self._transport.write(head(response, close=False))
        leftover = b"".join(self._waiting)
        self._transport.resume_reading()
        try:
            await response.takeover(self._transport, leftover)
        finally:
            self._connections.discard(self)  # until now it kept this task alive: the event loop holds tasks only weakly

    def _next(self) -> None:
        assert self._transport is not None
        self._begin()
        self._arm(IDLE_SECONDS)
        waiting, self._waiting = self._waiting, []
        self._transport.resume_reading()
        for data in waiting:
            self.data_received(data)

    def _begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        self._body = bytearray()
        self._head_size = 0
        self._refused = False

    def _feed(self, data: bytes) -> None:
        if self._head_size == 0:
            self._arm(REQUEST_SECONDS)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            offset = upgrade.args[0] if upgrade.args else len(data)
            if offset < len(data):
                self._waiting.append(data[offset:])
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(400, f"malformed request: {error}")

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEADER_MOST and not self._refused:
            self._refuse(431, "the request header is larger than 64 KiB")

    def _refuse(self, status: int, text: str) -> None:
        """Answer without a handler and hang up: the rest of the request is not read."""
        self._refused = True
        if self._transport is None or self._transport.is_closing():
            return
        reason = {413: "RequestEntityTooLarge", 400: "BadRequest"}.get(status, "")
        body = f'{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{text}","reason":"{reason}","code":{status}}}'
        response = Response(status, body.encode(), {"Content-Type": "application/json"})
        self._transport.write(head(response, close=True) + response.body)
        self._transport.close()

    def close_if_late(self, now: float) -> None:
        """Hang up on a client that was given a time and has let it pass."""
        if now > self._deadline:
            self._disarm()
            self.close()

    def _arm(self, seconds: float) -> None:
        self._deadline = self._time() + seconds

    def _disarm(self) -> None:
        self._deadline = math.inf


class HttpServer:
    """Listens and serves."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen and return the port (that the kernel chose when 0 was given)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._handler, self._connections), host, port, ssl=tls, reuse_address=True, backlog=1024
        )
        self._sweep()
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def _sweep(self) -> None:
        """Look for clients that are late, once for all: a timer for each request costs more than reading it."""
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
        for connection in list(self._connections):
            connection.close_if_late(loop.time())

    async def close(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()


def _subject(certificate: Mapping[str, object] | None) -> Peer:
    found: dict[str, tuple[str, ...]] = {}
    for part in cast("tuple[tuple[tuple[str, str], ...], ...]", (certificate or {}).get("subject", ())):
        for name, value in part:
            found[name] = (*found.get(name, ()), value)
    return found
