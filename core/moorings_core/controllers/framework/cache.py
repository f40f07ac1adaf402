"""Caches that have read what we wrote: the informer's state with our own acknowledged writes laid over it.

Watches lag behind writes. A controller that looked at the informer alone would act twice on what it has just done, so each answer
to a write is taken in at once ("assumed") and the informer's older news about that object is passed over until it has caught up.
An assumption that the informer does not confirm within ASSUME_SECONDS gives way to it: wrong for a bounded time at worst.
resourceVersions are compared as numbers (one counter for the whole API; KEP-5504 makes that official).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from moorings_core.client.informer import Handler, IndexFunction
from moorings_core.ports.client import ObjectList
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Key, Object, Resource, key_of

from .intents import Question

ASSUME_SECONDS = 300.0  # as long as upstream's expectations live
GRAVES = 8192
Answer = Object | ObjectList | ApiError


class Cache:
    """One collection. Objects are shared: never change one."""

    def __init__(self, resource: Resource, clock: Callable[[], float]) -> None:
        self.resource, self._clock = resource, clock
        self._items: dict[Key, Object] = {}
        self._told: dict[Key, Object] = {}
        self._assumed: OrderedDict[Key, float] = OrderedDict()
        self._condemned: dict[Key, tuple[str, str]] = {}
        self._graves: OrderedDict[str, None] = OrderedDict()
        self._functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[Key, Object]]] = {}
        self._handlers: list[Handler] = []
        self.add_index("namespace", lambda obj: (obj["metadata"].get("namespace", ""),))
        self.add_index("uid", lambda obj: (obj["metadata"].get("uid", ""),))

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._items.values()))

    def __len__(self) -> int:
        return len(self._items)

    def get(self, name: str, namespace: str = "") -> Object | None:
        """Return one object, or None."""
        return self._items.get(Key(namespace, name))

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        """Return the objects that an index holds under value."""
        return list(self._indexes[index].get(value, {}).values())

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep objects findable under every value that function returns; adding the same index again is no change."""
        if name in self._functions:
            return
        self._functions[name], self._indexes[name] = function, {}
        for key, obj in self._items.items():
            self._index(name, key, None, obj)

    def on_change(self, handler: Handler) -> None:
        """Call handler(old, new) at every change from now on, and at once for what is there."""
        self._handlers.append(handler)
        for obj in list(self._items.values()):
            handler(None, obj)

    def observe(self, old: Object | None, new: Object | None) -> None:
        """Take the informer's news in; it is a `Handler`."""
        self.expire()
        if new is None:
            if old is not None:
                self._observe_removal(old)
            return
        key = key_of(new)
        self._told[key] = new
        known = self._items.get(key)
        if known is not None and key in self._assumed and _version(known) > _version(new) and _same(known, new):
            return
        if (doomed := self._doomed(key, new)) is not new:
            self._set(key, doomed)  # news from before our delete: it stays assumed
            return
        self._assumed.pop(key, None)
        self._set(key, new)

    def assume(self, obj: Object) -> None:
        """Take in the answer to our own write, unless the informer is further already."""
        key = key_of(obj)
        known = self._items.get(key)
        if obj["metadata"].get("uid") in self._graves or (known is not None and _version(known) >= _version(obj)):
            return
        self._hold(key, self._doomed(key, obj))

    def assume_deleted(self, key: Key, uid: str, when: str) -> None:
        """A delete of ours was accepted: until the informer tells more, the object counts as being deleted since `when`."""
        known = self._items.get(key)
        if known is None or (uid and known["metadata"].get("uid") != uid) or known["metadata"].get("deletionTimestamp"):
            return
        self._condemned[key] = (known["metadata"].get("uid", ""), when)
        self._hold(key, self._doomed(key, known))

    def expire(self) -> None:
        """Let the informer be right about what it has not confirmed in time."""
        now = self._clock()
        while self._assumed and next(iter(self._assumed.values())) <= now:
            key, _ = self._assumed.popitem(last=False)
            self._condemned.pop(key, None)
            told = self._told.get(key)
            if told is not self._items.get(key):
                self._set(key, told)

    def _observe_removal(self, old: Object) -> None:
        key, uid = key_of(old), old["metadata"].get("uid", "")
        self._told.pop(key, None)
        self._condemned.pop(key, None)
        self._graves[uid] = None
        if len(self._graves) > GRAVES:
            self._graves.popitem(last=False)
        known = self._items.get(key)
        if known is not None and known["metadata"].get("uid", "") == uid:
            self._assumed.pop(key, None)
            self._set(key, None)

    def _doomed(self, key: Key, obj: Object) -> Object:
        """Return obj as it looks once our delete of it is seen, if there is one."""
        uid, when = self._condemned.get(key, ("", ""))
        if not when or uid != obj["metadata"].get("uid", "") or _deleting(obj):
            self._condemned.pop(key, None)
            return obj
        return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": when}}

    def _hold(self, key: Key, obj: Object) -> None:
        self._assumed.pop(key, None)
        self._assumed[key] = self._clock() + ASSUME_SECONDS
        self._set(key, obj)

    def _set(self, key: Key, new: Object | None) -> None:
        old = self._items.get(key)
        if old is new or (old and new and _version(old) == _version(new) and _same(old, new) and _deleting(old) == _deleting(new)):
            if new is not None:
                self._items[key] = new
                self._reindex(key, old, new)
            return
        if new is None:
            del self._items[key]
        else:
            self._items[key] = new
        self._reindex(key, old, new)
        for handler in self._handlers:
            handler(old, new)

    def _reindex(self, key: Key, old: Object | None, new: Object | None) -> None:
        for name in self._functions:
            self._index(name, key, old, new)

    def _index(self, name: str, key: Key, old: Object | None, new: Object | None) -> None:
        function, index = self._functions[name], self._indexes[name]
        for value in function(old) if old is not None else ():
            bucket = index.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del index[value]
        if new is not None:
            for value in function(new):
                index.setdefault(value, {})[key] = new


@dataclass(frozen=True, slots=True)
class View:
    """What a reconcile may look at: caches by resource, the answers to its questions, how its last intents were refused."""

    caches: Mapping[Resource, Cache]
    answers: Mapping[Question, Answer] = field(default_factory=dict)
    errors: Sequence[ApiError] = ()

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """Return one object, or None."""
        return self.caches[resource].get(name, namespace)

    def all(self, resource: Resource) -> Sequence[Object]:
        """Return a whole collection."""
        return list(self.caches[resource])

    def within(self, resource: Resource, namespace: str) -> Sequence[Object]:
        """Return the objects of a namespace."""
        return self.caches[resource].by_index("namespace", namespace)

    def by_index(self, resource: Resource, index: str, value: str) -> Sequence[Object]:
        """Return the objects that an index declared in a Watch holds under value."""
        return self.caches[resource].by_index(index, value)


def _version(obj: Object) -> int:
    try:
        return int(obj["metadata"].get("resourceVersion") or 0)
    except ValueError:
        return 0


def _same(one: Object, other: Object) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))


def _deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))
