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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from moorings_core.ports.client import Client
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object

from .capability import volume_capability
from .plugins import Driver, PluginWatcher

DRIVER_TIMEOUT = 30.0
DATA_FILE = "vol_data.json"


class VolumeNotReady(MooringsError):
    """The claim or its volume is not what a pod can mount yet; the text goes into the pod's event."""


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


class CsiVolumes:
    """Sets up and takes down the CSI volumes of this node's pods."""

    def __init__(self, client: Client, plugins: PluginWatcher, root: Path) -> None:
        self._client, self._plugins, self._root = client, plugins, root
        self._locks: dict[str, asyncio.Lock] = {}

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

    async def setup(self, pod: Object, volume: Object, *, read_only: bool) -> Published:
        """Make a CSI volume available to a pod and return where. Raises CsiError, TimeoutError, OSError."""
        spec, source = volume["spec"], volume["spec"]["csi"]
        block = spec.get("volumeMode") == "Block"
        published = self._paths(source["driver"], source["volumeHandle"], volume["metadata"]["name"], pod, block)
        capability = volume_capability(
            spec["accessModes"], block=block, fs_type=source.get("fsType", ""), mount_options=spec.get("mountOptions", ())
        )
        context = source.get("volumeAttributes", {})
        async with self._locks.setdefault(published.handle, asyncio.Lock()):
            driver = await self._plugins.wait_for(published.driver, DRIVER_TIMEOUT)
            await asyncio.to_thread(_remember, published)
            common: dict[str, Any] = {"volume_id": published.handle, "volume_capability": capability, "volume_context": context}
            await self._stage(driver, published, common)
            await driver.client.call(
                "NodePublishVolume",
                staging_target_path=published.staging if driver.stages else "",
                target_path=published.target,
                readonly=read_only or bool(source.get("readOnly")),
                **common,
            )
        return published

    async def teardown(self, published: Published) -> None:
        """Undo setup; what was never done, or undone before, is no error."""
        async with self._locks.setdefault(published.handle, asyncio.Lock()):
            driver = await self._plugins.wait_for(published.driver, DRIVER_TIMEOUT)
            await driver.client.call("NodeUnpublishVolume", volume_id=published.handle, target_path=published.target)
            others = [p for p in self.published() if p.handle == published.handle and p.target != published.target]
            if driver.stages and not others:
                staging = published.staging
                await driver.client.call("NodeUnstageVolume", volume_id=published.handle, staging_target_path=staging)
            await asyncio.to_thread(_forget, published)

    def published(self) -> Iterator[Published]:
        """Yield every volume that a pod on this node has or that was left half set up, from disk."""
        patterns = ("pods/*/volumes/kubernetes.io~csi/*", "plugins/kubernetes.io/csi/volumeDevices/publish/*/*.data")
        for pattern in patterns:
            for directory in self._root.glob(pattern):
                file = directory / DATA_FILE
                if file.exists():
                    yield Published(**json.loads(file.read_text()))

    async def _stage(self, driver: Driver, published: Published, common: dict[str, Any]) -> None:
        if driver.stages:
            Path(published.staging).mkdir(parents=True, exist_ok=True, mode=0o750)
            await driver.client.call("NodeStageVolume", staging_target_path=published.staging, **common)

    def _paths(self, driver: str, handle: str, pv: str, pod: Object, block: bool) -> Published:
        uid, csi = pod["metadata"]["uid"], self._root / "plugins/kubernetes.io/csi"
        staging = csi / driver / hashlib.sha256(handle.encode()).hexdigest() / "globalmount"
        if block:
            target = csi / "volumeDevices/publish" / pv / uid
        else:
            target = self._root / "pods" / uid / "volumes/kubernetes.io~csi" / pv / "mount"
        return Published(driver, handle, pv, uid, block, str(target), str(staging))


def _data_file(published: Published) -> Path:
    target = Path(published.target)
    return (target.with_name(f"{target.name}.data") if published.block else target.parent) / DATA_FILE


def _remember(published: Published) -> None:
    file = _data_file(published)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    temporary = file.with_suffix(".tmp")
    with temporary.open("w") as out:
        json.dump(asdict(published), out)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(file)


def _forget(published: Published) -> None:
    file = _data_file(published)
    file.unlink(missing_ok=True)
    if file.parent.exists():
        file.parent.rmdir()
