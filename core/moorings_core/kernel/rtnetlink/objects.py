"""What is in the kernel, as values: parsed from dumps, compared by equality."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_interface, ip_network

from . import wire
from .wire import Ip, attributes, ip_of, mac_text, number, string

IFF_UP, IFF_LOWER_UP = 1, 0x10000
UNICAST, LOCAL, BLACKHOLE, UNREACHABLE = 1, 2, 6, 7
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
MAIN, BOOT, STATIC = 254, 3, 4


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface; vxlan holds vni, local, port and learning of a VXLAN device."""

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = False
    alias: str = ""
    vxlan: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link, with its prefix."""

    link: int
    address: IPv4Interface | IPv6Interface
    scope: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A route. protocol says who made it (rtnetlink(7): rtm_protocol), so that each changes only its own."""

    destination: IPv4Network | IPv6Network
    link: int = 0
    gateway: Ip | None = None
    source: Ip | None = None
    protocol: int = STATIC
    scope: int = SCOPE_UNIVERSE
    type: int = UNICAST
    onlink: bool = False
    table: int = MAIN
    metric: int = 0

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{self.destination}{via} dev {self.link}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry; permanent ones never ask the link."""

    link: int
    address: Ip
    mac: str
    permanent: bool = True


@dataclass(frozen=True, slots=True)
class Forwarding:
    """A VXLAN device's knowledge that a MAC is behind a node."""

    link: int
    mac: str
    destination: Ip


def link(body: bytes) -> Link:
    """Parse RTM_NEWLINK."""
    _, _, index, flags, _ = wire.IFINFO.unpack_from(body)
    parts = attributes(body, wire.IFINFO.size)
    info = attributes(parts.get(18, b""))
    kind = string(info.get(1, b""))
    return Link(
        index, string(parts.get(3, b"")), kind, mac_text(parts.get(1, b"")), number(parts.get(4, b"")),
        bool(flags & IFF_UP), bool(flags & IFF_LOWER_UP), string(parts.get(20, b"")),
        _vxlan(attributes(info.get(2, b""))) if kind == "vxlan" else {},
    )  # fmt: skip


def _vxlan(parts: Mapping[int, bytes]) -> dict[str, object]:
    packed = parts.get(4) or parts.get(17)
    port = struct.unpack(">H", parts[15])[0] if 15 in parts else 0
    return {
        "vni": number(parts.get(1, b"")), "local": ip_of(packed) if packed else None, "port": port,
        "learning": bool(number(parts.get(7, b""))),
    }  # fmt: skip


def address(body: bytes) -> Address:
    """Parse RTM_NEWADDR."""
    _, prefix, _, scope, index = wire.IFADDR.unpack_from(body)
    parts = attributes(body, wire.IFADDR.size)
    return Address(index, ip_interface((ip_of(parts.get(2) or parts[1]), prefix)), scope)


def route(body: bytes) -> Route:
    """Parse RTM_NEWROUTE."""
    family, prefix, _, _, table, protocol, scope, kind, flags = wire.ROUTE.unpack_from(body)
    parts = attributes(body, wire.ROUTE.size)
    zero: Ip = IPv4Address(0) if family == socket.AF_INET else IPv6Address(0)
    target = ip_of(parts[1]) if 1 in parts else zero
    return Route(
        ip_network((target, prefix)), number(parts.get(4, b"")), ip_of(parts[5]) if 5 in parts else None,
        ip_of(parts[7]) if 7 in parts else None, protocol, scope, kind, bool(flags & 4),
        number(parts[15]) if 15 in parts else table, number(parts.get(6, b"")),
    )  # fmt: skip


def neighbour(body: bytes) -> Neighbour | None:
    """Parse RTM_NEWNEIGH of the IP families; None for an entry without a MAC."""
    _, link_index, state, _, _ = wire.NEIGH.unpack_from(body)
    parts = attributes(body, wire.NEIGH.size)
    if 1 not in parts:
        return None
    return Neighbour(link_index, ip_of(parts[1]), mac_text(parts.get(2, b"")), bool(state & 0x80))


def forwarding(body: bytes) -> Forwarding | None:
    """Parse RTM_NEWNEIGH of AF_BRIDGE; None when it names no remote address."""
    _, link_index, _, _, _ = wire.NEIGH.unpack_from(body)
    parts = attributes(body, wire.NEIGH.size)
    if 1 not in parts or 2 not in parts:
        return None
    return Forwarding(link_index, mac_text(parts[2]), ip_of(parts[1]))
