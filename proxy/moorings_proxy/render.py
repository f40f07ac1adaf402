"""One Service becomes map elements. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import collapse_addresses, ip_network
from typing import NamedTuple

from moorings_core.kernel.nftables import goto
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort

from .layout import DROP, LOCAL_VIEW, REJECT, Layout, chain_name, remember_chain, sticky_chain, tail

Items = dict[tuple[str, bytes], bytes]
"""(map, key) -> data."""

_PORT = struct.Struct(">H2x")
_SLOTS = [struct.pack("=I", n) for n in range(256)]
_LOCAL_SLOTS = [struct.pack("=I", LOCAL_VIEW + n) for n in range(256)]


_goto = lru_cache(maxsize=1024)(goto)


class Server(NamedTuple):
    """A virtual server outside nftables: its protocol, and its endpoints as data (address . port)."""

    protocol: str
    endpoints: frozenset[bytes]


@dataclass(slots=True)
class Rendered:
    """What one Service takes in one family. affinity: identity -> (seconds, the endpoints as data). servers: by packet mark."""

    items: Items = field(default_factory=dict)
    chains: set[str] = field(default_factory=set)
    affinity: dict[str, tuple[int, frozenset[bytes]]] = field(default_factory=dict)
    servers: dict[int, Server] = field(default_factory=dict)


def render(layout: Layout, name: Key, entry: ServiceEntry) -> Rendered:
    """Return everything that serves one Service in the layout's family."""
    return Renderer(layout, name, entry).run()


class Renderer:
    """Makes one Service's elements; a backend that chooses endpoints otherwise overrides `serve` and `serve_inside`."""

    def __init__(self, layout: Layout, name: Key, entry: ServiceEntry) -> None:
        self.layout, self.name, self.entry = layout, name, entry
        self.out = Rendered()
        self.items = self.out.items

    def run(self) -> Rendered:
        pack, mine, entry = self.layout.address, self.layout.mine, self.entry
        cluster = [pack(a) for a in entry.cluster_ips if mine(a)]
        balanced = [pack(a) for a in entry.load_balancer_ips if mine(a)]
        outer = [pack(a) for a in entry.external_ips if mine(a)] + balanced
        for address in cluster:
            self.items["cluster_ips", address] = b""
        for address in cluster + outer:
            self.items["vips", address] = b""
        ranges = self._ranges() if balanced and entry.source_ranges else []
        for port in entry.ports:
            rest = tail(port.protocol, port.port)
            near, every = self._data(port.local_endpoints), self._data(port.endpoints)
            for address in cluster:
                self._cluster_ip(address + rest, port, every, near)
            for address in outer:
                self._external("", address + rest, port, every, near)
            if port.node_port and (cluster or outer):
                self._external("np_", tail(port.protocol, port.node_port), port, every, near)
            if ranges:
                for address in balanced:
                    self._firewall(address + rest, ranges)
        return self.out

    def _data(self, endpoints: Sequence[Endpoint]) -> list[bytes]:
        """Return the endpoints of this family as map data, and note the local ones: they may come back to themselves."""
        pack, six = self.layout.address, self.layout.length == 16
        found = []
        for address, port, local in endpoints:
            if (":" in address) == six:
                packed = pack(address)
                found.append(packed + _PORT.pack(port))
                if local:
                    self.items["hairpin", packed + packed] = b""
        return found

    def _cluster_ip(self, key: bytes, port: ServicePort, every: list[bytes], near: list[bytes]) -> None:
        local = self.entry.internal_local
        view = near if local else every
        if view:
            self.serve("", key, port, view, local)
        else:
            self.items["none", key] = DROP if every else REJECT

    def _external(self, prefix: str, key: bytes, port: ServicePort, every: list[bytes], near: list[bytes]) -> None:
        """Serve an external address, or (prefix "np_") a NodePort."""
        if not every and not (near and self.entry.external_local):
            self.items[prefix + "none", key] = REJECT
            return
        if not self.entry.external_local:
            self.items[prefix + "masq", key] = b""
            self.serve(prefix, key, port, every, False)
            return
        if prefix:
            self.items["np_local", key] = b""
        if near:
            self.serve(prefix, key, port, near, True)
        else:
            self.items[prefix + "none_ext", key] = DROP
        if every:  # the node and its pods are not bound to this node's endpoints
            self.serve_inside(prefix, key, port, every)

    def serve_inside(self, prefix: str, key: bytes, port: ServicePort, view: list[bytes]) -> None:
        """Let the node and its pods come to all endpoints of an external address whose policy is Local."""
        self._slots(prefix, key, view, False)
        self.items["np_in" if prefix else "svc_in", key] = self._verdict(prefix, len(view), False)

    def serve(self, prefix: str, key: bytes, port: ServicePort, view: list[bytes], local: bool) -> None:
        """Lead a key of svc (or, prefix "np_", of np) to endpoints; local: they are those of the policy Local."""
        self._slots(prefix, key, view, local)
        verdict = self._verdict(prefix, len(view), local)
        if self.entry.affinity:
            identity = self.identity(port, local)
            self.out.affinity[identity] = (self.entry.affinity, frozenset(view))
            self.items[prefix + "sticky", key] = verdict
            self.items[prefix + "remember", key] = goto(remember_chain(identity))
            verdict = goto(sticky_chain(identity))
        self.items["np" if prefix else "svc", key] = verdict

    def _slots(self, prefix: str, key: bytes, view: list[bytes], local: bool) -> None:
        items, name = self.items, prefix + "ep"
        slots, first = (_LOCAL_SLOTS, LOCAL_VIEW) if local else (_SLOTS, 0)
        if len(view) > len(slots):
            slots = [struct.pack("=I", first + n) for n in range(len(view))]
        for slot, data in zip(slots, view):  # noqa: B905  # there are more slots than endpoints
            items[name, key + slot] = data

    def _verdict(self, prefix: str, count: int, local: bool) -> bytes:
        name = chain_name(count, node_port=bool(prefix), local=local)
        self.out.chains.add(name)
        return _goto(name)

    def identity(self, port: ServicePort, local: bool) -> str:
        """Return a name for one view of a port: what remembers its clients, or chooses for it, is called so."""
        text = f"{self.name}:{port.protocol}:{port.port}:{local}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _ranges(self) -> list[bytes]:
        networks = [ip_network(c.strip(), strict=False) for c in self.entry.source_ranges if self.layout.mine(c)]
        merged = collapse_addresses(networks)  # type: ignore[type-var]  # all of one family
        return [n.network_address.packed + n.broadcast_address.packed for n in merged]

    def _firewall(self, key: bytes, ranges: list[bytes]) -> None:
        self.items["fw_on", key] = b""
        half = self.layout.length
        for pair in ranges:
            self.items["fw", key + pair[:half] + key + pair[half:]] = b""
