"""Inline volumes: made when they are published, gone when they are unpublished; a pod's spec is all that knows of them."""

from __future__ import annotations

from pathlib import Path

from moorings_core.kernel import mounts
from moorings_core.protos import csi_pb2 as csi
from moorings_core.registry.quantity import to_int

from . import capabilities
from .errors import InvalidRequest, NoSuchVolume
from .ledger import id_of
from .pool import VolumeRequest
from .staging import Staging
from .volumes import Volumes

CONTEXT = "csi.storage.k8s.io/ephemeral"
SIZE, FS_TYPE = "size", "fsType"


class Ephemeral:
    """The inline volumes of this node."""

    def __init__(self, volumes: Volumes, staging: Staging) -> None:
        self._volumes, self._staging = volumes, staging

    @staticmethod
    def is_asked_for(request: csi.NodePublishVolumeRequest) -> bool:
        """Whether a publish is of an inline volume."""
        return request.volume_context.get(CONTEXT) == "true"

    def publish(self, request: csi.NodePublishVolumeRequest) -> None:
        """Make the volume, and mount it at the target itself: nobody shares it, so nothing is staged."""
        if request.volume_capability.HasField("block"):
            raise InvalidRequest("an inline volume is a file system, not a block device")
        given = {k: v for k, v in request.volume_context.items() if not k.startswith(capabilities.PREFIX)}
        unknown = set(given) - {SIZE, FS_TYPE}
        if unknown:
            raise InvalidRequest(f"volumeAttributes {', '.join(sorted(unknown))} are not known; known: {SIZE}, {FS_TYPE}")
        mount = request.volume_capability.mount
        wanted = VolumeRequest(_name(request.volume_id), _bytes(given.get(SIZE, "0")), 0, mount.fs_type or given.get(FS_TYPE, ""))
        record = self._volumes.create(wanted)
        target = Path(request.target_path)
        self._staging.stage(record, target, mount)
        if request.readonly:
            mounts.remount_bind(target, ["ro"])

    def end(self, volume_id: str) -> None:
        """Delete an inline volume that is unpublished; other volumes are not touched."""
        made = id_of("vol", _name(volume_id))
        try:
            self._volumes.get(made)
        except NoSuchVolume:
            return
        self._staging.release(made)
        self._volumes.delete(made)


def _name(volume_id: str) -> str:
    return f"inline/{volume_id}"


def _bytes(size: str) -> int:
    try:
        return to_int(size)
    except ValueError as error:
        raise InvalidRequest(f"volumeAttributes {SIZE}: {size!r} is no quantity") from error
