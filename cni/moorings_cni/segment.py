"""Transport `underlay`: the network outside carries pods' packets under their own addresses; nothing wraps or routes them here.

Where nodes share a segment, each answers ARP for its own pod range, and everybody finds pods as if they were plugged into it:
also machines on the segment that know nothing of the cluster. With parameter `outside: true` the outside has routes to the pod
ranges (a cloud's alias ranges or route tables, a router's own) and nodes leave everything to it.
IPv6 ranges of a segment are routed to the node's address: proxies of neighbour discovery are one an address, and a range has 2^64.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from typing import Any

from moorings_core.kernel import rtnetlink, sysctl
from moorings_core.kernel.rtnetlink import Connection, Request
from moorings_core.kernel.rtnetlink.objects import SCOPE_LINK
from moorings_core.log import get_logger
from moorings_core.ports.network import NetworkError, Peer
from moorings_core.ports.node import NodeContext

from . import routed, routes, underlay
from .backend import Backend
from .routes import State
from .underlay import Underlay

log = get_logger(__name__)
MOST = 4096
"""Addresses of a range that are answered for one by one."""


class Segment:
    """The transport on one node."""

    name = "underlay"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._outside = bool(parameters.get("outside"))
        self._link = 0

    def overhead(self, addresses: Sequence[str]) -> int:
        """Nothing is added to a packet."""
        return 0

    async def accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Answer for the own range, and take packets in whose answers may still leave by another device."""
        await asyncio.to_thread(self._accept, own, peers)

    async def carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Send to the peers' ranges on the link itself, or leave them to the outside."""
        await asyncio.to_thread(self._carry, own, peers)

    async def withdraw(self) -> None:
        """Answer for nobody any more."""
        await asyncio.to_thread(self._withdraw)

    def _accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        under = underlay.find(own.addresses)
        underlay.loosen(under.link.name)
        if self._outside:
            with rtnetlink.connect() as connection:
                if not any(not r.destination.prefixlen and r.link for family in (2, 10) for r in connection.routes(family)):
                    raise NetworkError("underlay with outside: true needs a default route: it is what leads to other nodes' pods")
            return
        _, problems = desired_state(under, peers)
        if problems:
            raise NetworkError("; ".join(problems))
        # Everybody who is asked for a pod's address answers at once: the kernel's wait is for segments with several proxies.
        sysctl.ensure(f"net/ipv4/neigh/{under.link.name}/proxy_delay", 0)
        with rtnetlink.connect() as connection:
            requests = self._answers(connection, under, own)
            connection.apply(requests)
        self._link = under.link.index
        if requests:
            log.info("answering for pods on the segment", link=under.link.name, addresses=len(requests))

    def _answers(self, connection: Connection, under: Underlay, own: Peer) -> list[Request]:
        wanted = {address for cidr in own.pod_cidrs if ":" not in cidr for address in _hosts(cidr)}
        have = connection.proxies(2, under.link.index)
        requests = [rtnetlink.put_proxy(under.link.index, address) for address in sorted(wanted - have)]
        return requests + [rtnetlink.delete_proxy(under.link.index, address) for address in sorted(have - wanted)]

    def _carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        self._accept(own, peers)
        desired = State() if self._outside else desired_state(underlay.find(own.addresses), peers)[0]
        with rtnetlink.connect() as connection:
            requests = routes.plan(desired, routes.actual(connection))
            connection.apply(requests)
        if requests:
            log.info("ways to peers changed", peers=len(peers), requests=len(requests))

    def _withdraw(self) -> None:
        with rtnetlink.connect() as connection:
            for link in connection.links():
                if self._link in (0, link.index):
                    mine = connection.proxies(2, link.index)
                    connection.apply([rtnetlink.delete_proxy(link.index, address) for address in mine])


def desired_state(under: Underlay, peers: Sequence[Peer]) -> tuple[State, list[str]]:
    """Return the routes, and in words which peers are not on the segment. Pure."""
    state, problems = routed.desired_state(under, peers)
    found = [r if r.destination.version == 6 else replace(r, gateway=None, scope=SCOPE_LINK) for r in state.routes]
    return State(tuple(found)), [
        problem.replace("routed needs one L2, or bgp", "underlay needs one L2, or outside: true") for problem in problems
    ]


def _hosts(cidr: str) -> set[Any]:
    network = ip_network(cidr)
    assert isinstance(network, IPv4Network)
    if network.num_addresses > MOST:
        raise NetworkError(f"{cidr} is too big to be answered for: underlay takes ranges of at most {MOST} addresses a node")
    return set(network.hosts())


def _transport(context: NodeContext, parameters: Mapping[str, Any]) -> Segment:
    return Segment(parameters)


backend = Backend(_transport)
