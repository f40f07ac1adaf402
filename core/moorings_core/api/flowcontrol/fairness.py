"""One priority level: seats, and queues that take turns.

A flow is dealt a hand of queues and waits in the shortest, so that a flood fills its own hand and spares most others (shuffle sharding).
The queue whose requests have had the least of the server's time goes next (start-time fair queueing). Source: KEP-1040.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .borrowing import Demand

GUESS = 0.003
"""Seconds that a request is thought to take until it has been seen"""


class Full(Exception):
    """The level takes no more requests; reason is upstream's word for the metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What a level may do at once; queues 0: what can't be done at once is refused. seats None: no limit."""

    seats: int | None
    queues: int = 0
    hand: int = 1
    length: int = 0


class Queue:
    """Requests that wait, each with the seats it needs; start: how much of the server its flows have had, in seconds of virtual time."""

    __slots__ = ("start", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self.start = 0.0


class Level:
    """Lets requests in, within its limits."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: list[Queue] = []
        self.executing = self.queued = 0
        """Seats taken, and seats that those who wait need"""
        self.demand = Demand(clock())
        self._virtual = 0.0
        self.limits = limits
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Take new limits; those who wait keep their places."""
        self.limits = limits
        while len(self._queues) < limits.queues:
            self._queues.append(Queue())
        self._dispatch()

    def enter_now(self, width: int = 1) -> bool:
        """Take seats if they are free and nobody waits."""
        if self.limits.seats is None or (not self.queued and self._fits(width)):
            self.executing += width
            self.demand.set(self.executing + self.queued, self._clock())
            return True
        return False

    def _fits(self, width: int) -> bool:
        """Whether there are seats: a request that needs more than there are at all gets them when nobody else has any."""
        seats = self.limits.seats
        return seats is None or self.executing + width <= seats or (self.executing == 0 and seats > 0)

    async def enter(self, flow: int, timeout: float, width: int = 1) -> Queue | None:
        """Wait for seats; return the queue that was waited in. Raises Full."""
        if self.enter_now(width):
            return None
        queue = self._choose(flow)
        if len(queue.waiting) >= self.limits.length:
            raise Full("queue-full")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not queue.waiting:
            queue.start = max(queue.start, self._virtual)
        queue.waiting.append((future, width))
        self.queued += width
        self.demand.set(self.executing + self.queued, self._clock())
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            if self._abandon(queue, future, width):
                raise Full("time-out") from None
        except asyncio.CancelledError:
            if not self._abandon(queue, future, width):
                self.leave(queue, 0.0, width)
            raise
        return queue

    def leave(self, queue: Queue | None, seconds: float, width: int = 1) -> None:
        """Give seats back after `seconds`, which count against the queue that the request had waited in."""
        self.executing -= width
        if queue is not None:
            queue.start += (seconds - GUESS) * width
        if self.queued:
            self._dispatch()
        self.demand.set(self.executing + self.queued, self._clock())

    def _choose(self, flow: int) -> Queue:
        if not self.limits.queues:
            raise Full("concurrency-limit")
        return min((self._queues[index] for index in deal(flow, self.limits.queues, self.limits.hand)), key=lambda q: len(q.waiting))

    def _abandon(self, queue: Queue, future: asyncio.Future[None], width: int) -> bool:
        """Take a request that waits no longer out; return False where its turn had come already."""
        if (future, width) not in queue.waiting:
            return False
        queue.waiting.remove((future, width))
        self.queued -= width
        self.demand.set(self.executing + self.queued, self._clock())
        self._dispatch()  # it may have kept others from seats that were too few for it
        return True

    def _dispatch(self) -> None:
        while self.queued:
            queue = min((q for q in self._queues if q.waiting), key=lambda q: q.start)
            future, width = queue.waiting[0]
            if not self._fits(width):
                return
            queue.waiting.popleft()
            self._virtual = max(self._virtual, queue.start)
            queue.start += GUESS * width
            self.queued -= width
            if not future.done():
                self.executing += width
                future.set_result(None)


def deal(flow: int, deck: int, hand: int) -> Sequence[int]:
    """Return `hand` different numbers below deck, drawn by a hash: the same for the same flow."""
    cards: list[int] = []
    for left in range(deck, deck - min(hand, deck), -1):
        flow, card = divmod(flow, left)
        for known in sorted(cards):
            if card >= known:
                card += 1
        cards.append(card)
    return cards
