"""Routes, neighbours and forwarding entries to other nodes: desired and actual compared. Pure.

Only routes with our own protocol number are ever touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.rtnetlink import Forwarding, Neighbour, Request, Route
from moorings_core.ports.network import Peer

PROTOCOL = 77
"""Of routes to other nodes' pod ranges (rtm_protocol)."""


@dataclass(frozen=True, slots=True)
class State:
    """What leads to other nodes."""

    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    forwarding: tuple[Forwarding, ...] = ()


def plan(desired: State, actual: State) -> list[Request]:
    """Return the requests that lead from actual to desired.

    First the entries that new routes need, then routes (each replaced in one step), then what no route needs any more.
    """
    requests: list[Request] = []
    requests += [rtnetlink.put_forwarding(f) for f in desired.forwarding if f not in actual.forwarding]
    requests += [rtnetlink.put_neighbour(n) for n in desired.neighbours if n not in actual.neighbours]
    have = {identity(route) for route in actual.routes}
    requests += [rtnetlink.put_route(r) for r in desired.routes if identity(r) not in have]
    targets = {(r.destination, r.metric) for r in desired.routes}
    requests += [rtnetlink.delete_route(r) for r in actual.routes if (r.destination, r.metric) not in targets]
    wanted = {(n.link, n.address) for n in desired.neighbours}
    requests += [rtnetlink.delete_neighbour(n) for n in actual.neighbours if (n.link, n.address) not in wanted]
    return requests + _surplus_forwarding(desired, actual)


def _surplus_forwarding(desired: State, actual: State) -> list[Request]:
    """A replaced entry shows as one MAC with the new destination only; the old MAC of a node has to be deleted."""
    wanted = {(f.link, f.mac) for f in desired.forwarding}
    return [rtnetlink.delete_forwarding(f) for f in actual.forwarding if (f.link, f.mac) not in wanted]


def identity(route: Route) -> tuple[object, ...]:
    """Return what makes two routes the same to a packet."""
    return route.destination, route.link, route.gateway, route.source, route.type, route.metric


def actual(connection: rtnetlink.Connection, link: int = 0) -> State:
    """Read our routes, and the entries of a VXLAN device where its index is given."""
    routes = tuple(r for family in (2, 10) for r in connection.routes(family, PROTOCOL))
    if not link:
        return State(routes)
    neighbours = tuple(n for family in (2, 10) for n in connection.neighbours(family, link) if n.permanent)
    # The device has a default entry (all zeros) only when it was made with a group; nobody makes ours so.
    return State(routes, neighbours, tuple(connection.forwarding(link)))


def to_range(cidr: str, link: int, gateway: str, source: str, *, onlink: bool) -> Route:
    """Return the route to a pod range."""
    metric = 1024 if ":" in cidr else 0  # the kernel's default for IPv6; without it replacing would add a second route
    return Route(
        ip_network(cidr), link, ip_address(gateway), ip_address(source) if source else None, PROTOCOL, onlink=onlink,
        metric=metric,
    )  # fmt: skip


def same_family(addresses: Iterable[str], cidr: str) -> str:
    """Return the first address of the range's family, or ""."""
    six = ":" in cidr
    return next((address for address in addresses if (":" in address) == six), "")


def ranges(peers: Sequence[Peer]) -> list[tuple[Peer, str]]:
    """Return every (peer, pod range)."""
    return [(peer, cidr) for peer in peers for cidr in peer.pod_cidrs]
