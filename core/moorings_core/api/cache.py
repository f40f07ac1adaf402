"""The newest state of every object in memory, and the recent changes of every collection, fed by the store's watch.

Reads are served from here. A change is encoded once per form, however many watchers get it. Objects are shared and never changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from sortedcontainers import SortedDict

from moorings_core.log import get_logger
from moorings_core.ports.errors import ServiceUnavailable
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.ports.store import Compacted, Store, StoreEvent, StoreUnavailable
from moorings_core.registry.forms import place

from .turns import Turns

log = get_logger(__name__)
Json = TypeVar("Json")
HISTORY = 10_000
"""How many changes of a collection a watch can go back to."""
FIELDS_MOST = 20_000
_fields: dict[bytes, Object] = {}
_HEAD = b'{"metadata":{'


@dataclass(slots=True)
class Stored:
    """An object as stored; `body` is its JSON: what the store keeps, with the version put in."""

    object: Object
    revision: int
    value: bytes

    @property
    def body(self) -> bytes:
        """The object as JSON."""
        if self.value.startswith(_HEAD):
            return b'%b"resourceVersion":"%d",%b' % (_HEAD, self.revision, self.value[len(_HEAD) :])
        return orjson.dumps(self.object)

    def item(self, tail: bytes) -> bytes:
        """The object as JSON without its kind, as it stands in a list; tail is what `encode` ends its kind's objects with."""
        if self.value.startswith(_HEAD) and self.value.endswith(tail):
            return b'%b"resourceVersion":"%d",%b}' % (_HEAD, self.revision, self.value[len(_HEAD) : -len(tail)])
        return orjson.dumps({k: v for k, v in self.object.items() if k not in ("apiVersion", "kind")})


@dataclass(slots=True)
class Change:
    """One committed change: old None is a creation, new None a removal (then `last` carries the removal's revision)."""

    key: Key
    revision: int
    old: Stored | None
    new: Stored | None
    last: Object | None = None
    encoded: dict[str, bytes] = field(default_factory=dict)
    """Event bytes by form, filled in by watchers"""
    _nodes: tuple[Any, ...] | None = None

    @property
    def nodes(self) -> tuple[Any, ...]:
        """spec.nodeName before and after: every agent watches the pods of one node, and most changes are not its own."""
        if self._nodes is None:
            self._nodes = tuple((s.object.get("spec") or {}).get("nodeName", "") for s in (self.old, self.new) if s is not None)
        return self._nodes


Listener = Callable[[Change], None]


class Collection:
    """The objects of one resource (group and plural)."""

    def __init__(self) -> None:
        self.items: Any = SortedDict()
        self.history: deque[Change] = deque(maxlen=HISTORY)
        self.listeners: dict[Listener, None] = {}
        self.forgotten = 0
        """The revision up to which changes are no longer in `history`"""

    def get(self, key: Key) -> Stored | None:
        """Return an object, or None."""
        return self.items.get(key)  # type: ignore[no-any-return]

    def select(self, namespace: str = "") -> Iterator[Stored]:
        """Yield the objects of a namespace, or all, by key."""
        if not namespace:
            yield from self.items.values()
            return
        for key in self.items.irange(Key(namespace, ""), Key(namespace + "\0", ""), inclusive=(True, False)):
            yield self.items[key]

    def since(self, revision: int) -> Sequence[Change]:
        """Return the changes after a revision, oldest first."""
        return [c for c in self.history if c.revision > revision]

    def apply(self, change: Change) -> None:
        """Take in a change and tell the listeners."""
        if change.new is None:
            self.items.pop(change.key, None)
        else:
            self.items[change.key] = change.new
        if len(self.history) == HISTORY:
            self.forgotten = self.history[0].revision
        self.history.append(change)
        for listener in list(self.listeners):
            listener(change)


class Cache:
    """All collections, kept up to the store's newest revision."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._collections: dict[tuple[str, str], Collection] = {}
        self.revision = self._started = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._asking: asyncio.Future[int] | None = None

    def collection(self, group: str, plural: str) -> Collection:
        """Return the collection of a resource: one for those that are kept as one."""
        return self._collection(*place(group, plural))

    def _collection(self, group: str, plural: str) -> Collection:
        found = self._collections.get((group, plural))
        if found is None:
            found = self._collections[group, plural] = Collection()
            found.forgotten = self._started
        return found

    async def load(self) -> None:
        """Take in everything that is stored."""
        page = await self._store.list("")
        self.revision = self._started = page.revision
        for record in page.records:
            group, plural, key = parse_key(record.key)
            self._collection(group, plural).items[key] = stored(record.value, record.revision)

    async def follow(self) -> None:
        """Take in every change until the store closes."""
        while True:
            try:
                await self._follow()
                return
            except Compacted:
                log.warning("the store has forgotten what happened meanwhile, reading it anew", revision=self.revision)
                await self._read_anew()

    async def _follow(self) -> None:
        turns = Turns()
        async for batch in self._store.watch("", self.revision):
            for event in batch:
                self._take_in(event)
                await turns.give()
            self._wake()

    async def _read_anew(self) -> None:
        """Take in the difference to what is stored now as changes; those that had no trace left are not known."""
        page = await self._store.list("")
        for record in sorted(page.records, key=lambda record: record.revision):
            if record.revision > self.revision:
                self._take_in(StoreEvent(*record))
        present = {record.key for record in page.records}
        for (group, plural), collection in list(self._collections.items()):
            for name in [store_key(group, plural, key) for key in collection.items]:
                if name not in present:
                    self._take_in(StoreEvent(name, None, page.revision))
        for collection in self._collections.values():
            collection.forgotten = page.revision
        self.revision = page.revision
        self._wake()

    async def catch_up(self) -> None:
        """Reach what any server has acknowledged up to now; at no cost where no other server writes. Raises ServiceUnavailable.

        Those who come while the store is being asked ask again together: what it says then is new enough for them all.
        """
        if not self._store.shared:
            return
        asked = self._asking
        if asked is not None and not asked.done():
            await asyncio.wait([asked])  # its answer may be older than this call
        if self._asking is None or self._asking is asked:
            self._asking = asyncio.ensure_future(self._store.latest())
        try:
            await self.wait_for(await asyncio.shield(self._asking))
        except (StoreUnavailable, TimeoutError) as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error

    async def wait_for(self, revision: int, timeout: float = 10) -> None:
        """Return once the cache has reached a revision. Raises TimeoutError."""
        if self.revision >= revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, future))
        async with asyncio.timeout(timeout):
            await future

    def _take_in(self, event: StoreEvent) -> None:
        if not event.key:
            self.revision = max(self.revision, event.revision)
            return
        group, plural, key = parse_key(event.key)
        collection = self._collection(group, plural)
        old = collection.get(key)
        new = None if event.value is None else stored(event.value, event.revision)
        last = None
        if new is None:
            if old is None:
                self.revision = event.revision
                return
            metadata = {**old.object["metadata"], "resourceVersion": str(event.revision)}
            last = {**old.object, "metadata": metadata}
        self.revision = event.revision
        collection.apply(Change(key, event.revision, old, new, last))

    def _wake(self) -> None:
        due = [f for r, f in self._waiting if r <= self.revision]
        self._waiting = [(r, f) for r, f in self._waiting if r > self.revision]
        for future in due:
            if not future.done():
                future.set_result(None)


def store_key(group: str, plural: str, key: Key) -> str:
    """Return where an object is stored."""
    group, plural = place(group, plural)
    return f"{group or 'core'}/{plural}/{key.namespace}/{key.name}"


def parse_key(text: str) -> tuple[str, str, Key]:
    """Return group, plural and key of a stored object."""
    group, plural, namespace, name = text.split("/", 3)
    return "" if group == "core" else group, plural, Key(namespace, name)


def encode(obj: Object) -> bytes:
    """Return what is stored of an object: everything but its resourceVersion, which is the store's own revision.

    The metadata comes first, so that the version can be put in without decoding the rest, and the kind last, so that a list can leave
    it out in the same way.
    """
    metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
    content = {k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind")}
    return fitted(orjson.dumps({"metadata": metadata, **content, **{k: obj[k] for k in ("apiVersion", "kind") if k in obj}}))


def fitted(data: bytes) -> bytes:
    """Return bytes in memory of their own size, for what is kept: orjson's answers hold several times as much until they are freed."""
    return b"%b" % data


def tail(resource: Resource) -> bytes:
    """Return how `encode` ends the objects of a resource."""
    return b',"apiVersion":"%b","kind":"%b"}' % (resource.api_version.encode(), resource.kind.encode())


def copied(obj: Json) -> Json:
    """Return a deep copy of JSON; through its text it costs a quarter of copy.deepcopy."""
    copy: Json = orjson.loads(orjson.dumps(obj))
    return copy


def stored(value: bytes, revision: int) -> Stored:
    """Return an object from what the store holds of it."""
    obj = orjson.loads(value)
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(revision)
    for entry in metadata.get("managedFields", ()):
        if "fieldsV1" in entry:
            entry["fieldsV1"] = _shared(entry["fieldsV1"])
    return Stored(obj, revision, value)


def _shared(fields: Object) -> Object:
    """Return FieldsV1 that say the same as these: objects of one maker are many and say the same, and in memory these are large."""
    text = orjson.dumps(fields)
    if len(_fields) >= FIELDS_MOST:
        _fields.clear()
    return _fields.setdefault(text, fields)
