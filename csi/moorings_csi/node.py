"""The Node service: a volume is staged once on the node (device, file system, mount) and published into each pod by a bind.

The mount table and the kernel's loop devices are the truth; nothing about mounts is kept in a file, so every step can be
entered again after a crash at any point.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from moorings_core.kernel import mounts
from moorings_core.log import get_logger
from moorings_core.protos import csi_pb2 as csi

from . import capabilities, targets
from .controller import Place, require
from .ephemeral import Ephemeral
from .errors import InvalidRequest, NameTaken, NoSuchVolume, WrongState
from .faults import point
from .ledger import Ledger
from .locks import Locks
from .staging import Staging
from .volumes import Volumes

log = get_logger(__name__)
Rpc = csi.NodeServiceCapability.RPC
OFFERED = (
    Rpc.STAGE_UNSTAGE_VOLUME,
    Rpc.GET_VOLUME_STATS,
    Rpc.EXPAND_VOLUME,
    Rpc.VOLUME_CONDITION,
    Rpc.SINGLE_NODE_MULTI_WRITER,
    Rpc.VOLUME_MOUNT_GROUP,
)
ONE_WRITER = capabilities.Mode.SINGLE_NODE_SINGLE_WRITER
READERS = (capabilities.Mode.SINGLE_NODE_READER_ONLY, capabilities.Mode.MULTI_NODE_READER_ONLY)


class Node:
    """Mounts the volumes of one pool on this node."""

    def __init__(self, ledger: Ledger, volumes: Volumes, locks: Locks, place: Place, attach_limit: int = 0) -> None:
        self._volumes, self._locks, self._place, self._attach_limit = volumes, locks, place, attach_limit
        self._pool = ledger.pool
        self._staging = Staging(ledger, place.features)
        self._ephemeral = Ephemeral(volumes, self._staging)

    async def NodeGetInfo(self, _: csi.NodeGetInfoRequest) -> csi.NodeGetInfoResponse:
        """Return the node's id, where its volumes are reachable, and how many it takes."""
        place = self._place
        return csi.NodeGetInfoResponse(node_id=place.node, accessible_topology=place.topology, max_volumes_per_node=self._attach_limit)

    async def NodeGetCapabilities(self, _: csi.NodeGetCapabilitiesRequest) -> csi.NodeGetCapabilitiesResponse:
        """Return what this service offers."""
        found = [csi.NodeServiceCapability(rpc=Rpc(type=kind)) for kind in OFFERED]
        return csi.NodeGetCapabilitiesResponse(capabilities=found)

    async def NodeStageVolume(self, request: csi.NodeStageVolumeRequest) -> csi.NodeStageVolumeResponse:
        """Attach the device and mount its file system at the staging path, making the file system the first time."""
        require(request, "volume_id", "staging_target_path")
        self._check(request.volume_capability)
        self._volumes.get(request.volume_id)
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._stage, request)
        return csi.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request: csi.NodeUnstageVolumeRequest) -> csi.NodeUnstageVolumeResponse:
        """Unmount and give the device back; whatever is not there any more is done already."""
        require(request, "volume_id", "staging_target_path")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._staging.unstage, request.volume_id, Path(request.staging_target_path))
        return csi.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request: csi.NodePublishVolumeRequest) -> csi.NodePublishVolumeResponse:
        """Bind the staged volume, or its device, to the target path; an inline volume is made first."""
        require(request, "volume_id", "target_path")
        self._check(request.volume_capability)
        if Ephemeral.is_asked_for(request):
            with self._locks.holding(request.volume_id):
                await asyncio.to_thread(self._ephemeral.publish, request)
            return csi.NodePublishVolumeResponse()
        self._volumes.get(request.volume_id)
        if not request.staging_target_path:
            raise WrongState("staging_target_path is missing: the volume must be staged first")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._publish, request)
        return csi.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request: csi.NodeUnpublishVolumeRequest) -> csi.NodeUnpublishVolumeResponse:
        """Undo publish. Files found under an unmounted target are the user's: then nothing is removed."""
        require(request, "volume_id", "target_path")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._unpublish, request.volume_id, Path(request.target_path))
        return csi.NodeUnpublishVolumeResponse()

    async def NodeExpandVolume(self, request: csi.NodeExpandVolumeRequest) -> csi.NodeExpandVolumeResponse:
        """Let the file system fill what the controller has made of the volume."""
        require(request, "volume_id", "volume_path")
        record = self._volumes.get(request.volume_id)
        path = Path(request.volume_path)
        if not path.exists():
            raise NoSuchVolume(f"{path} does not exist")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._staging.grow, record, path)
        return csi.NodeExpandVolumeResponse(capacity_bytes=record.size)

    async def NodeGetVolumeStats(self, request: csi.NodeGetVolumeStatsRequest) -> csi.NodeGetVolumeStatsResponse:
        """Return bytes and inodes of the mounted file system, or the size of the device; and whether all is well."""
        require(request, "volume_id", "volume_path")
        record = self._volumes.get(request.volume_id)
        path = Path(request.volume_path)
        if not path.exists():
            raise NoSuchVolume(f"{path} does not exist")
        if path.is_dir() and not mounts.is_mount_point(path):
            raise NoSuchVolume(f"{path} is not a mount of {request.volume_id}")
        usage = await asyncio.to_thread(targets.usage, self._pool, record, path)
        wrong = await asyncio.to_thread(self._volumes.condition, record) or targets.damage(path)
        condition = csi.VolumeCondition(abnormal=bool(wrong), message=wrong or "as it should be")
        return csi.NodeGetVolumeStatsResponse(usage=usage, volume_condition=condition)

    def _check(self, capability: csi.VolumeCapability) -> None:
        capabilities.check([capability] if capability.ByteSize() else [])
        reason = capabilities.unsupported([capability], self._place.features)
        if reason:
            raise WrongState(reason)

    def _stage(self, request: csi.NodeStageVolumeRequest) -> None:
        record, block = self._volumes.get(request.volume_id), request.volume_capability.HasField("block")
        if record.block != block:
            raise InvalidRequest(f"{record.id} is a {'block' if record.block else 'file system'} volume")
        self._staging.stage(record, Path(request.staging_target_path), request.volume_capability.mount)

    def _publish(self, request: csi.NodePublishVolumeRequest) -> None:
        target, staging = Path(request.target_path), Path(request.staging_target_path)
        record, mode = self._volumes.get(request.volume_id), request.volume_capability.access_mode.mode
        if record.block:
            source = self._pool.attach(record)
        elif not mounts.is_mount_point(staging):
            raise WrongState(f"{request.volume_id} is not staged at {staging}")
        else:
            source = staging
        read_only = request.readonly or mode in READERS
        if targets.is_published(target, source):
            if not record.block and targets.is_read_only(target) != read_only:
                raise NameTaken(f"{target} is published with other options")
            return
        if mode == ONE_WRITER:
            targets.refuse_second(target, source, staging)
        targets.make(target, block=record.block)
        point("publish.target")
        mounts.bind(source, target, read_only=read_only)
        point("publish.bound")

    def _unpublish(self, volume_id: str, target: Path) -> None:
        mounts.unmount_all(target)
        point("unpublish.unbound")
        targets.remove_empty(target)
        self._ephemeral.end(volume_id)
