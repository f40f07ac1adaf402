"""HTTP/1.1 over TLS for `http.HttpClient`: connections, a pool of idle ones, responses as streams. Knows nothing of Kubernetes.

Bodies are parsed by httptools (llhttp) as they arrive; asyncio's stream limits give back-pressure, so a watch that nobody reads
stops the server and does not fill memory. One exchange at a time on a connection; no pipelining (RFC 9112 section 9.3).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

import httptools

CONNECT_TIMEOUT = 10.0
HEAD_LIMIT = 256 * 1024
READ_SIZE = 64 * 1024
IDLE_MOST = 30.0  # seconds; below the keep-alive time of any server worth talking to, so that few idle connections die under us
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})


class ConnectionBroken(ConnectionError):
    """The connection ended before the response did. `fresh`: not one byte of a response had come."""

    def __init__(self, reason: str, fresh: bool = False) -> None:
        super().__init__(reason)
        self.fresh = fresh


Dial = Callable[[], Awaitable[socket.socket]]


class Endpoint(NamedTuple):
    """Where to connect. tls makes the context, called for each connection so that renewed certificates are used.

    dial: another way there than the machine's own routes; it returns a connected socket.
    """

    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None
    server_name: str = ""
    dial: Dial | None = None


class Upgraded(NamedTuple):
    """A connection taken over after 101 Switching Protocols. The caller closes the writer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: Mapping[str, str]


class _Parser(Protocol):
    """What is used of httptools.HttpResponseParser."""

    def feed_data(self, data: bytes) -> None: ...

    def get_status_code(self) -> int: ...

    def should_keep_alive(self) -> bool: ...


class Connection:
    """One TCP or TLS connection to an endpoint."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = False
        self.idle_since = 0.0

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Connection:
        """Connect. Raises OSError (ssl.SSLError among them), TimeoutError after CONNECT_TIMEOUT."""
        context = endpoint.tls() if endpoint.tls else None
        name = (endpoint.server_name or endpoint.host) if context else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if endpoint.dial is not None:
                sock = await endpoint.dial()
                return cls(*await asyncio.open_connection(sock=sock, limit=HEAD_LIMIT, ssl=context, server_hostname=name))
            host, port = endpoint.host, endpoint.port
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT, ssl=context, server_hostname=name)
        _detect_dead_peers(writer.get_extra_info("socket"))
        return cls(reader, writer)

    @property
    def alive(self) -> bool:
        """Whether the peer has not, as far as is known, closed it."""
        return not (self.writer.is_closing() or self.reader.at_eof())

    def close(self) -> None:
        """Drop it at once."""
        self.writer.transport.abort()

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request and return the response once its head is there. Raises ConnectionBroken, ssl.SSLError."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        try:
            await self.writer.drain()
            return await self._head(method)
        except asyncio.IncompleteReadError as error:
            raise ConnectionBroken("closed before the response", fresh=not error.partial) from error
        except asyncio.LimitOverrunError as error:
            raise ConnectionBroken("response head too long") from error
        except httptools.HttpParserError as error:
            raise ConnectionBroken(f"not HTTP: {error}") from error
        except OSError as error:
            raise ConnectionBroken(str(error) or type(error).__name__, fresh=True) from error

    async def _head(self, method: str) -> Response:
        while True:
            head = await self.reader.readuntil(b"\r\n\r\n")
            response = Response(self, method)
            upgraded = response.feed_head(head)
            if upgraded or response.status >= 200:
                return response  # 1xx but 101 are interim answers


class Response:
    """A response whose body is read on demand. Close it, or read it to its end: then the connection can be used again."""

    def __init__(self, connection: Connection, method: str) -> None:
        self.connection = connection
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parser: _Parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._complete = self._keep_alive = False
        self._has_body = method != "HEAD"

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in; called by the parser."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body in; called by the parser."""
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Note the end; called by the parser, which only now can tell whether the connection stays open."""
        self._complete, self._keep_alive = True, self._parser.should_keep_alive()

    def feed_head(self, head: bytes) -> bool:
        """Parse the head; return whether the connection now speaks another protocol."""
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.status = self._parser.get_status_code()
            return self.status == 101
        self.status = self._parser.get_status_code()
        self._complete = self._complete or not self._has_body
        return False

    @property
    def reusable(self) -> bool:
        """Whether the body has been read to its end and the connection stays open."""
        return self._complete and self._keep_alive and self.connection.alive

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises ConnectionBroken when the connection ends first."""
        while True:
            while self._chunks:
                yield self._chunks.popleft()
            if self._complete:
                return
            try:
                data = await self.connection.reader.read(READ_SIZE)
            except OSError as error:
                raise ConnectionBroken(str(error) or type(error).__name__) from error
            if not data:
                if "content-length" in self.headers or "transfer-encoding" in self.headers:
                    raise ConnectionBroken("closed in the middle of a response")
                return  # RFC 9112 6.3: a body of unknown length ends with the connection
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise ConnectionBroken(f"not HTTP: {error}") from error

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])


class Pool:
    """Idle connections to one endpoint, the newest used first. Plain requests are bounded by `limit`, streams are not."""

    def __init__(self, endpoint: Endpoint, limit: int = 16) -> None:
        self.endpoint = endpoint
        self.slots = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False

    async def take(self, fresh: bool = False) -> Connection:
        """Return an idle connection that seems alive, or a new one; always a new one if `fresh`."""
        if self._closed:
            raise ConnectionBroken("client is closed")
        now = asyncio.get_running_loop().time()
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.alive and now - connection.idle_since < IDLE_MOST:
                return connection
            self.drop(connection)
        connection = await Connection.open(self.endpoint)
        self._open.add(connection)
        return connection

    def give(self, response: Response) -> None:
        """Keep the connection of a finished response, or close it."""
        connection = response.connection
        if self._closed or not response.reusable:
            self.drop(connection)
            return
        connection.used, connection.idle_since = True, asyncio.get_running_loop().time()
        self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection."""
        self._open.discard(connection)
        connection.close()

    def release(self, connection: Connection) -> None:
        """Forget a connection that somebody else closes."""
        self._open.discard(connection)

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Do an exchange. A pooled connection that turns out dead is replaced once, for idempotent requests only."""
        connection = await self.take()
        try:
            return await self._exchange(connection, method, target, headers, body)
        except ConnectionBroken as error:
            if not (error.fresh and connection.used and method in IDEMPOTENT):
                raise
        return await self._exchange(await self.take(fresh=True), method, target, headers, body)

    async def _exchange(self, connection: Connection, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            return await connection.exchange(method, target, headers, body)
        except BaseException:
            self.drop(connection)
            raise

    async def close(self) -> None:
        """Close every connection, those in use too, and wait until they are gone (a second at most)."""
        self._closed = True
        connections, self._idle = list(self._open), []
        for connection in connections:
            self.drop(connection)
        waits = [asyncio.create_task(connection.writer.wait_closed()) for connection in connections]
        if waits:
            await asyncio.wait(waits, timeout=1)
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _detect_dead_peers(sock: socket.socket | None) -> None:
    """Have the kernel notice within half a minute that the peer lost power; a watch may be silent for longer (tcp(7))."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
