"""Flows that the kernel tracks: list and delete them, by raw ctnetlink (pyroute2 would cost an agent 10 MB for this).

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .nftables import wire
from .nftables.netns import call_in

NETLINK_NETFILTER, SUBSYSTEM, GET, DELETE = 12, 1 << 8, 1, 2
SO_RCVBUFFORCE = 33
TUPLE_ORIGINAL, TUPLE_REPLY, FILTER = 1, 2, 25
FILTER_DESTINATION_IP, FILTER_PROTOCOL, FILTER_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5


class Tuple(NamedTuple):
    """One direction of a flow. protocol is the IP protocol number; ports are 0 where there are none."""

    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int


class Flow(NamedTuple):
    """A tracked flow: as it was sent, and as answers come. They differ by address translation."""

    original: Tuple
    reply: Tuple
    raw: bytes
    family: int


class Conntrack:
    """A socket to connection tracking in one network namespace. Calls block shortly: from a thread when flows are many."""

    def __init__(self, netns: str | None = None) -> None:
        def open_socket() -> socket.socket:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)

        self._socket = call_in(netns, open_socket)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def flows(self, family: int, protocol: int, destination: str = "", port: int = 0) -> list[Flow]:
        """Return the flows of a protocol, if wanted only those sent to an address or port; the kernel does the filtering.

        family is socket.AF_INET or AF_INET6. Raises OSError. Kernel 5.8 and later filter; an older one returns all.
        """
        flags, ip, proto = FILTER_PROTOCOL, b"", wire.attribute(1, bytes([protocol]))
        if destination:
            flags |= FILTER_DESTINATION_IP
            ip = wire.attribute(2 if family == socket.AF_INET else 4, socket.inet_pton(family, destination))
        if port:
            flags |= FILTER_DESTINATION_PORT
            proto += wire.attribute(3, struct.pack(">H", port))
        tuple_ = wire.nested(TUPLE_ORIGINAL, wire.nested(1, ip) if ip else b"", wire.nested(2, proto))
        body = tuple_ + wire.nested(FILTER, wire.attribute(1, struct.pack("=I", flags)))
        found = (_flow(m.body, m.family) for m in self._ask(GET, wire.F_DUMP, family, body))
        return [
            flow
            for flow in found
            if flow.original.protocol == protocol
            and destination in ("", flow.original.destination)
            and port in (0, flow.original.destination_port)
        ]

    def delete(self, flows: Iterable[Flow]) -> int:
        """Delete flows; one that has gone meanwhile is as good as deleted. Return how many were there."""
        count = 0
        for flow in flows:
            try:
                for _ in self._ask(DELETE, wire.F_ACK, flow.family, wire.attribute(TUPLE_ORIGINAL | wire.NESTED, flow.raw)):
                    pass
                count += 1
            except FileNotFoundError:
                continue
        return count

    def _ask(self, kind: int, flags: int, family: int, body: bytes) -> Iterator[wire.Message]:
        self._sequence += 1
        head = struct.pack("=IHHII", wire.HEADER_LENGTH + len(body), SUBSYSTEM | kind, flags | wire.F_REQUEST, self._sequence, 0)
        self._socket.send(head + struct.pack(">BBH", family, 0, 0) + body)
        while True:
            for answer in wire.messages(self._socket.recv(1 << 17)):
                if answer.sequence != self._sequence:
                    continue
                if answer.type == wire.NLMSG_DONE:
                    return
                if answer.type == wire.NLMSG_ERROR:
                    number = -int(struct.unpack_from("=i", answer.body)[0])
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield answer


def _flow(body: bytes, family: int) -> Flow:
    parts = wire.attribute_map(body)
    raw = parts[TUPLE_ORIGINAL]
    return Flow(_tuple(raw, family), _tuple(parts[TUPLE_REPLY], family), raw, family)


def _tuple(payload: bytes, family: int) -> Tuple:
    parts = wire.attribute_map(payload)
    ip, proto = wire.attribute_map(parts[1]), wire.attribute_map(parts[2])
    first = 1 if family == socket.AF_INET else 3
    ports = [int.from_bytes(proto.get(kind, b"\0\0"), "big") for kind in (2, 3)]
    source, destination = (socket.inet_ntop(family, ip[kind]) for kind in (first, first + 1))
    return Tuple(source, destination, proto[1][0], ports[0], ports[1])
