"""Work by key: one coroutine at a time for each key; what fails is tried again later, what changes meanwhile is done again.

For components that call slow things (CSI drivers, clouds); controllers that only compute have their own framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from moorings_core.log import get_logger

K = TypeVar("K", bound=Hashable)
log = get_logger(__name__)
BACKOFF_FIRST, BACKOFF_MOST = 0.2, 30.0


class KeyedWorker(Generic[K]):
    """Calls handle(key) for every key added; it returns the seconds until the next call, or None, and backs off by raising."""

    def __init__(self, name: str, handle: Callable[[K], Awaitable[float | None]], *, at_once: int = 8) -> None:
        self._name, self._handle = name, handle
        self._queue: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._at_once = at_once

    def add(self, key: K) -> None:
        """Ask for a key to be handled soon; asking often is asking once."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    async def run(self) -> None:
        """Handle keys until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._at_once):
                    tasks.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            self._running.add(key)
            delay = await self._attempt(key)
            self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self._timers[key] = asyncio.get_running_loop().call_later(delay, self.add, key)

    async def _attempt(self, key: K) -> float | None:
        try:
            delay = await self._handle(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(BACKOFF_FIRST * 2.0 ** (failures - 1), BACKOFF_MOST)
            log.warning("work failed", worker=self._name, key=key, error=f"{type(error).__name__}: {error}", retry=delay)
            return delay
        self._failures.pop(key, None)
        return delay
