"""A watch of all objects that outlives etcd's restarts, lost connections and changes of leader: it goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from aetcd import rpc

from moorings_core.log import get_logger
from moorings_core.ports.store import Batches, Compacted, StoreEvent

from .connection import Connection
from .numbers import Numbers

log = get_logger(__name__)
PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Follower:
    """One follower of etcd's events under a prefix."""

    def __init__(self, connection: Connection, prefix: str, numbers: Numbers) -> None:
        self._connection, self._prefix, self._numbers = connection, prefix, numbers
        self._call: Any = None
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    async def ask_progress(self) -> None:
        """Ask etcd to say how far it is, for revisions that hold no event of ours."""
        if self._call is not None:
            try:
                await self._call.write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream is broken: `events` opens another, which begins with what is new

    async def events(self, within: str, after: int) -> Batches:
        """Yield changes under `within` past a revision, whole transactions at a time. Raises Compacted.

        An event with an empty key says only that there is nothing else up to its revision.
        """
        pause = PAUSE
        while not self._closed.is_set():
            try:
                async for answer in self._stream(after):
                    pause = PAUSE
                    if batch := self._batch(answer, after):
                        after = batch[-1].revision
                        if wanted := [event for event in batch if not event.key or event.key.startswith(within)]:
                            yield wanted
            except grpc.aio.AioRpcError as error:
                if self._closed.is_set():
                    return
                log.warning("watch of etcd broken", error=error.details(), retry=pause)
            except asyncio.CancelledError:
                if self._closed.is_set():  # grpc ends a call that was cancelled here with the same error
                    return
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _stream(self, after: int) -> AsyncIterator[Any]:
        """Yield etcd's answers about all objects: of a part of a transaction the places of its deletes could not be told."""
        create = rpc.WatchCreateRequest(start_revision=max(self._numbers.back(after), self._numbers.first))
        create.key, create.range_end = span(self._prefix)
        self._call = self._connection.watch.Watch()
        try:
            await self._call.write(rpc.WatchRequest(create_request=create))
            while (answer := await self._call.read()) is not grpc.aio.EOF:
                if answer.compact_revision:
                    raise Compacted(after, self._numbers.of(answer.compact_revision))
                if answer.canceled:
                    log.warning("etcd cancelled a watch", reason=answer.cancel_reason)
                    return
                yield answer
        finally:
            self._call.cancel()

    def _batch(self, answer: Any, after: int) -> Sequence[StoreEvent]:
        if not answer.events:
            newest = self._numbers.last(answer.header.revision)
            return [StoreEvent("", None, newest)] if not answer.created and newest > after else ()
        return [event for event in self._events(answer.events) if event.revision > after]

    def _events(self, events: Sequence[Any]) -> Sequence[StoreEvent]:
        found: list[StoreEvent] = []
        revision, place, skip = 0, -1, len(self._prefix)
        for event in events:
            key, changed = event.kv.key.decode()[skip:], event.kv.mod_revision
            if changed != revision:
                revision, place = changed, -1
            if event.type == rpc.Event.DELETE:
                place += 1
                found.append(StoreEvent(key, None, self._numbers.of(revision, place)))
            else:
                value, number = self._numbers.stored(event.kv.value, revision)
                place = number - self._numbers.of(revision)
                found.append(StoreEvent(key, value, number))
        return found


def span(prefix: str) -> tuple[bytes, bytes]:
    """Return the first key under a prefix, and the first that is past them all."""
    key = prefix.encode()
    return key, key[:-1] + bytes([key[-1] + 1])
