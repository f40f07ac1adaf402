"""Transport `vxlan`: other nodes' pods through a VXLAN tunnel, every peer told to the device by us. Source: RFC 7348.

Works over any network between nodes that passes UDP. Parameters: vni (default 1), port (default 8472), device.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from moorings_core.kernel import ethtool, rtnetlink
from moorings_core.kernel.rtnetlink import Connection, Forwarding, Link, Neighbour, Request, Route
from moorings_core.kernel.rtnetlink.objects import SCOPE_LINK
from moorings_core.log import get_logger
from moorings_core.ports.network import VTEP_MAC, NetworkError, Peer
from moorings_core.ports.node import NodeContext

from . import routes, underlay
from .backend import Backend
from .routes import State

log = get_logger(__name__)
DEVICE, VNI, PORT = "moorings.vx", 1, 8472
OVERHEAD4, OVERHEAD6 = 50, 70


class Vxlan:
    """The transport on one node."""

    name = "vxlan"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._vni = int(parameters.get("vni", VNI))
        self._port = int(parameters.get("port", PORT))
        self._device = str(parameters.get("device", DEVICE))

    def overhead(self, addresses: Sequence[str]) -> int:
        """Outer Ethernet-less IP, UDP and VXLAN headers and the inner Ethernet header."""
        return OVERHEAD6 if addresses and ":" in addresses[0] else OVERHEAD4

    async def accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Have the device: a frame for our tunnel end's MAC is taken in whoever sent it."""
        await asyncio.to_thread(self._accept, own)

    async def carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Route the peers' ranges into the device."""
        await asyncio.to_thread(self._carry, own, peers)

    async def withdraw(self) -> None:
        """Delete the device; its routes and entries go with it."""
        await asyncio.to_thread(self._withdraw)

    def _accept(self, own: Peer) -> Link:
        under = underlay.find(own.addresses)
        local = under.local[0]
        mtu = under.link.mtu - self.overhead([local])
        with rtnetlink.connect() as connection:
            link = self._device_for(connection, vtep_mac(own), local)
            if link is None:
                make = rtnetlink.add_vxlan(
                    self._device, vni=self._vni, local=ip_address(local), port=self._port, mac=vtep_mac(own), mtu=mtu
                )
                connection.apply([make])
                log.info("vxlan device made", device=self._device, vni=self._vni, local=local, port=self._port)
                link = connection.link(self._device)
                if link is None:
                    raise NetworkError(f"{self._device} vanished while it was being made")
            if ethtool.transmit_checksum(self._device):
                # Inner checksums left to the driver are wrong on the wire with many of them: pings work, TCP does not.
                ethtool.set_transmit_checksum(self._device, False)
            if not link.up or link.mtu != mtu:
                connection.apply([rtnetlink.set_link(link.index, up=True, mtu=mtu)])
            connection.apply(_addresses(connection, link, own))
        underlay.loosen(self._device)
        underlay.loosen(under.link.name)
        return link

    def _device_for(self, connection: Connection, mac: str, local: str) -> Link | None:
        """Return the device if it is as it has to be; a wrong one is deleted, since most of it cannot be changed."""
        link = connection.link(self._device)
        if link is None:
            return None
        is_now = (link.kind, link.mac, *(link.vxlan.get(k) for k in ("vni", "local", "port", "learning")))
        if is_now == ("vxlan", mac, self._vni, ip_address(local), self._port, False):
            return link
        if link.kind != "vxlan":
            raise NetworkError(f"interface {self._device} is there already and is a {link.kind or 'device'}")
        connection.apply([rtnetlink.delete_link(link.index)])
        return None

    def _carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        link = self._accept(own)
        under = underlay.find(own.addresses)
        desired = desired_state(link.index, under.local, peers)
        with rtnetlink.connect() as connection:
            requests = routes.plan(desired, routes.actual(connection, link.index))
            connection.apply(requests)
        if requests:
            log.info("vxlan peers changed", peers=len(peers), requests=len(requests))

    def _withdraw(self) -> None:
        with rtnetlink.connect() as connection:
            connection.apply([rtnetlink.delete_link(name=self._device)])


def _addresses(connection: Connection, link: Link, own: Peer) -> list[Request]:
    """Return what gives the device an address: the loose reverse path filter drops all that comes in by a device without one.

    It is the first address of the node's range, which no pod has, of link scope, so that nothing is ever sent from it.
    """
    have = {entry.address: entry.scope for entry in connection.addresses() if entry.link == link.index}
    firsts = [ip_interface(str(ip_network(cidr).network_address)) for cidr in own.pod_cidrs if ":" not in cidr]
    stale = [address for address, scope in have.items() if address.version == 4 and scope == SCOPE_LINK and address not in firsts]
    requests = [rtnetlink.delete_address(link.index, address) for address in stale]  # of a block that is another node's now
    return requests + [rtnetlink.add_address(link.index, first, scope=SCOPE_LINK) for first in firsts if first not in have]


def vtep_mac(peer: Peer) -> str:
    """Return the MAC of a node's tunnel end: derived from its name, so that it needs no exchange and never goes stale."""
    told = peer.annotations.get(VTEP_MAC)
    if told:
        return told.lower()
    return (b"\x02" + hashlib.sha256(peer.name.encode()).digest()[:5]).hex(":")


def desired_state(link: int, local: Sequence[str], peers: Sequence[Peer]) -> State:
    """Return routes, neighbours and forwarding entries for the peers. Pure.

    The next hop is the first address of the peer's range, which no pod has: it works for every mix of families.
    """
    six = bool(local) and ":" in local[0]
    found: tuple[list[Route], list[Neighbour], list[Forwarding]] = ([], [], [])
    for peer in peers:
        node = next((a for a in peer.addresses if (":" in a) == six), "")
        if not node:
            log.warning("peer has no address of the underlay's family", peer=peer.name, addresses=",".join(peer.addresses))
            continue
        found[2].append(Forwarding(link, vtep_mac(peer), ip_address(node)))
        for cidr in peer.pod_cidrs:
            hop = str(ip_network(cidr).network_address)
            found[1].append(Neighbour(link, ip_address(hop), vtep_mac(peer)))
            found[0].append(routes.to_range(cidr, link, hop, routes.same_family(local, cidr), onlink=True))
    return State(tuple(found[0]), tuple(found[1]), tuple(found[2]))


def _transport(context: NodeContext, parameters: Mapping[str, Any]) -> Vxlan:
    return Vxlan(parameters)


backend = Backend(_transport)
