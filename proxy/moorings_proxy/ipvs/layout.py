"""What nftables does beside IP virtual servers: it says by a mark which virtual server a packet is for. Pure.

The tables are those of the nftables backend under another name, but where that translates a packet's destination this one marks the
packet. Virtual servers are keyed by mark, so the choice between a service's views (policies Cluster and Local, inside and outside)
is made here, and one virtual server stands for all addresses of a service's port. To come there a packet must be for this
node: its address is routed so (see `routes`). Ports with session affinity are served by nftables' maps as ever: a virtual server
that is keyed by a mark can be sticky, but then it does not translate the port.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network

from moorings_core.kernel.nftables import SetSpec
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.layout import CHAINS, MARKED, MASK, OURS, TEXT, Layout
from moorings_proxy.render import Rendered, Renderer, Server

TABLE = "moorings_ipvs"
PROTOCOL_SHIFT, NUMBERS = 22, (1 << 22) - 1
MARK_PROTOCOLS = ("TCP", "UDP", "SCTP")
"""A mark is MARKED, two bits for the protocol, and 22 bits that stand for one view of one port."""
# An address that is only routed to this node is none of its own: no NodePort is there.
NODE = "$FAMILY daddr != $LOOPBACK $FAMILY daddr != @service_cidrs $FAMILY daddr != @routed fib daddr type local"
PLAIN_NODE = "$FAMILY daddr != $LOOPBACK fib daddr type local"
TO = "$FAMILY daddr . meta l4proto . th dport"
MARKING = {
    "marking-inside": ("", (
        f"meta mark set {TO} map @in_marks",
        f"{OURS} return",
        f"{NODE} meta mark set meta l4proto . th dport map @np_in_marks",
    )),
    "marking": ("", (
        "$FAMILY saddr @pods jump marking-inside",
        "fib saddr type local jump marking-inside",
        f"{OURS} return",
        f"meta mark set {TO} map @marks",
        f"{OURS} return",
        f"{NODE} meta mark set meta l4proto . th dport map @np_marks",
    )),
}  # fmt: skip
DECLARED = """
add set $FAMILY $TABLE routed { type $ADDR; }
add map $FAMILY $TABLE marks { type $ADDR . inet_proto . inet_service : mark; }
add map $FAMILY $TABLE in_marks { type $ADDR . inet_proto . inet_service : mark; }
add map $FAMILY $TABLE np_marks { type inet_proto . inet_service : mark; }
add map $FAMILY $TABLE np_in_marks { type inet_proto . inet_service : mark; }
$CHAINS
"""


def _chains() -> dict[str, tuple[str, Sequence[str]]]:
    found: dict[str, tuple[str, Sequence[str]]] = {**MARKING}
    for name, (hook, rules) in CHAINS.items():
        found[name] = (hook, [rule.replace(PLAIN_NODE, NODE) for rule in rules])
    for name in ("early-prerouting", "early-output"):
        found[name] = (found[name][0], [*found[name][1], "ct state new jump marking"])
    found["late"] = ("", [*found["late"][1], "$FAMILY daddr @routed goto refuse"])
    found["nat-postrouting"] = (found["nat-postrouting"][0], [*found["nat-postrouting"][1], f"{OURS} jump masquerading"])
    return found


@dataclass(frozen=True)
class IpvsLayout(Layout):
    """The nftables side of one family."""

    table: str = TABLE

    @cached_property
    def chains(self) -> Mapping[str, tuple[str, Sequence[str]]]:
        """The constant chains."""
        return _chains()

    @property
    def declarations(self) -> str:
        """The constant sets and maps."""
        return TEXT.replace("$CHAINS", DECLARED)

    @cached_property
    def sets(self) -> dict[str, SetSpec]:
        """Those of nftables, and the marks."""
        a = self.length

        def marks(name: str, key: int) -> SetSpec:
            return SetSpec(self.family, self.table, name, key, "map", 4)

        more = {name: marks(name, a + 8) for name in ("marks", "in_marks")} | {n: marks(n, 8) for n in ("np_marks", "np_in_marks")}
        return super().sets | {"routed": SetSpec(self.family, self.table, "routed", a)} | more


def protocol_of(mark: int) -> str:
    """Return the protocol of the port that a mark stands for."""
    return MARK_PROTOCOLS[(mark & ~MASK) >> PROTOCOL_SHIFT]


class Marks:
    """Which mark stands for which view of a port: the same after a restart, but where two fall on one."""

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self._holders: dict[int, str] = {}

    def of(self, identity: str, protocol: str) -> int:
        """Return the mark."""
        if identity not in self._marks:
            number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:3], "big") & NUMBERS
            kind = MARKED | MARK_PROTOCOLS.index(protocol) << PROTOCOL_SHIFT
            while (mark := kind | number) in self._holders:
                number = (number + 1) & NUMBERS
            self._marks[identity], self._holders[mark] = mark, identity
        return self._marks[identity]

    def keep(self, marks: Collection[int]) -> None:
        """Forget all but these."""
        for mark in self._holders.keys() - set(marks):
            del self._marks[self._holders.pop(mark)]


class IpvsRenderer(Renderer):
    """Makes one Service's elements and virtual servers."""

    def __init__(self, layout: Layout, name: Key, entry: ServiceEntry, marks: Marks, settings: ProxySettings) -> None:
        super().__init__(layout, name, entry)
        self._marks, self._settings = marks, settings

    def run(self) -> Rendered:
        """Return everything that serves the Service in this family."""
        for address in routed(self.entry, self._settings):
            if self.layout.mine(address):
                self.items["routed", self.layout.address(address)] = b""
        return super().run()

    def serve(self, prefix: str, key: bytes, port: ServicePort, view: list[bytes], local: bool) -> None:
        """Mark packets to a key; a sticky port is translated by nftables."""
        if self.entry.affinity:
            super().serve(prefix, key, port, view, local)
        else:
            self._mark(f"{prefix}marks", key, port, view, local)

    def serve_inside(self, prefix: str, key: bytes, port: ServicePort, view: list[bytes]) -> None:
        """Mark packets of the node and its pods."""
        if self.entry.affinity:
            super().serve_inside(prefix, key, port, view)
        else:
            self._mark(f"{prefix}in_marks", key, port, view, False)

    def _mark(self, name: str, key: bytes, port: ServicePort, view: list[bytes], local: bool) -> None:
        mark = self._marks.of(self.identity(port, local), port.protocol)
        self.items[name, key] = mark.to_bytes(4, "little")
        self.out.servers[mark] = Server(port.protocol, frozenset(view))


def routed(entry: ServiceEntry, settings: ProxySettings) -> set[str]:
    """Return the addresses of a Service that have to be routed to this node one by one: neither in a range that is, nor its own."""
    ranges = [ip_network(cidr, strict=False) for cidr in settings.service_cidrs]
    every = {*entry.cluster_ips, *entry.external_ips, *entry.load_balancer_ips} - set(settings.node_addresses)
    return {text for text in every if not any(ip_address(text) in network for network in ranges)}
