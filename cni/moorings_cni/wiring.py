"""The wire of one pod: a veth pair, host addresses at the pod, host routes at the node. The same for every transport.

The pod sees one gateway that no interface has (169.254.1.1, fe80::1); permanent neighbour entries on both sides lead there and
back, so nothing depends on ARP, proxy ARP or a default route of the node. `expected` says what there is to be, `differences`
compares, `wire` makes it in two system calls: one in the node's namespace, one in the pod's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from moorings_core.kernel import rtnetlink, sysctl
from moorings_core.kernel.namespaces import call_in, identity, is_netns, own
from moorings_core.kernel.rtnetlink import Link, Neighbour, Request, Route
from moorings_core.kernel.rtnetlink.messages import VethEnd
from moorings_core.kernel.rtnetlink.objects import SCOPE_LINK, UNREACHABLE
from moorings_core.ports.network import Attachment, AttachmentKey, NetworkError, PodRequest

from . import shaping

PREFIX = "mo"
HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY4, GATEWAY6 = "169.254.1.1", "fe80::1"
PROTOCOL = 78
"""Of routes to this node's own pods (rtm_protocol)."""
FIRST_INDEX = 1 << 20
"""Interface indexes of pods start here: far above what the kernel gives out by itself."""


def plan(request: PodRequest, slot: int, addresses: Sequence[str], mtu: int) -> Attachment:
    """Return the attachment that a request becomes: every name, MAC and index is chosen here. Pure."""
    digest = hashlib.sha256("/".join(request.key).encode()).digest()
    gateways = tuple(GATEWAY6 if ":" in address else GATEWAY4 for address in addresses)
    # The MAC follows the address, not the pod: a neighbour entry that outlived its pod is still right.
    mac = request.mac or (b"\x0a\x58" + ip_address(addresses[0]).packed[-4:]).hex(":")
    return Attachment(
        request.key, request.netns, tuple(addresses), gateways, mac, mtu, PREFIX + digest.hex()[:12], HOST_MAC,
        FIRST_INDEX + slot, slot, request.pod, request.pod_uid, request.ports, request.bandwidth,
    )  # fmt: skip


def check_netns(netns: str) -> None:
    """Raise NetworkError unless netns names a network namespace other than the node's own."""
    if not is_netns(netns):
        raise NetworkError(f"{netns} is not a network namespace")
    if identity(netns) == identity(own()):
        raise NetworkError(f"{netns} is the node's own network namespace")


def wire(attachment: Attachment) -> None:
    """Make the veth pair and everything on both ends. Raises RtnetlinkError, OSError; `unwire` cleans up after that."""
    near = VethEnd(attachment.host_link, HOST_MAC, attachment.index, attachment.mtu)
    far = VethEnd(attachment.key.interface, attachment.mac, attachment.index, attachment.mtu)
    fd = os.open(attachment.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with rtnetlink.connect() as node:
            node.apply([rtnetlink.add_veth(near, far, fd), *host_side(attachment)])
        call_in(fd, lambda: _inside(attachment))
    finally:
        os.close(fd)


def host_side(attachment: Attachment) -> list[Request]:
    """Return what makes the node's end right, whatever it is now; the link has to exist."""
    requests = [rtnetlink.set_link(attachment.index, up=True, mtu=attachment.mtu, alias=attachment.pod[:255])]
    requests += [rtnetlink.put_neighbour(neighbour) for neighbour in host_neighbours(attachment)]
    requests += shaping.requests(attachment, ingress=True)
    return requests + [rtnetlink.put_route(route) for route in host_routes(attachment)]


def host_neighbours(attachment: Attachment) -> list[Neighbour]:
    """Return the node's neighbour entries for a pod."""
    return [Neighbour(attachment.index, ip_address(a), attachment.mac) for a in attachment.addresses]


def host_routes(attachment: Attachment) -> list[Route]:
    """Return the node's routes to a pod, as a dump shows them."""
    return [_link_route(address, attachment.index, PROTOCOL) for address in attachment.addresses]


def range_route(cidr: str) -> Route:
    """Return the route that stops packets for addresses of this node's range that no pod has: they must not leave the node."""
    link, metric = (1, 1024) if ":" in cidr else (0, 0)  # the kernel fills these in for IPv6
    return Route(ip_network(cidr), link, protocol=PROTOCOL, type=UNREACHABLE, metric=metric)


def _link_route(address: str, index: int, protocol: int) -> Route:
    six = ":" in address
    return Route(ip_network(address), index, protocol=protocol, scope=0 if six else SCOPE_LINK, metric=1024 if six else 0)


def pod_routes(attachment: Attachment) -> list[Route]:
    """Return the pod's routes: to the gateway, then everything through it."""
    routes: list[Route] = []
    for gateway in attachment.gateways:
        if ":" not in gateway:  # fe80::1 is on the link by its prefix
            routes.append(_link_route(gateway, attachment.index, 3))
        six = ":" in gateway
        everything = ip_network("::/0" if six else "0.0.0.0/0")
        routes.append(Route(everything, attachment.index, ip_address(gateway), protocol=3, metric=1024 if six else 0))
    return routes


def pod_neighbours(attachment: Attachment) -> list[Neighbour]:
    """Return the pod's neighbour entries."""
    return [Neighbour(attachment.index, ip_address(gateway), HOST_MAC) for gateway in attachment.gateways]


def _inside(attachment: Attachment) -> None:
    if any(":" in address for address in attachment.addresses):
        sysctl.ensure(f"net/ipv6/conf/{attachment.key.interface}/disable_ipv6", 0)
    requests = [rtnetlink.set_link(1, up=True), rtnetlink.set_link(attachment.index, up=True)]
    requests += [rtnetlink.add_address(attachment.index, ip_interface(address)) for address in attachment.addresses]
    requests += [rtnetlink.put_neighbour(neighbour) for neighbour in pod_neighbours(attachment)]
    requests += [rtnetlink.put_route(route) for route in pod_routes(attachment)]
    requests += shaping.requests(attachment, ingress=False)
    with rtnetlink.connect() as pod:
        pod.apply(requests)


def unwire(attachment: Attachment) -> None:
    """Delete the veth pair, and with it all routes and entries. Fine when there is none. Raises RtnetlinkError."""
    with rtnetlink.connect() as node:
        rtnetlink.remove_link(node, attachment.host_link)
        # A foreign change may have left the route on another link; it must not outlive the pod.
        stale = {ip_network(address) for address in attachment.addresses}
        for family in {2 if address.version == 4 else 10 for address in stale}:
            routes = [route for route in node.routes(family, PROTOCOL) if route.destination in stale]
            node.apply([rtnetlink.delete_route(route) for route in routes])


def host_differences(attachment: Attachment, node: rtnetlink.Connection) -> list[str]:
    """Return what is not as it should be at the node's end, in words."""
    link = node.link(attachment.host_link)
    if link is None:
        return [f"host interface {attachment.host_link} is missing"]
    found = [] if link.up else [f"host interface {link.name} is down"]
    found += [] if link.mtu == attachment.mtu else [f"host interface {link.name} has mtu {link.mtu}, not {attachment.mtu}"]
    found += shaping.differences(attachment, node, link.index, ingress=True)
    for family, _ in _families(attachment):
        found += _lacking(node, family, attachment.index, "host", host_routes(attachment), host_neighbours(attachment))
    return found


def pod_differences(attachment: Attachment) -> list[str]:
    """Return what is not as it should be inside the pod, in words."""
    if not is_netns(attachment.netns):
        return [f"network namespace {attachment.netns} is gone"]
    with rtnetlink.connect(attachment.netns) as pod:
        link = pod.link(attachment.key.interface)
        if link is None:
            return [f"interface {attachment.key.interface} is missing"]
        found = [] if link.up else [f"interface {link.name} is down"]
        found += [] if link.mac == attachment.mac else [f"interface {link.name} has MAC {link.mac}, not {attachment.mac}"]
        have = {str(address.address.ip) for address in pod.addresses() if address.link == link.index}
        found += [f"address {address} is missing" for address in attachment.addresses if address not in have]
        found += shaping.differences(attachment, pod, link.index, ingress=False)
        for family, _ in _families(attachment):
            found += _lacking(pod, family, link.index, "pod", pod_routes(attachment), pod_neighbours(attachment))
        return found


def _families(attachment: Attachment) -> list[tuple[int, str]]:
    return [(10 if ":" in address else 2, address) for address in attachment.addresses]


def _lacking(
    where: rtnetlink.Connection, family: int, link: int, side: str, routes: Sequence[Route], neighbours: Sequence[Neighbour]
) -> list[str]:
    version = 4 if family == 2 else 6
    have = {(route.destination, route.gateway, route.link) for route in where.routes(family)}
    wanted = [route for route in routes if route.destination.version == version]
    found = [f"{side} route {r} is missing" for r in wanted if (r.destination, r.gateway, r.link) not in have]
    entries = set(where.neighbours(family, link))
    wanted_entries = [n for n in neighbours if n.address.version == version]
    return found + [f"{side} neighbour {n.address} is missing" for n in wanted_entries if n not in entries]


def orphans(known: Sequence[str]) -> list[str]:
    """Return the names of veth links of this plugin's making that no known attachment has."""
    with rtnetlink.connect() as node:
        links = node.links()
    mine = [link for link in links if link.kind == "veth" and link.index >= FIRST_INDEX and link.name.startswith(PREFIX)]
    return [link.name for link in mine if link.name not in known and link.mac == HOST_MAC]


def repair(attachments: Sequence[Attachment], cidrs: Sequence[str]) -> list[str]:
    """Put back what is missing at the node's ends of live attachments; return their links. Sees to the ranges' routes too."""
    done: list[str] = []
    with rtnetlink.connect() as node:
        found = [route for family in (2, 10) for route in node.routes(family)]
        routes, wanted = {_place(route) for route in found}, {ip_network(cidr) for cidr in cidrs}
        entries = frozenset(n for family in (2, 10) for n in node.neighbours(family))
        links = {link.name: link for link in node.links()}
        requests = [rtnetlink.put_route(range_route(c)) for c in cidrs if (ip_network(c), 0) not in routes]
        mine = [route for route in found if route.protocol == PROTOCOL and route.type == UNREACHABLE]
        requests += [rtnetlink.delete_route(route) for route in mine if route.destination not in wanted]
        for attachment in attachments:
            link = links.get(attachment.host_link)
            if link and not _right(attachment, link, routes, entries):
                requests += host_side(attachment)
                done.append(attachment.host_link)
        node.apply(requests)
    return done


def _place(route: Route) -> tuple[IPv4Network | IPv6Network, int]:
    return route.destination, 0 if route.type == UNREACHABLE else route.link


def _right(attachment: Attachment, link: Link, routes: AbstractSet[object], entries: frozenset[Neighbour]) -> bool:
    wanted = {_place(route) for route in host_routes(attachment)}
    return link.up and wanted <= routes and entries.issuperset(host_neighbours(attachment))


def key_text(key: AttachmentKey) -> str:
    """Return a key for logs."""
    return f"{key.container_id[:13]}/{key.interface}"
