"""From Kubernetes' words for access to CSI's."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object
from moorings_core.protos import csi_pb2 as csi

from .plugins import Driver

Mode = csi.VolumeCapability.AccessMode
_MODES = {
    "ReadWriteOnce": Mode.SINGLE_NODE_WRITER,
    "ReadOnlyMany": Mode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": Mode.MULTI_NODE_MULTI_WRITER,
    "ReadWriteOncePod": Mode.SINGLE_NODE_SINGLE_WRITER,
}


def capability_of(volume: Object, driver: Driver, group: str = "") -> csi.VolumeCapability:
    """Return what a PersistentVolume asks of its driver."""
    spec = volume["spec"]
    return volume_capability(
        spec["accessModes"],
        block=spec.get("volumeMode") == "Block",
        fs_type=spec["csi"].get("fsType", ""),
        mount_options=spec.get("mountOptions") or (),
        group=group,
        many_writers=driver.many_writers,
    )


def volume_capability(
    access_modes: Sequence[str],
    *,
    block: bool,
    fs_type: str = "",
    mount_options: Sequence[str] = (),
    group: str = "",
    many_writers: bool = False,
) -> csi.VolumeCapability:
    """Return the widest of the access modes as a capability for a block device or a mounted file system.

    many_writers: the driver tells one writing pod from several on a node; group: the one that is to own a file system.
    """
    widest = max(access_modes, key=list(_MODES).index, default="ReadWriteOnce") if access_modes else "ReadWriteOnce"
    kind = _MODES["ReadWriteOncePod" if list(access_modes) == ["ReadWriteOncePod"] else widest]
    if many_writers and kind == Mode.SINGLE_NODE_WRITER:
        kind = Mode.SINGLE_NODE_MULTI_WRITER
    elif not many_writers and kind == Mode.SINGLE_NODE_SINGLE_WRITER:
        kind = Mode.SINGLE_NODE_WRITER
    mode = Mode(mode=kind)
    if block:
        return csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume(), access_mode=mode)
    mount = csi.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=list(mount_options), volume_mount_group=group)
    return csi.VolumeCapability(mount=mount, access_mode=mode)
