"""Services and EndpointSlices become the table of what this node serves. Pure.

Source: Service and EndpointSlice API (traffic policies, KEP-1669 terminating endpoints, KEP-2433 and KEP-3015 hints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import groupby
from typing import Any, NamedTuple

from moorings_core.ports.objects import Object
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort

SERVICE_NAME = "kubernetes.io/service-name"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
ZONE = "topology.kubernetes.io/zone"
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
AFFINITY_DEFAULT = 10800
PACKED = "packed"
"""Of a slice as it is kept: lists of a state's parts and, at the end, the addresses that have it, separated by blanks."""
PORT = ("name", "protocol", "port", "nodePort")
SPEC = (
    "type", "clusterIP", "clusterIPs", "externalIPs", "ports", "sessionAffinity", "sessionAffinityConfig", "loadBalancerSourceRanges",
    "internalTrafficPolicy", "externalTrafficPolicy", "healthCheckNodePort",
)  # fmt: skip
DEFAULTS = {
    "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
}  # fmt: skip


class Place(NamedTuple):
    """Where the proxy runs: the node's name, its zone ("" when it has none), its addresses."""

    node: str
    zone: str = ""
    addresses: tuple[str, ...] = ()


class State(NamedTuple):
    """What an EndpointSlice says of an endpoint beside its address, seen from a node."""

    local: bool
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


class _Candidate(NamedTuple):
    endpoint: Endpoint
    state: State


def kept_of_service(service: Object) -> Object:
    """Return what a proxy keeps of a Service: what `service_entry` reads."""
    metadata, spec = service["metadata"], {k: v for k, v in service["spec"].items() if k in SPEC and v and DEFAULTS.get(k) != v}
    if spec.get("ports"):
        spec["ports"] = _lean(spec["ports"])
    if spec.get("clusterIPs"):
        spec.pop("clusterIP", None)
    kept: Object = {"metadata": _identity(metadata), "spec": spec}
    if PROXY_NAME in (metadata.get("labels") or {}):
        kept["metadata"]["labels"] = {PROXY_NAME: metadata["labels"][PROXY_NAME]}
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    return kept | ({"status": {"loadBalancer": {"ingress": ingress}}} if ingress else {})


def kept_of_slice(piece: Object, node: str) -> Object:
    """Return what a proxy on a node keeps of an EndpointSlice, fit for JSON: one text of addresses for all of one state in a row."""
    metadata = piece["metadata"]
    runs = groupby(_endpoints_of(piece, node), key=lambda each: each[1])
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return {
        "metadata": _identity(metadata) | {TRIGGERED: (metadata.get("annotations") or {}).get(TRIGGERED)},
        "service": f"{metadata['namespace']}/{name}" if name else "",
        "addressType": piece.get("addressType"),
        "ports": _lean(piece.get("ports") or []),
        PACKED: [[*_plain(state), " ".join(address for address, _ in run)] for state, run in runs],
    }


def _identity(metadata: Object) -> Object:
    return {"name": metadata["name"], "namespace": metadata.get("namespace", ""), "resourceVersion": metadata.get("resourceVersion", "")}


def _lean(ports: Sequence[Object]) -> Sequence[Object]:
    """Return ports without the fields that say nothing."""
    return [{k: v for k, v in port.items() if k in PORT and v} for port in ports]


def _plain(state: State) -> Iterator[bool | list[str]]:
    return (sorted(part) if isinstance(part, frozenset) else part for part in state)


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
    return len({address for piece in slices for address, state in _endpoints_of(piece, place.node) if state.local and state.ready})


def _load_balancer_ips(service: Object) -> tuple[str, ...]:
    if service["spec"].get("type") != "LoadBalancer":
        return ()
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return tuple(i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP")


def _port(port: Object, slices: Sequence[Object], place: Place) -> ServicePort:
    candidates = list(_candidates(port, slices, place))
    local = [c for c in candidates if c.state.local]
    return ServicePort(
        protocol=port.get("protocol") or "TCP",
        port=int(port["port"]),
        node_port=int(port.get("nodePort") or 0),
        endpoints=_endpoints(_by_family(candidates, lambda some: _near([c for c in some if c.state.ready], place) or _last(some))),
        local_endpoints=_endpoints(_by_family(local, lambda some: [c for c in some if c.state.ready] or _last(some))),
    )


def _candidates(port: Object, slices: Sequence[Object], place: Place) -> Iterable[_Candidate]:
    """Return each endpoint once; of two at one address one may be a pod that ends while its address has a new pod: that counts."""
    found: dict[tuple[str, int], _Candidate] = {}
    for piece in slices:
        number = _target(piece, port)
        if number is None or piece.get("addressType") == "FQDN":
            continue
        for address, state in _endpoints_of(piece, place.node):
            if (address, number) not in found or not state.terminating:
                found[address, number] = _Candidate(Endpoint(address, number, state.local), state)
    return found.values()


def _endpoints_of(piece: Object, node: str) -> Iterator[tuple[str, State]]:
    """Yield the endpoints of a slice, as the API has it or as it is kept."""
    if PACKED in piece:
        for local, ready, serving, terminating, zones, nodes, addresses in piece[PACKED]:
            state = State(local, ready, serving, terminating, frozenset(zones), frozenset(nodes))
            yield from ((address, state) for address in addresses.split())
        return
    for endpoint in piece.get("endpoints") or ():
        for address in (endpoint.get("addresses") or ())[:1]:
            yield address, _state(endpoint, node)


def _target(piece: Object, port: Object) -> int | None:
    """Return the number that a slice gives a service port, found by name and protocol."""
    wanted = (port.get("name") or "", port.get("protocol") or "TCP")
    for given in piece.get("ports") or ():
        if (given.get("name") or "", given.get("protocol") or "TCP") == wanted and given.get("port"):
            return int(given["port"])
    return None


def _state(endpoint: Object, node: str) -> State:
    conditions: dict[str, Any] = endpoint.get("conditions") or {}
    ready, serving = conditions.get("ready") is not False, conditions.get("serving") is not False
    local, terminating = endpoint.get("nodeName") == node, bool(conditions.get("terminating"))
    hints = endpoint.get("hints")
    if not hints:
        return State(local, ready, serving, terminating)
    zones = frozenset(zone["name"] for zone in hints.get("forZones") or ())
    nodes = frozenset(each["name"] for each in hints.get("forNodes") or ())
    return State(local, ready, serving, terminating, zones, nodes)


def _by_family(some: Sequence[_Candidate], choose: Callable[[list[_Candidate]], list[_Candidate]]) -> list[_Candidate]:
    """Decide for each address family alone: terminating endpoints of one don't stand in while the other has ready ones."""
    four = [c for c in some if ":" not in c.endpoint.address]
    six = [c for c in some if ":" in c.endpoint.address]
    return choose(four) + choose(six)


def _last(some: Sequence[_Candidate]) -> list[_Candidate]:
    """Without a ready endpoint those that still serve while they terminate are better than none."""
    return [c for c in some if c.state.serving and c.state.terminating]


def _near(ready: list[_Candidate], place: Place) -> list[_Candidate]:
    """Follow topology hints only when every endpoint has one and this place is among them."""
    if ready and all(c.state.nodes for c in ready) and (mine := [c for c in ready if place.node in c.state.nodes]):
        return mine
    if ready and place.zone and all(c.state.zones for c in ready) and (mine := [c for c in ready if place.zone in c.state.zones]):
        return mine
    return ready


def _endpoints(some: Sequence[_Candidate]) -> tuple[Endpoint, ...]:
    return tuple(sorted(c.endpoint for c in some))
