"""Records what happened to an object as Events, without ever making its caller wait.

Small form of client-go's correlator (tools/record/events_cache.go): the same event again counts up the one already written;
more than ten different messages for one reason in ten minutes are told as one; an object that has too much to say is cut off.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, Forbidden, NotFound
from moorings_core.ports.objects import Object

from .resources import EVENTS

log = get_logger(__name__)
EventType = Literal["Normal", "Warning"]
QUEUE_MOST = 1000
REMEMBERED = 4096
SIMILAR_MOST, SIMILAR_SECONDS = 10, 600.0
BURST, REFILL_SECONDS = 25, 300.0


@dataclass(slots=True)
class _Series:
    """An event that has been written: its object's name and how often it was seen."""

    name: str
    count: int


@dataclass(slots=True)
class _Similar:
    """The different messages of one reason, until `end`."""

    end: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Bucket:
    """How many events an object may still have."""

    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class _Entry:
    about: Object
    type: str
    reason: str
    message: str
    when: datetime


class EventRecorder:
    """Writes Events as `component` on `host`. `run()` must be going for anything to be written."""

    def __init__(self, client: Client, component: str, host: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._component, self._host, self._clock = client, component, host, clock
        self._queue: deque[_Entry] = deque()
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._known: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()
        self.dropped = 0

    def event(self, obj: Object, type: EventType, reason: str, message: str) -> None:
        """Note an event about obj. Never blocks; when too many wait, the oldest are dropped and counted in `dropped`."""
        if len(self._queue) >= QUEUE_MOST:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(_Entry(_reference(obj), type, reason, message[:1024], datetime.now(UTC)))
        self._idle.clear()
        self._work.set()

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            await self._work.wait()
            while self._queue:
                await self._write(self._queue.popleft())
            self._work.clear()
            self._idle.set()

    async def flush(self, timeout: float = 2) -> None:
        """Wait until everything noted so far has been written or given up. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._idle.wait()

    async def _write(self, entry: _Entry) -> None:
        who = tuple(str(entry.about.get(name, "")) for name in ("kind", "namespace", "name", "uid"))
        if not self._allowed(who):
            self.dropped += 1
            return
        message = self._told(who, entry)
        key = (*who, entry.type, entry.reason, message)
        try:
            series = self._known.get(key)
            if series is None or not await self._count(entry, series):
                self._known[key] = await self._create(entry, message)
            self._known.move_to_end(key)
            _forget(self._known)
        except (Forbidden, NotFound) as error:  # the namespace is going or gone
            log.debug("event refused", object=entry.about.get("name"), reason=entry.reason, error=str(error))
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("event not written", object=entry.about.get("name"), reason=entry.reason, error=str(error))

    def _allowed(self, who: tuple[str, ...]) -> bool:
        now = self._clock()
        bucket = self._buckets.setdefault(who, _Bucket(BURST, now))
        bucket.tokens, bucket.at = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS), now
        self._buckets.move_to_end(who)
        _forget(self._buckets)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _told(self, who: tuple[str, ...], entry: _Entry) -> str:
        key, now = (*who, entry.type, entry.reason), self._clock()
        similar = self._similar.get(key)
        if similar is None or now > similar.end:
            similar = self._similar[key] = _Similar(now + SIMILAR_SECONDS)
            _forget(self._similar)
        if len(similar.messages) < SIMILAR_MOST or entry.message in similar.messages:
            similar.messages.add(entry.message)
            return entry.message
        return "(combined from similar events)"

    async def _count(self, entry: _Entry, series: _Series) -> bool:
        series.count += 1
        change: Object = {"count": series.count, "lastTimestamp": _stamp(entry.when), "message": entry.message}
        try:
            await self._client.patch(EVENTS, series.name, _namespace(entry.about), change)
        except NotFound:
            return False  # events are forgotten after an hour
        return True

    async def _create(self, entry: _Entry, message: str) -> _Series:
        name, when = f"{entry.about.get('name', '')}.{time.time_ns():x}", _stamp(entry.when)
        combined = "" if message == entry.message else f"{message}: "
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(entry.about)},
            "involvedObject": entry.about,
            "type": entry.type,
            "reason": entry.reason,
            "message": combined + entry.message,
            "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        await self._client.create(EVENTS, event)
        return _Series(name, 1)


def _reference(obj: Object) -> Object:
    metadata = obj.get("metadata", {})
    reference = {"kind": obj.get("kind", ""), "apiVersion": obj.get("apiVersion", ""), "name": metadata.get("name", "")}
    for source, target in (("namespace", "namespace"), ("uid", "uid"), ("resourceVersion", "resourceVersion")):
        if metadata.get(source):
            reference[target] = metadata[source]
    return reference


def _namespace(about: Object) -> str:
    return str(about.get("namespace") or "default")


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _forget(
    known: OrderedDict[tuple[str, ...], _Series] | OrderedDict[tuple[str, ...], _Similar] | OrderedDict[tuple[str, ...], _Bucket],
) -> None:
    if len(known) > REMEMBERED:
        known.popitem(last=False)
