"""The store port: an ordered, revisioned, durable map from key to bytes.

Keys are "/" separated paths. Revisions are one counter over the whole store: they never repeat and never go back, also over
crashes. "Acknowledged means durable": when `commit` has returned, a power cut loses nothing of it.
Contract suite: tests/contracts/store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .errors import MooringsError


class Record(NamedTuple):
    """A stored value; `revision` is that of its last put."""

    key: str
    value: bytes
    revision: int


class Page(NamedTuple):
    """Part of a list in key order, as of `revision`; `more` tells that keys follow, `remaining` how many."""

    records: Sequence[Record]
    revision: int
    more: bool = False
    remaining: int = 0


class StoreEvent(NamedTuple):
    """One committed change: `value` is None for a delete.

    An empty key says that nothing else has happened up to `revision`.
    """

    key: str
    value: bytes | None
    revision: int


Batches = AsyncGenerator[Sequence[StoreEvent], None]
"""Changes in order of their revision, whole commits at a time"""


@dataclass(frozen=True, slots=True)
class PutRecord:
    """Set a key. expect: None whatever is there, 0 only if absent, else only if its revision is that."""

    key: str
    value: bytes
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Remove a key; deleting an absent key with expect None is no operation and takes no revision."""

    key: str
    expect: int | None = None


Operation = PutRecord | DeleteRecord


class StoreError(MooringsError):
    """Base of what a store raises on purpose."""


class PreconditionFailed(StoreError):
    """An operation's `expect` does not hold; nothing of the commit was written. `have` is the present revision, 0 if absent."""

    def __init__(self, index: int, key: str, have: int) -> None:
        super().__init__(f"{key}: revision is {have}, not the expected one")
        self.index, self.key, self.have = index, key, have


class Compacted(StoreError):
    """The revision asked for is older than the history that is kept."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} is compacted, the oldest is {oldest}")
        self.revision, self.oldest = revision, oldest


class UnfinishedCopy(StoreError):
    """Objects of another store were being copied here, and the copy was cut short: this is nobody's whole state."""


class StoreUnavailable(StoreError):
    """The write was not done (disk full, I/O error, database closed): reads may go on, the write can be tried again."""


class Store(Protocol):
    """What the API layer needs of a database."""

    @property
    def shared(self) -> bool:
        """Whether other servers write to it, too."""

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged outlives this process."""

    @property
    def most(self) -> int:
        """Operations in one commit at most."""

    @property
    def revision(self) -> int:
        """The newest committed revision that this process knows of."""

    async def latest(self) -> int:
        """Return a revision that contains every write acknowledged to anybody before the call. Raises StoreUnavailable."""

    async def get(self, key: str) -> Record | None:
        """Return the newest record of a key, or None."""

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return records whose key starts with prefix, as of the commit that revision `at` belongs to (0: newest), past key `after`.

        limit 0 is no limit. Raises Compacted, StoreUnavailable.
        """

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing, durably; return the revision of each operation (0 for a no-operation delete), ascending.

        A key may be there once. Raises PreconditionFailed, StoreUnavailable; when the way to the store broke, what failed may
        have been written nevertheless.
        """

    def watch(self, prefix: str, after: int) -> Batches:
        """Yield every change of keys under prefix with revision > after, in order, in batches. Raises Compacted."""

    async def compact(self, revision: int) -> None:
        """Forget the history before revision; the newest state of every key stays."""

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store, in order and with their revisions, durably: for copies into an empty store.

        Until `continue_from` nothing else may be done with the store. Raises StoreUnavailable.
        """

    async def continue_from(self, revision: int) -> None:
        """End a copy: revisions given out from now on are greater than revision, what was before is compacted."""

    async def close(self) -> None:
        """Finish what was acknowledged, end watches, release files."""
