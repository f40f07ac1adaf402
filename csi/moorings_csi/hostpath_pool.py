"""Volumes as plain directories, for tests on one node. The size is a promise that nobody keeps: that is said in `enforces_size`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from moorings_core.durable import sync_directory

from .errors import StorageError
from .faults import point
from .image_pool import SMALLEST, space_of, usage_of
from .pool import Features, Space, Usage
from .records import Record, SnapshotRecord, VolumeRecord


class HostPathPool:
    """Directories of one directory; snapshots are copies."""

    def __init__(self, root: Path) -> None:
        self._directory, self._lost = root / "directories", root / "lost+found"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def probe(self) -> Features:
        """Directories always work."""
        return Features((), False, False, snapshots=True, enforces_size=False, shared_access=True)

    def default_fs_type(self) -> str:
        """Return none: there is no file system of its own."""
        return ""

    def smallest(self, fs_type: str, *, block: bool) -> int:
        """Return one MiB."""
        return SMALLEST

    def create(self, record: VolumeRecord, source: Record | None) -> bool:
        """Make a directory, empty or a copy of source."""
        if record.block:
            raise StorageError("directories are no block devices")
        self._fill(record, source)
        if source is not None:
            point("clone.data")
        return True

    def remove(self, record: Record) -> None:
        """Remove a directory with all it holds."""
        path = self._path(record)
        if path.exists():
            shutil.rmtree(path)
        sync_directory(self._directory)

    def snapshot(self, volume: VolumeRecord, snapshot: SnapshotRecord) -> None:
        """Copy the directory; writers are not held, so that what they write meanwhile may be there or not."""
        self._fill(snapshot, volume)

    @contextmanager
    def quiet(self, volumes: Sequence[VolumeRecord]) -> Iterator[None]:
        """Nothing holds the writers of a directory."""
        point("snapshot.quiet")
        yield

    def thaw(self, volumes: Sequence[VolumeRecord]) -> None:
        """Nothing is ever frozen."""

    def resize(self, record: VolumeRecord, size: int) -> None:
        """Nothing enforces the size."""

    def modify(self, record: VolumeRecord) -> None:
        """There are no parameters."""

    def attach(self, record: VolumeRecord) -> Path:
        """Return the directory."""
        return self._path(record)

    def detach(self, record: VolumeRecord) -> bool:
        """A directory has no device."""
        return True

    def usage(self, record: VolumeRecord, path: Path) -> Usage:
        """Return the room of the file system below, which is what a writer will meet."""
        return usage_of(path)

    def space(self) -> Space:
        """Return the room of the file system below."""
        return space_of(self._directory)

    def stored(self) -> Sequence[str]:
        """Return the names of all directories."""
        return [name for name in os.listdir(self._directory) if not name.startswith(".")]

    def tidy(self) -> None:
        """Remove copies that were never finished."""
        for copy in self._directory.glob(".*"):
            shutil.rmtree(copy)

    def put_aside(self, data: str) -> None:
        """Keep a directory for a human."""
        self._lost.mkdir(exist_ok=True, mode=0o700)
        (self._directory / data).rename(self._lost / data)

    def close(self) -> None:
        """Nothing is held."""

    def _fill(self, record: Record, source: Record | None) -> None:
        path = self._path(record)
        if source is None:
            path.mkdir(mode=0o777)
            path.chmod(0o777)
        else:
            half = path.with_name(f".{path.name}")
            if half.exists():
                shutil.rmtree(half)
            shutil.copytree(self._path(source), half, symlinks=True)
            half.rename(path)
        sync_directory(self._directory)

    def _path(self, record: Record) -> Path:
        return self._directory / record.data
