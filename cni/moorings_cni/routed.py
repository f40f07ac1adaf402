"""Transport `routed`: other nodes' pods by plain routes to the nodes, which all have to be on one link with this one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.rtnetlink import Route
from moorings_core.log import get_logger
from moorings_core.ports.network import NetworkError, Peer
from moorings_core.ports.node import NodeContext

from . import routes, underlay
from .backend import Backend
from .routes import State
from .underlay import Underlay

log = get_logger(__name__)


class Routed:
    """The transport on one node."""

    name = "routed"

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
        """Nothing to do: routes are taken over by the next transport, and there is no device."""

    def _accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        under = underlay.find(own.addresses)
        underlay.loosen(under.link.name)
        _, problems = desired_state(under, peers)
        if problems:
            raise NetworkError("; ".join(problems))

    def _carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        under = underlay.find(own.addresses)
        desired, problems = desired_state(under, peers)
        with rtnetlink.connect() as connection:
            requests = routes.plan(desired, routes.actual(connection))
            connection.apply(requests)
        if requests:
            log.info("routes to peers changed", peers=len(peers), requests=len(requests))
        if problems:  # the peers that can be reached are served first
            raise NetworkError("; ".join(problems))


def desired_state(under: Underlay, peers: Sequence[Peer]) -> tuple[State, list[str]]:
    """Return the routes, and in words which peers cannot be routed to. Pure."""
    found: list[Route] = []
    problems: list[str] = []
    for peer, cidr in routes.ranges(peers):
        hop = routes.same_family(peer.addresses, cidr)
        if not hop:
            problems.append(f"node {peer.name} has no address of the family of its pod range {cidr}")
        elif not under.on_link(hop):
            on = ", ".join(str(a.network) for a in under.addresses if not a.is_link_local)
            problems.append(f"node {peer.name} ({hop}) is not on the link of {under.link.name} ({on}): routed needs one L2")
        else:
            found.append(routes.to_range(cidr, under.link.index, hop, routes.same_family(under.local, cidr), onlink=False))
    return State(tuple(found)), problems


def _transport(context: NodeContext, parameters: Mapping[str, Any]) -> Routed:
    return Routed()


backend = Backend(_transport)
