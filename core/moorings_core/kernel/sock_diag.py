"""Sockets of a network namespace: which are connected where, and their end. Source: sock_diag(7), linux/inet_diag.h (SOCK_DESTROY)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from .namespaces import call_in

NETLINK_SOCK_DIAG, BY_FAMILY, DESTROY = 4, 20, 21
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
SO_NETNS_COOKIE = 71
EVERY_STATE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_ID = struct.Struct(">HH16s16s")
_ANSWER_ID = 4
"""Where an answer has its inet_diag_sockid: 48 bytes, ports and addresses first, the cookie last."""


class Connected(NamedTuple):
    """A socket; id is the kernel's inet_diag_sockid, cookie the number that no other socket ever has."""

    family: int
    id: bytes
    address: str
    port: int
    cookie: int


def datagram_sockets(netns: str) -> list[Connected]:
    """Return the UDP sockets of the namespace at a path that are connected. Blocking. Raises OSError."""

    def body() -> list[Connected]:
        with _open() as sock:
            return [found for family in (socket.AF_INET, socket.AF_INET6) for found in _list(sock, family) if found.port]

    return call_in(netns, body)


def destroy(netns: str, sockets: list[Connected]) -> int:
    """End sockets: whoever waits there gets ECONNABORTED. Return how many there still were. Blocking.

    Raises OSError: EOPNOTSUPP where the kernel was built without INET_DIAG_DESTROY.
    """

    def body() -> int:
        with _open() as sock:
            return sum(_destroy(sock, each) for each in sockets)

    return call_in(netns, body) if sockets else 0


def cookie_of(netns: str) -> int:
    """Return the number of a network namespace that no other one ever has, as bpf_get_netns_cookie tells it. Raises OSError."""

    def body() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")

    return call_in(netns, body)


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    sock.settimeout(5)
    return sock


def _list(sock: socket.socket, family: int) -> Iterator[Connected]:
    for kind, body in _ask(sock, BY_FAMILY, NLM_F_DUMP, _REQUEST.pack(family, socket.IPPROTO_UDP, 0, EVERY_STATE) + bytes(48)):
        if kind != BY_FAMILY:
            continue
        whole = body[_ANSWER_ID : _ANSWER_ID + 48]
        _, port, _, address = _ID.unpack_from(whole)
        text = socket.inet_ntop(family, address[:4] if family == socket.AF_INET else address)
        yield Connected(family, whole, text, port, int.from_bytes(whole[40:48], "little"))


def _destroy(sock: socket.socket, each: Connected) -> bool:
    request = _REQUEST.pack(each.family, socket.IPPROTO_UDP, 0, EVERY_STATE) + each.id
    for kind, body in _ask(sock, DESTROY, NLM_F_ACK, request):
        number = -struct.unpack_from("=i", body)[0] if kind == NLMSG_ERROR else 0
        if number and number != errno.ENOENT:
            raise OSError(number, os.strerror(number), "ending a socket")
        return number == 0
    return False


def _ask(sock: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the answers as (kind, body), up to what ends them."""
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
    while True:
        data, at = sock.recv(1 << 17), 0
        while at + _HEADER.size <= len(data):
            length, answer, *_ = _HEADER.unpack_from(data, at)
            if answer == NLMSG_DONE:
                return
            yield answer, data[at + _HEADER.size : at + length]
            if answer == NLMSG_ERROR:
                return
            at += length + (-length % 4)
