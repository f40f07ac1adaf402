"""Volumes as files behind loop devices. Thick ones reserve every block; the size is the limit that the file system enforces.

root/volumes/DATA     the file of a volume or snapshot
root/lost+found/      files that no record knows, kept for a human

Snapshots and clones share blocks and are offered where the file system below root can do that (XFS, btrfs).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from . import filesystem
from .files import LIMITS, READ_AHEAD, Files
from .pool import Features, Space, Usage
from .records import Record, SnapshotRecord, VolumeRecord

SMALLEST = 1 << 20


class ImagePool:
    """One directory of files."""

    def __init__(self, root: Path, fs_type: str = "", io_cgroup: Path | None = None) -> None:
        self._files, self._lost = Files(root / "volumes", io_cgroup), root / "lost+found"
        self._fs_type = fs_type

    def probe(self) -> Features:
        """Attach a loop to a file of this pool. Raises StorageError where that fails."""
        direct, types = self._files.probe_loop(), filesystem.available_types()
        grows = frozenset(t for t in types if t != "ext4" or _may_resize_ext4())
        shares = self._files.shares_blocks()
        mutable = (READ_AHEAD, *(LIMITS if self._files.probe_limits() else ()))
        return Features(types, True, direct, snapshots=shares, groups=shares, grows=grows, mutable=mutable)

    def default_fs_type(self) -> str:
        """Return the configured file system, or ext4."""
        return self._fs_type or "ext4"

    def smallest(self, fs_type: str, *, block: bool) -> int:
        """Return what mkfs needs."""
        return SMALLEST if block else max(filesystem.MINIMUM[fs_type], SMALLEST)

    def create(self, record: VolumeRecord, source: Record | None) -> bool:
        """Make the file, with a file system on it where that is quicker than making it later."""
        return self._files.create(record, source)

    def remove(self, record: Record) -> None:
        """Remove the file."""
        self._files.remove(record)

    def snapshot(self, volume: VolumeRecord, snapshot: SnapshotRecord) -> None:
        """Share the volume's blocks."""
        self._files.snapshot(volume, snapshot)

    def quiet(self, volumes: Sequence[VolumeRecord]) -> AbstractContextManager[None]:
        """Freeze the file systems."""
        return self._files.quiet(volumes)

    def thaw(self, volumes: Sequence[VolumeRecord]) -> None:
        """Thaw what was left frozen."""
        self._files.thaw(volumes)

    def resize(self, record: VolumeRecord, size: int) -> None:
        """Let the file grow; its device and file system follow on the node."""
        self._files.resize(record, size)

    def modify(self, record: VolumeRecord) -> None:
        """Set the device's read-ahead."""
        self._files.modify(record)

    def attach(self, record: VolumeRecord) -> Path:
        """Return the loop device of a volume."""
        return self._files.attach(record)

    def detach(self, record: VolumeRecord) -> bool:
        """Give the loop device back; return whether it is gone."""
        return self._files.detach(record)

    def usage(self, record: VolumeRecord, path: Path) -> Usage:
        """Return what the volume's own file system says."""
        return usage_of(path)

    def space(self) -> Space:
        """Return the room below the pool."""
        return space_of(self._files.directory)

    def stored(self) -> Sequence[str]:
        """Return the names of all files that are not hidden."""
        return self._files.names()

    def tidy(self) -> None:
        """Remove hidden files: probes and templates."""
        self._files.tidy()

    def put_aside(self, data: str) -> None:
        """Keep a file for a human."""
        self._lost.mkdir(exist_ok=True, mode=0o700)
        (self._files.directory / data).rename(self._lost / data)

    def close(self) -> None:
        """Nothing is held."""


def space_of(directory: Path) -> Space:
    """Return the room of a directory's file system."""
    found = os.statvfs(directory)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def usage_of(path: Path) -> Usage:
    """Return what the file system at a path says of itself."""
    found = os.statvfs(path)
    unit = found.f_frsize
    used = (found.f_blocks - found.f_bfree) * unit
    return Usage(found.f_blocks * unit, used, found.f_bavail * unit, found.f_files, found.f_files - found.f_ffree)


def _may_resize_ext4() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, without which the kernel refuses to grow a mounted ext4."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return bool(int(status["CapEff"], 16) & (1 << 24))
