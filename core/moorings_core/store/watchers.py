"""Followers of a store: each has a queue of committed batches; a follower that does not read is cut off, not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moorings_core.ports.store import Batches, StoreEvent

BACKLOG_MOST = 100_000


class Followers:
    """Hands committed events to everyone who follows a prefix."""

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[Sequence[StoreEvent] | None], str] = {}
        self.closed = False

    def publish(self, events: Sequence[StoreEvent]) -> None:
        """Hand on a batch, in order of revision."""
        for queue, prefix in list(self._queues.items()):
            wanted = events if not prefix else [e for e in events if e.key.startswith(prefix)]
            if queue.qsize() > BACKLOG_MOST:
                del self._queues[queue]
                queue.put_nowait(None)
            elif wanted:
                queue.put_nowait(wanted)

    async def follow(self, prefix: str, missed: Sequence[StoreEvent]) -> Batches:
        """Yield what was missed, then every batch from now on, until the last one before the store closed."""
        queue: asyncio.Queue[Sequence[StoreEvent] | None] = asyncio.Queue()
        if self.closed:
            queue.put_nowait(None)
        self._queues[queue] = prefix
        try:
            if missed:
                yield missed
            while (batch := await queue.get()) is not None:
                yield batch
        finally:
            self._queues.pop(queue, None)

    def close(self) -> None:
        """End everybody's iteration."""
        self.closed = True
        for queue in self._queues:
            queue.put_nowait(None)
