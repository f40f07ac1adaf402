"""The rtnetlink socket: batches out, dumps in. The kernel does a request while it is sent, so nothing here waits long."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.errors import MooringsError

from . import objects, shaping, wire
from .messages import ABSENT, NTF_PROXY, Request
from .objects import Address, Forwarding, Link, Neighbour, Route

T = TypeVar("T")
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
BUFFER = 1 << 18
DUMP_TRIES = 10


class RtnetlinkError(MooringsError):
    """The kernel refused a request; `errno` says why."""

    def __init__(self, label: str, number: int, words: str = "") -> None:
        super().__init__(f"{label}: {os.strerror(number)}" + (f" ({words})" if words else ""))
        self.label, self.errno, self.words = label, number, words


class Exists(RtnetlinkError):
    """There is one already."""


class Missing(RtnetlinkError):
    """The link, address, route or neighbour is not there."""


class Busy(RtnetlinkError):
    """It is in use, e.g. an ifindex that another link has."""


def error_of(label: str, number: int, words: str = "") -> RtnetlinkError:
    """Return the error that an errno stands for."""
    kind = RtnetlinkError
    if number == errno.EEXIST:
        kind = Exists
    elif number == errno.EBUSY:
        kind = Busy
    elif number in ABSENT:
        kind = Missing
    return kind(label, number, words)


class Connection:
    """A socket in one network namespace, for one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; what was applied stays."""
        self._socket.close()

    def apply(self, requests: Sequence[Request]) -> None:
        """Do requests in order, in one system call. Raises RtnetlinkError of the first that failed.

        The kernel goes on after a failure, so later requests may have taken effect. A request whose state is there already
        is a success.
        """
        first = self._sequence + 1
        self._sequence += len(requests)
        parts = [wire.message(r.kind, r.flags | wire.F_ACK, first + i, r.body) for i, r in enumerate(requests)]
        errors: dict[int, tuple[int, str]] = {}
        for chunk in _chunks(parts):
            self._socket.send(b"".join(chunk))
            self._acknowledgements(len(chunk), errors)
        for index, request in enumerate(requests):
            number, words = errors.get(first + index, (0, ""))
            if number and number not in request.done:
                raise error_of(request.label, number, words)

    def _acknowledgements(self, expected: int, errors: dict[int, tuple[int, str]]) -> None:
        while expected > 0:
            for answer in wire.messages(self._socket.recv(BUFFER)):
                if answer.type == wire.NLMSG_ERROR:
                    errors[answer.sequence] = _error(answer)
                    expected -= 1

    def links(self) -> list[Link]:
        """Return all links."""
        return self._dump(wire.GETLINK, wire.NEWLINK, wire.IFINFO.pack(0, 0, 0, 0, 0), objects.link)

    def link(self, name: str) -> Link | None:
        """Return a link by name, or None."""
        self._sequence += 1
        body = wire.IFINFO.pack(0, 0, 0, 0, 0) + wire.text(3, name)
        self._socket.send(wire.message(wire.GETLINK, 0, self._sequence, body))
        for answer in wire.messages(self._socket.recv(BUFFER)):
            if answer.type == wire.NEWLINK:
                return objects.link(answer.body)
            number, words = _error(answer)
            if number not in ABSENT:
                raise error_of(f"get link {name}", number, words)
        return None

    def addresses(self) -> list[Address]:
        """Return the addresses of all links, both families."""
        return self._dump(wire.GETADDR, wire.NEWADDR, wire.IFADDR.pack(0, 0, 0, 0, 0), objects.address)

    def routes(self, family: int, protocol: int = 0) -> list[Route]:
        """Return the main table's routes of a family; with a protocol only those."""
        body = wire.ROUTE.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
        found = self._dump(wire.GETROUTE, wire.NEWROUTE, body, objects.route)
        return [r for r in found if r.table == objects.MAIN and protocol in (0, r.protocol)]

    def neighbours(self, family: int, link: int = 0) -> list[Neighbour]:
        """Return the neighbour entries of a family; with a link's index only its."""
        body = wire.NEIGH.pack(family, 0, 0, 0, 0) + (wire.u32(8, link) if link else b"")
        found = self._dump(wire.GETNEIGH, wire.NEWNEIGH, body, objects.neighbour)
        return [n for n in found if n and link in (0, n.link)]

    def proxies(self, family: int, link: int) -> set[wire.Ip]:
        """Return the addresses that are answered for on a link."""
        body = wire.NEIGH.pack(family, 0, 0, NTF_PROXY, 0)
        found = self._dump(wire.GETNEIGH, wire.NEWNEIGH, body, objects.neighbour)
        return {n.address for n in found if n and n.link == link}

    def forwarding(self, link: int) -> list[Forwarding]:
        """Return what a VXLAN device knows about MACs."""
        body = wire.NEIGH.pack(wire.AF_BRIDGE, link, 0, 0, 0)
        found = self._dump(wire.GETNEIGH, wire.NEWNEIGH, body, objects.forwarding)
        return [f for f in found if f and f.link == link]

    def buckets(self) -> dict[int, int]:
        """Return link -> bytes a second of the token buckets at the roots of links."""
        found = self._dump(shaping.GETQDISC, shaping.NEWQDISC, shaping.TCMSG.pack(0, 0, 0, 0, 0), shaping.bucket)
        return dict(pair for pair in found if pair)

    def _dump(self, ask: int, answer: int, body: bytes, parse: Callable[[bytes], T]) -> list[T]:
        """Return a consistent dump: one that a change tore is repeated. Raises RtnetlinkError EINTR after many tries."""
        for _ in range(DUMP_TRIES):
            self._sequence += 1
            self._socket.send(wire.message(ask, wire.F_DUMP, self._sequence, body))
            found, torn = self._collect(answer)
            if not torn:
                return [parse(part) for part in found]
        raise error_of("dump", errno.EINTR)

    def _collect(self, wanted: int) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        torn = False
        while True:
            for answer in wire.messages(self._socket.recv(BUFFER)):
                if answer.sequence != self._sequence:
                    continue
                torn = torn or bool(answer.flags & wire.F_DUMP_INTR)
                if answer.type == wanted:
                    found.append(answer.body)
                elif answer.type == wire.NLMSG_DONE:
                    return found, torn
                elif answer.type == wire.NLMSG_ERROR:
                    raise error_of("dump", *_error(answer))


def _chunks(parts: Sequence[bytes], most: int = 200) -> Iterator[Sequence[bytes]]:
    """A socket buffer holds some hundred acknowledgements."""
    for at in range(0, len(parts), most):
        yield parts[at : at + most]


def _error(answer: wire.Message) -> tuple[int, str]:
    """Return errno and the kernel's words of an NLMSG_ERROR."""
    number = -int(struct.unpack_from("=i", answer.body)[0])
    if not answer.flags & 0x200:
        return number, ""
    start = 20 if answer.flags & 0x100 else 4 + int(struct.unpack_from("=I", answer.body, 4)[0])
    return number, wire.string(wire.attributes(answer.body, start).get(1, b""))


@contextmanager
def connect(netns: str | int | None = None) -> Iterator[Connection]:
    """Open a connection to a network namespace (path or descriptor; None: the calling thread's) for a `with` block."""

    def open_socket() -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.bind((0, 0))
        return sock

    sock = call_in(netns, open_socket)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    try:
        yield Connection(sock)
    finally:
        sock.close()
