"""A store that forgets everything when its process ends: for tests and for simulated clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from sortedcontainers import SortedDict

from moorings_core.ports.store import Batches, Compacted, Operation, Page, PutRecord, Record, StoreEvent

from .preconditions import reserve
from .watchers import Followers


class Logged(NamedTuple):
    """A change with what it replaced; None: nothing."""

    event: StoreEvent
    previous: Record | None


class MemoryStore:
    """All records and their whole history in memory."""

    shared, durable, most = False, False, 1_000_000

    def __init__(self) -> None:
        self._revision = 0
        self._oldest = 0
        self._records: Any = SortedDict()
        self._revisions: dict[str, int] = {}
        self._log: list[Logged] = []
        self._followers = Followers()

    @classmethod
    async def open(cls, directory: Path, parameters: Mapping[str, Any]) -> MemoryStore:
        """Return an empty store; both arguments are ignored."""
        return cls()

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._revision

    async def latest(self) -> int:
        """Return the newest revision."""
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
            value = operation.value if isinstance(operation, PutRecord) else None
            events.append(StoreEvent(operation.key, value, revision))
            self._apply(events[-1])
        self._revision = max([self._revision, *revisions])
        if events:
            self._followers.publish(events)
        return revisions

    async def watch(self, prefix: str, after: int) -> Batches:
        """Yield changes after a revision. Raises Compacted."""
        if after < self._oldest:
            raise Compacted(after, self._oldest)
        missed = [e for e, _ in self._log if e.revision > after and e.key.startswith(prefix)]
        async with aclosing(self._followers.follow(prefix, missed)) as batches:
            async for batch in batches:
                yield batch

    async def compact(self, revision: int) -> None:
        """Forget the history up to revision."""
        self._oldest = max(self._oldest, min(revision, self._revision))
        self._log = [e for e in self._log if e.event.revision > self._oldest]

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store with their revisions."""
        for change in changes:
            self._apply(change)

    async def continue_from(self, revision: int) -> None:
        """End a copy."""
        self._revision = self._oldest = revision
        self._log.clear()

    async def close(self) -> None:
        """End all watches."""
        self._followers.close()

    def _apply(self, event: StoreEvent) -> None:
        self._log.append(Logged(event, self._records.get(event.key)))
        if event.value is None:
            self._records.pop(event.key, None)
            self._revisions.pop(event.key, None)
        else:
            self._records[event.key] = Record(event.key, event.value, event.revision)
            self._revisions[event.key] = event.revision

    def _records_at(self, at: int) -> Any:
        if at < self._oldest:
            raise Compacted(at, self._oldest)
        records = SortedDict(self._records)
        for event, previous in reversed(self._log):
            if event.revision <= at:
                break
            if previous is None:
                records.pop(event.key, None)
            else:
                records[event.key] = previous
        return records
