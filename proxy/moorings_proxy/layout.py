"""The nftables layout: one table a family, constant rules, and maps whose elements are all that ever changes. Pure.

A packet to `address . protocol . port` finds a verdict in `svc`: go to the chain for n endpoints. That chain draws a slot below n
and finds the endpoint in `ep` under `address . protocol . port . slot`. So rules do not grow with services, and a change costs
its own elements. `np` and `np_ep` are the same without the address, for NodePorts. Slots of the Local view of a service start at
LOCAL_VIEW. Chains for a number of endpoints are made when first needed and never deleted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import collapse_addresses, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Literal

from moorings_core.kernel.nftables import Batch, ChainSpec, SetSpec, expressions, goto, wire
from moorings_core.ports.proxy import ProxySettings

Kind = Literal["set", "map", "verdicts"]
TABLE = "moorings_proxy"
LOCAL_VIEW = 0x80000000
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
AFFINITY_SIZE = 65536
MARKED, MASK = 0x4D000000, 0xFF000000
"""Packets with such a mark are led on by virtual servers (backend ipvs): to tables that are here beside it they are no strangers."""
OURS = f"meta mark & {MASK:#x} == {MARKED:#x}"
RAW_CHAINS = ("masquerading", "remember")
"""Constant too, but nft's text can't put `ct original proto-dst` into a concatenation."""


@dataclass(frozen=True)
class Layout:
    """The names and shapes for one address family: wire.IPV4 or wire.IPV6."""

    family: int
    table: str = TABLE

    @property
    def chains(self) -> Mapping[str, tuple[str, Sequence[str]]]:
        """The constant chains: name -> (hook, rules as text)."""
        return CHAINS

    @property
    def declarations(self) -> str:
        """The constant sets and maps as text."""
        return TEXT

    @cached_property
    def length(self) -> int:
        """Bytes of an address."""
        return 4 if self.family == wire.IPV4 else 16

    @cached_property
    def sets(self) -> dict[str, SetSpec]:
        """Every set and map whose elements follow the table, those that others lead to first."""
        a = self.length
        shapes: dict[str, tuple[int, Kind, int]] = {
            "ep": (a + 12, "map", a + 4), "np_ep": (12, "map", a + 4),
            "sticky": (a + 8, "verdicts", 0), "np_sticky": (8, "verdicts", 0),
            "remember": (a + 8, "verdicts", 0), "np_remember": (8, "verdicts", 0),
            "hairpin": (2 * a, "set", 0), "vips": (a, "set", 0), "cluster_ips": (a, "set", 0),
            "masq": (a + 8, "set", 0), "np_masq": (8, "set", 0), "np_local": (8, "set", 0), "fw_on": (a + 8, "set", 0),
            "none": (a + 8, "verdicts", 0), "none_ext": (a + 8, "verdicts", 0),
            "np_none": (8, "verdicts", 0), "np_none_ext": (8, "verdicts", 0),
            "svc_in": (a + 8, "verdicts", 0), "np_in": (8, "verdicts", 0),
            "svc": (a + 8, "verdicts", 0), "np": (8, "verdicts", 0),
        }  # fmt: skip
        specs = {name: SetSpec(self.family, self.table, name, key, kind, data) for name, (key, kind, data) in shapes.items()}
        specs["fw"] = SetSpec(self.family, self.table, "fw", 2 * a + 8, interval=True)
        return specs

    def affinity(self, identity: str) -> SetSpec:
        """Client address -> endpoint of one port with affinity; written by packets, so only ever pruned by us."""
        return SetSpec(self.family, self.table, f"aff-{identity}", self.length, "map", self.length + 4)

    def address(self, text: str) -> bytes:
        """Return an address as it stands in keys."""
        return inet_pton(AF_INET if self.family == wire.IPV4 else AF_INET6, text)

    def mine(self, address: str) -> bool:
        """Whether an address (or CIDR) is of this family."""
        return (":" in address) == (self.family == wire.IPV6)

    def chain(self, name: str) -> ChainSpec:
        """Return a chain of the table."""
        return ChainSpec(self.family, self.table, name)

    def rules(self, chain: str) -> list[list[bytes]]:
        """Return the rules of a chain that is not in the text: RAW_CHAINS or `chain_name(...)`."""
        if chain in RAW_CHAINS:
            return self._masquerading() if chain == "masquerading" else self._remembering()
        kind, _, number = chain.rpartition("-")
        return [self._choose(kind.startswith("np"), int(number), LOCAL_VIEW if kind.endswith("l") else 0)]

    def add_affinity(self, batch: Batch, identity: str, seconds: int) -> None:
        """Add what one port with affinity needs of its own: its map, the chain that looks there first, the one that writes it.

        A chain and a map for each such port, not one map for all: nft 1.0 aborts when it lists a rule whose key comes partly
        from another lookup.
        """
        spec, words = self.affinity(identity), self.length // 4
        address = 7 if self.length == 4 else 8
        batch.add_dynamic_map(spec, address, address << 6 | 13, AFFINITY_SIZE)
        endpoint = [self._destination(words), expressions.payload(2 * words, expressions.TRANSPORT, 2, 2)]
        recall = [self._source(0), expressions.lookup(spec.name, 0, words), expressions.dnat(self.family, words, 2 * words)]
        write = [self._source(0), *endpoint, expressions.update(spec.name, 0, words, seconds * 1000)]
        self.fill_chain(batch, sticky_chain(identity), [recall, [expressions.immediate(goto("unstuck"))]])
        self.fill_chain(batch, remember_chain(identity), [write])

    def fill_chain(self, batch: Batch, name: str, rules: Sequence[Sequence[bytes]]) -> None:
        """Make a chain hold exactly these rules."""
        batch.add_chain(self.chain(name))
        batch.flush_chain(self.chain(name))
        for rule in rules:
            batch.add_rule(self.chain(name), rule)

    def delete_affinity(self, batch: Batch, identity: str) -> None:
        """Undo add_affinity, when nothing leads there any more."""
        for name in (sticky_chain(identity), remember_chain(identity)):
            batch.delete_chain(self.chain(name))
        batch.delete_set(self.affinity(identity))

    def _key(self, node_port: bool, at: int = 0) -> tuple[list[bytes], int]:
        """Load the key of svc or np from register `at` on; return the expressions and the next free register."""
        parts = []
        if not node_port:
            parts.append(self._destination(at))
            at += self.length // 4
        parts.append(expressions.meta(at, expressions.META_L4PROTO))
        parts.append(expressions.payload(at + 1, expressions.TRANSPORT, 2, 2))
        return parts, at + 2

    def _choose(self, node_port: bool, number: int, offset: int) -> list[bytes]:
        parts, at = self._key(node_port)
        parts.append(expressions.random(at, number, offset))
        parts.append(expressions.lookup("np_ep" if node_port else "ep", 0, at + 1))
        return [*parts, expressions.dnat(self.family, at + 1, at + 1 + self.length // 4)]

    def _original(self, node_port: bool = False) -> list[bytes]:
        """Load the key of svc or np as it was before translation."""
        words = 0 if node_port else self.length // 4
        key = expressions.CT_DESTINATION_IP if self.length == 4 else expressions.CT_DESTINATION_IP6
        parts = [] if node_port else [expressions.conntrack(0, key)]
        parts.append(expressions.meta(words, expressions.META_L4PROTO))
        return [*parts, expressions.conntrack(words + 1, expressions.CT_PROTO_DST)]

    def _masquerading(self) -> list[list[bytes]]:
        """Return source NAT, where the answer would not come back through this node otherwise.

        A pod that reaches itself; who is no pod on its way to a ClusterIP; everybody on the way to an external address or
        NodePort whose policy is Cluster; the node itself when the policy is Local.
        """
        words, masquerade = self.length // 4, expressions.masquerade()
        destination = self._destination(words)
        address = self._original()[:1]
        back = expressions.immediate(wire.verdict(wire.VERDICT_RETURN))
        outsider = [self._source(0), expressions.member("pods", 0, absent=True)]
        local = expressions.source_is_local(0)
        return [
            [self._source(0), destination, expressions.member("hairpin", 0), masquerade],
            [*address, expressions.member("cluster_ips", 0), *outsider, masquerade],
            [*address, expressions.member("cluster_ips", 0), back],
            [*self._original(), expressions.member("masq", 0), masquerade],
            [*address, expressions.member("vips", 0), *local, masquerade],
            [*address, expressions.member("vips", 0), back],
            [*self._original(node_port=True), expressions.member("np_masq", 0), masquerade],
            [*self._original(node_port=True), expressions.member("np_local", 0), *local, masquerade],
        ]

    def _remembering(self) -> list[list[bytes]]:
        """Return which chain, if any, remembers a new connection: by its original destination."""
        back = expressions.immediate(wire.verdict(wire.VERDICT_RETURN))
        return [
            [*self._original(), expressions.verdict_of("remember", 0)],
            [*self._original()[:1], expressions.member("vips", 0), back],
            [*self._original(node_port=True), expressions.verdict_of("np_remember", 0)],
        ]

    def _destination(self, register: int) -> bytes:
        return expressions.payload(register, expressions.NETWORK, 16 if self.length == 4 else 24, self.length)

    def _source(self, register: int) -> bytes:
        return expressions.payload(register, expressions.NETWORK, 12 if self.length == 4 else 8, self.length)

    def text(self, settings: ProxySettings) -> str:
        """Return the constant part as nft text: safe to run over itself, one transaction, elements stay."""
        six = self.family == wire.IPV6
        names = {"FAMILY": "ip6" if six else "ip", "ADDR": "ipv6_addr" if six else "ipv4_addr", "TABLE": self.table}
        names |= {"LOOPBACK": "::1" if six else "127.0.0.0/8"}
        body = self.declarations.replace("$CHAINS", "\n".join(_chains(self.chains))).replace(
            "$ELEMENTS", "\n".join(self._elements(settings))
        )
        for name, value in names.items():
            body = body.replace(f"${name}", value)
        return body

    def _elements(self, settings: ProxySettings) -> list[str]:
        ranges = {"pods": self._ranges(settings.pod_cidrs), "service_cidrs": self._ranges(settings.service_cidrs)}
        return [f"add element $FAMILY $TABLE {name} {{ {text} }}" for name, text in ranges.items() if text]

    def _ranges(self, cidrs: Sequence[str]) -> str:
        """Return elements; an empty set matches nothing."""
        found = collapse_addresses(ip_network(c, strict=False) for c in cidrs if self.mine(c))  # type: ignore[type-var]
        return ", ".join(str(c) for c in found)


def chain_name(count: int, *, node_port: bool = False, local: bool = False) -> str:
    """Return the chain that chooses among count endpoints."""
    return f"{'np' if node_port else 'lb'}{'l' if local else ''}-{count}"


def sticky_chain(identity: str) -> str:
    """Return the chain that sends a client where it was before."""
    return f"sticky-{identity}"


def remember_chain(identity: str) -> str:
    """Return the chain that writes down where a client was sent."""
    return f"remember-{identity}"


def _chains(chains: Mapping[str, tuple[str, Sequence[str]]]) -> list[str]:
    """Return the constant chains: all made (as they refer to each other), emptied, then filled."""
    made = [f"add chain $FAMILY $TABLE {name} {{ {hook} }}" for name, (hook, _) in chains.items()]
    emptied = [f"flush chain $FAMILY $TABLE {name}" for name in chains if name not in RAW_CHAINS]
    filled = [f"add rule $FAMILY $TABLE {name} {rule}" for name, (_, rules) in chains.items() for rule in rules]
    return made + emptied + filled


REJECT, DROP = goto("refuse"), wire.verdict(wire.NF_DROP)


def tail(protocol: str, port: int) -> bytes:
    """Return protocol . port as it stands in keys."""
    return struct.pack(">B3xH2x", PROTOCOLS[protocol], port)


TEXT = """
add table $FAMILY $TABLE
add set $FAMILY $TABLE pods { type $ADDR; flags interval; }
add set $FAMILY $TABLE service_cidrs { type $ADDR; flags interval; }
flush set $FAMILY $TABLE pods
flush set $FAMILY $TABLE service_cidrs
$ELEMENTS
add set $FAMILY $TABLE hairpin { type $ADDR . $ADDR; }
add set $FAMILY $TABLE vips { type $ADDR; }
add set $FAMILY $TABLE cluster_ips { type $ADDR; }
add set $FAMILY $TABLE masq { type $ADDR . inet_proto . inet_service; }
add set $FAMILY $TABLE np_masq { type inet_proto . inet_service; }
add set $FAMILY $TABLE np_local { type inet_proto . inet_service; }
add set $FAMILY $TABLE fw_on { type $ADDR . inet_proto . inet_service; }
add set $FAMILY $TABLE fw { type $ADDR . inet_proto . inet_service . $ADDR; flags interval; }
add map $FAMILY $TABLE ep { type $ADDR . inet_proto . inet_service . mark : $ADDR . inet_service; }
add map $FAMILY $TABLE np_ep { type inet_proto . inet_service . mark : $ADDR . inet_service; }
add map $FAMILY $TABLE sticky { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np_sticky { type inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE remember { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np_remember { type inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE none { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE none_ext { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np_none { type inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np_none_ext { type inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE svc { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE svc_in { type $ADDR . inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np { type inet_proto . inet_service : verdict; }
add map $FAMILY $TABLE np_in { type inet_proto . inet_service : verdict; }
$CHAINS
"""

CHAINS: dict[str, tuple[str, tuple[str, ...]]] = {
    "refuse": ("", ("meta l4proto tcp reject with tcp reset", "reject")),
    # Before translation: what has nowhere to go, and who may not come.
    "early": ("", (
        "$FAMILY daddr . meta l4proto . th dport vmap @none",
        "$FAMILY daddr != $LOOPBACK fib daddr type local meta l4proto . th dport vmap @np_none",
        "$FAMILY daddr . meta l4proto . th dport @fw_on $FAMILY daddr . meta l4proto . th dport . $FAMILY saddr != @fw drop",
        "$FAMILY saddr @pods return",
        "fib saddr type local return",
        "$FAMILY daddr . meta l4proto . th dport vmap @none_ext",
        "$FAMILY daddr != $LOOPBACK fib daddr type local meta l4proto . th dport vmap @np_none_ext",
    )),
    "early-prerouting": ("type filter hook prerouting priority dstnat - 10;", ("ct state new jump early",)),
    "early-output": ("type filter hook output priority -110;", ("ct state new jump early",)),
    # Pods and the node itself see the whole of a service whose external policy is Local.
    "inside": ("", (
        "$FAMILY daddr . meta l4proto . th dport vmap @svc_in",
        "$FAMILY daddr != $LOOPBACK fib daddr type local meta l4proto . th dport vmap @np_in",
    )),
    "services": ("", (
        "$FAMILY saddr @pods jump inside",
        "fib saddr type local jump inside",
        "$FAMILY daddr . meta l4proto . th dport vmap @svc",
        "$FAMILY daddr != $LOOPBACK fib daddr type local meta l4proto . th dport vmap @np",
    )),
    # A client without a remembered endpoint chooses as everybody does.
    "unstuck": ("", (
        "$FAMILY daddr . meta l4proto . th dport vmap @sticky",
        "meta l4proto . th dport vmap @np_sticky",
    )),
    "nat-prerouting": ("type nat hook prerouting priority dstnat;", ("jump services",)),
    "nat-output": ("type nat hook output priority -100;", ("jump services",)),
    # After translation: an address of ours that is still there has no such port.
    "late": ("", (f"{OURS} return", "$FAMILY daddr @cluster_ips goto refuse", "$FAMILY daddr @service_cidrs drop")),
    "late-prerouting": ("type filter hook prerouting priority dstnat + 10;", ("ct state new jump late",)),
    "late-output": ("type filter hook output priority -90;", ("ct state new jump late",)),
    "remember": ("", ()),
    "remember-forward": ("type filter hook postrouting priority srcnat - 10;", ("ct state new ct status dnat jump remember",)),
    "remember-input": ("type filter hook input priority 0;", ("ct state new ct status dnat jump remember",)),
    "masquerading": ("", ()),
    "nat-postrouting": ("type nat hook postrouting priority srcnat;", ("ct status dnat jump masquerading",)),
}  # fmt: skip
