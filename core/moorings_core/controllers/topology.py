"""Topology hints: for which zone, or node, each ready endpoint of a Service is meant. Pure.

By `spec.trafficDistribution` an endpoint is meant for its own zone or node. By the annotation `service.kubernetes.io/topology-mode: Auto`
each zone gets as many endpoints as it has of the nodes' CPUs; hints are given only where no endpoint would have to bear more than a
fifth above its share, and in slices that do not change they stay as they are while that holds.
Source: KEP-4444, KEP-3015, KEP-2433; upstream staging/src/k8s.io/endpointslice/{trafficdist,topologycache}.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import to_milli

ZONE = "topology.kubernetes.io/zone"
MODE, OLDER_MODE = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
SAME_ZONE, SAME_NODE = ("PreferClose", "PreferSameZone", "PreferSameNode"), "PreferSameNode"
EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
NODES_UNKNOWN = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE = "One or more endpoints do not have a zone specified"


class Allocation(NamedTuple):
    """How many endpoints a zone is to get."""

    minimum: int
    maximum: int
    desired: float


class Unfit(Exception):
    """There can be no hints; the text says why, in upstream's words."""


@dataclass(eq=False)
class Piece:
    """A slice: its endpoints without hints, which `automatic` puts in, and those of the stored slice if they are the same but for hints."""

    endpoints: list[Object]
    unchanged: Sequence[Object] | None = None


def is_automatic(service: Object) -> bool:
    """Whether a Service asks for hints by zones' CPUs; the older annotation comes first."""
    annotations = service["metadata"].get("annotations") or {}
    return annotations.get(OLDER_MODE, annotations.get(MODE)) in ("Auto", "auto")


def is_disabled(service: Object) -> bool:
    """Whether a Service says something else than that."""
    annotations = service["metadata"].get("annotations") or {}
    return not is_automatic(service) and (MODE in annotations or OLDER_MODE in annotations)


def by_distribution(distribution: str | None, endpoint: Object) -> Object:
    """Return an endpoint with the hints that spec.trafficDistribution means, if it is ready."""
    hints: Object = {}
    if endpoint["conditions"].get("ready"):
        if distribution in SAME_ZONE and endpoint.get("zone"):
            hints["forZones"] = [{"name": endpoint["zone"]}]
        if distribution == SAME_NODE and endpoint.get("nodeName"):
            hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return {**endpoint, "hints": hints} if hints else endpoint


def without_hints(endpoints: Iterable[Object]) -> list[Object]:
    """Return endpoints as if nobody had ever given hints."""
    return [{k: v for k, v in e.items() if k != "hints"} if "hints" in e else e for e in endpoints]


def shares(nodes: Iterable[Object]) -> Mapping[str, float]:
    """Return each zone's part of the CPUs of nodes that are ready. Raises Unfit where one does not say what is needed, or for one zone."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        labels, status = node["metadata"].get("labels") or {}, node.get("status") or {}
        if any(label in labels for label in EXCLUDED) or not is_ready(node):
            continue
        milli = to_milli((status.get("allocatable") or {}).get("cpu") or 0)
        if not milli or not labels.get(ZONE):
            raise Unfit(NODES_UNKNOWN)
        cpus[labels[ZONE]] += milli
    if len(cpus) < 2:
        raise Unfit(NODES_UNKNOWN)
    total = sum(cpus.values())
    return {zone: cpus[zone] / total for zone in sorted(cpus)}


def is_ready(node: Object) -> bool:
    """Whether a Node says that it is ready."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((c.get("status") == "True" for c in conditions if c.get("type") == "Ready"), False)


def allocations(parts: Mapping[str, float], ready: int) -> dict[str, Allocation]:
    """Return what each zone gets of so many ready endpoints. Raises Unfit."""
    words = f"({ready} endpoints, {len(parts)} zones)"
    if len(parts) > ready:
        raise Unfit(f"{TOO_FEW} {words}")
    desired = {zone: part * ready for zone, part in parts.items()}
    least = {zone: math.ceil(wish * (1 / (1 + OVERLOAD))) for zone, wish in desired.items()}
    spare = ready - sum(least.values())
    if spare < 0:
        raise Unfit(f"{OVERLOADED} {words}")
    return {zone: Allocation(least[zone], least[zone] + spare, max(desired[zone], float(least[zone]))) for zone in parts}


def automatic(pieces: Sequence[Piece], nodes: Iterable[Object]) -> None:
    """Give the endpoints of one address family their hints. Raises Unfit; then no endpoint has any."""
    wanted = allocations(shares(nodes), sum(_is_ready(e) for piece in pieces for e in piece.endpoints))
    given: Counter[str] = Counter()
    open_: list[Piece] = []
    for piece in pieces:
        kept = _kept(piece.unchanged, given, wanted) if piece.unchanged is not None else None
        if kept is None:
            open_.append(piece)
        else:
            given += kept
    targets = _own_zones(open_)
    given += Counter(targets.values())
    _redistribute(targets, *_moves(wanted, given))
    for piece in pieces:
        if piece in open_:
            piece.endpoints = [_hinted(e, targets[id(e)]) if id(e) in targets else e for e in piece.endpoints]
        else:
            piece.endpoints = list(piece.unchanged or ())


def _kept(endpoints: Sequence[Object], given: Mapping[str, int], wanted: Mapping[str, Allocation]) -> Counter[str] | None:
    """Count a slice's hints by zone; None where they can't stay."""
    found: Counter[str] = Counter()
    for endpoint in filter(_is_ready, endpoints):
        zones = [zone["name"] for zone in (endpoint.get("hints") or {}).get("forZones") or ()]
        if not zones or any(zone not in wanted for zone in zones):
            return None
        found.update(zones)
    return found if all(count + given.get(zone, 0) <= wanted[zone].maximum for zone, count in found.items()) else None


def _own_zones(pieces: Iterable[Piece]) -> dict[int, str]:
    """Return each ready endpoint's own zone, by its identity. Raises Unfit."""
    targets: dict[int, str] = {}
    for endpoint in (e for piece in pieces for e in piece.endpoints if _is_ready(e)):
        if not endpoint.get("zone"):
            raise Unfit(NO_ZONE)
        targets[id(endpoint)] = endpoint["zone"]
    return targets


def _moves(wanted: Mapping[str, Allocation], given: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Return how many endpoints zones have to give away, and to get."""
    over = {zone: given.get(zone, 0) - each.desired for zone, each in wanted.items() if given.get(zone, 0) > each.desired}
    under = {zone: each.desired - given.get(zone, 0) for zone, each in wanted.items() if given.get(zone, 0) < each.desired}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while over and under:
        giver, receiver = max(over, key=lambda z: over[z]), max(under, key=lambda z: under[z])
        much, little = over[giver], under[receiver]
        if (much < 1 and little < 1) or much < 0.5 or little < 0.5:
            break
        giving[giver] += 1
        receiving[receiver] += 1
        over[giver] -= 1
        under[receiver] -= 1
    return giving, receiving


def _redistribute(targets: dict[int, str], giving: Counter[str], receiving: Counter[str]) -> None:
    for endpoint, zone in targets.items():
        receiver = next((z for z, count in receiving.items() if count > 0), "")
        if not receiver:
            return
        if giving[zone] > 0:
            targets[endpoint] = receiver
            giving[zone] -= 1
            receiving[receiver] -= 1


def _hinted(endpoint: Object, zone: str) -> Object:
    return {**endpoint, "hints": {"forZones": [{"name": zone}]}}


def _is_ready(endpoint: Object) -> bool:
    return bool(endpoint["conditions"].get("ready"))
