"""What every pool promises; contract suite: tests/contracts/storage. Calls block and are made from threads, one per volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .journal import VolumeRecord


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A volume to make; sizes in bytes, limit 0: none. fs_type "" leaves the choice to the pool; block: no file system."""

    name: str
    required: int
    limit: int
    fs_type: str = ""
    thin: bool = False


@dataclass(frozen=True, slots=True)
class Features:
    """What `probe` found this machine to be able to do."""

    fs_types: tuple[str, ...]
    block: bool
    direct_io: bool


class Pool(Protocol):
    """Volumes of one kind in one place."""

    def probe(self) -> Features:
        """Try what the pool needs. Raises StorageError naming the missing feature."""

    def recover(self) -> None:
        """Undo or finish what a killed driver left."""

    def create(self, request: VolumeRequest) -> VolumeRecord:
        """Make a volume, or return the one that the same request made. Raises NameTaken, SizeOutOfRange, PoolFull."""

    def delete(self, volume_id: str) -> None:
        """Remove a volume and its data; an unknown one is no error. Raises WrongState while it is in use."""

    def get(self, volume_id: str) -> VolumeRecord:
        """Return a volume. Raises NoSuchVolume."""

    def list(self) -> Sequence[VolumeRecord]:
        """Return the volumes that are ready, by id."""

    def available(self) -> int:
        """Return the bytes that can still be promised."""

    def attach(self, volume_id: str) -> Path:
        """Return the volume's block device, making it where there is none."""

    def detach(self, volume_id: str) -> bool:
        """Give the device back; return whether it is gone."""

    def format(self, volume_id: str, device: Path) -> VolumeRecord:
        """Make the file system if none was ever made. Raises WrongState where something foreign is on the device."""
