"""Questions about the rest of the world go to upstream servers; their answers are kept for a while."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from moorings_core.log import get_logger

from . import wire
from .wire import Query, WireError

log = get_logger(__name__)
CACHE_ENTRIES, CACHE_SECONDS, NEGATIVE_SECONDS = 4096, 30, 5
MOST_IN_FLIGHT = 512
TRY_SECONDS, TRIES = 1.5, 3
Upstream = tuple[str, int]


class _Question(NamedTuple):
    """What makes two answers interchangeable."""

    name: str
    type: int
    klass: int
    edns: bool
    dnssec: bool
    tcp: bool


class Forwarder:
    """Asks upstream servers, each question once at a time."""

    def __init__(self, upstreams: Callable[[], Sequence[Upstream]]) -> None:
        self._upstreams = upstreams
        self._cache: OrderedDict[_Question, tuple[float, float, bytes, list[tuple[int, int]]]] = OrderedDict()
        self._flying: dict[_Question, asyncio.Future[bytes]] = {}

    async def ask(self, query: Query, asker: str, *, tcp: bool = False) -> bytes:
        """Return the answer to a query, SERVFAIL when no upstream gives one. asker is the address the query came from.

        A question that comes back from a server it was just sent to has gone in a circle: it is refused.
        """
        key = _Question(query.name, query.type, query.klass, query.edns, query.dnssec, tcp)
        if (known := self._known(key, query)) is not None:
            return known
        upstreams = self._upstreams()
        flying = self._flying.get(key)
        if flying is not None and any(asker == address for address, _ in upstreams):
            log.warning("forwarding loop", name=query.name, upstream=asker)
            return wire.reply(query, wire.REFUSED)
        if flying is None:
            if len(self._flying) >= MOST_IN_FLIGHT or not upstreams:
                return wire.reply(query, wire.SERVFAIL)
            flying = asyncio.ensure_future(self._fetch(key, query, upstreams, tcp))
            self._flying[key] = flying
            flying.add_done_callback(lambda _: self._flying.pop(key, None))
        try:
            answer = await asyncio.shield(flying)
        except (OSError, WireError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("no answer", name=query.name, error=str(error))
            return wire.reply(query, wire.SERVFAIL)
        return _fit(answer, query, tcp)

    def _known(self, key: _Question, query: Query) -> bytes | None:
        entry = self._cache.get(key)
        now = time.monotonic()
        if entry is None or entry[0] <= now:
            return None
        self._cache.move_to_end(key)
        _, since, data, ttls = entry
        answer, age = bytearray(data), int(now - since)
        for offset, ttl in ttls:
            struct.pack_into(">I", answer, offset, max(ttl - age, 0))
        return _fit(bytes(answer), query, key.tcp)

    async def _fetch(self, key: _Question, query: Query, upstreams: Sequence[Upstream], tcp: bool) -> bytes:
        last: Exception = TimeoutError("no upstream")
        for attempt in range(TRIES):
            upstream = upstreams[attempt % len(upstreams)]
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    answer = await (_ask_tcp if tcp else _ask_udp)(upstream, query)
                self._keep(key, answer)
                return answer
            except (OSError, WireError, TimeoutError, asyncio.IncompleteReadError) as error:
                last = error
        raise last

    def _keep(self, key: _Question, answer: bytes) -> None:
        rcode, ttls = wire.ttl_offsets(answer)
        truncated = struct.unpack_from(">H", answer, 2)[0] & wire.TRUNCATED
        if truncated or rcode not in (wire.NOERROR, wire.NXDOMAIN):
            return
        positive = rcode == wire.NOERROR and struct.unpack_from(">H", answer, 6)[0]
        life = min([ttl for _, ttl in ttls] or [0]) if ttls else 0
        life = min(life, CACHE_SECONDS if positive else NEGATIVE_SECONDS)
        if life > 0:
            now = time.monotonic()
            self._cache[key] = (now + life, now, answer, ttls)
            while len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)


def _fit(answer: bytes, query: Query, tcp: bool) -> bytes:
    """Make an answer the asker's: its id, its spelling of the name, and no longer than it takes by UDP."""
    limit = 65535 if tcp else query.size
    if len(answer) > limit:
        return _truncated(query)
    flags = struct.unpack_from(">H", answer, 2)[0] & ~wire.RECURSION_DESIRED | query.flags & wire.RECURSION_DESIRED
    head = struct.pack(">HH", query.id, flags)
    return head + answer[4:12] + query.question + answer[12 + len(query.question) :]


def _truncated(query: Query) -> bytes:
    answer = bytearray(wire.reply(query, wire.NOERROR))
    flags = struct.unpack_from(">H", answer, 2)[0] | wire.TRUNCATED
    struct.pack_into(">H", answer, 2, flags)
    return bytes(answer)


def _check(answer: bytes, query: Query, id_: int) -> bytes:
    """Return an answer if it is one to this question. Raises WireError."""
    same = answer[12 : 12 + len(query.question)].lower() == query.question.lower()
    if len(answer) < 12 or answer[:2] != struct.pack(">H", id_) or not same or not answer[2] & 0x80:
        raise WireError("not an answer to this")
    return answer


class _Exchange(asyncio.DatagramProtocol):
    """One question from a port of its own: whoever wants to forge an answer must guess port and id."""

    def __init__(self, query: Query, id_: int, done: asyncio.Future[bytes]) -> None:
        self._query, self._id, self._done = query, id_, done

    def datagram_received(self, data: bytes, _address: tuple[str | int, ...]) -> None:
        try:
            answer = _check(data, self._query, self._id)
        except WireError:
            return  # a forged one: the true one may still come
        if not self._done.done():
            self._done.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(exc)


async def _ask_udp(upstream: Upstream, query: Query) -> bytes:
    loop, id_ = asyncio.get_running_loop(), secrets.randbelow(65536)
    done: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Exchange(query, id_, done), remote_addr=upstream)
    try:
        transport.sendto(struct.pack(">H", id_) + query.raw[2:])
        return await done
    finally:
        transport.close()


async def _ask_tcp(upstream: Upstream, query: Query) -> bytes:
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        id_ = secrets.randbelow(65536)
        raw = struct.pack(">H", id_) + query.raw[2:]
        writer.write(struct.pack(">H", len(raw)) + raw)
        length = struct.unpack(">H", await reader.readexactly(2))[0]
        return _check(await reader.readexactly(length), query, id_)
    finally:
        writer.close()


class ResolvConf:
    """The upstream servers that a resolv.conf names, read again when the file changes. Never ourselves.

    Loopback servers are left out: a stub resolver there knows this machine's namespace, which a node of a lab does not share.
    """

    def __init__(self, path: Path, own: Collection[str]) -> None:
        self._path, self._own = path, frozenset(own)
        self._stamp = 0
        self._servers: list[Upstream] = []

    def __call__(self) -> Sequence[Upstream]:
        """Return (address, 53) of each."""
        try:
            stamp = os.stat(self._path).st_mtime_ns
            if stamp != self._stamp:
                self._servers = self._read()
                self._stamp = stamp
        except OSError:
            self._servers = []
        return self._servers

    def _read(self) -> list[Upstream]:
        words = (line.split() for line in self._path.read_text(errors="replace").splitlines())
        named = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        return parse_upstreams(named, self._own)


def parse_upstreams(texts: Sequence[str], own: Collection[str]) -> list[Upstream]:
    """Return servers given as "address", "address:port" or "[address]:port", without `own` addresses and loopback ones at 53."""
    found: list[Upstream] = []
    for text in texts:
        host, port = text, 53
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = int(rest[1:] or 53)
        elif text.count(":") == 1:
            host, _, rest = text.partition(":")
            port = int(rest)
        try:
            address = ipaddress.ip_address(host.split("%")[0])
        except ValueError:
            log.warning("not an upstream address", text=text)
            continue
        if port != 53 or not (str(address) in own or address.is_loopback):
            found.append((host, port))
    return found
