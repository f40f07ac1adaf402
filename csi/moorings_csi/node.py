"""The Node service: a volume is staged once on the node (device, file system, mount) and published into each pod by a bind.

The mount table and the kernel's loop devices are the truth; nothing about mounts is kept in a file, so every step can be
entered again after a crash at any point.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

from moorings_core.kernel import mounts
from moorings_core.log import get_logger
from moorings_core.protos import csi_pb2 as csi

from . import capabilities
from .errors import InvalidRequest, NameTaken, NoSuchVolume, WrongState
from .faults import point
from .journal import VolumeRecord
from .locks import Locks
from .pool import Features, Pool

log = get_logger(__name__)
Rpc = csi.NodeServiceCapability.RPC
OFFERED = (Rpc.STAGE_UNSTAGE_VOLUME, Rpc.GET_VOLUME_STATS, Rpc.SINGLE_NODE_MULTI_WRITER)
ONE_WRITER = capabilities.Mode.SINGLE_NODE_SINGLE_WRITER


class Node:
    """Mounts the volumes of one pool on this node."""

    def __init__(self, pool: Pool, features: Features, locks: Locks, node_id: str, topology: csi.Topology) -> None:
        self._pool, self._features, self._locks = pool, features, locks
        self._node_id, self._topology = node_id, topology

    async def NodeGetInfo(self, _: csi.NodeGetInfoRequest) -> csi.NodeGetInfoResponse:
        """Return the node's id and where its volumes are reachable."""
        return csi.NodeGetInfoResponse(node_id=self._node_id, accessible_topology=self._topology)

    async def NodeGetCapabilities(self, _: csi.NodeGetCapabilitiesRequest) -> csi.NodeGetCapabilitiesResponse:
        """Return what this service offers."""
        found = [csi.NodeServiceCapability(rpc=Rpc(type=kind)) for kind in OFFERED]
        return csi.NodeGetCapabilitiesResponse(capabilities=found)

    async def NodeStageVolume(self, request: csi.NodeStageVolumeRequest) -> csi.NodeStageVolumeResponse:
        """Attach the device and mount its file system at the staging path, making the file system the first time."""
        _require(request, "volume_id", "staging_target_path")
        self._check(request.volume_capability)
        self._pool.get(request.volume_id)
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._stage, request)
        return csi.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request: csi.NodeUnstageVolumeRequest) -> csi.NodeUnstageVolumeResponse:
        """Unmount and give the device back; whatever is not there any more is done already."""
        _require(request, "volume_id", "staging_target_path")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._unstage, request.volume_id, request.staging_target_path)
        return csi.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request: csi.NodePublishVolumeRequest) -> csi.NodePublishVolumeResponse:
        """Bind the staged volume, or its device, to the target path."""
        _require(request, "volume_id", "target_path")
        self._check(request.volume_capability)
        self._pool.get(request.volume_id)
        if not request.staging_target_path:
            raise WrongState("staging_target_path is missing: the volume must be staged first")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._publish, request)
        return csi.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request: csi.NodeUnpublishVolumeRequest) -> csi.NodeUnpublishVolumeResponse:
        """Undo publish. Files found under an unmounted target are the user's: then nothing is removed."""
        _require(request, "volume_id", "target_path")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._unpublish, Path(request.target_path))
        return csi.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(self, request: csi.NodeGetVolumeStatsRequest) -> csi.NodeGetVolumeStatsResponse:
        """Return bytes and inodes of the mounted file system, or the size of the device."""
        _require(request, "volume_id", "volume_path")
        record = self._pool.get(request.volume_id)
        path = Path(request.volume_path)
        if not path.exists():
            raise NoSuchVolume(f"{path} does not exist")
        if path.is_dir() and mounts.mount_at(path) is None:
            raise NoSuchVolume(f"{path} is not a mount of {request.volume_id}")
        return csi.NodeGetVolumeStatsResponse(usage=await asyncio.to_thread(_usage, path, record))

    def _check(self, capability: csi.VolumeCapability) -> None:
        capabilities.check([capability] if capability.ByteSize() else [])
        reason = capabilities.unsupported([capability], self._features)
        if reason:
            raise WrongState(reason)

    def _stage(self, request: csi.NodeStageVolumeRequest) -> None:
        device = self._pool.attach(request.volume_id)
        point("stage.attached")
        if request.volume_capability.HasField("block"):
            return
        record = self._pool.format(request.volume_id, device)
        wanted = request.volume_capability.mount.fs_type
        if wanted and wanted != record.fs_type:
            raise NameTaken(f"{record.id} holds {record.fs_type}, not {wanted}")
        target = Path(request.staging_target_path)
        target.mkdir(parents=True, exist_ok=True, mode=0o750)
        present = mounts.mount_at(target)
        if present is not None:
            if present.device != _device_number(device):
                raise WrongState(f"something else is mounted at {target}: {present.source}")
            return
        options = [*request.volume_capability.mount.mount_flags, *(["nouuid"] if record.fs_type == "xfs" else [])]
        _mount(device, target, record, options)
        point("stage.mounted")

    def _unstage(self, volume_id: str, staging: str) -> None:
        mounts.unmount_all(staging)
        point("unstage.unmounted")
        _remove_empty(Path(staging))
        if not self._pool.detach(volume_id):
            log.warning("loop device still held", volume=volume_id)

    def _publish(self, request: csi.NodePublishVolumeRequest) -> None:
        target, block = Path(request.target_path), request.volume_capability.HasField("block")
        device = self._pool.attach(request.volume_id)
        if not block and mounts.mount_at(request.staging_target_path) is None:
            raise WrongState(f"{request.volume_id} is not staged at {request.staging_target_path}")
        if _published(target, device, block):
            if not block and _is_read_only(target) != request.readonly:
                raise NameTaken(f"{target} is published with other options")
            return
        if request.volume_capability.access_mode.mode == ONE_WRITER:
            _refuse_second_target(target, request.staging_target_path, device)
        _make_target(target, block)
        point("publish.target")
        source = device if block else request.staging_target_path
        mounts.bind(source, target, read_only=request.readonly)
        point("publish.bound")

    def _unpublish(self, target: Path) -> None:
        mounts.unmount_all(target)
        point("unpublish.unbound")
        _remove_empty(target)


def _require(request: object, *fields: str) -> None:
    for field in fields:
        if not getattr(request, field):
            raise InvalidRequest(f"{field} is missing")


def _device_number(device: Path) -> str:
    number = os.stat(device).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def _mount(device: Path, target: Path, record: VolumeRecord, options: list[str]) -> None:
    try:
        mounts.mount(device, target, record.fs_type, options)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EUCLEAN, errno.EBADMSG, errno.EIO):
            reason = f"{record.id} does not mount as {record.fs_type} ({error.strerror}); it was not touched"
            raise WrongState(f"{reason}: check it with the file system's own tool") from error
        raise


def _published(target: Path, device: Path, block: bool) -> bool:
    present = mounts.mount_at(target) if target.exists() else None
    if present is None:
        return False
    if block:
        return os.stat(target).st_rdev == os.stat(device).st_rdev
    return present.device == _device_number(device)


def _is_read_only(target: Path) -> bool:
    present = mounts.mount_at(target)
    return present is not None and present.read_only


def _refuse_second_target(target: Path, staging: str, device: Path) -> None:
    number, allowed = _device_number(device), {str(target), os.path.realpath(staging)}
    for mount in mounts.mount_table():
        if mount.device == number and mount.path not in allowed:
            raise WrongState(f"the volume is for one writer and is published at {mount.path} already")


def _make_target(target: Path, block: bool) -> None:
    if block:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        target.touch(mode=0o660)
    else:
        target.mkdir(parents=True, exist_ok=True, mode=0o750)


def _remove_empty(target: Path) -> None:
    """Remove an empty directory or file; what holds data stays, for it is no mount point of ours."""
    try:
        if target.is_dir():
            target.rmdir()
        elif target.exists() and target.stat().st_size == 0:
            target.unlink()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise
        raise WrongState(f"{target} is not a mount and not empty; its files were kept") from error


def _usage(path: Path, record: VolumeRecord) -> list[csi.VolumeUsage]:
    if not path.is_dir():
        return [csi.VolumeUsage(total=record.size, unit=csi.VolumeUsage.BYTES)]
    found = os.statvfs(path)
    unit = found.f_frsize
    return [
        csi.VolumeUsage(
            available=found.f_bavail * unit,
            total=found.f_blocks * unit,
            used=(found.f_blocks - found.f_bfree) * unit,
            unit=csi.VolumeUsage.BYTES,
        ),
        csi.VolumeUsage(
            available=found.f_favail,
            total=found.f_files,
            used=found.f_files - found.f_ffree,
            unit=csi.VolumeUsage.INODES,
        ),
    ]
