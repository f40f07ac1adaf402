"""The netlink wire format as far as rtnetlink needs it. Sans-I/O. Source: linux/netlink.h, linux/rtnetlink.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_ACK, F_DUMP, F_REPLACE, F_EXCL, F_CREATE, F_APPEND, F_DUMP_INTR = 1, 4, 0x300, 0x100, 0x200, 0x400, 0x800, 0x10
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NESTED, TYPE_MASK = 0x8000, 0x3FFF
AF_BRIDGE = 7

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
IFINFO = struct.Struct("=BxHiII")
IFADDR = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
NEIGH = struct.Struct("=BxxxiHBB")

Ip = IPv4Address | IPv6Address


class Message(NamedTuple):
    """One received message; body is what follows the netlink header."""

    type: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one padded attribute."""
    return ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute in host order."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | F_REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Split what one recv returned."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield Message(kind, flags, sequence, data[at + HEADER.size : at + length])
        at += length + (-length % 4)


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Return attributes by kind; the last of a kind wins."""
    found: dict[int, bytes] = {}
    while at + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found[kind & TYPE_MASK] = data[at + 4 : at + length]
        at += length + (-length % 4)
    return found


def family_of(ip: Ip) -> int:
    """Return AF_INET or AF_INET6."""
    return socket.AF_INET if ip.version == 4 else socket.AF_INET6


def ip_of(packed: bytes) -> Ip:
    """Return the address that an attribute holds."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of "aa:bb:cc:dd:ee:ff"."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(packed: bytes) -> str:
    """Return "aa:bb:cc:dd:ee:ff"."""
    return packed.hex(":")


def string(payload: bytes) -> str:
    """Return what a string attribute holds."""
    return payload.rstrip(b"\0").decode(errors="replace")


def number(payload: bytes) -> int:
    """Return a host-order unsigned number of 1, 2, 4 or 8 bytes."""
    return int.from_bytes(payload, "little" if struct.pack("=H", 1) == b"\1\0" else "big")
