"""Volume capabilities of CSI: which the driver can serve, and what they ask of a mount."""

from __future__ import annotations

from collections.abc import Iterable

from moorings_core.protos import csi_pb2 as csi

from .errors import InvalidRequest
from .pool import Features

Mode = csi.VolumeCapability.AccessMode
SINGLE_NODE = {
    Mode.SINGLE_NODE_WRITER,
    Mode.SINGLE_NODE_READER_ONLY,
    Mode.SINGLE_NODE_SINGLE_WRITER,
    Mode.SINGLE_NODE_MULTI_WRITER,
}


def check(capabilities: Iterable[csi.VolumeCapability]) -> None:
    """Raise InvalidRequest unless there is at least one capability and each says how it is accessed."""
    given = list(capabilities)
    if not given:
        raise InvalidRequest("volume_capabilities are missing")
    for capability in given:
        if capability.WhichOneof("access_type") is None:
            raise InvalidRequest("a volume capability has neither block nor mount")
        if capability.access_mode.mode == Mode.UNKNOWN:
            raise InvalidRequest("a volume capability has no access mode")


def unsupported(capabilities: Iterable[csi.VolumeCapability], features: Features) -> str:
    """Return why a capability cannot be served here, or ""."""
    for capability in capabilities:
        if capability.access_mode.mode not in SINGLE_NODE:
            return f"access mode {Mode.Mode.Name(capability.access_mode.mode)} needs several nodes; a volume lives on one"
        fs_type = capability.mount.fs_type
        if fs_type and fs_type not in features.fs_types:
            return f"file system {fs_type!r} can not be made here; available: {', '.join(features.fs_types)}"
    return ""


def fs_type(capabilities: Iterable[csi.VolumeCapability]) -> str:
    """Return the file system that the capabilities ask for, or ""."""
    return next((c.mount.fs_type for c in capabilities if c.mount.fs_type), "")
