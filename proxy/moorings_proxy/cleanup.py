"""Which tracked UDP and SCTP flows no longer lead anywhere. Pure.

Such a flow keeps the endpoint it was given for as long as packets come, so a client with a fixed port would talk to a deleted pod
for ever. Stale is a flow to a virtual address whose answers come from no endpoint of it: of a removed endpoint, or of nobody,
because the flow is older than the service. That includes services that have no endpoint left. TCP has an end of its own, and its
connections outlive the endpoint's place in the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from moorings_core.kernel.conntrack import Flow
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import ProxySettings, ServiceEntry, ServicePort

UDP, SCTP = 17, 132
PROTOCOLS = {"UDP": UDP, "SCTP": SCTP}


class Frontend(NamedTuple):
    """A virtual address and port as a flow's original destination; protocol: its IP number."""

    address: str
    port: int
    protocol: int = UDP


Wanted = dict[Frontend, frozenset[tuple[str, int]]]
"""Frontend -> the endpoints that may answer for it."""


def suspects(before: Mapping[Key, ServiceEntry | None], after: Mapping[Key, ServiceEntry | None], settings: ProxySettings) -> Wanted:
    """Return the frontends of changed services under which there may be stale flows."""
    found: Wanted = {}
    for name, entry in after.items():
        old, new = _frontends(before.get(name), settings), _frontends(entry, settings)
        for frontend in old.keys() | new.keys():
            was, now = old.get(frontend, frozenset()), new.get(frontend, frozenset())
            if not was or was - now:  # nothing to do while endpoints are only added
                found[frontend] = now
    return found


def stale(flows: Iterable[Flow], wanted: Wanted) -> list[Flow]:
    """Return the flows whose answers come from no endpoint of their frontend."""
    found = []
    for flow in flows:
        there, back = flow.original, flow.reply
        endpoints = wanted.get(Frontend(there.destination, there.destination_port, there.protocol))
        if endpoints is not None and (back.source, back.source_port) not in endpoints:
            found.append(flow)
    return found


def _frontends(entry: ServiceEntry | None, settings: ProxySettings) -> Wanted:
    found: Wanted = {}
    for port in entry.ports if entry else ():
        protocol = PROTOCOLS.get(port.protocol)
        if protocol is None:
            continue
        endpoints = _endpoints(port)
        for address in (*entry.cluster_ips, *entry.external_ips, *entry.load_balancer_ips) if entry else ():
            found[Frontend(address, port.port, protocol)] = endpoints
        if port.node_port:
            for address in settings.node_addresses:
                found[Frontend(address, port.node_port, protocol)] = endpoints
    return found


def _endpoints(port: ServicePort) -> frozenset[tuple[str, int]]:
    return frozenset((e.address, e.port) for e in (*port.endpoints, *port.local_endpoints))
