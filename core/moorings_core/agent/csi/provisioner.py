"""Claims into volumes and released volumes into nothing, by the driver on this node.

A node's own driver is reached only here, so each agent provisions for the claims whose chosen node it is (upstream's node
deployment). A finalizer on the claim is written before CreateVolume and removed once the PersistentVolume exists, or once the
volume of a claim deleted meanwhile is deleted again: no crash in between can leak a volume.
Source: CSI CreateVolume/DeleteVolume; external-provisioner's annotations and finalizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES, VOLUME_ATTRIBUTES_CLASSES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict, NotFound
from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.protos import csi_pb2 as csi
from moorings_core.registry import volume_secrets
from moorings_core.registry.quantity import to_int

from . import secrets
from .capability import volume_capability
from .client import CsiError
from .finalizers import has, set_finalizers
from .plugins import Driver
from .quantities import quantity
from .reach import Reach, admits
from .sources import SELECTED_NODE, SourceNotReady, Sources, chosen_node, is_sought

log = get_logger(__name__)
INTENT = "provisioning.moorings.dev/volume"
VOLUME_FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PREFIX = "csi.storage.k8s.io/"
DRIVER_WAIT = 1.0
SOURCE_WAIT = 1.0
EXTRA_METADATA = f"{PREFIX}extra-create-metadata"


class Provisioner:
    """Makes and deletes the volumes of the drivers registered on this node."""

    def __init__(self, client: Client, reach: Reach, sources: Sources, node: str, events: EventRecorder) -> None:
        self._client, self._reach, self._sources, self._node, self._events = client, reach, sources, node, events
        self.claims = Informer(client, PERSISTENT_VOLUME_CLAIMS)
        self.volumes = Informer(client, PERSISTENT_VOLUMES)
        self.classes = Informer(client, STORAGE_CLASSES)
        self._claim_work: KeyedWorker[Key] = KeyedWorker("provision", self._claim)
        self._volume_work: KeyedWorker[str] = KeyedWorker("delete volume", self._volume)
        self.work = (self._claim_work, self._volume_work)

    def listen(self) -> None:
        """Work on what changes."""
        self.claims.on_change(lambda _, new: self._claim_work.add(key_of(new)) if new and self._concerns_us(new) else None)
        self.volumes.on_change(lambda _, new: self._volume_work.add(new["metadata"]["name"]) if new else None)

    def look_again(self) -> None:
        """Work on everything that is there."""
        for claim in self.claims.items:
            self._claim_work.add(claim)
        for volume in self.volumes.items:
            self._volume_work.add(volume.name)

    async def _claim(self, key: Key) -> float | None:
        try:
            return await self._claim_as_seen(key)
        except Conflict:
            return None  # the version that was in the way is on its way here, and brings the key back at once

    async def _claim_as_seen(self, key: Key) -> float | None:
        claim = self.claims.get(key.name, key.namespace)
        if claim is None:
            return None
        storage_class = self.classes.get(claim["spec"].get("storageClassName") or "")
        if storage_class is None or not self._concerns_us(claim):
            return None
        driver = self._reach.driver(storage_class["provisioner"])
        if driver is None or not driver.provisions:
            return DRIVER_WAIT if self._is_mine(claim) else None
        if has(claim, INTENT) and ("deletionTimestamp" in claim["metadata"] or claim["spec"].get("volumeName")):
            await self._settle(claim, driver)
        elif not claim["spec"].get("volumeName") and "deletionTimestamp" not in claim["metadata"]:
            return await self._provision(claim, storage_class, driver)
        return None

    def _concerns_us(self, claim: Object) -> bool:
        """Whether a claim has this node or none yet, or has a source that may be here: for nearly all others nothing is to be done."""
        return chosen_node(claim) in ("", self._node) or is_sought(claim)

    def _is_mine(self, claim: Object) -> bool:
        return chosen_node(claim) == self._node and not claim["spec"].get("volumeName")

    async def _provision(self, claim: Object, storage_class: Object, driver: Driver) -> float | None:
        if not self._is_mine(claim):
            if storage_class.get("volumeBindingMode", "Immediate") == "Immediate":
                admitted = admits(storage_class.get("allowedTopologies") or (), driver.topology)
                if admitted and self._reach.leads(driver) and await self._sources.is_here(claim, driver):
                    await self._take(claim)
            elif is_sought(claim):
                await self._sources.say_where(claim, driver)
            return None
        if self.volumes.get(f"pvc-{claim['metadata']['uid']}") is not None:
            return None  # the binder has the next word
        if not has(claim, INTENT):
            claim = await set_finalizers(self._client, PERSISTENT_VOLUME_CLAIMS, claim, [*claim["metadata"].get("finalizers", ()), INTENT])
        try:
            answer = await driver.client.call("CreateVolume", **await self._request(claim, storage_class, driver))
        except SourceNotReady as error:
            self._events.event(claim, "Warning", "ProvisioningFailed", str(error))
            return SOURCE_WAIT
        except CsiError as error:
            self._events.event(claim, "Warning", "ProvisioningFailed", f"failed to provision volume: {error}")
            if error.final or (error.code == "NOT_FOUND" and claim["spec"].get("dataSource")):
                await self._give_back(claim)
                return None
            raise
        volume = _persistent_volume(claim, storage_class, driver, answer.volume)
        try:
            await self._client.create(PERSISTENT_VOLUMES, volume)
        except AlreadyExists:
            return None
        self._events.event(claim, "Normal", "ProvisioningSucceeded", f"provisioned volume {volume['metadata']['name']}")
        return None

    async def _request(self, claim: Object, storage_class: Object, driver: Driver) -> dict[str, Any]:
        """Return the fields of CreateVolume. Raises SourceNotReady, ApiError."""
        fields = _request(claim, storage_class, driver)
        source = await self._sources.content(claim, driver)
        if source is not None:
            fields["volume_content_source"] = source
        attributes = claim["spec"].get("volumeAttributesClassName")
        if attributes and "MODIFY_VOLUME" in driver.controller:
            found = await self._client.get(VOLUME_ATTRIBUTES_CLASSES, attributes)
            fields["mutable_parameters"] = found.get("parameters") or {}
        try:
            secret = volume_secrets.of_claim(volume_secrets.PROVISIONER, storage_class.get("parameters") or {}, claim)
            _secret_references(claim, storage_class)  # what is wrong with one of them is told before anything is made
            fields["secrets"] = await secrets.read(self._client, secret)
        except (ValueError, ApiError) as error:
            raise SourceNotReady(f"failed to get the driver's secret: {error}") from error
        return fields

    async def _take(self, claim: Object) -> None:
        """Choose this node for a claim that waits for none; of several nodes that try, the API lets one win."""
        version = claim["metadata"]["resourceVersion"]
        patch = {"metadata": {"annotations": {SELECTED_NODE: self._node}, "resourceVersion": version}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, *_name(claim), patch)

    async def _give_back(self, claim: Object) -> None:
        """Nothing was made: let the scheduler choose another node."""
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, *_name(claim))
        rest = [f for f in claim["metadata"].get("finalizers", ()) if f != INTENT]
        version = claim["metadata"]["resourceVersion"]
        metadata = {"annotations": {SELECTED_NODE: None}, "finalizers": rest, "resourceVersion": version}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, *_name(claim), {"metadata": metadata})

    async def _settle(self, claim: Object, driver: Driver) -> None:
        """End an intent: the volume exists as an object, or the claim is going and so must be what was made for it."""
        name = f"pvc-{claim['metadata']['uid']}"
        if "deletionTimestamp" in claim["metadata"] and not await self._exists(name):
            storage_class = self.classes.get(claim["spec"].get("storageClassName") or "")
            assert storage_class is not None
            await self._unmake(claim, storage_class, driver)
        rest = [f for f in claim["metadata"].get("finalizers", ()) if f != INTENT]
        await set_finalizers(self._client, PERSISTENT_VOLUME_CLAIMS, claim, rest)

    async def _unmake(self, claim: Object, storage_class: Object, driver: Driver) -> None:
        """Delete what was or was not made for a claim: the same call again tells its id. What cannot be made was not made."""
        try:
            asked = await self._request(claim, storage_class, driver)
            made = await driver.client.call("CreateVolume", **asked)
        except (SourceNotReady, NotFound):
            return
        except CsiError as error:
            if error.final or error.code == "NOT_FOUND":
                return
            raise
        await driver.client.call("DeleteVolume", volume_id=made.volume.volume_id, secrets=asked["secrets"])

    async def _exists(self, volume: str) -> bool:
        try:
            await self._client.get(PERSISTENT_VOLUMES, volume)
        except NotFound:
            return False
        return True

    async def _volume(self, name: str) -> float | None:
        volume = self.volumes.get(name)
        if volume is None or not has(volume, VOLUME_FINALIZER):
            return None
        driver = self._reach.answers_for(volume)
        if driver is None or any(f.startswith("external-attacher/") for f in volume["metadata"]["finalizers"]):
            return None
        phase, policy = volume.get("status", {}).get("phase"), volume["spec"].get("persistentVolumeReclaimPolicy")
        going = "deletionTimestamp" in volume["metadata"]
        if policy != "Delete" or (phase != "Released" and not going) or (going and phase == "Bound"):
            return None
        confided = await secrets.read(self._client, volume_secrets.for_deletion("PersistentVolume", volume))
        await driver.client.call("DeleteVolume", volume_id=volume["spec"]["csi"]["volumeHandle"], secrets=confided)
        rest = [f for f in volume["metadata"]["finalizers"] if f != VOLUME_FINALIZER]
        await set_finalizers(self._client, PERSISTENT_VOLUMES, volume, rest)
        if not going:
            await self._client.delete(PERSISTENT_VOLUMES, name, uid=volume["metadata"]["uid"])
        return None


def _name(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["name"], obj["metadata"].get("namespace", "")


def _request(claim: Object, storage_class: Object, driver: Driver) -> dict[str, Any]:
    spec, parameters = claim["spec"], storage_class.get("parameters", {})
    resources = spec.get("resources", {})
    size = csi.CapacityRange(
        required_bytes=to_int(resources.get("requests", {}).get("storage", "0")),
        limit_bytes=to_int(resources.get("limits", {}).get("storage", "0")),
    )
    capability = volume_capability(
        spec["accessModes"],
        block=spec.get("volumeMode") == "Block",
        fs_type=parameters.get(f"{PREFIX}fstype", ""),
        mount_options=storage_class.get("mountOptions") or (),
        many_writers="SINGLE_NODE_MULTI_WRITER" in driver.controller,
    )
    here = csi.Topology(segments=driver.topology)
    told = {k: v for k, v in parameters.items() if not k.startswith(PREFIX)}
    if parameters.get(EXTRA_METADATA) == "true":
        metadata = claim["metadata"]
        told |= {f"{PREFIX}pvc/name": metadata["name"], f"{PREFIX}pvc/namespace": metadata["namespace"]}
        told[f"{PREFIX}pv/name"] = f"pvc-{metadata['uid']}"
    placed = {"requisite": [here], "preferred": [here]} if driver.topology else {}
    return {
        "name": f"pvc-{claim['metadata']['uid']}",
        "capacity_range": size,
        "volume_capabilities": [capability],
        "parameters": told,
        "accessibility_requirements": csi.TopologyRequirement(**placed),
    }


def _persistent_volume(claim: Object, storage_class: Object, driver: Driver, volume: csi.Volume) -> Object:
    spec, metadata = claim["spec"], claim["metadata"]
    secret = volume_secrets.of_claim(volume_secrets.PROVISIONER, storage_class.get("parameters") or {}, claim)
    source: Object = {"driver": driver.name, "volumeHandle": volume.volume_id}
    fs_type = storage_class.get("parameters", {}).get(f"{PREFIX}fstype")
    if fs_type and spec.get("volumeMode") != "Block":
        source["fsType"] = fs_type
    source |= _secret_references(claim, storage_class)
    if volume.volume_context:
        source["volumeAttributes"] = dict(volume.volume_context)
    claim_ref = {"kind": "PersistentVolumeClaim", "apiVersion": "v1"}
    claim_ref |= {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion")}
    body: Object = {
        "capacity": {"storage": quantity(volume.capacity_bytes)},
        "accessModes": spec["accessModes"],
        "volumeMode": spec.get("volumeMode", "Filesystem"),
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
        "storageClassName": storage_class["metadata"]["name"],
        "mountOptions": storage_class.get("mountOptions", []),
        "csi": source,
        "claimRef": claim_ref,
    }
    if spec.get("volumeAttributesClassName"):
        body["volumeAttributesClassName"] = spec["volumeAttributesClassName"]
    terms = [_term(topology.segments) for topology in volume.accessible_topology if topology.segments]
    if terms:
        body["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {PROVISIONED_BY: driver.name} | volume_secrets.deletion_annotations("PersistentVolume", secret),
            "finalizers": [VOLUME_FINALIZER],
        },
        "spec": body,
    }


def _secret_references(claim: Object, storage_class: Object) -> dict[str, Object]:
    """Return the secrets of later calls, as a volume's source keeps them. Raises ValueError."""
    parameters = storage_class.get("parameters") or {}
    found = {field: volume_secrets.of_claim(kind, parameters, claim) for kind, field in volume_secrets.OF_VOLUMES.items()}
    return {field: {"name": secret.name, "namespace": secret.namespace} for field, secret in found.items() if secret is not None}


def _term(segments: Mapping[str, str]) -> Object:
    return {"matchExpressions": [{"key": k, "operator": "In", "values": [v]} for k, v in sorted(segments.items())]}
