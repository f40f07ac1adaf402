"""Services and EndpointSlices become the table of what this node serves. Pure.

Source: Service and EndpointSlice API (traffic policies, KEP-1669 terminating endpoints, KEP-2433 and KEP-3015 hints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from moorings_core.ports.objects import Object
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort

SERVICE_NAME = "kubernetes.io/service-name"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
ZONE = "topology.kubernetes.io/zone"
AFFINITY_DEFAULT = 10800


class Place(NamedTuple):
    """Where the proxy runs: the node's name, its zone ("" when it has none), its addresses."""

    node: str
    zone: str = ""
    addresses: tuple[str, ...] = ()


class _Candidate(NamedTuple):
    endpoint: Endpoint
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str]
    nodes: frozenset[str]


def service_entry(service: Object, slices: Iterable[Object], place: Place) -> ServiceEntry | None:
    """Return what a node serves for a Service, None when nothing: headless, ExternalName, or another proxy's."""
    spec = service["spec"]
    cluster_ips = tuple(spec.get("clusterIPs") or filter(None, [spec.get("clusterIP")]))
    labels = service["metadata"].get("labels") or {}
    if spec.get("type") == "ExternalName" or not cluster_ips or cluster_ips[0] == "None" or PROXY_NAME in labels:
        return None
    slices = sorted(slices, key=lambda s: str(s["metadata"]["name"]))
    ports = tuple(_port(port, slices, place) for port in spec.get("ports") or ())
    balanced = _load_balancer_ips(service)
    affinity = spec.get("sessionAffinity") == "ClientIP"
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return ServiceEntry(
        ports=ports,
        cluster_ips=cluster_ips,
        external_ips=tuple(spec.get("externalIPs") or ()),
        load_balancer_ips=balanced,
        source_ranges=_source_ranges(spec, balanced, place),
        internal_local=spec.get("internalTrafficPolicy") == "Local",
        external_local=spec.get("externalTrafficPolicy") == "Local",
        affinity=int(config.get("timeoutSeconds") or AFFINITY_DEFAULT) if affinity else 0,
        health_port=int(spec.get("healthCheckNodePort") or 0),
        local_ready=_local_ready(slices, place) if spec.get("healthCheckNodePort") else 0,
    )


def _source_ranges(spec: Object, balanced: Sequence[str], place: Place) -> tuple[str, ...]:
    """Return who may use the load balancer's addresses; of a family that is not in it, or of all whose range is everything: all.

    Where a load balancer's address is an address of the node, the node's own packets to it come from it: who lets the node in means them.
    """
    if spec.get("type") != "LoadBalancer":
        return ()
    ranges = [ip_network(text.strip(), strict=False) for text in spec.get("loadBalancerSourceRanges") or ()]
    open_to_all = {network.version for network in ranges if network.prefixlen == 0}
    kept = [network for network in ranges if network.version not in open_to_all]
    own = [ip_address(text) for text in place.addresses]
    let_in = {network.version for network in kept if any(address in network for address in own)}
    looped = [ip_network(text) for text in balanced if ip_network(text).version in let_in]
    return tuple(str(network) for network in (*kept, *looped))


def _local_ready(slices: Iterable[Object], place: Place) -> int:
    """Count the addresses of endpoints that are ready, and not terminating, on this node."""
    ready = set()
    for piece in slices:
        for endpoint in piece.get("endpoints") or ():
            if endpoint.get("nodeName") == place.node and (endpoint.get("conditions") or {}).get("ready") is not False:
                ready.update(endpoint["addresses"][:1])
    return len(ready)


def _load_balancer_ips(service: Object) -> tuple[str, ...]:
    if service["spec"].get("type") != "LoadBalancer":
        return ()
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return tuple(i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP")


def _port(port: Object, slices: Sequence[Object], place: Place) -> ServicePort:
    candidates = list(_candidates(port, slices, place))
    local = [c for c in candidates if c.endpoint.local]
    return ServicePort(
        protocol=port.get("protocol") or "TCP",
        port=int(port["port"]),
        node_port=int(port.get("nodePort") or 0),
        endpoints=_endpoints(_by_family(candidates, lambda some: _near([c for c in some if c.ready], place) or _last(some))),
        local_endpoints=_endpoints(_by_family(local, lambda some: [c for c in some if c.ready] or _last(some))),
    )


def _candidates(port: Object, slices: Sequence[Object], place: Place) -> Iterable[_Candidate]:
    """Return each endpoint once; of two at one address one may be a pod that ends while its address has a new pod: that counts."""
    found: dict[tuple[str, int], _Candidate] = {}
    for piece in slices:
        number = _target(piece, port)
        if number is None or piece.get("addressType") == "FQDN":
            continue
        for endpoint in piece.get("endpoints") or ():
            for address in (endpoint.get("addresses") or ())[:1]:
                candidate = _candidate(address, number, endpoint, place)
                if (address, number) not in found or not candidate.terminating:
                    found[address, number] = candidate
    return found.values()


def _target(piece: Object, port: Object) -> int | None:
    """Return the number that a slice gives a service port, found by name and protocol."""
    wanted = (port.get("name") or "", port.get("protocol") or "TCP")
    for given in piece.get("ports") or ():
        if (given.get("name") or "", given.get("protocol") or "TCP") == wanted and given.get("port"):
            return int(given["port"])
    return None


def _candidate(address: str, port: int, endpoint: Object, place: Place) -> _Candidate:
    conditions: dict[str, Any] = endpoint.get("conditions") or {}
    ready, serving = conditions.get("ready") is not False, conditions.get("serving") is not False
    terminating = bool(conditions.get("terminating"))
    hints = endpoint.get("hints") or {}
    zones = frozenset(zone["name"] for zone in hints.get("forZones") or ())
    nodes = frozenset(node["name"] for node in hints.get("forNodes") or ())
    return _Candidate(Endpoint(address, port, endpoint.get("nodeName") == place.node), ready, serving, terminating, zones, nodes)


def _by_family(some: Sequence[_Candidate], choose: Callable[[list[_Candidate]], list[_Candidate]]) -> list[_Candidate]:
    """Decide for each address family alone: terminating endpoints of one don't stand in while the other has ready ones."""
    four = [c for c in some if ":" not in c.endpoint.address]
    six = [c for c in some if ":" in c.endpoint.address]
    return choose(four) + choose(six)


def _last(some: Sequence[_Candidate]) -> list[_Candidate]:
    """Without a ready endpoint those that still serve while they terminate are better than none."""
    return [c for c in some if c.serving and c.terminating]


def _near(ready: list[_Candidate], place: Place) -> list[_Candidate]:
    """Follow topology hints only when every endpoint has one and this place is among them."""
    if ready and all(c.nodes for c in ready) and (mine := [c for c in ready if place.node in c.nodes]):
        return mine
    if ready and place.zone and all(c.zones for c in ready) and (mine := [c for c in ready if place.zone in c.zones]):
        return mine
    return ready


def _endpoints(some: Sequence[_Candidate]) -> tuple[Endpoint, ...]:
    return tuple(sorted(c.endpoint for c in some))
