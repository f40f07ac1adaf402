"""The default store: one SQLite file in WAL mode, every acknowledged write fsynced, one writer thread that commits in groups.

Preconditions are decided on the event loop against the revisions in memory, so writers queue without waiting for each other; the
thread takes what has queued up and commits it as one transaction. A value carries a checksum, so that a damaged file is noticed.
A failed commit (disk full) fails the writes in it and those built upon them; the next write starts from what is on disk.
Source: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import asyncio
import builtins
import queue
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from moorings_core.log import get_logger
from moorings_core.ports.store import (
    Batches,
    Compacted,
    Operation,
    Page,
    PreconditionFailed,
    PutRecord,
    Record,
    StoreError,
    StoreEvent,
    StoreUnavailable,
    UnfinishedCopy,
)

from .preconditions import reserve
from .watchers import Followers

log = get_logger(__name__)
GROUP_MOST = 512
CHECKPOINT_PAGES = 2000
CLOSE_TIMEOUT = 10.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, checksum INTEGER NOT NULL, previous INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS log_key ON log (key, revision);
CREATE TABLE IF NOT EXISTS current (key TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
LIST_NEWEST = (
    "SELECT c.key, l.value, c.revision, l.checksum FROM current c JOIN log l ON l.revision = c.revision "
    "WHERE c.key > ? AND c.key >= ? AND c.key < ? ORDER BY c.key"
)
LIST_AT = (
    "SELECT l.key, l.value, l.revision, l.checksum FROM log l JOIN (SELECT key, max(revision) AS newest FROM log "
    "WHERE revision <= ? AND key > ? AND key >= ? AND key < ? GROUP BY key) m ON l.revision = m.newest "
    "WHERE l.value IS NOT NULL ORDER BY l.key"
)
EVENTS = "SELECT key, value, revision FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision"


class CorruptStore(StoreError):
    """A stored value does not match its checksum: restore the file from a backup."""


class Job(NamedTuple):
    """Writes that wait for the thread."""

    operations: Sequence[Operation]
    revisions: Sequence[int]
    previous: Sequence[int]
    done: asyncio.Future[None]
    era: int


class SqliteStore:
    """A store in one file."""

    shared, durable, most = False, True, 100_000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._followers = Followers()
        self._revisions: dict[str, int] = {}
        self._committed = self._reserved = self._oldest = self._era = 0
        self._newest: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._write_loop, name="sqlite writer", daemon=True)

    @classmethod
    async def open(cls, directory: Path, parameters: Mapping[str, Any]) -> SqliteStore:
        """Open or make `directory/moorings.db`. Raises StoreError where the file is damaged."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = cls(directory / "moorings.db")
        await asyncio.to_thread(store._load)
        store._thread.start()
        return store

    @property
    def revision(self) -> int:
        """The newest durable revision."""
        return self._committed

    async def latest(self) -> int:
        """Return the newest durable revision: nobody else writes here."""
        return self._committed

    async def get(self, key: str) -> Record | None:
        """Return a record, or None."""
        page = await asyncio.to_thread(self._list, key, 0, 1, "")
        return page.records[0] if page.records and page.records[0].key == key else None

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return records in key order. Raises Compacted, CorruptStore."""
        return await asyncio.to_thread(self._list, prefix, at, limit, after)

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing, durably. Raises PreconditionFailed, StoreUnavailable."""
        if not self._thread.is_alive():
            raise StoreUnavailable("the store is closed")
        revisions = await self._reserve(operations)
        if not any(revisions):
            return revisions
        previous = [self._revisions.get(o.key, 0) for o in operations]
        for operation, revision in zip(operations, revisions, strict=True):
            if revision and isinstance(operation, PutRecord):
                self._revisions[operation.key] = revision
            elif revision:
                self._revisions.pop(operation.key, None)
        self._reserved = max(self._reserved, *revisions)
        self._newest = done = self._loop.create_future()
        self._jobs.put(Job(operations, revisions, previous, done, self._era))
        await asyncio.shield(done)
        return revisions

    async def _reserve(self, operations: Sequence[Operation]) -> builtins.list[int]:
        """Decide preconditions. A refusal may rest on writes under way: it is told when they are durable, and not if they fail."""
        while True:
            era, newest = self._era, self._newest
            try:
                return reserve(operations, self._revisions, self._reserved)
            except PreconditionFailed:
                if newest is None or newest.done():
                    raise
                await asyncio.wait([newest])
                if era == self._era:
                    raise

    async def watch(self, prefix: str, after: int) -> Batches:
        """Yield changes after a revision. Raises Compacted."""
        if after < self._oldest:
            raise Compacted(after, self._oldest)
        missed = [] if after >= self._committed else self._events(prefix, after)
        newest = max(after, *(event.revision for event in missed[-1:]), 0)
        async with aclosing(self._followers.follow(prefix, missed)) as batches:
            async for batch in batches:
                # A list may show a commit before it is published here.
                if new := batch if batch is missed or batch[0].revision > newest else [e for e in batch if e.revision > newest]:
                    yield new

    async def compact(self, revision: int) -> None:
        """Forget the history up to revision; it takes turns with the writes. Raises StoreUnavailable."""
        try:
            await asyncio.to_thread(self._compact, min(revision, self._committed))
        except sqlite3.Error as error:
            raise StoreUnavailable(f"history is kept: {error}") from error

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store with their revisions. Raises StoreUnavailable."""
        try:
            await asyncio.to_thread(self._receive, changes)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the copy was not stored: {error}") from error

    async def continue_from(self, revision: int) -> None:
        """End a copy. Raises StoreUnavailable."""
        try:
            await asyncio.to_thread(self._continue_from, revision)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the copy was not stored: {error}") from error

    async def close(self) -> None:
        """Finish queued writes, end watches, close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT)
        self._followers.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def _load(self) -> None:
        try:
            connection = self._connect()
            try:
                connection.executescript(SCHEMA)
                self._read_revisions(connection)
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise CorruptStore(f"{self._path} cannot be read: {error}; restore it from a backup") from error

    def _receive(self, changes: Sequence[StoreEvent]) -> None:
        rows = [(c.revision, c.key, c.value, zlib.crc32(c.value or b""), 0) for c in changes]
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('copying', 1)")
            _insert(connection, rows)
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _continue_from(self, revision: int) -> None:
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM meta WHERE name = 'copying'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('oldest', ?)", (revision,))
            connection.execute("COMMIT")
            self._read_revisions(connection)
        finally:
            connection.close()

    def _read_revisions(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT value FROM meta WHERE name = 'copying'").fetchone():
            raise UnfinishedCopy(f"{self._path} holds an unfinished copy: swap again, or restore it from a backup")
        self._revisions = dict(connection.execute("SELECT key, revision FROM current"))
        newest = connection.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
        self._oldest = (connection.execute("SELECT value FROM meta WHERE name = 'oldest'").fetchone() or (0,))[0]
        self._committed = self._reserved = max(newest, self._oldest)

    def _list(self, prefix: str, at: int, limit: int, after: str) -> Page:
        connection = self._connect()
        try:
            if at and at < self._oldest:
                raise Compacted(at, self._oldest)
            connection.execute("BEGIN")  # the records and the newest revision are of one moment
            revision = at or max(connection.execute("SELECT max(revision) FROM log").fetchone()[0] or 0, self._oldest)
            bounds = (after, prefix, _end(prefix))
            rows = connection.execute(LIST_AT, (at, *bounds)) if at else connection.execute(LIST_NEWEST, bounds)
            found = [self._record(*row) for row in rows]
        finally:
            connection.close()
        page = found[:limit] if limit else found
        return Page(page, revision, len(page) < len(found), len(found) - len(page))

    def _record(self, key: str, value: bytes, revision: int, checksum: int) -> Record:
        if zlib.crc32(value) != checksum:
            raise CorruptStore(f"{self._path}: the value of {key} at revision {revision} is damaged; restore it from a backup")
        return Record(key, value, revision)

    def _events(self, prefix: str, after: int) -> builtins.list[StoreEvent]:
        connection = self._connect()
        try:
            return [StoreEvent(*row) for row in connection.execute(EVENTS, (after, prefix, _end(prefix)))]
        finally:
            connection.close()

    def _compact(self, revision: int) -> None:
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('oldest', ?)", (revision,))
            connection.execute(
                "DELETE FROM log WHERE revision <= ? AND revision NOT IN (SELECT revision FROM current) "
                "AND revision NOT IN (SELECT previous FROM log WHERE revision > ?)",
                (revision, revision),
            )
            connection.execute("COMMIT")
        finally:
            connection.close()
        self._oldest = max(self._oldest, revision)

    def _write_loop(self) -> None:
        connection = self._connect()
        pages = 0
        closing = False
        while not closing:
            group = [self._jobs.get()]
            while len(group) < GROUP_MOST and not self._jobs.empty():
                group.append(self._jobs.get())
            closing = None in group
            jobs = [job for job in group if job is not None and job.era == self._era]
            stale = [job for job in group if job is not None and job.era != self._era]
            self._loop.call_soon_threadsafe(_fail, stale, "an earlier write failed")
            if jobs:
                pages += self._write_group(connection, jobs)
            if pages > CHECKPOINT_PAGES:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                pages = 0
        connection.close()

    def _write_group(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> int:
        rows = [row for job in jobs for row in _rows(job)]
        try:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection, jobs, str(error))
            return 0
        events = [StoreEvent(key, value, revision) for revision, key, value, _, _ in rows]
        self._loop.call_soon_threadsafe(self._finish, jobs, events)
        return len(rows)

    def _roll_back(self, connection: sqlite3.Connection, jobs: Sequence[Job], reason: str) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._start_over, connection, jobs, reason, done)
        done.wait(CLOSE_TIMEOUT)

    def _start_over(self, connection: sqlite3.Connection, jobs: Sequence[Job], reason: str, done: threading.Event) -> None:
        """Forget every reservation: what is on disk counts again. Jobs queued meanwhile belong to the old era and fail too."""
        log.error("commit failed", error=reason)
        self._era += 1
        self._read_revisions(connection)
        _fail(jobs, reason)
        done.set()

    def _finish(self, jobs: Sequence[Job], events: Sequence[StoreEvent]) -> None:
        self._committed = max(self._committed, events[-1].revision)
        self._followers.publish(events)
        for job in jobs:
            if not job.done.done():
                job.done.set_result(None)


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[int, str, bytes | None, int, int]]) -> None:
    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
    puts = [(key, revision) for revision, key, value, _, _ in rows if value is not None]
    connection.executemany("INSERT OR REPLACE INTO current VALUES (?, ?)", puts)
    gone = [(key, revision) for revision, key, value, _, _ in rows if value is None]
    connection.executemany("DELETE FROM current WHERE key = ? AND revision < ?", gone)


def _rows(job: Job) -> list[tuple[int, str, bytes | None, int, int]]:
    rows = []
    for operation, revision, previous in zip(job.operations, job.revisions, job.previous, strict=True):
        if revision:
            value = operation.value if isinstance(operation, PutRecord) else None
            rows.append((revision, operation.key, value, zlib.crc32(value or b""), previous))
    return rows


def _fail(jobs: Sequence[Job], reason: str) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(StoreUnavailable(f"the write was not done: {reason}"))


def _end(prefix: str) -> str:
    return prefix + "\U0010ffff"
