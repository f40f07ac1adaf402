"""Transport `routed`: other nodes' pods by plain routes to the nodes that are on one link with this one.

With parameter `bgp` routers are told where this node's pods are, and nodes elsewhere are reached by what routers say: see `bgp`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.rtnetlink import Route
from moorings_core.log import get_logger
from moorings_core.ports.network import NetworkError, Peer
from moorings_core.ports.node import NodeContext

from . import bgp, routes, underlay
from .backend import Backend
from .routes import State
from .underlay import Underlay

log = get_logger(__name__)


class Routed:
    """The transport on one node."""

    name = "routed"

    def __init__(self, parameters: Mapping[str, Any], directory: Path, cluster: Sequence[str]) -> None:
        """directory: where bird's files are; cluster: the ranges of all pods."""
        self._parameters, self._cluster, self._bird = parameters, cluster, bgp.Bird(directory)

    def overhead(self, addresses: Sequence[str]) -> int:
        """Nothing is added to a packet."""
        return 0

    async def accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Check that all peers are on the link, and take packets in whose answers may still leave by another device."""
        await asyncio.to_thread(self._accept, own, peers)

    async def carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Route the peers' ranges to their addresses."""
        await asyncio.to_thread(self._carry, own, peers)

    async def withdraw(self) -> None:
        """End BGP; routes of ours are taken over by the next transport, and there is no device."""
        await asyncio.to_thread(self._bird.stop)

    def _accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        under = underlay.find(own.addresses)
        underlay.loosen(under.link.name)
        speaks = self._speak(own)
        with rtnetlink.connect() as connection:
            _, problems = desired_state(under, peers, learned(connection) if speaks else None)
        if problems:
            raise NetworkError("; ".join(problems))

    def _speak(self, own: Peer) -> bool:
        """Have routers told, if that is asked for; return whether."""
        speaker = bgp.speaker_of(self._parameters)
        if speaker is None:
            return False
        self._bird.ensure(bgp.configuration(speaker, own.addresses, own.pod_cidrs, self._cluster))
        return True

    def _carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        under = underlay.find(own.addresses)
        speaks = self._speak(own)
        with rtnetlink.connect() as connection:
            desired, problems = desired_state(under, peers, learned(connection) if speaks else None)
            actual = routes.actual(connection)
            if speaks and problems:  # what led to a node that no router knows (yet) goes on doing so
                known = {route.destination for route in desired.routes} | learned(connection)
                desired = State((*desired.routes, *(r for r in actual.routes if r.destination not in known)))
            requests = routes.plan(desired, actual)
            connection.apply(requests)
        if requests:
            log.info("routes to peers changed", peers=len(peers), requests=len(requests))
        if problems:  # the peers that can be reached are served first
            raise NetworkError("; ".join(problems))


def learned(connection: rtnetlink.Connection) -> set[IPv4Network | IPv6Network]:
    """Return what routers have told a way to."""
    return {route.destination for family in (2, 10) for route in connection.routes(family, bgp.BIRD_PROTOCOL)}


def desired_state(
    under: Underlay, peers: Sequence[Peer], by_routers: Collection[IPv4Network | IPv6Network] | None = None
) -> tuple[State, list[str]]:
    """Return the routes, and in words which peers cannot be routed to. Pure. by_routers: what BGP has a way to; None: no BGP."""
    found: list[Route] = []
    problems: list[str] = []
    for peer, cidr in routes.ranges(peers):
        hop = routes.same_family(peer.addresses, cidr)
        if hop and under.on_link(hop):
            found.append(routes.to_range(cidr, under.link.index, hop, routes.same_family(under.local, cidr), onlink=False))
        elif by_routers is not None:
            if ip_network(cidr) not in by_routers:
                problems.append(f"no router has told a way to the pods of node {peer.name} ({cidr}) yet")
        elif not hop:
            problems.append(f"node {peer.name} has no address of the family of its pod range {cidr}")
        else:
            on = ", ".join(str(a.network) for a in under.addresses if not a.is_link_local)
            problems.append(f"node {peer.name} ({hop}) is not on the link of {under.link.name} ({on}): routed needs one L2, or bgp")
    return State(tuple(found)), problems


def _transport(context: NodeContext, parameters: Mapping[str, Any]) -> Routed:
    return Routed(parameters, context.run / "bgp", context.config.network.pod_cidrs)


backend = Backend(_transport)
