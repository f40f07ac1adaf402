"""Volumes as subvolumes of one btrfs, each limited by its qgroup. Block volumes are files behind loop devices beside them.

root/subvolumes/DATA  a volume or snapshot      root/volumes/DATA  the file of a block volume or of its snapshot

A subvolume's file system is the pool's, so that its size is told from the qgroup: statfs(2) would show the whole pool.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from moorings_core.durable import sync_directory
from moorings_core.kernel import btrfs

from .errors import StorageError
from .faults import point
from .files import Files
from .image_pool import SMALLEST, space_of
from .pool import Features, Space, Usage
from .records import Record, SnapshotRecord, VolumeRecord

COMPRESSION = "compression"
COMPRESSIONS = ("none", "zstd", "lzo", "zlib")
PROPERTY = "btrfs.compression"


class BtrfsPool:
    """Subvolumes of one directory."""

    def __init__(self, root: Path) -> None:
        self._files, self._subvolumes, self._lost = Files(root / "volumes"), root / "subvolumes", root / "lost+found"
        self._subvolumes.mkdir(exist_ok=True, mode=0o700)
        self._gone: set[int] = set()

    def probe(self) -> Features:
        """Make a limited subvolume and remove it. Raises StorageError where btrfs or its quota is missing."""
        trial = self._subvolumes / f".probe-{uuid4()}"
        try:
            btrfs.enable_quota(self._subvolumes)
            btrfs.create(trial)
            btrfs.limit(trial, SMALLEST)
            btrfs.referenced(trial)
        except OSError as error:
            raise StorageError(f"{self._subvolumes} offers no btrfs subvolumes with limits: {error}") from error
        finally:
            if trial.exists():
                btrfs.delete(trial)
        direct = self._files.probe_loop()
        return Features(("btrfs",), True, direct, snapshots=True, grows=frozenset({"btrfs"}), mutable=(COMPRESSION,))

    def default_fs_type(self) -> str:
        """Return btrfs."""
        return "btrfs"

    def smallest(self, fs_type: str, *, block: bool) -> int:
        """Return one MiB: nothing is formatted."""
        return SMALLEST

    def create(self, record: VolumeRecord, source: Record | None) -> bool:
        """Make a subvolume, empty or a copy of source."""
        if record.block:
            return self._files.create(record, source)
        path = self._path(record)
        if source is None:
            btrfs.create(path)
        else:
            btrfs.snapshot(self._path(source), path, read_only=False)
            point("clone.data")
            if COMPRESSION not in record.parameters and btrfs.limit_of(path) == record.size:
                return True  # all of it is on disk with the copy: each commit more is one more that writers wait for
        btrfs.limit(path, record.size)
        self.modify(record)
        btrfs.commit(self._subvolumes)
        return True

    def remove(self, record: Record) -> None:
        """Remove a subvolume; the kernel frees its blocks, and then its qgroup, in the background."""
        if record.block:
            self._files.remove(record)
            return
        path = self._path(record)
        if path.exists():
            self._gone.add(btrfs.group_of(path))
            btrfs.delete(path)
            btrfs.commit(self._subvolumes)
        self._sweep(set(self._gone))

    def snapshot(self, volume: VolumeRecord, snapshot: SnapshotRecord) -> None:
        """Keep a read-only copy; the kernel takes in what writers have not yet written out."""
        if volume.block:
            self._files.snapshot(volume, snapshot)
            return
        btrfs.snapshot(self._path(volume), self._path(snapshot), read_only=True)

    @contextmanager
    def quiet(self, volumes: Sequence[VolumeRecord]) -> Iterator[None]:
        """A snapshot of a subvolume is of one moment without. Block volumes are written out.

        Writers of several subvolumes cannot be held (a frozen file system takes no snapshots), so there are no groups.
        """
        with self._files.quiet([v for v in volumes if v.block]):
            yield

    def thaw(self, volumes: Sequence[VolumeRecord]) -> None:
        """Nothing is ever frozen."""

    def resize(self, record: VolumeRecord, size: int) -> None:
        """Raise the limit; the pods see it at once."""
        if record.block:
            self._files.resize(record, size)
            return
        btrfs.limit(self._path(record), size)
        btrfs.commit(self._subvolumes)

    def modify(self, record: VolumeRecord) -> None:
        """Let new data be compressed so, or not."""
        if record.block or COMPRESSION not in record.parameters:
            return
        os.setxattr(self._path(record), PROPERTY, record.parameters[COMPRESSION].encode())

    def attach(self, record: VolumeRecord) -> Path:
        """Return the subvolume, or the loop device of a block volume."""
        return self._files.attach(record) if record.block else self._path(record)

    def detach(self, record: VolumeRecord) -> bool:
        """Give a loop device back; a subvolume has none."""
        return self._files.detach(record) if record.block else True

    def usage(self, record: VolumeRecord, path: Path) -> Usage:
        """Return what the qgroup counts; the pool may be fuller than the volume."""
        subvolume = self._path(record)
        btrfs.commit(subvolume)
        used = min(btrfs.referenced(subvolume), record.size)
        return Usage(record.size, used, min(record.size - used, self.space().free))

    def space(self) -> Space:
        """Return the room of the btrfs."""
        return space_of(self._subvolumes)

    def stored(self) -> Sequence[str]:
        """Return the names of subvolumes and files."""
        return [*self._files.names(), *(name for name in os.listdir(self._subvolumes) if not name.startswith("."))]

    def tidy(self) -> None:
        """Remove hidden files and subvolumes, and the qgroups of subvolumes that are gone."""
        self._files.tidy()
        for trial in self._subvolumes.glob(".*"):
            btrfs.delete(trial)
        self._sweep(self.groups())

    def put_aside(self, data: str) -> None:
        """Keep a subvolume or file for a human."""
        self._lost.mkdir(exist_ok=True, mode=0o700)
        for directory in (self._subvolumes, self._files.directory):
            if (directory / data).exists():
                (directory / data).rename(self._lost / data)
        sync_directory(self._lost)

    def close(self) -> None:
        """Nothing is held."""

    def groups(self) -> set[int]:
        """Return the qgroups of subvolumes that are gone but not yet forgotten by the kernel."""
        found = btrfs.groups(self._subvolumes)  # first: what is made meanwhile is not among them
        return found - {btrfs.group_of(path) for path in self._subvolumes.iterdir()}

    def _sweep(self, gone: set[int]) -> None:
        """Remove qgroups whose subvolume is gone; newer kernels do it themselves, and what is busy now goes another time."""
        for group in gone:
            if btrfs.remove_group(self._subvolumes, group):
                self._gone.discard(group)

    def _path(self, record: Record) -> Path:
        return self._subvolumes / record.data
