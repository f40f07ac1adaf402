"""Pods that wait for a node: ready by priority then age, failed ones backing off, unschedulable ones until the world changes.

Held ones have a node and wait for their volumes: they are tried again when those are there, at once, and not before.

Source: kube-scheduler's scheduling queue: back-off 1 s doubling to 10 s, a flush of the unschedulable after 5 minutes. Times are
seconds of one monotonic clock that the caller passes in.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

from moorings_core.ports.objects import Key, Object

BACKOFF_FIRST, BACKOFF_MOST, FLUSH_AFTER = 1.0, 10.0, 300.0
PARKED = ("held", "unschedulable", "backoff")


@dataclass(slots=True)
class Waiting:
    """A pod in the queue."""

    key: Key
    pod: Object
    since: float
    attempts: int = 0
    parked: float = 0
    moves: int = 0
    place: str = field(default="active")


class SchedulingQueue:
    """Active, backing off and unschedulable pods."""

    def __init__(self) -> None:
        self._pods: dict[Key, Waiting] = {}
        self._active: list[tuple[int, float, int, Key]] = []
        self._backoff: list[tuple[float, int, Key]] = []
        self._sequence = itertools.count()
        self._moves = 0
        """How often the world has changed: a change while a pod is being decided on must not be lost to it"""

    def __len__(self) -> int:
        return len(self._pods)

    def put(self, key: Key, pod: Object, now: float) -> None:
        """Take in a new or changed pod; a changed one that was unschedulable is tried again."""
        known = self._pods.get(key)
        if known is None:
            known = self._pods[key] = Waiting(key, pod, now)
            self._activate(known)
        else:
            known.pod, known.moves = pod, -1
            if known.place in ("unschedulable", "held"):
                self._wake(known, now)

    def drop(self, key: Key) -> None:
        """Forget a pod that was bound or deleted."""
        self._pods.pop(key, None)

    def pop(self, now: float) -> Waiting | None:
        """Return the next pod to decide on, or None; it stays known until `drop`."""
        self._end_backoffs(now)
        while self._active:
            key = heapq.heappop(self._active)[3]
            waiting = self._pods.get(key)
            if waiting is not None and waiting.place == "active":
                waiting.place = "deciding"
                waiting.attempts += 1
                waiting.moves = self._moves
                return waiting
        return None

    def unschedulable(self, waiting: Waiting, now: float) -> None:
        """Park a pod until `wake_all` or the flush; where that came while it was decided on, only for its back-off."""
        if self._pods.get(waiting.key) is not waiting:
            return
        if waiting.moves != self._moves:
            self._back_off(waiting, now)
        else:
            waiting.place, waiting.parked = "unschedulable", now

    def hold(self, waiting: Waiting, now: float) -> None:
        """Park a pod until `release` or the flush, whatever else changes."""
        if self._pods.get(waiting.key) is waiting:
            waiting.place, waiting.parked = "held", now

    def release(self, key: Key) -> None:
        """What a parked pod waited for is there: it is next, without back-off, for nothing has failed."""
        waiting = self._pods.get(key)
        if waiting is not None and waiting.place in PARKED:
            waiting.attempts = 0
            self._activate(waiting)

    def let_go(self, key: Key, now: float) -> bool:
        """Try a held pod again after its back-off, for its node is another's; return whether it was held."""
        waiting = self._pods.get(key)
        if waiting is None or waiting.place != "held":
            return False
        self._back_off(waiting, now)
        return True

    def retry(self, waiting: Waiting, now: float) -> None:
        """Try a pod again after its back-off."""
        if self._pods.get(waiting.key) is waiting:
            self._back_off(waiting, now)

    def wake_all(self, now: float) -> None:
        """The cluster changed: let the unschedulable pods try again after their back-off."""
        self._moves += 1
        for waiting in self._pods.values():
            if waiting.place == "unschedulable":
                self._wake(waiting, now)

    def flush(self, now: float) -> int:
        """Wake the pods parked too long; return how many: each is a wake-up that was missed."""
        late = [w for w in self._pods.values() if w.place in ("unschedulable", "held") and now - w.parked >= FLUSH_AFTER]
        for waiting in late:
            self._wake(waiting, now)
        return len(late)

    def next_time(self, now: float) -> float | None:
        """Return the seconds until a back-off ends, 0 when a pod is ready, None when nothing is due."""
        if any(self._pods.get(entry[3], _GONE).place == "active" for entry in self._active):
            return 0
        return max(0.0, self._backoff[0][0] - now) if self._backoff else None

    def _wake(self, waiting: Waiting, now: float) -> None:
        if waiting.parked + self._delay(waiting) <= now:
            self._activate(waiting)
        else:
            self._back_off(waiting, waiting.parked)

    def _activate(self, waiting: Waiting) -> None:
        waiting.place = "active"
        priority = waiting.pod["spec"].get("priority", 0)
        heapq.heappush(self._active, (-priority, waiting.since, next(self._sequence), waiting.key))

    def _back_off(self, waiting: Waiting, start: float) -> None:
        waiting.place = "backoff"
        heapq.heappush(self._backoff, (start + self._delay(waiting), next(self._sequence), waiting.key))

    def _end_backoffs(self, now: float) -> None:
        while self._backoff and self._backoff[0][0] <= now:
            waiting = self._pods.get(heapq.heappop(self._backoff)[2])
            if waiting is not None and waiting.place == "backoff":
                self._activate(waiting)

    @staticmethod
    def _delay(waiting: Waiting) -> float:
        return min(BACKOFF_FIRST * 2.0 ** max(waiting.attempts - 1, 0), BACKOFF_MOST)


_GONE = Waiting(Key("", ""), {}, 0, place="gone")
