"""Paths where volumes are mounted: what is there, making and removing them, how full they are."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from moorings_core.kernel import mounts
from moorings_core.protos import csi_pb2 as csi

from .errors import WrongState
from .pool import Pool, Usage
from .records import VolumeRecord


def is_mounted(target: Path, source: Path) -> bool:
    """Whether the volume at source, a device or a directory, is what is mounted at target."""
    present = mounts.mount_at(target)
    if present is None:
        return False
    if source.is_dir():
        return os.path.samestat(target.stat(), source.stat())
    return os.path.exists(present.source) and os.stat(present.source).st_rdev == os.stat(source).st_rdev


def is_published(target: Path, source: Path) -> bool:
    """Whether source, a staged directory or a device, is bound to target."""
    if not target.exists() or not mounts.is_mount_point(target):
        return False
    if stat.S_ISBLK(source.stat().st_mode):
        return target.stat().st_rdev == source.stat().st_rdev
    return os.path.samestat(target.stat(), source.stat())


def is_read_only(target: Path) -> bool:
    """Whether writes through the mount at target are refused."""
    present = mounts.mount_at(target)
    return present is not None and (present.read_only or "ro" in present.super_options)


def refuse_second(target: Path, source: Path, staging: Path) -> None:
    """Raise WrongState where source is bound to another path than target already."""
    allowed = {os.path.realpath(target), os.path.realpath(staging)}
    for mount in _binds_of(source):
        if mount.path not in allowed:
            raise WrongState(f"the volume is for one writer and is published at {mount.path} already")


def _binds_of(source: Path) -> list[mounts.Mount]:
    if stat.S_ISBLK(source.stat().st_mode):
        return [m for m in mounts.mount_table() if m.root == f"/{source.name}" and m.fs_type in ("devtmpfs", "tmpfs")]
    staged = mounts.mount_at(source)
    return [m for m in mounts.mount_table() if staged and (m.device, m.root) == (staged.device, staged.root)]


def make(target: Path, *, block: bool) -> None:
    """Make the directory, or for a device the file, that is bound over."""
    if block:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        target.touch(mode=0o660)
    else:
        target.mkdir(parents=True, exist_ok=True, mode=0o750)


def remove_empty(target: Path) -> None:
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


def set_group(root: Path, group: int) -> None:
    """Let a group own everything below root, new files included; a root that it owns is taken as done."""
    if root.stat().st_gid == group and root.stat().st_mode & stat.S_ISGID:
        return
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            _give(Path(directory, name), group)
        _give(Path(directory), group)


def _give(path: Path, group: int) -> None:
    os.chown(path, -1, group, follow_symlinks=False)
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        path.chmod(stat.S_IMODE(mode) | 0o2070)
    elif stat.S_ISREG(mode):
        path.chmod(stat.S_IMODE(mode) | 0o060)


def damage(path: Path) -> str:
    """Return why writes to a file system fail that was mounted to be written, or ""."""
    present = mounts.mount_at(path)
    if present is not None and "ro" in present.super_options and "ro" not in present.options:
        return "the file system went read-only after an error: unmount it and check it with its own tool"
    return ""


def usage(pool: Pool, record: VolumeRecord, path: Path) -> list[csi.VolumeUsage]:
    """Return bytes and inodes of a volume, or the size of a device."""
    if not path.is_dir():
        return [csi.VolumeUsage(total=record.size, unit=csi.VolumeUsage.BYTES)]
    found = pool.usage(record, path)
    return [_bytes(found), *([_inodes(found)] if found.inodes else [])]


def _bytes(found: Usage) -> csi.VolumeUsage:
    return csi.VolumeUsage(available=found.available, total=found.total, used=found.used, unit=csi.VolumeUsage.BYTES)


def _inodes(found: Usage) -> csi.VolumeUsage:
    free = found.inodes - found.inodes_used
    return csi.VolumeUsage(available=free, total=found.inodes, used=found.inodes_used, unit=csi.VolumeUsage.INODES)
