"""Watches: changes of a collection as events, narrowed by namespace and selectors, without gap or double.

An object that comes to match is ADDED, one that ceases to is DELETED, as if the others did not exist. A watcher that does not
read is closed when its backlog passes a bound: the client lists again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import NamedTuple

from moorings_core.ports.objects import Object, Resource

from . import problems
from .cache import Cache, Change, Stored
from .reads import Reader, Selection, number

BACKLOG_MOST = 20_000
BOOKMARK_SECONDS = 60.0
INITIAL_END = "k8s.io/initial-events-end"


class Event(NamedTuple):
    """What a watcher is told; change is None for events that are not a committed change (initial state, bookmarks)."""

    type: str
    object: Object
    change: Change | None


class WatchOptions(NamedTuple):
    """What a watch asks for."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""
    version: str = ""
    bookmarks: bool = False
    initial_events: bool = False


class Watcher:
    """One watch of one collection."""

    def __init__(self, cache: Cache, resource: Resource, options: WatchOptions) -> None:
        self._cache, self._resource, self._options = cache, resource, options
        self._selection = Selection(resource, options.labels, options.fields)
        self._collection = cache.collection(resource.group, resource.plural)
        self._backlog: deque[Change] = deque()
        self._ready = asyncio.Event()
        self._overflown = False

    async def events(self, reader: Reader) -> AsyncGenerator[Event]:
        """Yield events for ever; ends when the backlog overflows. Raises Expired, BadRequest, ServerTimeout."""
        version = self._options.version
        if version not in ("", "0"):
            await reader.reach(version)
        self._collection.listeners[self._offer] = None
        try:
            for event in self._initial(version):
                yield event
            last = self._cache.revision
            while not self._overflown:
                while self._backlog:
                    change = self._backlog.popleft()
                    last = change.revision
                    found = self._event(change)
                    if found is not None:
                        yield found
                self._ready.clear()
                if not self._backlog and not self._overflown and not await self._changed():
                    last = max(last, self._cache.revision)
                    yield self.bookmark(last)
        finally:
            self._collection.listeners.pop(self._offer, None)

    def bookmark(self, revision: int, *, initial_end: bool = False) -> Event:
        """Return a bookmark at a revision."""
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {INITIAL_END: "true"}
        body = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        return Event("BOOKMARK", body, None)

    def _initial(self, version: str) -> list[Event]:
        options = self._options
        if options.initial_events or version in ("", "0"):
            items = [s for s in self._collection.select(options.namespace) if self._selection.matches(s.object)]
            events = [Event("ADDED", s.object, None) for s in items]
            if options.initial_events:
                events.append(self.bookmark(self._cache.revision, initial_end=True))
            return events
        since = number(version)
        if since < self._collection.forgotten:
            raise problems.expired(since, self._collection.forgotten)
        return [e for c in self._collection.since(since) if (e := self._event(c)) is not None]

    def _offer(self, change: Change) -> None:
        if not self._concerns(change):
            return
        if len(self._backlog) >= BACKLOG_MOST:
            self._overflown = True
        else:
            self._backlog.append(change)
        self._ready.set()

    def _concerns(self, change: Change) -> bool:
        """Refuse at a glance what can't be selected: a thousand watchers are not to be woken for a change that is for one."""
        if self._options.namespace and change.key.namespace != self._options.namespace:
            return False
        chosen = self._selection
        if chosen.name is not None and change.key.name != chosen.name:
            return False
        return chosen.node is None or chosen.node in change.nodes

    async def _changed(self) -> bool:
        """Wait for a change; return False when it is time for a bookmark."""
        if not self._options.bookmarks:
            await self._ready.wait()
            return True
        try:
            async with asyncio.timeout(BOOKMARK_SECONDS):  # wait_for would make a task for each event of each watcher
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    def _event(self, change: Change) -> Event | None:
        if not self._concerns(change):
            return None
        was, now = self._matches(change.old), self._matches(change.new)
        if now and change.new is not None:
            return Event("MODIFIED" if was else "ADDED", change.new.object, change)
        if not was or change.old is None:
            return None
        if change.last is not None:
            return Event("DELETED", change.last, change)
        metadata = {**change.old.object["metadata"], "resourceVersion": str(change.revision)}
        return Event("DELETED", {**change.old.object, "metadata": metadata}, change)

    def _matches(self, stored: Stored | None) -> bool:
        return stored is not None and self._selection.matches(stored.object)
