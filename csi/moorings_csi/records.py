"""What the journal keeps: volumes, snapshots, groups of snapshots, and whether a volume was ever formatted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

State = Literal["creating", "ready", "deleting"]


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume: size in bytes; digest stands for the request that made it; data is its name in the pool's directory.

    target: the size that an expansion under way leads to, else 0. published: node id to whether it is read-only there.
    """

    id: str
    name: str
    size: int
    fs_type: str
    thin: bool
    digest: str
    data: str
    state: State = "creating"
    block: bool = False
    source: str = ""
    target: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, bool] = field(default_factory=dict)

    @property
    def promised(self) -> int:
        """The bytes that the pool must be able to hold for this volume."""
        return 0 if self.thin else max(self.size, self.target)


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A volume as it was; created: seconds since the epoch. It lives on without its volume."""

    id: str
    name: str
    volume: str
    size: int
    fs_type: str
    thin: bool
    block: bool
    data: str
    formatted: bool = False
    fs_size: int = 0
    group: str = ""
    created: float = 0
    state: State = "creating"

    @property
    def promised(self) -> int:
        """The bytes that the pool must be able to hold when every block of the volume is written anew."""
        return 0 if self.thin else self.size


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """Snapshots of several volumes at one point in time."""

    id: str
    name: str
    volumes: Sequence[str]
    snapshots: Sequence[str]
    created: float = 0
    state: State = "creating"


@dataclass(frozen=True, slots=True)
class FormatRecord:
    """The file system on a volume; size: the bytes that it was made or grown to."""

    id: str
    state: Literal["formatting", "formatted"]
    size: int


Record = VolumeRecord | SnapshotRecord
