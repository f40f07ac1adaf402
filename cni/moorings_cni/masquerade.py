"""The node's constant nftables rules for pods: masquerade to the outside, or a namespace's own address there; host ports.

Rules never change; what varies are sets and maps. Every few seconds the ruleset's generation says whether anybody changed
anything; only then is ours compared, and written anew in one transaction when it differs.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from moorings_core.kernel import nftables
from moorings_core.kernel.conntrack import Conntrack
from moorings_core.kernel.nftables import Batch, BatchError, Connection, SetSpec
from moorings_core.log import get_logger
from moorings_core.ports.network import Attachment, NetworkError, PortMapping

log = get_logger(__name__)
TABLE = "moorings_net"
INET = 1
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}

RULES = """
add table inet {table}
delete table inet {table}
table inet {table} {{
    set own4 {{ type ipv4_addr; flags interval; auto-merge; {own4} }}
    set own6 {{ type ipv6_addr; flags interval; auto-merge; {own6} }}
    set inside4 {{ type ipv4_addr; flags interval; auto-merge; {inside4} }}
    set inside6 {{ type ipv6_addr; flags interval; auto-merge; {inside6} }}
    set hairpin4 {{ type ipv4_addr . ipv4_addr; {hairpin4} }}
    set hairpin6 {{ type ipv6_addr . ipv6_addr; {hairpin6} }}
    map source4 {{ type ipv4_addr : ipv4_addr; {source4} }}
    map source6 {{ type ipv6_addr : ipv6_addr; {source6} }}
    map port4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {port4} }}
    map port6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {port6} }}
    map address4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {address4} }}
    map address6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; {address6} }}
    chain ports {{
        dnat ip to ip daddr . meta l4proto . th dport map @address4
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @address6
        meta nfproto ipv4 dnat ip to meta l4proto . th dport map @port4
        meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @port6
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump ports
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr 127.0.0.0/8 dnat ip to ip daddr . meta l4proto . th dport map @address4
        ip daddr != 127.0.0.0/8 fib daddr type local jump ports
        ip6 daddr != ::1 fib daddr type local jump ports
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr . ip daddr @hairpin4 masquerade fully-random
        ip6 saddr . ip6 daddr @hairpin6 masquerade fully-random
        ip daddr != @inside4 ip daddr != 224.0.0.0/4 snat ip to ip saddr map @source4 fully-random
        ip6 daddr != @inside6 ip6 daddr != {{ ff00::/8, fe80::/10 }} snat ip6 to ip6 saddr map @source6 fully-random
        ip saddr @own4 ip daddr != @inside4 ip daddr != 224.0.0.0/4 masquerade fully-random
        ip6 saddr @own6 ip6 daddr != @inside6 ip6 daddr != {{ ff00::/8, fe80::/10 }} masquerade fully-random
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Zones:
    """own: the node's pod ranges; inside: what pods reach under their own address (all pod ranges, all nodes' addresses).

    sources: namespaces and the addresses that their pods have outside, where these are not the node's.
    """

    own: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()


Element = tuple[SetSpec, bytes, bytes]
FIELDS = {"hairpin": ("aa", ""), "source": ("a", "a"), "port": ("ps", "as"), "address": ("aps", "as")}
"""Of keys and data: a(ddress), p(rotocol), s(ervice: a port)."""


class Masquerade:
    """Keeps the table as it has to be. Methods block for milliseconds: call them in a thread; they take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._zones: Zones | None = None
        self._seen = -1
        self._wanted: object = None

    def ensure(self, zones: Zones, attachments: Iterable[Attachment]) -> bool:
        """Make the table what it has to be; return whether it had to be written. Raises NetworkError."""
        with self._lock:
            connection = self._connect()
            generation = connection.generation()
            if zones == self._zones and generation == self._seen:
                return False
            _open_forward(connection, zones)
            wrong = zones != self._zones or self._state(connection) != self._wanted
            if wrong:
                self._write(connection, zones, attachments)
            self._seen = connection.generation()
            return wrong

    def intact(self) -> bool:
        """Whether the table is in the kernel as it was written."""
        with self._lock:
            return self._wanted is not None and self._state(self._connect()) == self._wanted

    def open_ports(self, attachment: Attachment) -> None:
        """Lead the node's ports to a pod, and let it out under its namespace's address. Raises NetworkError when one is taken."""
        self._change(attachment, add=True)

    def close_ports(self, attachment: Attachment) -> None:
        """Undo `open_ports`; fine when there is nothing."""
        self._change(attachment, add=False)

    def close(self) -> None:
        """Close the connection; the table stays: pods go on being masqueraded while nobody is looking."""
        if self._connection:
            self._connection.close()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = nftables.connect()
        return self._connection

    def _write(self, connection: Connection, zones: Zones, attachments: Iterable[Attachment]) -> None:
        self._zones = None
        try:
            nftables.run_sync(text(zones, attachments))
        except nftables.NftablesError as error:
            raise NetworkError(f"nftables refused the pod rules: {error}") from error
        self._zones, self._wanted = zones, self._state(connection)

    def _change(self, attachment: Attachment, *, add: bool) -> None:
        with self._lock:
            wanted = _grouped(elements(attachment, self._zones or Zones()))
            if not wanted:
                return
            connection = self._connect()
            for spec, items in wanted.items():
                batch = Batch()
                if add:
                    batch.add_elements(spec, items.items())
                else:
                    have = connection.dump(spec)
                    batch.delete_elements(spec, [key for key, value in items.items() if have.get(key) == value])
                self._commit(connection, batch, attachment)
            self._wanted = self._state(connection)
            _forget(attachment, opened=add)

    @staticmethod
    def _commit(connection: Connection, batch: Batch, attachment: Attachment) -> None:
        try:
            connection.commit(batch)
        except BatchError as error:
            raise NetworkError(f"a host port of {attachment.pod or attachment.key} is taken: {error}") from error

    @staticmethod
    def _state(connection: Connection) -> object:
        names = sorted(connection.sets(INET, TABLE))
        sets = {name: connection.dump(SetSpec(INET, TABLE, name, 4)) for name in names if not name.startswith("__")}
        return connection.rules(INET, TABLE), sets


def _open_forward(connection: Connection, zones: Zones) -> None:
    """Let pods' packets through where another program (Docker, for one) made the iptables FORWARD chain drop by default.

    An accept in a table of our own cannot overrule that; a rule in that chain can.
    """
    for number, family in ((2, "ip"), (10, "ip6")):
        mine = [cidr for cidr in zones.own if (":" in cidr) == (family == "ip6")]
        if not mine or "FORWARD" not in connection.chains(number, "filter"):
            continue
        chain = f"{family} filter FORWARD"
        try:
            listed = nftables.run_sync(f"list chain {chain}")
            if "policy drop" not in listed:
                continue
            wanted = [f"{family} {side} {cidr} accept" for cidr in mine for side in ("saddr", "daddr")]
            missing = [f"insert rule {chain} {rule}" for rule in wanted if rule not in listed]
            if missing:
                nftables.run_sync("\n".join(missing))
                log.info("forwarding of pod packets allowed", chain=chain)
        except nftables.NftablesError as error:
            log.warning("the FORWARD chain may drop pod packets", chain=chain, error=str(error).replace("\n", " "))


def _forget(attachment: Attachment, *, opened: bool) -> None:
    """Delete UDP flows that would go on past the change: they never end while a client keeps sending from one port.

    After opening those that do not go to the pod yet, after closing those that still do.
    """
    ports = [port for port in attachment.ports if port.protocol == "udp"]
    if not ports:
        return
    conntrack = Conntrack()
    try:
        for port in ports:
            for address in attachment.addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                flows = conntrack.flows(family, socket.IPPROTO_UDP, port.host_ip, port.host_port)
                conntrack.delete(flow for flow in flows if (flow.reply.source == address) != opened)
    except OSError as error:
        log.warning("old UDP flows not deleted", pod=attachment.pod, error=error)
    finally:
        conntrack.close()


def text(zones: Zones, attachments: Iterable[Attachment] = ()) -> str:
    """Return the table with all that it holds as nft text: one transaction. Pure."""
    fields = {"table": TABLE} | {f"{name}{version}": "" for name in FIELDS for version in (4, 6)}
    for spec, items in _grouped(part for a in attachments for part in elements(a, zones)).items():
        fields[spec.name] = f"elements = {{ {', '.join(_literal(spec.name, *item) for item in items.items())} }}"
    for name, members in (("own", zones.own), ("inside", zones.inside)):
        for version in (4, 6):
            mine = sorted({m for m in members if ip_network(m, strict=False).version == version})
            fields[f"{name}{version}"] = f"elements = {{ {', '.join(mine)} }}" if mine else ""
    return RULES.format(**fields)


def elements(attachment: Attachment, zones: Zones) -> list[Element]:
    """Return what the maps and sets have to hold for a pod. Pure. Raises NetworkError for a host IP that is none."""
    return _sources(attachment, zones) + _ports(attachment)


def _sources(attachment: Attachment, zones: Zones) -> list[Element]:
    mine = dict(zones.sources).get(attachment.pod.partition("/")[0], ())
    sources = {(source := ip_address(text)).version: source.packed for text in mine}
    return [
        (_spec(f"source{ip.version}", len(ip.packed), len(ip.packed)), ip.packed, sources[ip.version])
        for ip in map(ip_address, attachment.addresses) if ip.version in sources
    ]  # fmt: skip


def _ports(attachment: Attachment) -> list[Element]:
    found: list[Element] = []
    for address in attachment.addresses if attachment.ports else ():
        ip = ip_address(address)
        length = len(ip.packed)
        found.append((_spec(f"hairpin{ip.version}", 2 * length), ip.packed * 2, b""))
        for port in attachment.ports:
            data = ip.packed + _padded(port.container_port)
            key = struct.pack("B3x", PROTOCOLS[port.protocol]) + _padded(port.host_port)
            if not port.host_ip:
                found.append((_spec(f"port{ip.version}", 8, len(data)), key, data))
            elif (host := _host_ip(port)).version == ip.version:
                found.append((_spec(f"address{ip.version}", 8 + length, len(data)), host.packed + key, data))
    return found


def _literal(name: str, key: bytes, data: bytes) -> str:
    """Return an element as nft writes it."""
    size = 4 if name.endswith("4") else 16
    sides = [_fields(fields, size, packed) for fields, packed in zip(FIELDS[name[:-1]], (key, data), strict=True) if packed]
    return " : ".join(sides)


def _fields(kinds: str, size: int, packed: bytes) -> str:
    words, at = [], 0
    for kind in kinds:
        part = packed[at : at + (size if kind == "a" else 4)]
        words.append(str(ip_address(part)) if kind == "a" else str(part[0] if kind == "p" else int.from_bytes(part[:2])))
        at += len(part)
    return " . ".join(words)


def _host_ip(port: PortMapping) -> IPv4Address | IPv6Address:
    try:
        return ip_address(port.host_ip)
    except ValueError:
        raise NetworkError(f"hostIP {port.host_ip!r} is not an address") from None


def _spec(name: str, key: int, data: int = 0) -> SetSpec:
    return SetSpec(INET, TABLE, name, key, "map", data) if data else SetSpec(INET, TABLE, name, key)


def _padded(port: int) -> bytes:
    return struct.pack(">H2x", port)


def _grouped(parts: Iterable[Element]) -> dict[SetSpec, dict[bytes, bytes]]:
    groups: dict[SetSpec, dict[bytes, bytes]] = {}
    for spec, key, data in parts:
        groups.setdefault(spec, {})[key] = data
    return groups


def zones_of(
    own: Sequence[str], cluster: Sequence[str], nodes: Iterable[str], sources: Mapping[str, tuple[str, ...]] | None = None
) -> Zones:
    """Return the zones of a node: its ranges, the cluster's ranges, all nodes' addresses, namespaces' addresses. Pure."""
    return Zones(tuple(own), tuple(sorted({*cluster, *own, *nodes})), tuple(sorted((sources or {}).items())))
