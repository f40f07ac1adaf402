"""What every pool promises; contract suite: tests/contracts/storage. Calls block and are made from threads, one per volume.

A pool holds data and knows nothing of requests, names or journals: `volumes` decides, says so in the journal, and then calls here.
Every method can be called again after a crash in the middle of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .records import Record, SnapshotRecord, VolumeRecord


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A volume to make; sizes in bytes, limit 0: none. fs_type "" leaves the choice to the pool; block: no file system.

    source: "snapshot:ID", "volume:ID" or "". thin None leaves the choice to the pool.
    """

    name: str
    required: int
    limit: int
    fs_type: str = ""
    thin: bool | None = None
    block: bool = False
    source: str = ""
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What `probe` found this machine to be able to do.

    grows: the file systems that grow while they are mounted; mutable: parameters that can be changed while a volume is in use;
    shared_access: several nodes, or pods that do not know of each other, may write at once; groups: the writers of several volumes
    can be held, so that snapshots of them are of one moment.
    """

    fs_types: tuple[str, ...]
    block: bool
    direct_io: bool
    snapshots: bool = False
    grows: frozenset[str] = frozenset()
    mutable: tuple[str, ...] = ()
    enforces_size: bool = True
    shared_access: bool = False
    groups: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """The bytes of the file system that the pool is on."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a volume holds; inodes are 0 where they have no limit."""

    total: int
    used: int
    available: int
    inodes: int = 0
    inodes_used: int = 0


class Pool(Protocol):
    """Volumes of one kind in one place."""

    def probe(self) -> Features:
        """Try what the pool needs. Raises StorageError naming the missing feature."""

    def default_fs_type(self) -> str:
        """Return the file system of volumes that ask for none."""

    def smallest(self, fs_type: str, *, block: bool) -> int:
        """Return the least size of a volume."""

    def create(self, record: VolumeRecord, source: Record | None) -> bool:
        """Make durable data, with the content of source; return whether there is a file system on it. Raises PoolFull."""

    def remove(self, record: Record) -> None:
        """Remove durably whatever there is of a volume's or snapshot's data."""

    def snapshot(self, volume: VolumeRecord, snapshot: SnapshotRecord) -> None:
        """Keep durably what the volume holds now."""

    def thaw(self, volumes: Sequence[VolumeRecord]) -> None:
        """Undo what a driver left that died within `quiet`."""

    def quiet(self, volumes: Sequence[VolumeRecord]) -> AbstractContextManager[None]:
        """Hold the writers of volumes for the body, so that what `snapshot` keeps is of one moment."""

    def resize(self, record: VolumeRecord, size: int) -> None:
        """Let the volume hold `size` bytes, durably. Raises PoolFull."""

    def modify(self, record: VolumeRecord) -> None:
        """Make the record's parameters true for a volume that is attached."""

    def attach(self, record: VolumeRecord) -> Path:
        """Return the volume's block device or its directory, making the device where there is none, of the present size."""

    def detach(self, record: VolumeRecord) -> bool:
        """Give the device back; return whether it is gone."""

    def usage(self, record: VolumeRecord, path: Path) -> Usage:
        """Return what a volume that is mounted at path holds."""

    def space(self) -> Space:
        """Return the room of the file system below."""

    def stored(self) -> Sequence[str]:
        """Return the names of all data in the pool."""

    def tidy(self) -> None:
        """Remove what a driver that died left of probes and copies under way. Nothing else uses the pool meanwhile."""

    def put_aside(self, data: str) -> None:
        """Move data that no record knows to where a human finds it."""

    def close(self) -> None:
        """Let another process open the pool."""
