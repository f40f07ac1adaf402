"""A store that can be exchanged for another one while it is in use: no acknowledged write is lost, watches go on.

Copy everything at a revision, follow the changes since, then let writes wait for the moment in which the rest is copied; the new
store goes on with greater revisions, and objects keep theirs, so that nobody who watches or updates notices.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from moorings_core.log import get_logger
from moorings_core.ports.store import Batches, Operation, Page, Record, Store, StoreError, StoreEvent, StoreUnavailable

log = get_logger(__name__)
Answer = TypeVar("Answer")
CHUNK = 2000
MOMENT = 0.05
"""Seconds that writers may wait for the last changes to be copied"""
HANDOVER_SECONDS = 30.0


class ExchangeRefused(StoreError):
    """The exchange was not done, everything is as before; the text says why."""


class ExchangeableStore:
    """Passes everything on to the store of the day."""

    def __init__(self, store: Store) -> None:
        self._current = store
        self.became_shared = asyncio.Event()
        """Set once other servers may write to it, too"""
        if store.shared:
            self.became_shared.set()
        self._open = asyncio.Event()
        self._open.set()
        self._writers = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.acknowledged = 0
        """The newest revision given to a writer here"""
        self._handed_over = 0
        self._watches: dict[object, tuple[str, int]] = {}
        self._moved = asyncio.Condition()
        self._exchanging = False

    @property
    def shared(self) -> bool:
        """Whether other servers write to it, too."""
        return self._current.shared

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged outlives this process."""
        return self._current.durable

    @property
    def most(self) -> int:
        """Operations in one commit at most."""
        return self._current.most

    @property
    def revision(self) -> int:
        """The newest committed revision known here."""
        return self._current.revision

    async def latest(self) -> int:
        """Return a revision that contains every write acknowledged before."""
        return await self._ask(lambda store: store.latest())

    async def get(self, key: str) -> Record | None:
        """Return a record, or None."""
        return await self._ask(lambda store: store.get(key))

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return records in key order."""
        return await self._ask(lambda store: store.list(prefix, at=at, limit=limit, after=after))

    async def _ask(self, question: Callable[[Store], Awaitable[Answer]]) -> Answer:
        """Ask the store of the day; when it was handed over meanwhile and closed, the next one answers."""
        while True:
            store = self._current
            try:
                return await question(store)
            except StoreUnavailable:
                if store is self._current:
                    raise

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing; while the store is being handed over, wait for the next one."""
        while not self._open.is_set():
            await self._open.wait()
        self._writers += 1
        self._idle.clear()
        try:
            revisions = await self._current.commit(operations)
            self.acknowledged = max(self.acknowledged, *revisions, 0)
            return revisions
        finally:
            self._writers -= 1
            if not self._writers:
                self._idle.set()

    async def watch(self, prefix: str, after: int) -> Batches:
        """Yield changes after a revision, through exchanges."""
        me = object()
        self._watches[me] = (prefix, after)
        try:
            while True:
                store = self._current
                async with aclosing(store.watch(prefix, after)) as batches:
                    async for batch in batches:
                        after = batch[-1].revision
                        await self._reached(me, prefix, after)
                        yield batch
                if store is self._current:
                    return
                after = max(after, self._handed_over)
        finally:
            del self._watches[me]

    async def compact(self, revision: int) -> None:
        """Forget the history before revision."""
        await self._current.compact(revision)

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store."""
        await self._current.receive(changes)

    async def continue_from(self, revision: int) -> None:
        """End a copy."""
        await self._current.continue_from(revision)

    async def close(self) -> None:
        """Close the store of the day."""
        await self._current.close()

    async def exchange(self, target: Store, chosen: Callable[[], Awaitable[None]]) -> None:
        """Go over to an empty store; chosen notes the choice durably, once target has everything and before it gets a write.

        Raises ExchangeRefused and what the stores raise; then everything is as before and target is closed.
        """
        if self._exchanging:
            raise ExchangeRefused("another exchange of the store is under way")
        self._exchanging = True
        try:
            await self._copy_and_switch(target, chosen)
        except BaseException:
            await target.close()
            raise
        finally:
            self._open.set()
            self._exchanging = False

    async def _copy_and_switch(self, target: Store, chosen: Callable[[], Awaitable[None]]) -> None:
        if (await target.list("", limit=1)).records:
            raise ExchangeRefused("there are objects in the new store already: give it another place (etcd: another prefix)")
        old = self._current
        page = await old.list("")
        changes = sorted((StoreEvent(*record) for record in page.records), key=lambda change: change.revision)
        for start in range(0, len(changes), CHUNK):
            await target.receive(changes[start : start + CHUNK])
        log.info("store copied", objects=len(changes), revision=page.revision)
        async with _following(old, target, page.revision) as tail:
            await self._catch_up(tail)
            self._open.clear()
            async with asyncio.timeout(HANDOVER_SECONDS):
                await self._idle.wait()
                copied = await tail.reach(self.acknowledged)
                await target.continue_from(max(copied, old.revision))
                await chosen()
            self._handed_over = max(copied, old.revision)
        self._current = target
        if target.shared:
            self.became_shared.set()
        self._open.set()
        await self._drain(copied)
        await old.close()

    async def _catch_up(self, tail: Tail) -> None:
        """Hand on what was written during the copy, as long as each round leaves less to do than the one before."""
        before = math.inf
        while True:
            started = time.monotonic()
            await tail.reach(self.acknowledged)
            took = time.monotonic() - started
            if took < MOMENT or took > before / 2:
                return
            before = took

    async def _drain(self, revision: int) -> None:
        """Let everyone who watches the old store read it to its end."""
        try:
            async with asyncio.timeout(HANDOVER_SECONDS), self._moved:
                await self._moved.wait_for(lambda: all(prefix or at >= revision for prefix, at in self._watches.values()))
        except TimeoutError:
            log.warning("a watch has not read the old store to its end", revision=revision)

    async def _reached(self, watch: object, prefix: str, revision: int) -> None:
        self._watches[watch] = prefix, revision
        if self._exchanging:
            async with self._moved:
                self._moved.notify_all()


class Tail:
    """What is written to the old store while it is copied: read as it comes, handed on in as few pieces as possible."""

    def __init__(self, target: Store, copied: int) -> None:
        self._target, self._copied = target, copied
        self._waiting: list[StoreEvent] = []
        self._more = asyncio.Event()

    async def read(self, batches: Batches) -> None:
        """Take in changes until cancelled."""
        try:
            async for batch in batches:
                self._waiting += batch
                self._more.set()
        finally:
            self._more.set()

    async def reach(self, revision: int) -> int:
        """Hand on changes up to a revision at least; return how far the new store is."""
        while self._copied < revision:
            await self._more.wait()
            self._more.clear()
            batch, self._waiting = self._waiting, []
            if not batch:
                raise StoreUnavailable("the old store's changes cannot be followed any more")
            await self._target.receive([change for change in batch if change.key])
            self._copied = batch[-1].revision
        return self._copied


@asynccontextmanager
async def _following(store: Store, target: Store, after: int) -> AsyncGenerator[Tail, None]:
    tail = Tail(target, after)
    async with aclosing(store.watch("", after)) as batches:
        reading = asyncio.create_task(tail.read(batches))
        try:
            yield tail
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
