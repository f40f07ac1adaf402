"""What to write next for one claim or one volume. Each write is one step of the two-phase binding; a crash between two of them
leaves a state from which the next call goes on.

    1. PersistentVolume.spec.claimRef = the claim (with its uid)
    2. PersistentVolumeClaim.spec.volumeName = the volume, annotation bind-completed
    3. both statuses: phase Bound
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from moorings_core.ports.client import Patch, Write
from moorings_core.ports.objects import Object

from .matching import find_volume, fits, is_reserved_for

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class VolumesView:
    """Look-ups into the caches."""

    volume: Callable[[str], Object | None]
    volumes: Callable[[], Iterable[Object]]
    claim: Callable[[str, str], Object | None]
    storage_class: Callable[[str], Object | None]
    default_class: Callable[[], str]


def claim_writes(claim: Object, view: VolumesView) -> Sequence[Write]:
    """Return what a claim needs written now; nothing when it waits for somebody else or is done."""
    if claim["spec"].get("volumeName"):
        return _settle_claim(claim, view)
    if "deletionTimestamp" in claim["metadata"]:
        return ()
    if claim["spec"].get("storageClassName") is None and view.default_class():
        return [_patch_claim(claim, {"spec": {"storageClassName": view.default_class()}})]
    volume = _choose(claim, view)
    if volume is not None:
        return _bind(claim, volume)
    pending = _phase(claim, "Pending")
    return [*_name_provisioner(claim, view), *pending]


def volume_writes(volume: Object, view: VolumesView) -> Sequence[Write]:
    """Return what a volume needs written now."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return _volume_phase(volume, "Available")
    claim = view.claim(reference["name"], reference["namespace"])
    if claim is None or claim["metadata"]["uid"] != reference["uid"]:
        failed = volume.get("status", {}).get("phase") == "Failed"
        return () if failed else _volume_phase(volume, "Released")
    if claim["spec"].get("volumeName") == volume["metadata"]["name"]:
        return _volume_phase(volume, "Bound")
    return ()


def _choose(claim: Object, view: VolumesView) -> Object | None:
    """Return the volume to bind now. A class that waits for the first consumer is bound here only to what is reserved for it."""
    if _waits(claim, view):
        reserved = [v for v in view.volumes() if is_reserved_for(v, claim) and fits(claim, v)]
        return reserved[0] if reserved else None
    return find_volume(claim, view.volumes())


def _waits(claim: Object, view: VolumesView) -> bool:
    storage_class = view.storage_class(claim["spec"].get("storageClassName") or "")
    if storage_class is None or storage_class.get("volumeBindingMode") != "WaitForFirstConsumer":
        return False
    chosen = SELECTED_NODE in claim["metadata"].get("annotations", {})
    return not (chosen and storage_class["provisioner"] == NO_PROVISIONER)


def _bind(claim: Object, volume: Object) -> list[Write]:
    if volume["spec"].get("claimRef", {}).get("uid") != claim["metadata"]["uid"]:
        return [_reserve(claim, volume)]
    annotations = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
    patch = {"metadata": {"annotations": annotations}, "spec": {"volumeName": volume["metadata"]["name"]}}
    return [_patch_claim(claim, patch), *_volume_phase(volume, "Bound")]


def _reserve(claim: Object, volume: Object) -> Write:
    metadata = claim["metadata"]
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference |= {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion")}
    annotations = {} if volume["spec"].get("claimRef") else {BOUND_BY_CONTROLLER: "yes"}
    version = volume["metadata"]["resourceVersion"]
    patch: Object = {"metadata": {"annotations": annotations, "resourceVersion": version}, "spec": {"claimRef": reference}}
    return Patch(PERSISTENT_VOLUMES, "", volume["metadata"]["name"], patch)


def _settle_claim(claim: Object, view: VolumesView) -> Sequence[Write]:
    volume = view.volume(claim["spec"]["volumeName"])
    completed = BIND_COMPLETED in claim["metadata"].get("annotations", {})
    if volume is None:
        return _phase(claim, "Lost") if completed else _phase(claim, "Pending")
    reference = volume["spec"].get("claimRef", {})
    if reference.get("uid") != claim["metadata"]["uid"]:
        if completed:
            return _phase(claim, "Lost")
        free = not reference or is_reserved_for(volume, claim)
        return [_reserve(claim, volume)] if free and fits(claim, volume) else _phase(claim, "Pending")
    if not completed:
        return [_patch_claim(claim, {"metadata": {"annotations": {BIND_COMPLETED: "yes"}}})]
    return [*_bound_status(claim, volume), *_volume_phase(volume, "Bound")]


def _bound_status(claim: Object, volume: Object) -> list[Write]:
    capacity, modes = {"storage": volume["spec"]["capacity"]["storage"]}, volume["spec"]["accessModes"]
    status = claim.get("status", {})
    if (status.get("phase"), status.get("accessModes")) == ("Bound", modes) and "storage" in status.get("capacity", {}):
        return []
    patch = {"status": {"phase": "Bound", "accessModes": modes, "capacity": capacity}}
    return [_patch_claim(claim, patch, "status")]


def _name_provisioner(claim: Object, view: VolumesView) -> list[Write]:
    """Say who is to make the volume, once nothing stands in the way of making it."""
    storage_class = view.storage_class(claim["spec"].get("storageClassName") or "")
    annotations = claim["metadata"].get("annotations", {})
    if storage_class is None or storage_class["provisioner"] == NO_PROVISIONER or claim["spec"].get("selector"):
        return []
    if _waits(claim, view) and SELECTED_NODE not in annotations:
        return []
    provisioner = storage_class["provisioner"]
    if annotations.get(PROVISIONER) == provisioner:
        return []
    return [_patch_claim(claim, {"metadata": {"annotations": {PROVISIONER: provisioner}}})]


def _phase(claim: Object, phase: str) -> list[Write]:
    if claim.get("status", {}).get("phase") == phase:
        return []
    return [_patch_claim(claim, {"status": {"phase": phase}}, "status")]


def _volume_phase(volume: Object, phase: str) -> list[Write]:
    if volume.get("status", {}).get("phase") == phase:
        return []
    return [Patch(PERSISTENT_VOLUMES, "", volume["metadata"]["name"], {"status": {"phase": phase}}, subresource="status")]


def _patch_claim(claim: Object, patch: Object, subresource: str = "") -> Patch:
    metadata = claim["metadata"]
    guarded = {**patch, "metadata": {**patch.get("metadata", {}), "uid": metadata["uid"]}}
    return Patch(PERSISTENT_VOLUME_CLAIMS, metadata["namespace"], metadata["name"], guarded, subresource=subresource)
