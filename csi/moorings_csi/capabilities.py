"""Volume capabilities of CSI: which the driver can serve, and what they ask of a mount."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moorings_core.protos import csi_pb2 as csi

from .btrfs_pool import COMPRESSION, COMPRESSIONS
from .errors import InvalidRequest
from .files import LIMITS, READ_AHEAD
from .pool import Features

Mode = csi.VolumeCapability.AccessMode
SINGLE_NODE = {
    Mode.SINGLE_NODE_WRITER,
    Mode.SINGLE_NODE_READER_ONLY,
    Mode.SINGLE_NODE_SINGLE_WRITER,
    Mode.SINGLE_NODE_MULTI_WRITER,
}
PREFIX = "csi.storage.k8s.io/"
READ_AHEAD_MOST = 1 << 20


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
        if capability.access_mode.mode not in SINGLE_NODE and not features.shared_access:
            return f"access mode {Mode.Mode.Name(capability.access_mode.mode)} needs several nodes; a volume lives on one"
        if capability.HasField("block") and not features.block:
            return "this pool has directories, no block devices"
        fs_type = capability.mount.fs_type
        if fs_type and fs_type not in features.fs_types:
            return f"file system {fs_type!r} can not be made here; available: {', '.join(features.fs_types) or 'none'}"
    return ""


def fs_type(capabilities: Iterable[csi.VolumeCapability]) -> str:
    """Return the file system that the capabilities ask for, or ""."""
    return next((c.mount.fs_type for c in capabilities if c.mount.fs_type), "")


def is_block(capabilities: Iterable[csi.VolumeCapability]) -> bool:
    """Whether a raw device is asked for. Raises InvalidRequest where a device and a mount are."""
    kinds = {c.HasField("block") for c in capabilities}
    if len(kinds) > 1:
        raise InvalidRequest("a volume is either a block device or a file system, not both")
    return kinds == {True}


def check_mutable(parameters: Mapping[str, str], features: Features) -> None:
    """Raise InvalidRequest for a parameter that cannot be changed in use, or a value that it cannot have."""
    for name, value in parameters.items():
        if name not in features.mutable:
            raise InvalidRequest(f"mutable parameter {name!r} is unknown; known here: {', '.join(features.mutable) or 'none'}")
        if name == READ_AHEAD and not (value.isdigit() and int(value) <= READ_AHEAD_MOST):
            raise InvalidRequest(f"{name} is {value!r}, not a number of KiB up to {READ_AHEAD_MOST}")
        if name in LIMITS and not (value.isdigit() and int(value) > 0):
            raise InvalidRequest(f"{name} is {value!r}, not a number above 0")
        if name == COMPRESSION and value not in COMPRESSIONS:
            raise InvalidRequest(f"{name} is {value!r}; known: {', '.join(COMPRESSIONS)}")


def class_parameters(given: Mapping[str, str]) -> tuple[str, bool | None]:
    """Return (fsType, thin) of a class' parameters. Raises InvalidRequest for others."""
    fs_type, thin = "", None
    for name, value in given.items():
        if name == "fsType":
            fs_type = value
        elif name == "thin" and value.lower() in ("true", "false"):
            thin = value.lower() == "true"
        elif not name.startswith(PREFIX):
            raise InvalidRequest(f"parameter {name}: {value!r} is not known; known: fsType, thin (true or false)")
    return fs_type, thin
