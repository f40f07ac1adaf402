"""A store that forgets everything when its process ends: for tests and for simulated clusters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sortedcontainers import SortedDict

from moorings_core.ports.store import Compacted, Operation, Page, PutRecord, Record, StoreEvent

from .preconditions import reserve
from .watchers import Followers


class MemoryStore:
    """All records and their whole history in memory."""

    def __init__(self) -> None:
        self._revision = 0
        self._oldest = 0
        self._records: Any = SortedDict()
        self._revisions: dict[str, int] = {}
        self._log: list[StoreEvent] = []
        self._followers = Followers()

    @classmethod
    async def open(cls, directory: Path, parameters: Mapping[str, Any]) -> MemoryStore:
        """Return an empty store; both arguments are ignored."""
        return cls()

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._revision

    async def get(self, key: str) -> Record | None:
        """Return a record, or None."""
        return self._records.get(key)  # type: ignore[no-any-return]

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return records in key order. Raises Compacted."""
        records = self._records if not at or at == self._revision else self._records_at(at)
        found = [r for k, r in records.items() if k.startswith(prefix) and k > after]
        page = found[:limit] if limit else found
        return Page(page, at or self._revision, len(page) < len(found), len(found) - len(page))

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing."""
        revisions = reserve(operations, self._revisions, self._revision)
        events = []
        for operation, revision in zip(operations, revisions, strict=True):
            if revision == 0:
                continue
            known = self._records.get(operation.key)
            previous = known.value if known else None
            value = operation.value if isinstance(operation, PutRecord) else None
            self._apply(operation.key, value, revision)
            events.append(StoreEvent(operation.key, value, previous, revision))
        self._log.extend(events)
        self._revision = max([self._revision, *revisions])
        if events:
            self._followers.publish(events)
        return revisions

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[StoreEvent]]:
        """Yield changes after a revision. Raises Compacted."""
        if after < self._oldest:
            raise Compacted(after, self._oldest)
        missed = [e for e in self._log if e.revision > after and e.key.startswith(prefix)]
        return self._followers.follow(prefix, missed)

    async def compact(self, revision: int) -> None:
        """Forget the history up to revision."""
        self._oldest = max(self._oldest, min(revision, self._revision))
        self._log = [e for e in self._log if e.revision > self._oldest]

    async def close(self) -> None:
        """End all watches."""
        self._followers.close()

    def _apply(self, key: str, value: bytes | None, revision: int) -> None:
        if value is None:
            self._records.pop(key, None)
            self._revisions.pop(key, None)
        else:
            self._records[key] = Record(key, value, revision)
            self._revisions[key] = revision

    def _records_at(self, at: int) -> Any:
        if at < self._oldest:
            raise Compacted(at, self._oldest)
        records = SortedDict(self._records)
        for event in reversed(self._log):
            if event.revision <= at:
                break
            if event.previous is None:
                records.pop(event.key, None)
            else:
                records[event.key] = Record(event.key, event.previous, self._last_before(event.key, event.revision))
        return records

    def _last_before(self, key: str, revision: int) -> int:
        return next((e.revision for e in reversed(self._log) if e.key == key and e.revision < revision), self._oldest)
