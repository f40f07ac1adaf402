"""The sockets of a DNS server: UDP and TCP on the same addresses and port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Sequence

from moorings_core.log import get_logger

from . import wire
from .forward import Forwarder
from .wire import Query, WireError
from .zone import Zone

OpenSocket = Callable[[int, int], socket.socket]
"""Opens a socket of a family and kind; not always in the namespace of the caller."""

log = get_logger(__name__)
IDLE_SECONDS = 10.0
MOST_CONNECTIONS = 256
MOST_WAITING = 1024
MOST_READY = 8192
"""Answers that are kept, of about 200 bytes each."""
AT_ONCE = 64
"""Packets that are answered in a row before others on the event loop have their turn: about 1 ms."""
BUFFER = 1 << 20
PORT_TRIES = 16


class Resolver:
    """Answers from the zone, and from upstream what is not in it. Answers from the zone are kept as bytes until it changes."""

    def __init__(self, zone: Zone, forwarder: Forwarder) -> None:
        self._zone, self._forwarder = zone, forwarder
        self._ready: dict[tuple[bytes, int | None], bytes] = {}
        self.counts = dict.fromkeys(("requests", "hits", "forwarded", "failed"), 0)

    def changed(self) -> None:
        """Forget answers: the zone is another."""
        self._ready.clear()

    def answer(self, data: bytes, limit: int | None = None) -> bytes | Query:
        """Return the answer to a packet, or the parsed query when upstream has to be asked. Raises WireError: no answer at all.

        limit: bytes an answer may have; None: as the query says.
        """
        counts, key = self.counts, (data[2:], limit)
        counts["requests"] += 1
        ready = self._ready.get(key)
        if ready is not None:  # all but the id is as it was for the same packet before
            counts["hits"] += 1
            return data[:2] + ready
        answer = self._answer(data, limit)
        if isinstance(answer, bytes):
            if len(self._ready) >= MOST_READY:
                self._ready.clear()
            self._ready[key] = answer[2:]
        return answer

    def _answer(self, data: bytes, limit: int | None) -> bytes | Query:
        try:
            query = wire.parse_query(data)
        except WireError:
            if len(data) < 12 or data[2] & 0x80:
                raise
            return wire.failure(data, wire.FORMERR)
        if query.flags & 0x7800:
            return wire.reply(query, wire.NOTIMP)
        found = self._zone.lookup(query.name, query.type) if query.klass == wire.IN else None
        if found is None or found.alias:
            return query
        negative = () if found.answers else (self._zone.soa(),)
        size = query.size if limit is None else limit
        return wire.reply(query, found.rcode, found.answers, negative, found.additional, authoritative=True, limit=size)

    async def forward(self, query: Query, asker: str, *, tcp: bool = False) -> bytes:
        """Ask upstream; for an alias out of the zone, follow it and put both together."""
        self.counts["forwarded"] += 1
        found = self._zone.lookup(query.name, query.type) if query.klass == wire.IN else None
        if found is None or not found.alias:
            answer = await self._forwarder.ask(query, asker, tcp=tcp)
            self.counts["failed"] += answer[3] & 15 == wire.SERVFAIL
            return answer
        question = wire.pack_name(found.alias) + query.question[-4:]
        raw = struct.pack(">6H", 0, wire.RECURSION_DESIRED, 1, 0, 0, 0) + question
        answer = await self._forwarder.ask(wire.parse_query(raw), asker, tcp=tcp)
        rest = []
        for name, kind, ttl, start, end in wire.records(answer):
            target = wire.pack_name(wire.read_name(answer, start)[0]) if kind == wire.CNAME else answer[start:end]
            if kind in (query.type, wire.CNAME):
                rest.append(wire.Record(name, kind, ttl, target))
        limit = 65535 if tcp else query.size
        return wire.reply(query, answer[3] & 15, [*found.answers, *rest], authoritative=True, limit=limit)


class _Datagrams:
    """Answers packets of one UDP socket: many for each turn of the event loop, which asyncio's own transport does not do."""

    def __init__(self, sock: socket.socket, resolver: Resolver, tasks: set[asyncio.Task[None]]) -> None:
        self._socket, self._resolver, self._tasks = sock, resolver, tasks
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._loop.add_reader(sock, self._read)

    def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        receive, answer, send = self._socket.recvfrom, self._resolver.answer, self._send
        for _ in range(AT_ONCE):
            try:
                data, address = receive(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # word of an earlier answer that nobody took
            try:
                found = answer(data)
            except WireError:
                continue
            if isinstance(found, bytes):
                send(found, address)
            else:
                self._ask(found, address)

    def _ask(self, query: Query, address: tuple[str, int]) -> None:
        if len(self._tasks) >= MOST_WAITING:
            self._send(wire.reply(query, wire.SERVFAIL), address)
            return
        task = asyncio.ensure_future(self._later(query, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, answer: bytes, address: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a full buffer drops, as networks do: the asker asks again
            self._socket.sendto(answer, address)

    async def _later(self, query: Query, address: tuple[str, int]) -> None:
        try:
            answer = await self._resolver.forward(query, address[0])
        except WireError:
            answer = wire.reply(query, wire.SERVFAIL)
        if self._socket.fileno() >= 0:
            self._send(answer, address)


class Server:
    """Listens on addresses at one port, by UDP and TCP."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transports: list[_Datagrams] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def listen(self, addresses: Sequence[str], port: int = 53, *, open_socket: OpenSocket = socket.socket) -> int:
        """Listen at port, or at a free one where it is taken; return which. Raises OSError."""
        for number in (port, *[0] * PORT_TRIES):
            try:
                pairs = _bind(addresses, number, open_socket)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                continue
            for datagrams, stream in pairs:
                await self._serve(datagrams, stream)
            return int(pairs[0][0].getsockname()[1])
        raise OSError(errno.EADDRINUSE, f"no free port for DNS on {', '.join(addresses)}")

    async def _serve(self, datagrams: socket.socket, stream: socket.socket) -> None:
        self._transports.append(_Datagrams(datagrams, self._resolver, self._tasks))
        self._servers.append(await asyncio.start_server(self._connection, sock=stream))

    async def close(self) -> None:
        """Stop listening."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._connections >= MOST_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        self._tasks.add(task)
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    length = struct.unpack(">H", await reader.readexactly(2))[0]
                    data = await reader.readexactly(length)
                answer = self._resolver.answer(data, limit=65535)
                if isinstance(answer, Query):
                    answer = await self._resolver.forward(answer, str(writer.get_extra_info("peername")[0]), tcp=True)
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        except (TimeoutError, OSError, WireError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections -= 1
            self._tasks.discard(task)
            writer.close()


def _bind(addresses: Sequence[str], port: int, open_socket: OpenSocket) -> list[tuple[socket.socket, socket.socket]]:
    """Bind UDP and TCP at every address to one port (0: any). Raises OSError."""
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = open_socket(family, kind)
                opened.append(sock)
                sock.setblocking(False)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                port = port or int(sock.getsockname()[1])
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return list(zip(opened[::2], opened[1::2], strict=True))
