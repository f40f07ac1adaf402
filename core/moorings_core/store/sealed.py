"""Encryption at rest over any store: the values of some resources are sealed before the store sees them and opened behind it.

A sealed value is MARK, the id of its key, ":", a nonce and AES-256-GCM's output; the object's place is authenticated with it, so that
no value can be moved to another object. What is not sealed is read as it is, so encryption can be switched on and off.
Source: NIST SP 800-38D.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from cryptography.exceptions import InvalidTag

from moorings_core.log import get_logger
from moorings_core.pki.keyring import Keyring
from moorings_core.ports.store import Batches, Operation, Page, PreconditionFailed, PutRecord, Record, Store, StoreError, StoreEvent

log = get_logger(__name__)
MARK = b"\0aes-256-gcm:1:"
NONCE_BYTES = 12
PAGE = 256


class KeyMissing(StoreError):
    """A value is sealed with a key that is not at hand."""


class CorruptValue(StoreError):
    """A value is not what was written under this name: it is damaged, changed or moved here from elsewhere."""


class SealedStore:
    """A store whose `inner` one never sees the values of some resources. prefixes: where those are stored."""

    def __init__(self, inner: Store, keyring: Keyring, prefixes: Iterable[str]) -> None:
        self.inner, self._keyring, self._prefixes = inner, keyring, tuple(prefixes)

    @property
    def shared(self) -> bool:
        """Whether other servers write to it, too."""
        return self.inner.shared

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged outlives this process."""
        return self.inner.durable

    @property
    def most(self) -> int:
        """Operations in one commit at most."""
        return self.inner.most

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        return self.inner.revision

    async def latest(self) -> int:
        """Return a revision that contains every write acknowledged before. Raises StoreUnavailable."""
        return await self.inner.latest()

    async def get(self, key: str) -> Record | None:
        """Return the newest record of a key, or None. Raises KeyMissing, CorruptValue."""
        record = await self.inner.get(key)
        return None if record is None else self._opened(record)

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return a page of records. Raises Compacted, KeyMissing, CorruptValue."""
        page = await self.inner.list(prefix, at=at, limit=limit, after=after)
        if not any(record.value.startswith(MARK) for record in page.records):
            return page
        return page._replace(records=[self._opened(record) for record in page.records])

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing, durably, what is to be sealed sealed. Raises PreconditionFailed, StoreUnavailable."""
        prefixes = self._prefixes
        if prefixes and any(operation.key.startswith(prefixes) for operation in operations):
            operations = [self._sealed(operation) for operation in operations]
        return await self.inner.commit(operations)

    async def watch(self, prefix: str, after: int) -> Batches:
        """Yield changes. Raises Compacted, KeyMissing, CorruptValue."""
        async with aclosing(self.inner.watch(prefix, after)) as batches:
            async for batch in batches:
                if any(_is_sealed(event.value) for event in batch):
                    yield [self._opened_event(event) for event in batch]
                else:
                    yield batch

    async def compact(self, revision: int) -> None:
        """Forget the history before revision."""
        await self.inner.compact(revision)

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store, what is to be sealed sealed. Raises StoreUnavailable."""
        await self.inner.receive([self._sealed_event(change) for change in changes])

    async def continue_from(self, revision: int) -> None:
        """End a copy."""
        await self.inner.continue_from(revision)

    async def close(self) -> None:
        """Close the store below."""
        await self.inner.close()

    async def rewrite(self) -> int:
        """Write again what is not as it should be: sealed with an older key, or clear, or sealed although it need not be.

        Return how much was written. Whoever writes such an object at the same time does the same with it.
        """
        written = 0
        for prefix in (*self._prefixes, *(() if self._prefixes else ("",))):
            after, more = "", True
            while more:
                page = await self.inner.list(prefix, limit=PAGE, after=after)
                written += sum([await self._write_again(record) for record in page.records if self._is_stale(record)])
                more, after = page.more, page.records[-1].key if page.records else ""
        return written

    async def _write_again(self, record: Record) -> bool:
        try:
            await self.commit([PutRecord(record.key, self._opened(record).value, record.revision)])
        except PreconditionFailed:
            return False
        return True

    def _is_stale(self, record: Record) -> bool:
        if not record.key.startswith(self._prefixes):
            return record.value.startswith(MARK)
        return not record.value.startswith(MARK + self._keyring.current.encode() + b":")

    def _sealed(self, operation: Operation) -> Operation:
        if not isinstance(operation, PutRecord):
            return operation
        return PutRecord(operation.key, self._seal(operation.key, operation.value), operation.expect)

    def _sealed_event(self, event: StoreEvent) -> StoreEvent:
        return event._replace(value=self._seal(event.key, event.value)) if event.value is not None else event

    def _seal(self, key: str, value: bytes) -> bytes:
        if not key.startswith(self._prefixes):
            return value
        identity, nonce = self._keyring.current, os.urandom(NONCE_BYTES)
        return MARK + identity.encode() + b":" + nonce + self._keyring.keys[identity].encrypt(nonce, value, key.encode())

    def _opened(self, record: Record) -> Record:
        return record._replace(value=self._open(record.key, record.value)) if record.value.startswith(MARK) else record

    def _opened_event(self, event: StoreEvent) -> StoreEvent:
        return event._replace(value=self._open(event.key, event.value)) if event.value and _is_sealed(event.value) else event

    def _open(self, key: str, value: bytes) -> bytes:
        name, _, rest = value[len(MARK) :].partition(b":")
        identity = name.decode("ascii", "replace")
        cipher = self._keyring.keys.get(identity)
        if cipher is None:
            raise KeyMissing(f"{key} is encrypted with the key {identity!r}, which {self._keyring.path} does not hold")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError) as error:
            raise CorruptValue(f"{key} is not what was encrypted with the key {identity!r}: it is damaged or was moved") from error


def _is_sealed(value: bytes | None) -> bool:
    return value is not None and value.startswith(MARK)
