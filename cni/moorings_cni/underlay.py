"""The link between nodes: which one it is, what is directly on it, how big its packets are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from moorings_core.kernel import rtnetlink, sysctl
from moorings_core.kernel.rtnetlink import Link
from moorings_core.ports.network import NotReady

LOOSE = 2


@dataclass(frozen=True, slots=True)
class Underlay:
    """The node's link that carries its InternalIPs; addresses are all of that link, the node's own are in `local`."""

    link: Link
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    local: tuple[str, ...]

    def source(self, version: int) -> str:
        """Return the node's own address of an IP version that is really on the link, or ""."""
        return next((a for a in self.local if ip_address(a).version == version), "")

    def on_link(self, address: str) -> bool:
        """Whether an address is reached without a router."""
        ip = ip_address(address)
        return any(ip in own.network for own in self.addresses if own.version == ip.version)


def find(addresses: Sequence[str]) -> Underlay:
    """Return the underlay of a node with these addresses. Raises NotReady when no link has one of them."""
    with rtnetlink.connect() as connection:
        links = {link.index: link for link in connection.links()}
        have = connection.addresses()
    for wanted in addresses:
        for entry in have:
            if str(entry.address.ip) == wanted:
                mine = tuple(a.address for a in have if a.link == entry.link)
                local = tuple(a for a in addresses if any(str(m.ip) == a for m in mine))
                return Underlay(links[entry.link], mine, local)
    raise NotReady(f"no interface of this node has one of its addresses: {', '.join(addresses) or 'none given'}")


def forward(versions: set[int]) -> None:
    """Let this network namespace forward packets of these IP versions. Raises OSError."""
    if 4 in versions:
        sysctl.ensure("net/ipv4/ip_forward", 1)
    if 6 in versions and sysctl.read("net/ipv6/conf/all/forwarding") != "1":
        # A router ignores router advertisements unless told otherwise: keep the default route that they gave.
        sysctl.ensure("net/ipv6/conf/all/accept_ra", 2)
        sysctl.ensure("net/ipv6/conf/default/accept_ra", 2)
        sysctl.ensure("net/ipv6/conf/all/forwarding", 1)


def loosen(link: str) -> None:
    """Take packets in on a link although the answer would leave by another: so it is while transports are exchanged."""
    name = f"net/ipv4/conf/{link}/rp_filter"
    if max(int(sysctl.read("net/ipv4/conf/all/rp_filter")), int(sysctl.read(name))) == 1:
        sysctl.ensure(name, LOOSE)
