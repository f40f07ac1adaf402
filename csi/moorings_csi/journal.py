"""The truth about volumes: one JSON record each, written to a temporary file, fsynced, renamed, directory fsynced.

A record says what is being done before it is done, so that a driver killed at any instruction knows at its next start what to
undo or finish. The listing of data files is evidence, never truth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from moorings_core.durable import sync_directory


class HasId(Protocol):
    """A dataclass that is kept under its id."""

    @property
    def id(self) -> str:
        """The name of the record's file."""


RecordType = TypeVar("RecordType", bound=HasId)


class Journal(Generic[RecordType]):
    """The records of one kind. `owned`: no other process writes them, so they are kept in memory, too."""

    def __init__(self, directory: Path, kind: type[RecordType], *, owned: bool = True) -> None:
        self._directory, self._kind = directory, kind
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._records: dict[str, RecordType] | None = None
        if owned:
            for leftover in directory.glob("*.tmp"):
                leftover.unlink()
            self._records = dict(self._stored())

    def __iter__(self) -> Iterator[RecordType]:
        records = dict(self._stored()) if self._records is None else self._records
        return iter(list(records.values()))

    def get(self, record_id: str) -> RecordType | None:
        """Return a record, or None."""
        if self._records is not None:
            return self._records.get(record_id)
        path = self._path(record_id)
        return self._read(path) if path.exists() else None

    def put(self, record: RecordType) -> RecordType:
        """Make a record durable and return it."""
        path = self._path(record.id)
        temporary = path.with_suffix(".tmp")
        fields: Any = record
        with temporary.open("w") as file:
            json.dump(asdict(fields), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(self._directory)
        if self._records is not None:
            self._records[record.id] = record
        return record

    def drop(self, record_id: str) -> None:
        """Forget a record durably."""
        path = self._path(record_id)
        if path.exists():
            path.unlink()
            sync_directory(self._directory)
        if self._records is not None:
            self._records.pop(record_id, None)

    def _path(self, record_id: str) -> Path:
        return self._directory / f"{record_id}.json"

    def _stored(self) -> Iterator[tuple[str, RecordType]]:
        for path in self._directory.glob("*.json"):
            yield path.stem, self._read(path)

    def _read(self, path: Path) -> RecordType:
        return self._kind(**json.loads(path.read_text()))
