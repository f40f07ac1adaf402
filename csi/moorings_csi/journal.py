"""The truth about volumes: one JSON record each, written to a temporary file, fsynced, renamed, directory fsynced.

A record says what is being done before it is done, so that a driver killed at any instruction knows at its next start what to
undo or finish. The listing of data files is evidence, never truth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["creating", "ready", "deleting"]
FormatState = Literal["raw", "formatting", "formatted"]


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume: size in bytes; digest stands for the request that made it; data is its file's name in the pool."""

    id: str
    name: str
    size: int
    fs_type: str
    thin: bool
    digest: str
    data: str
    state: State = "creating"
    format: FormatState = "raw"


class Journal:
    """The records of one pool, in memory and on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in directory.glob("*.tmp"):
            leftover.unlink()
        self._records = {path.stem: _read(path) for path in directory.glob("*.json")}

    def __iter__(self) -> Iterator[VolumeRecord]:
        return iter(list(self._records.values()))

    def get(self, volume_id: str) -> VolumeRecord | None:
        """Return a record, or None."""
        return self._records.get(volume_id)

    def put(self, record: VolumeRecord) -> VolumeRecord:
        """Make a record durable and return it."""
        path = self._directory / f"{record.id}.json"
        temporary = path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(self._directory)
        self._records[record.id] = record
        return record

    def drop(self, volume_id: str) -> None:
        """Forget a record durably."""
        (self._directory / f"{volume_id}.json").unlink(missing_ok=True)
        sync_directory(self._directory)
        self._records.pop(volume_id, None)


def sync_directory(directory: Path) -> None:
    """Make creations, renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> VolumeRecord:
    return VolumeRecord(**json.loads(path.read_text()))
