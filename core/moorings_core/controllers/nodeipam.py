"""Pod ranges of nodes: each node gets its own part of the cluster's pod CIDRs, one per address family.

What is taken is read from the nodes themselves, so nothing can be lost and nothing is to release: a deleted node's range is free.
All nodes are one key, as two of them must never be given the same range in one tick.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from moorings_core.client.resources import NODES
from moorings_core.ports.client import Patch
from moorings_core.ports.cluster import NetworkConfig
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from .framework import Intent, Note, Result, View, Watch, WorkKey

ALL: WorkKey = ("", "nodes")
PREFIX_V6 = 64
Range = ipaddress.IPv4Network | ipaddress.IPv6Network


class NodeIpamController:
    """Gives nodes without one a pod CIDR of each family."""

    name = "cidrAllocator"

    def __init__(self, network: NetworkConfig) -> None:
        self._ranges = [ipaddress.ip_network(cidr) for cidr in network.pod_cidrs]
        self._prefix = {4: network.node_prefix, 6: max(PREFIX_V6, network.node_prefix)}

    def watches(self) -> Sequence[Watch]:
        """Reads nodes."""
        return (Watch(NODES, _mapping),)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Give every node that lacks one the first free range, in order of age."""
        nodes = sorted(view.all(NODES), key=lambda n: (n["metadata"].get("creationTimestamp", ""), n["metadata"]["name"]))
        taken = {cidr for node in nodes for cidr in _cidrs(node)}
        intents: list[Intent] = []
        notes: list[Note] = []
        free = {version: self._free(version, taken) for version in (4, 6)}
        versions = list(dict.fromkeys(r.version for r in self._ranges))
        for node in nodes:
            if _cidrs(node) or node["metadata"].get("deletionTimestamp"):
                continue
            given = [next(free[version], None) for version in versions]
            if None in given or not given:
                notes.append(Note(node, "Warning", "CIDRNotAvailable", f"Node {node['metadata']['name']}: no pod CIDR is free"))
                continue
            intents.append(_give(node, [str(cidr) for cidr in given]))
        return Result(intents, notes)

    def _free(self, version: int, taken: set[str]) -> Iterator[Range]:
        used = [ipaddress.ip_network(cidr) for cidr in taken]
        others = [net for net in used if net.version == version and net.prefixlen != self._prefix[version]]
        for cluster in self._ranges:
            if cluster.version != version:
                continue
            for part in cluster.subnets(new_prefix=max(self._prefix[version], cluster.prefixlen)):
                if str(part) not in taken and not any(part.overlaps(net) for net in others):
                    yield part


def _give(node: Object, cidrs: Sequence[str]) -> Intent:
    metadata = node["metadata"]
    guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    patch: Object = {"metadata": guard, "spec": {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}}
    return Intent(Patch(NODES, "", metadata["name"], patch), settled_by=(NotFound,))


def _cidrs(node: Object) -> Sequence[str]:
    spec = node.get("spec", {})
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _mapping(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is None or not _cidrs(new):
        yield ALL
