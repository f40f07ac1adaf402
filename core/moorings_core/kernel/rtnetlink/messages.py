"""Requests: what may be asked of the kernel, each a label for people and the bytes after the netlink header.

"put" creates or replaces, so it can be repeated; "add" fails when there is one; every "delete" of something absent is fine
when sent with `Connection.apply`, which takes the state it leads to as done.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from . import wire
from .objects import Forwarding, Neighbour, Route
from .wire import Ip, attribute, family_of, mac_bytes, nested, text, u32

IFF_UP = 1
NUD_PERMANENT, NUD_NOARP, NTF_SELF, NTF_PROXY = 0x80, 0x40, 0x02, 0x08
RTNH_F_ONLINK = 4
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send; `done` are the errno values that mean that the wanted state is there already."""

    label: str
    kind: int
    flags: int
    body: bytes
    done: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair: its name, MAC, ifindex (0: the kernel's choice) and MTU."""

    name: str
    mac: str
    index: int = 0
    mtu: int = 1500

    def body(self) -> bytes:
        """Return it as ifinfomsg and attributes."""
        return _ifinfo(self.index) + text(3, self.name) + attribute(1, mac_bytes(self.mac)) + u32(4, self.mtu)


def add_veth(near: VethEnd, far: VethEnd, netns: int, alias: str = "") -> Request:
    """Make a veth pair: near in the connection's namespace, far inside the one open as descriptor netns.

    Names, MACs and indexes are chosen here so that everything after can be sent without reading anything back.
    """
    peer = nested(2, nested(1, near.body()))
    body = far.body() + u32(28, netns) + nested(18, text(1, "veth"), peer)
    return Request(f"add veth {near.name}", wire.NEWLINK, wire.F_CREATE | wire.F_EXCL, body)


def add_vxlan(name: str, *, vni: int, local: Ip, port: int, mac: str, mtu: int) -> Request:
    """Make a VXLAN device whose peers are all told to it: no learning, no multicast."""
    where = attribute(4, local.packed) if local.version == 4 else attribute(17, local.packed)
    data = u32(1, vni) + where + attribute(15, struct.pack(">H", port)) + attribute(7, b"\0")
    info = nested(18, text(1, "vxlan"), nested(2, data))
    body = _ifinfo(0) + text(3, name) + attribute(1, mac_bytes(mac)) + u32(4, mtu) + info
    return Request(f"add vxlan {name}", wire.NEWLINK, wire.F_CREATE | wire.F_EXCL, body)


def set_link(index: int, *, up: bool | None = None, mtu: int = 0, mac: str = "", alias: str = "", name: str = "") -> Request:
    """Change a link, given by index or by name; what is not given stays."""
    flags = 0 if up is None else IFF_UP * up
    body = _ifinfo(index, flags, 0 if up is None else IFF_UP)
    body += (text(3, name) if name else b"") + (u32(4, mtu) if mtu else b"")
    body += (attribute(1, mac_bytes(mac)) if mac else b"") + (text(20, alias) if alias else b"")
    return Request(f"set link {name or index}", wire.NEWLINK, 0, body)


def delete_link(index: int = 0, name: str = "") -> Request:
    """Delete a link, given by index or by name."""
    body = _ifinfo(index) + (text(3, name) if name else b"")
    return Request(f"delete link {name or index}", wire.DELLINK, 0, body, ABSENT)


def add_address(index: int, address: IPv4Interface | IPv6Interface, *, scope: int = 0) -> Request:
    """Add an address to a link, at once usable (IPv6: without duplicate address detection)."""
    flags = u32(8, IFA_F_NODAD) if address.version == 6 else b""
    body = _address(index, address, scope) + flags
    return Request(f"add address {address}", wire.NEWADDR, wire.F_CREATE | wire.F_REPLACE, body)


def delete_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Take an address from a link."""
    return Request(f"delete address {address}", wire.DELADDR, 0, _address(index, address, 0), ABSENT)


def put_route(route: Route) -> Request:
    """Make a route, or replace the one with the same destination, table and metric in one step: there is no gap."""
    return Request(f"put route {route}", wire.NEWROUTE, wire.F_CREATE | wire.F_REPLACE, _route(route))


def delete_route(route: Route) -> Request:
    """Delete a route."""
    return Request(f"delete route {route}", wire.DELROUTE, 0, _route(route), ABSENT)


def put_neighbour(neighbour: Neighbour) -> Request:
    """Make a permanent neighbour entry, or correct it."""
    body = _neigh(family_of(neighbour.address), neighbour.link, NUD_PERMANENT)
    body += attribute(1, neighbour.address.packed) + attribute(2, mac_bytes(neighbour.mac))
    return Request(f"put neighbour {neighbour.address}", wire.NEWNEIGH, wire.F_CREATE | wire.F_REPLACE, body)


def delete_neighbour(neighbour: Neighbour) -> Request:
    """Delete a neighbour entry."""
    body = _neigh(family_of(neighbour.address), neighbour.link, 0) + attribute(1, neighbour.address.packed)
    return Request(f"delete neighbour {neighbour.address}", wire.DELNEIGH, 0, body, ABSENT)


def put_proxy(link: int, address: Ip) -> Request:
    """Answer ARP or neighbour discovery on a link for an address that is behind another one."""
    body = _neigh(family_of(address), link, 0, NTF_PROXY) + attribute(1, address.packed)
    return Request(f"put proxy {address}", wire.NEWNEIGH, wire.F_CREATE | wire.F_REPLACE, body)


def delete_proxy(link: int, address: Ip) -> Request:
    """Answer for an address no more."""
    body = _neigh(family_of(address), link, 0, NTF_PROXY) + attribute(1, address.packed)
    return Request(f"delete proxy {address}", wire.DELNEIGH, 0, body, ABSENT)


def put_forwarding(entry: Forwarding) -> Request:
    """Tell a VXLAN device behind which node a MAC is."""
    body = _neigh(wire.AF_BRIDGE, entry.link, NUD_PERMANENT | NUD_NOARP, NTF_SELF)
    body += attribute(2, mac_bytes(entry.mac)) + attribute(1, entry.destination.packed)
    return Request(f"put forwarding {entry.mac}", wire.NEWNEIGH, wire.F_CREATE | wire.F_REPLACE, body)


def delete_forwarding(entry: Forwarding) -> Request:
    """Take a MAC from a VXLAN device."""
    body = _neigh(wire.AF_BRIDGE, entry.link, 0, NTF_SELF) + attribute(2, mac_bytes(entry.mac))
    body += attribute(1, entry.destination.packed)
    return Request(f"delete forwarding {entry.mac}", wire.DELNEIGH, 0, body, ABSENT)


def _ifinfo(index: int, flags: int = 0, change: int = 0) -> bytes:
    return wire.IFINFO.pack(0, 0, index, flags, change)


def _address(index: int, address: IPv4Interface | IPv6Interface, scope: int) -> bytes:
    head = wire.IFADDR.pack(family_of(address.ip), address.network.prefixlen, 0, scope, index)
    return head + attribute(2, address.ip.packed) + attribute(1, address.ip.packed)


def _neigh(family: int, link: int, state: int, flags: int = 0) -> bytes:
    return wire.NEIGH.pack(family, link, state, flags, 1)


def _route(route: Route) -> bytes:
    destination: IPv4Network | IPv6Network = route.destination
    family = family_of(destination.network_address)
    flags = RTNH_F_ONLINK if route.onlink else 0
    head = wire.ROUTE.pack(family, destination.prefixlen, 0, 0, 0, route.protocol, route.scope, route.type, flags)
    body = head + u32(15, route.table)
    body += attribute(1, destination.network_address.packed) if destination.prefixlen else b""
    body += attribute(5, route.gateway.packed) if route.gateway else b""
    body += attribute(7, route.source.packed) if route.source else b""
    body += u32(4, route.link) if route.link else b""
    return body + (u32(6, route.metric) if route.metric else b"")
