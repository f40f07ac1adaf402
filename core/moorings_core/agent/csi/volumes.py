"""Volumes of pods through CSI drivers: staged once on the node, published per pod, taken down in the reverse order.

Paths are the kubelet's, so that drivers written for it work:
    ROOT/plugins/kubernetes.io/csi/DRIVER/HASH/globalmount                  staging
    ROOT/pods/UID/volumes/kubernetes.io~csi/PV/mount                        target of a file system
    ROOT/plugins/kubernetes.io/csi/volumeDevices/publish/PV/UID             target of a block device
A file vol_data.json beside each target, written before the first RPC and removed after the last, is what a restarted agent
learns from which volumes it must still take down.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from moorings_core import durable
from moorings_core.agent.tokens import SECONDS, PodTokens
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from moorings_core.kernel import mounts
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Key, Object
from moorings_core.protos import csi_pb2 as csi

from . import secrets
from .attachments import Attachments
from .capability import capability_of, volume_capability
from .errors import VolumeNotReady
from .plugins import Driver, PluginWatcher
from .reach import Reach

DRIVER_TIMEOUT = 30.0
DATA_FILE = "vol_data.json"
PREFIX = "csi.storage.k8s.io/"
ACCOUNT_TOKENS = f"{PREFIX}serviceAccount.tokens"


@dataclass(frozen=True, slots=True)
class Published:
    """A volume that a pod has, or is getting, or must still be rid of."""

    driver: str
    handle: str
    pv: str
    pod_uid: str
    block: bool
    target: str
    staging: str
    inline: bool = False
    attached: bool = False
    bare: bool = False
    """The driver has published it and mounts nothing at the target: there its word is all there is"""


class CsiVolumes:
    """Stages and publishes the volumes of this node's pods.

    on_mounted is told the key of every claim whose volume has been mounted: an expansion may have waited for that.
    """

    def __init__(self, client: Client, plugins: PluginWatcher, reach: Reach, root: Path, node: str) -> None:
        self._client, self._plugins, self._reach, self._root = client, plugins, reach, root
        self._attachments, self._tokens = Attachments(client, node), PodTokens(client)
        self._locks: dict[str, asyncio.Lock] = {}
        self.on_mounted: list[Callable[[Key], None]] = []

    async def claimed(self, pod: Object, claim_name: str) -> Object:
        """Return the PersistentVolume of a claim that a pod may mount, of whatever kind. Raises VolumeNotReady, ApiError."""
        namespace = pod["metadata"]["namespace"]
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, claim_name, namespace)
        if claim.get("status", {}).get("phase") != "Bound":
            raise VolumeNotReady(f"persistentvolumeclaim {claim_name!r} is not bound")
        volume = await self._client.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
        if volume["spec"].get("claimRef", {}).get("uid") != claim["metadata"]["uid"]:
            raise VolumeNotReady(f"persistentvolume {volume['metadata']['name']!r} belongs to another claim")
        return volume

    async def setup(self, pod: Object, volume: Object, *, read_only: bool, again: bool = False) -> Published:
        """Make a CSI volume available to a pod and return where; again: it is, and only published anew, for what that brings.

        Raises CsiError, TimeoutError, OSError, VolumeNotReady, ApiError.
        """
        spec, source = volume["spec"], volume["spec"]["csi"]
        block = spec.get("volumeMode") == "Block"
        published = self._paths(source["driver"], source["volumeHandle"], volume["metadata"]["name"], pod, block)
        if list(spec["accessModes"]) == ["ReadWriteOncePod"]:
            self._refuse_second(published)
        declared = self._reach.spec(published.driver)
        attached = declared.get("attachRequired", True)
        if attached:
            published = replace(published, attached=True)
        async with self._locks.setdefault(published.handle, asyncio.Lock()):
            driver = await self._plugins.wait_for(published.driver, DRIVER_TIMEOUT)
            await asyncio.to_thread(_remember, published)
            common: dict[str, Any] = {
                "volume_id": published.handle,
                "volume_capability": capability_of(volume, driver, mount_group(pod, driver)),
                "volume_context": dict(source.get("volumeAttributes") or {}),
            }
            if attached:
                await self._attachments.use(self.published())
                common["publish_context"] = await self._attachments.wait(published.driver, published.handle)
            if not again:
                await self._stage(driver, published, common, source)
            common["volume_context"] |= about(pod, declared, inline=False)
            confided = await secrets.read(self._client, secrets.key(source.get("nodePublishSecretRef")))
            if not block:
                told = await self._account_tokens(pod, declared)
                (confided if declared.get("serviceAccountTokenInSecrets") else common["volume_context"]).update(told)
            await driver.client.call(
                "NodePublishVolume",
                staging_target_path=published.staging if driver.stages else "",
                target_path=published.target,
                readonly=read_only or bool(source.get("readOnly")),
                secrets=confided,
                **common,
            )
            published = await asyncio.to_thread(_settled, published)
        reference = spec.get("claimRef") or {}
        for call in self.on_mounted:
            call(Key(reference.get("namespace", ""), reference.get("name", "")))
        return published

    def wants_republishing(self, driver: str = "") -> bool:
        """Whether a driver, or any, has asked for its volumes to be published again and again."""
        declared = [driver] if driver else [name.name for name in self._reach.csi_drivers.items]
        return any(self._reach.spec(name).get("requiresRepublish") for name in declared)

    def leaves_group_to_node(self, volume: Object) -> bool:
        """Whether the files of a volume are given to the pod's fsGroup by the agent: not where the driver does it or forbids it."""
        spec, source = volume["spec"], volume["spec"]["csi"]
        driver = self._plugins.drivers.get(source["driver"])
        if driver is not None and "VOLUME_MOUNT_GROUP" in driver.on_node:
            return False
        policy = self._reach.spec(source["driver"]).get("fsGroupPolicy", "ReadWriteOnceWithFSType")
        if policy == "ReadWriteOnceWithFSType":
            return bool(source.get("fsType")) and "ReadWriteOnce" in spec["accessModes"]
        return bool(policy == "File")

    async def setup_inline(self, pod: Object, name: str, source: Object) -> Published:
        """Make the volume that a pod's spec describes and return where it is. Raises CsiError, TimeoutError, OSError."""
        handle = "csi-" + hashlib.sha256(f"{pod['metadata']['uid']}{name}".encode()).hexdigest()
        published = replace(self._paths(source["driver"], handle, name, pod, False), inline=True)
        declared = self._reach.spec(published.driver)
        if declared and "Ephemeral" not in (declared.get("volumeLifecycleModes") or ["Persistent"]):
            raise VolumeNotReady(f"the CSIDriver {published.driver!r} does not declare volumeLifecycleMode Ephemeral")
        async with self._locks.setdefault(handle, asyncio.Lock()):
            driver = await self._plugins.wait_for(published.driver, DRIVER_TIMEOUT)
            await asyncio.to_thread(_remember, published)
            capability = volume_capability(
                ["ReadWriteOnce"], block=False, fs_type=source.get("fsType") or "", group=mount_group(pod, driver)
            )
            secret = source.get("nodePublishSecretRef")
            reference = {"namespace": pod["metadata"]["namespace"], "name": secret["name"]} if secret else None
            confided, context = await secrets.read(self._client, secrets.key(reference)), dict(source.get("volumeAttributes") or {})
            told = await self._account_tokens(pod, declared)
            (confided if declared.get("serviceAccountTokenInSecrets") else context).update(told)
            await driver.client.call(
                "NodePublishVolume",
                volume_id=handle,
                volume_capability=capability,
                volume_context=context | about(pod, declared, inline=True),
                target_path=published.target,
                readonly=bool(source.get("readOnly")),
                secrets=confided,
            )
            return await asyncio.to_thread(_settled, published)

    async def expand(
        self, published: Published, driver: Driver, capability: csi.VolumeCapability, size: int, confided: Mapping[str, str]
    ) -> None:
        """Let the file system of a mounted volume fill what the driver has made of it. Raises CsiError."""
        async with self._locks.setdefault(published.handle, asyncio.Lock()):
            await driver.client.call(
                "NodeExpandVolume",
                volume_id=published.handle,
                volume_path=published.target,
                staging_target_path=published.staging if driver.stages else "",
                capacity_range=csi.CapacityRange(required_bytes=size),
                volume_capability=capability,
                secrets=confided,
            )

    async def stats(self, published: Published) -> csi.NodeGetVolumeStatsResponse | None:
        """Return how full a volume is and whether it is well; None where the driver does not tell. Raises CsiError."""
        driver = self._plugins.drivers.get(published.driver)
        if driver is None or "GET_VOLUME_STATS" not in driver.on_node:
            return None
        staging = published.staging if driver.stages else ""
        answer: csi.NodeGetVolumeStatsResponse = await driver.client.call(
            "NodeGetVolumeStats", volume_id=published.handle, volume_path=published.target, staging_target_path=staging
        )
        return answer

    async def teardown(self, published: Published) -> None:
        """Undo setup; what was never done, or undone before, is no error."""
        async with self._locks.setdefault(published.handle, asyncio.Lock()):
            driver = await self._plugins.wait_for(published.driver, DRIVER_TIMEOUT)
            await driver.client.call("NodeUnpublishVolume", volume_id=published.handle, target_path=published.target)
            others = [p for p in self.published() if p.handle == published.handle and p.target != published.target]
            if driver.stages and not others and not published.inline:
                staging = published.staging
                await driver.client.call("NodeUnstageVolume", volume_id=published.handle, staging_target_path=staging)
            await asyncio.to_thread(_forget, published)
            self._tokens.forget(published.pod_uid)
            if published.attached:
                await self._attachments.use(self.published())

    def mounted(self) -> list[Published]:
        """Return the volumes whose driver has done its part, as the mount table says. Blocks: run it in a thread."""
        present = {mount.path for mount in mounts.mount_table()}
        return [p for p in self.published() if p.bare or os.path.realpath(p.target) in present]

    def published(self) -> Iterator[Published]:
        """Yield every volume that a pod on this node has or that was left half set up, from disk."""
        patterns = ("pods/*/volumes/kubernetes.io~csi/*", "plugins/kubernetes.io/csi/volumeDevices/publish/*/*.data")
        for pattern in patterns:
            for directory in self._root.glob(pattern):
                file = directory / DATA_FILE
                if file.exists():
                    yield Published(**json.loads(file.read_text()))

    async def _stage(self, driver: Driver, published: Published, common: dict[str, Any], source: Object) -> None:
        if driver.stages:
            Path(published.staging).mkdir(parents=True, exist_ok=True, mode=0o750)
            confided = await secrets.read(self._client, secrets.key(source.get("nodeStageSecretRef")))
            await driver.client.call("NodeStageVolume", staging_target_path=published.staging, secrets=confided, **common)

    async def _account_tokens(self, pod: Object, declared: Object) -> dict[str, str]:
        """Return the tokens of the pod's account that a driver has asked for in its CSIDriver. Raises ApiError."""
        wanted = declared.get("tokenRequests") or ()
        if not wanted:
            return {}
        found = {}
        for request in wanted:
            audience = request.get("audience", "")
            token = await self._tokens.get(pod, audience, request.get("expirationSeconds") or SECONDS)
            found[audience] = {"token": token.text, "expirationTimestamp": token.expires}
        return {ACCOUNT_TOKENS: json.dumps(found, separators=(",", ":"))}

    def _refuse_second(self, published: Published) -> None:
        others = {p.pod_uid for p in self.published() if p.handle == published.handle} - {published.pod_uid}
        if others:
            raise VolumeNotReady(f"volume uses the ReadWriteOncePod access mode and is already in use by another pod: {published.pv}")

    def _paths(self, driver: str, handle: str, pv: str, pod: Object, block: bool) -> Published:
        uid, place = pod["metadata"]["uid"], self._root / "plugins/kubernetes.io/csi"
        staging = place / driver / hashlib.sha256(handle.encode()).hexdigest() / "globalmount"
        if block:
            target = place / "volumeDevices/publish" / pv / uid
        else:
            target = self._root / "pods" / uid / "volumes/kubernetes.io~csi" / pv / "mount"
        return Published(driver, handle, pv, uid, block, str(target), str(staging))


def mount_group(pod: Object, driver: Driver) -> str:
    """Return the group that the driver itself is to give a file system to, or ""."""
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return str(group) if group is not None and "VOLUME_MOUNT_GROUP" in driver.on_node else ""


def about(pod: Object, declared: Object, *, inline: bool) -> dict[str, str]:
    """Return what a driver is told of the pod, if it has asked for that in its CSIDriver."""
    told = {f"{PREFIX}ephemeral": str(inline).lower()} if inline or declared.get("podInfoOnMount") else {}
    if declared.get("podInfoOnMount"):
        metadata = pod["metadata"]
        told |= {f"{PREFIX}pod.name": metadata["name"], f"{PREFIX}pod.namespace": metadata["namespace"]}
        told |= {f"{PREFIX}pod.uid": metadata["uid"], f"{PREFIX}serviceAccount.name": pod["spec"].get("serviceAccountName", "default")}
    return told


def _data_file(published: Published) -> Path:
    target = Path(published.target)
    return (target.with_name(f"{target.name}.data") if published.block else target.parent) / DATA_FILE


def _remember(published: Published) -> None:
    file = _data_file(published)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    durable.write(file, json.dumps(asdict(published)).encode())


def _settled(published: Published) -> Published:
    """Return what is known of a volume now that its driver has published it, and remember it."""
    if mounts.is_mount_point(published.target):
        return published
    bare = replace(published, bare=True)
    _remember(bare)
    return bare


def _forget(published: Published) -> None:
    file = _data_file(published)
    file.unlink(missing_ok=True)
    if file.parent.exists():
        file.parent.rmdir()
