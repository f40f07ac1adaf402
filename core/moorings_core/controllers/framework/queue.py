"""The queue of keys: each key once, never twice at a time, failed ones later, namespaces in turn."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence

from .intents import WorkKey

BACKOFF_FIRST, BACKOFF_MOST = 0.005, 60.0


class WorkQueue:
    """Single-threaded; `clock` is in seconds and monotonic. `take` hands keys out, `done` takes them back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: OrderedDict[str, OrderedDict[WorkKey, None]] = OrderedDict()
        self._working: set[WorkKey] = set()
        self._again: set[WorkKey] = set()
        self._failures: dict[WorkKey, int] = {}
        self._due: dict[WorkKey, float] = {}
        self._heap: list[tuple[float, WorkKey]] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._ready.values())

    def add(self, key: WorkKey) -> None:
        """Ask for a key to be worked on now; one being worked on gets another turn afterwards."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
            return
        self._ready.setdefault(key[0], OrderedDict())[key] = None
        self._wake.set()

    def add_after(self, key: WorkKey, seconds: float) -> None:
        """Ask for a key to be worked on later; the earliest of several times counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._ready.get(key[0], ()) or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._wake.set()

    def retry(self, key: WorkKey) -> float:
        """Ask again after a failure, doubling the delay each time; return the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay: float = min(BACKOFF_FIRST * 2 ** (failures - 1), BACKOFF_MOST)
        self.add_after(key, delay)
        return delay

    def forget(self, key: WorkKey) -> None:
        """A key was worked on with success: its next failure is its first."""
        self._failures.pop(key, None)

    def take(self, most: int) -> Sequence[WorkKey]:
        """Return up to `most` keys, one of each namespace in turn; they are ours until `done`."""
        self._ripen()
        taken: list[WorkKey] = []
        while self._ready and len(taken) < most:
            group, keys = self._ready.popitem(last=False)
            key, _ = keys.popitem(last=False)
            if keys:
                self._ready[group] = keys
            taken.append(key)
        self._working.update(taken)
        return taken

    def done(self, key: WorkKey) -> None:
        """Give a key back."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def wait(self) -> None:
        """Return when there is something to take."""
        while True:
            self._ripen()
            if self._ready:
                return
            self._wake.clear()
            timeout = self._heap[0][0] - self._clock() if self._heap else None
            try:
                async with asyncio.timeout(None if timeout is None else max(timeout, 0.001)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def next_due(self) -> float | None:
        """The time of the clock at which the next delayed key is due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _ripen(self) -> None:
        now = self._clock()
        while (due := self.next_due()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            self.add(key)
