"""A volume on the node: its device or directory, the file system on it, the mount at the staging path."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from moorings_core.kernel import filesystems, mounts
from moorings_core.log import get_logger
from moorings_core.protos import csi_pb2 as csi

from . import filesystem, targets
from .errors import InvalidRequest, NameTaken, WrongState
from .faults import point
from .formats import Formats
from .ledger import Ledger
from .pool import Features
from .records import VolumeRecord

log = get_logger(__name__)
UNREADABLE = (errno.EINVAL, errno.EUCLEAN, errno.EBADMSG, errno.EIO)
BIND_OPTIONS = {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "defaults"}


class Staging:
    """Stages and unstages the volumes of a pool."""

    def __init__(self, ledger: Ledger, features: Features) -> None:
        self._ledger, self._pool, self._features = ledger, ledger.pool, features
        self._formats = Formats(ledger.formats)

    def stage(self, record: VolumeRecord, target: Path, wanted: csi.VolumeCapability.MountVolume) -> None:
        """Mount a volume at target; for a block volume there is only a device to make. Raises NameTaken, WrongState."""
        source = self._pool.attach(record)
        point("stage.attached")
        if record.block:
            return
        if wanted.fs_type and wanted.fs_type != record.fs_type:
            raise NameTaken(f"{record.id} holds {record.fs_type}, not {wanted.fs_type}")
        target.mkdir(parents=True, exist_ok=True, mode=0o750)
        if not mounts.is_mount_point(target):
            self._mount(record, source, target, list(wanted.mount_flags))
        elif not targets.is_mounted(target, source):
            raise WrongState(f"something else is mounted at {target}")
        if wanted.volume_mount_group:
            targets.set_group(target, int(wanted.volume_mount_group))
        point("stage.mounted")

    def unstage(self, volume_id: str, target: Path) -> None:
        """Undo stage; a volume of which nothing is known has no device either."""
        mounts.unmount_all(target)
        point("unstage.unmounted")
        targets.remove_empty(target)
        self.release(volume_id)

    def release(self, volume_id: str) -> None:
        """Give a volume's device back."""
        record = self._ledger.volumes.get(volume_id)
        if record is not None and not self._pool.detach(record):
            log.warning("loop device still held", volume=volume_id)

    def grow(self, record: VolumeRecord, path: Path) -> None:
        """Let the file system at path fill its device. Raises WrongState where that takes an unmounted one."""
        device = self._pool.attach(record)
        point("grow.device")
        if record.block or device.is_dir() or self._formats.size(record) == record.size:
            return
        if not mounts.is_mount_point(path):
            raise WrongState(f"{path} is no mount of {record.id}")
        if record.fs_type not in self._features.grows:
            raise WrongState(f"{record.fs_type} cannot grow here while it is mounted: it will when the volume is staged next")
        filesystems.grow(path, record.fs_type, record.size)
        point("grow.grown")
        self._formats.grown(record)

    def _mount(self, record: VolumeRecord, source: Path, target: Path, flags: list[str]) -> None:
        if source.is_dir():
            _bind_directory(source, target, flags)
            return
        if "discard" in flags and not record.thin:
            raise InvalidRequest(f"{record.id} has its space reserved: the mount option discard would give it away")
        made = self._formats.prepare(record, source)
        if made.size < record.size:
            filesystem.grow_unmounted(record.fs_type, source)
        _mount_device(source, target, record, [*flags, *(["nouuid"] if record.fs_type == "xfs" else [])])
        if made.size < record.size and "ro" not in flags:
            if record.fs_type != "ext4":
                filesystems.grow(target, record.fs_type, record.size)
            self._formats.grown(record)


def _bind_directory(source: Path, target: Path, flags: list[str]) -> None:
    unknown = set(flags) - BIND_OPTIONS
    if unknown:
        raise InvalidRequest(f"mount options {', '.join(sorted(unknown))} are not for volumes that are directories")
    mounts.bind(source, target)
    if set(flags) - {"rw", "defaults"}:
        mounts.remount_bind(target, flags)


def _mount_device(device: Path, target: Path, record: VolumeRecord, options: list[str]) -> None:
    try:
        mounts.mount(device, target, record.fs_type, options)
    except OSError as error:
        if error.errno in UNREADABLE:
            reason = f"{record.id} does not mount as {record.fs_type} with {','.join(options) or 'defaults'} ({os.strerror(error.errno)})"
            raise WrongState(f"{reason}; it was not touched: check it with the file system's own tool") from error
        raise
