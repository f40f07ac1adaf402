"""Routes that bring packets for virtual addresses into this node: a virtual server takes only what is for the node itself.

They are of type local, but in the main table: so the addresses are not the node's own for anybody who asks which are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, AF_INET6

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.rtnetlink import Route
from moorings_core.kernel.rtnetlink.objects import LOCAL, SCOPE_HOST
from moorings_core.ports.proxy import ProxySettings

PROTOCOL = 79
"""rtm_protocol by which these routes are known as ours"""
LOOPBACK = 1
METRIC = 1024


def wanted(addresses: Collection[str], settings: ProxySettings) -> set[Route]:
    """Return the routes for the service ranges and for single addresses. Pure."""
    own = [ip_address(text) for text in settings.node_addresses]
    found = set()
    for text in (*settings.service_cidrs, *addresses):
        network = ip_network(text, strict=False)
        source = next((a for a in own if a.version == network.version), None)
        found.add(_route(network, source))
    return found


def apply(routes: Collection[Route], netns: str | None, *, only_add: bool = False) -> int:
    """Make the kernel's routes of ours be these; return how many differences there were. Raises OSError."""
    with rtnetlink.connect(netns) as connection:
        have = {_key(r): r for family in (AF_INET, AF_INET6) for r in connection.routes(family, PROTOCOL)}
        want = {_key(r): r for r in routes}
        missing = [want[key] for key in want.keys() - have.keys()]
        surplus: Sequence[Route] = [] if only_add else [have[key] for key in have.keys() - want.keys()]
        connection.apply([*map(rtnetlink.put_route, missing), *map(rtnetlink.delete_route, surplus)])
    return len(missing) + len(surplus)


def _route(network: object, source: IPv4Address | IPv6Address | None) -> Route:
    return Route(
        ip_network(network),  # type: ignore[arg-type]
        LOOPBACK,
        source=source,
        protocol=PROTOCOL,
        scope=SCOPE_HOST,
        type=LOCAL,
        metric=METRIC,
    )


def _key(route: Route) -> tuple[str, str]:
    return str(route.destination), str(route.source or "")
