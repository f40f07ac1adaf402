"""The store port on etcd. Source: etcd.io/docs/v3.4/learning/api, api_guarantees."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import orjson
from aetcd import rpc

from moorings_core.ports.store import Batches, Compacted, Operation, Page, Record, StoreEvent, StoreUnavailable, UnfinishedCopy

from .connection import Connection, Place, place_of
from .follower import Follower, span
from .numbers import Numbers, headed
from .sender import SECONDS, Sender, explain
from .transactions import commit_of

PAGE = 5000
"""Records asked for at a time: a list of 100,000 must not be one message"""
OPEN_SECONDS = 10.0
PROGRESS_AFTER = 0.02
"""Seconds that a revision may take to arrive by the watch before etcd is asked how far it is"""
COPYING = "copying"


class EtcdStore:
    """A store on an etcd that others may use, too: under other prefixes, or as further API servers of this cluster."""

    shared = durable = True

    def __init__(self, place: Place) -> None:
        self._connection = Connection(place)
        self._prefix, self._meta = f"{place.prefix}objects/", f"{place.prefix}numbering"
        self._sender = Sender(self._connection, self._prefix, place.transaction)
        self._followers: set[Follower] = set()
        self._nudges: set[asyncio.Task[None]] = set()
        self._copied: dict[str, tuple[int, int]] = {}
        self._newest = 0
        self._closed = False
        self.most = place.transaction

    @classmethod
    async def open(cls, directory: Path, parameters: Mapping[str, Any]) -> EtcdStore:
        """Connect to the etcd that parameters name; directory is not used. Raises EtcdParameters, StoreUnavailable."""
        store = cls(await asyncio.to_thread(place_of, parameters))
        try:
            await store._begin()
        except BaseException:
            await store.close()
            raise
        return store

    async def _begin(self) -> None:
        create = rpc.TxnRequest()
        compare = create.compare.add(key=self._meta.encode(), target=rpc.Compare.VERSION, result=rpc.Compare.EQUAL)
        compare.version = 0
        create.success.add().request_put.key = self._meta.encode()
        create.success[0].request_put.value = _numbering(Numbers())
        create.failure.add().request_range.key = self._meta.encode()
        answer = await self._ask("Txn", create, wait=True)
        if not answer.succeeded:
            found = orjson.loads(answer.responses[0].response_range.kvs[0].value)
            if found.pop(COPYING, False):
                raise UnfinishedCopy(f"etcd holds an unfinished copy under {self._meta.rpartition('/')[0]}: swap again, or delete it")
            self._sender.numbers = Numbers(**found)
        self._newest = self.numbers.last(answer.header.revision)

    @property
    def numbers(self) -> Numbers:
        """How revisions map to etcd's."""
        return self._sender.numbers

    @property
    def revision(self) -> int:
        """The newest revision that came by."""
        return self._newest

    async def latest(self) -> int:
        """Return etcd's newest revision, by a linearizable read. Raises StoreUnavailable."""
        answer = await self._ask("Range", rpc.RangeRequest(key=self._meta.encode(), keys_only=True))
        newest = self.numbers.of(answer.header.revision)
        if newest > self._newest:
            asyncio.get_running_loop().call_later(PROGRESS_AFTER, self._nudge, newest)
        return newest

    def _nudge(self, newest: int) -> None:
        """Have etcd say how far it is where the newest revision holds nothing of ours."""
        for follower in list(self._followers) if newest > self._newest else ():
            task = asyncio.create_task(follower.ask_progress())
            self._nudges.add(task)
            task.add_done_callback(self._nudges.discard)

    async def get(self, key: str) -> Record | None:
        """Return a record, or None. Raises StoreUnavailable."""
        answer = await self._ask("Range", rpc.RangeRequest(key=(self._prefix + key).encode()))
        return self._record(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str, *, at: int = 0, limit: int = 0, after: str = "") -> Page:
        """Return records in key order. Raises Compacted, StoreUnavailable."""
        start, end = span(self._prefix + prefix)
        if after:
            start = max(start, (self._prefix + after).encode() + b"\0")
        revision = self.numbers.back(at) if at else 0
        if at and revision < self.numbers.first:
            raise Compacted(at, self.numbers.of(self.numbers.first))
        found: builtins.list[Record] = []
        while True:
            size = min(PAGE, limit - len(found)) if limit else PAGE
            answer = await self._range(at, rpc.RangeRequest(key=start, range_end=end, revision=revision, limit=size))
            revision = revision or answer.header.revision
            found += map(self._record, answer.kvs)
            if not answer.more or len(found) == limit:
                remaining = answer.count - len(answer.kvs)
                return Page(found, at or self.numbers.last(revision), remaining > 0, remaining)
            start = answer.kvs[-1].key + b"\0"

    async def _range(self, at: int, request: Any) -> Any:
        try:
            return await self._ask("Range", request)
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, grpc.aio.AioRpcError) and cause.code() == grpc.StatusCode.OUT_OF_RANGE:
                raise Compacted(at, self.numbers.of(self.numbers.first)) from error
            raise

    def _record(self, found: Any) -> Record:
        value, revision = self.numbers.stored(found.value, found.mod_revision)
        key = found.key.decode()[len(self._prefix) :]
        if self.numbers.back(revision) < self.numbers.first:
            self._copied[key] = (revision, found.mod_revision)
        return Record(key, value, revision)

    async def commit(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Write all or nothing, durably. Raises PreconditionFailed, StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not operations:
            return []
        revisions = await self._sender.commit(commit_of(operations, self.numbers, self._copied))
        self._newest = max(self._newest, *revisions)
        return revisions

    async def watch(self, prefix: str, after: int) -> Batches:
        """Yield changes after a revision. Raises Compacted."""
        if self._closed:
            return
        if self.numbers.first > 1 and after < self.numbers.of(self.numbers.first) - 1:
            raise Compacted(after, self.numbers.of(self.numbers.first))
        follower = Follower(self._connection, self._prefix, self.numbers)
        self._followers.add(follower)
        try:
            async with aclosing(follower.events(prefix, after)) as events:
                async for batch in events:
                    self._newest = max(self._newest, batch[-1].revision)
                    yield batch
        finally:
            self._followers.discard(follower)

    async def compact(self, revision: int) -> None:
        """Forget the history before revision; that another server was faster is fine. Raises StoreUnavailable."""
        try:
            await self._ask("Compact", rpc.CompactionRequest(revision=self.numbers.back(revision)))
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, grpc.aio.AioRpcError) or cause.code() != grpc.StatusCode.OUT_OF_RANGE:
                raise

    async def receive(self, changes: Sequence[StoreEvent]) -> None:
        """Take in changes of another store with their revisions. Raises StoreUnavailable."""
        for start in range(0, len(changes), self.most - 1):
            newest = {change.key: change for change in changes[start : start + self.most - 1]}
            request = rpc.TxnRequest()
            request.success.add().request_put.key = self._meta.encode()
            request.success[0].request_put.value = orjson.dumps({COPYING: True})
            for change in newest.values():
                step, key = request.success.add(), (self._prefix + change.key).encode()
                if change.value is None:
                    step.request_delete_range.key = key
                else:
                    step.request_put.key, step.request_put.value = key, headed(change.value, 0, change.revision)
            await self._ask("Txn", request)

    async def continue_from(self, revision: int) -> None:
        """End a copy: etcd's next revision is the first that is this store's own."""
        answer = await self._ask("Range", rpc.RangeRequest(key=self._meta.encode()))
        numbers = Numbers.after(revision, answer.header.revision + 1)
        await self._ask("Put", rpc.PutRequest(key=self._meta.encode(), value=_numbering(numbers)))
        self._sender.numbers = numbers
        self._newest = revision
        await self.list("")  # what was copied has to be known by its old revision

    async def close(self) -> None:
        """Finish what is under way, end watches, close the connection."""
        self._closed = True
        for follower in list(self._followers):
            follower.close()
        await self._sender.close()
        await self._connection.close()

    async def _ask(self, call: str, request: Any, *, wait: bool = False) -> Any:
        """Ask etcd; wait: for a member to be there, not only for its answer. Raises StoreUnavailable."""
        try:
            seconds = OPEN_SECONDS if wait else SECONDS
            return await getattr(self._connection.kv, call)(request, timeout=seconds, wait_for_ready=wait)
        except grpc.aio.AioRpcError as error:
            raise StoreUnavailable(explain(error)) from error
        except asyncio.CancelledError as error:  # a channel that is closed cancels its calls: that is not the end of who asks
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            raise StoreUnavailable("the store is closed") from error


def _numbering(numbers: Numbers) -> bytes:
    return orjson.dumps({"base": numbers.base, "first": numbers.first})
