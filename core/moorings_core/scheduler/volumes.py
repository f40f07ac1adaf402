"""What a pod's claims say about nodes, and what must be written before a pod with unbound claims can be bound.

A claim whose class waits for the first consumer is given the chosen node in an annotation; the provisioner (or the binder, for
volumes made by hand) answers by binding it, and only then is the pod bound. Source: upstream's volume binder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.registry.quantity import parse
from moorings_core.registry.selectors import from_label_selector

from .filters import matches_node_selector

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BOUND = "pv.kubernetes.io/bind-completed"
NOT_AFFINE = "node(s) didn't match PersistentVolume's node affinity"
NOT_TOPOLOGY = "node(s) didn't match the StorageClass's allowed topologies"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"
NOT_SOURCE = "node(s) can't reach the source of a PersistentVolumeClaim"
NO_ROOM = "node(s) did not have enough free storage"
SOURCE_TOPOLOGY = "storage.moorings.dev/source-topology"
IN_USE = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


class Unschedulable(Exception):
    """No node can take the pod before one of its claims changes; the text is the event's reason."""


@dataclass(frozen=True, slots=True)
class VolumeView:
    """Look-ups into the caches of claims, volumes and classes."""

    claim: Callable[[str, str], Object | None]
    volume: Callable[[str], Object | None]
    volumes: Callable[[], Sequence[Object]]
    storage_class: Callable[[str], Object | None]
    driver: Callable[[str], Object | None] = lambda name: None
    capacities: Callable[[], Sequence[Object]] = lambda: ()
    users: Callable[[Key], Collection[Key]] = lambda claim: ()
    """A claim to the pods on nodes that use it"""


@dataclass(frozen=True, slots=True)
class Claims:
    """A pod's claims: the volumes of the bound ones, and those that wait for the choice of a node."""

    bound: Sequence[Object]
    waiting: Sequence[tuple[Object, Object]]
    """(claim, class)"""
    rivals: Collection[Key] = ()
    """Other pods that use one of those that only a single pod may use"""

    def taken(self, leaving: Container[Key] = ()) -> bool:
        """Whether a pod that does not leave uses one that only a single pod may use."""
        return any(rival not in leaving for rival in self.rivals)


def claims_of(pod: Object, view: VolumeView) -> Claims:
    """Sort the pod's claims. Raises Unschedulable where one is missing, lost or not yet bound and not waiting for a node."""
    namespace, bound, waiting, rivals = pod["metadata"]["namespace"], [], [], set[Key]()
    for name in claim_names(pod):
        claim = view.claim(name, namespace)
        if claim is None:
            raise Unschedulable(f'persistentvolumeclaim "{name}" not found')
        if claim["metadata"].get("deletionTimestamp"):
            raise Unschedulable(f'persistentvolumeclaim "{name}" is being deleted')
        if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
            rivals.update(view.users(Key(namespace, name)))
        if is_bound(claim):
            bound.append(_volume_of(claim, view))
            continue
        storage_class = view.storage_class(claim["spec"].get("storageClassName") or "")
        if storage_class is None or storage_class.get("volumeBindingMode", "Immediate") == "Immediate":
            raise Unschedulable(UNBOUND_IMMEDIATE)
        waiting.append((claim, storage_class))
    return Claims(bound, waiting, rivals - {key_of(pod)})


def claim_names(pod: Object) -> list[str]:
    """Return the claims that the pod's volumes name, those of generic ephemeral volumes included."""
    names = []
    for volume in pod["spec"].get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{pod['metadata']['name']}-{volume['name']}")
    return names


def is_bound(claim: Object) -> bool:
    """Whether a claim is bound for good: the volume is named and the binder has finished."""
    return bool(claim["spec"].get("volumeName")) and BOUND in claim["metadata"].get("annotations", {})


def reason_against(claims: Claims, node: Object, view: VolumeView) -> str:
    """Return why the claims keep the pod off a node, or ""."""
    for volume in claims.bound:
        required = volume["spec"].get("nodeAffinity", {}).get("required")
        if required and not matches_node_selector(required, node):
            return NOT_AFFINE
    for claim, storage_class in claims.waiting:
        reason = _reason_against_waiting(claim, storage_class, node, view)
        if reason:
            return reason
    return ""


def selections(claims: Claims, node: str) -> list[tuple[Object, Mapping[str, str]]]:
    """Return (claim, annotations) for every waiting claim that must still be told the chosen node."""
    return [
        (claim, {SELECTED_NODE: node}) for claim, _ in claims.waiting if claim["metadata"].get("annotations", {}).get(SELECTED_NODE) != node
    ]


def _reason_against_waiting(claim: Object, storage_class: Object, node: Object, view: VolumeView) -> str:
    chosen = claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
    if chosen and chosen != node["metadata"]["name"]:
        return NOT_AFFINE
    if storage_class["provisioner"] == NO_PROVISIONER:
        return "" if any(_could_bind(claim, volume, node) for volume in view.volumes()) else NO_VOLUME
    labels = node["metadata"].get("labels", {})
    if not _admits(storage_class.get("allowedTopologies") or (), labels):
        return NOT_TOPOLOGY
    source = claim["metadata"].get("annotations", {}).get(SOURCE_TOPOLOGY)
    if source and any(labels.get(k) != v for k, v in json.loads(source).items()):
        return NOT_SOURCE
    return "" if _has_room(claim, storage_class, labels, view) else NO_ROOM


def _admits(topologies: Sequence[Object], labels: Mapping[str, str]) -> bool:
    if not topologies:
        return True
    return any(all(labels.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions", ())) for term in topologies)


def _has_room(claim: Object, storage_class: Object, labels: Mapping[str, str], view: VolumeView) -> bool:
    """Whether a driver that tells its room has enough of it where the node is; the greatest volume counts before the room."""
    declared = view.driver(storage_class["provisioner"])
    if declared is None or not declared["spec"].get("storageCapacity"):
        return True
    wanted = parse(str(claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0")))
    name = storage_class["metadata"]["name"]
    for capacity in view.capacities():
        if capacity["storageClassName"] != name or not _is_in(capacity.get("nodeTopology"), labels):
            continue
        if wanted <= parse(str(capacity.get("maximumVolumeSize") or capacity.get("capacity") or "0")):
            return True
    return False


def _is_in(topology: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether labels are of a place; a capacity without one is of no place."""
    return topology is not None and from_label_selector(topology).matches(labels)


def _could_bind(claim: Object, volume: Object, node: Object) -> bool:
    spec = volume["spec"]
    reference = spec.get("claimRef")
    if reference and reference.get("uid") != claim["metadata"]["uid"]:
        return False
    if spec.get("storageClassName", "") != (claim["spec"].get("storageClassName") or ""):
        return False
    required = spec.get("nodeAffinity", {}).get("required")
    return not required or matches_node_selector(required, node)


def _volume_of(claim: Object, view: VolumeView) -> Object:
    name = claim["spec"]["volumeName"]
    volume = view.volume(name)
    if volume is None:
        raise Unschedulable("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
    return volume
