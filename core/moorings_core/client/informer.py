"""A cache that follows one collection: list, then watch from there, for ever. Level-triggered and self-healing.

After any break it lists again and reports the difference as changes, so a handler may miss intermediate states and never a
final one. Handlers run on the event loop, in order, and must not block.
"""

from __future__ import annotations

import asyncio
import marshal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, Expired, Gone
from moorings_core.ports.objects import Key, Object, Resource, key_of

Handler = Callable[[Object | None, Object | None], None]
"""Called as handler(old, new): (None, new) for an addition, (old, new) for a change, (old, None) for a removal."""

IndexFunction = Callable[[Object], Iterable[str]]
Transform = Callable[[Object], Object]
"""Returns what is kept of an object; name, namespace and resourceVersion have to stay where they are."""

log = get_logger(__name__)
RETRY_FIRST, RETRY_MOST = 0.1, 5.0


class _Decoded(Mapping[Key, Object]):
    """Objects that are kept as bytes: each is decoded when it is asked for."""

    def __init__(self, kept: Mapping[Key, bytes]) -> None:
        self._kept = kept

    def __getitem__(self, key: Key) -> Object:
        return _unpack(self._kept[key])

    def __iter__(self) -> Iterator[Key]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


class Informer:
    """The newest known state of a collection. Objects are shared: never change one."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        transform: Transform | None = None,
        page: int = 0,
        packed: bool = False,
    ) -> None:
        """page: objects that are listed at once; 0: all. With a transform a page is transformed before the next one comes.

        packed: keep objects as bytes, for those who have many and look at few: a small object takes a third of the memory so.
        """
        self.resource = resource
        self._page = page
        self._transform = transform or (lambda obj: obj)
        self._client, self._namespace, self._labels, self._fields = client, namespace, labels, fields
        self._pack: Callable[[Object], Any] = _pack if packed else _as_it_is
        self._read: Callable[[Any], Object] = _unpack if packed else _as_it_is
        self._kept: dict[Key, Any] = {}
        self._items: Mapping[Key, Object] = _Decoded(self._kept) if packed else MappingProxyType(self._kept)
        self._handlers: list[Handler] = []
        self._index_functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, Key | dict[Key, None]]] = {}
        self._synced = asyncio.Event()
        self.problem = ""
        """Why what is known here may be old: the API can't be followed at the moment; "" while it can."""

    @property
    def items(self) -> Mapping[Key, Object]:
        """Every object by key."""
        return self._items

    def get(self, name: str, namespace: str = "") -> Object | None:
        """Return one object, or None."""
        return self._items.get(Key(namespace, name))

    def on_change(self, handler: Handler, *, known: bool = True) -> None:
        """Call handler at every change from now on, and (known) at once for what is there."""
        self._handlers.append(handler)
        for obj in list(self._items.values()) if known else ():
            handler(None, obj)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep objects findable under every value that function returns for them."""
        self._index_functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._items.items():
            self._index_one(name, key, None, obj)

    def by_index(self, name: str, value: str) -> Sequence[Object]:
        """Return the objects that index `name` holds under value."""
        bucket = self._indexes[name].get(value, {})
        return [self._items[key] for key in ((bucket,) if isinstance(bucket, Key) else bucket)]

    async def synced(self, timeout: float = 60) -> None:
        """Wait until the first list has been taken in. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._synced.wait()

    @property
    def has_synced(self) -> bool:
        """Whether the first list has been taken in."""
        return self._synced.is_set()

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        delay = RETRY_FIRST
        while True:
            try:
                version = await self._relist()
                self.problem = ""
                delay = RETRY_FIRST
                await self._follow(version)
            except (Expired, Gone):
                continue
            except (ApiError, OSError, TimeoutError) as error:
                self.problem = str(error) or type(error).__name__
                log.warning("informer broken", resource=self.resource.plural, error=str(error), retry=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MOST)

    async def _relist(self) -> str:
        fresh, version = await self._list()
        for key in [key for key in self._kept if key not in fresh]:
            self._apply(key, None)
        for key, obj in fresh.items():
            known = self._items.get(key)
            if known is None or _version(known) != _version(self._read(obj)):
                self._apply(key, obj)
        self._synced.set()
        return version

    async def _list(self) -> tuple[dict[Key, Any], str]:
        """Return the whole collection, what is kept of it, as of one version. Raises Expired when it became too old on the way."""
        fresh: dict[Key, Any] = {}
        rest: Any = {"limit": self._page} if self._page else {}
        while True:
            page = await self._client.list(self.resource, self._namespace, labels=self._labels, fields=self._fields, **rest)
            for obj in page.items:
                namespace, name = key_of(obj)
                fresh[Key(sys.intern(namespace), name)] = self._pack(self._transform(obj))
            if not page.continue_:
                return fresh, page.version
            rest["continue_"] = page.continue_

    async def _follow(self, version: str) -> None:
        while True:
            async for event in self._client.watch(self.resource, self._namespace, since=version, labels=self._labels, fields=self._fields):
                version = _version(event.object)
                if event.type == "BOOKMARK":
                    continue
                gone = event.type == "DELETED"
                self._apply(key_of(event.object), None if gone else self._pack(self._transform(event.object)))
            await asyncio.sleep(0)  # a server that closes at once must not starve the loop

    def _apply(self, key: Key, kept: Any) -> None:
        """Take in what is kept of an object now, None: it is gone."""
        before = self._kept.pop(key, None) if kept is None else self._kept.get(key)
        if kept is not None:
            self._kept[key] = kept
        elif before is None:
            return
        old, new = (None if each is None else self._read(each) for each in (before, kept))
        for name in self._indexes:
            self._index_one(name, key, old, new)
        for handler in self._handlers:
            handler(old, new)

    def _index_one(self, name: str, key: Key, old: Object | None, new: Object | None) -> None:
        """Keep an index: a value that one object has, as most have in some, takes no dict of its own."""
        function, index = self._index_functions[name], self._indexes[name]
        for value in function(old) if old is not None else ():
            bucket = index.get(value)
            if isinstance(bucket, dict):
                bucket.pop(key, None)
            if not bucket or bucket == key:
                index.pop(value, None)
        for value in function(new) if new is not None else ():
            bucket = index.setdefault(value, key)
            if isinstance(bucket, Key) and bucket != key:
                index[value] = {bucket: None, key: None}
            elif isinstance(bucket, dict):
                bucket[key] = None


def _pack(obj: Object) -> bytes:
    """Encode, and copy: what an encoder returns lies in a buffer that was cut short, and the rest is lost to others."""
    return bytes(memoryview(marshal.dumps(obj)))


def _unpack(kept: bytes) -> Object:
    obj: Object = marshal.loads(kept)
    return obj


def _as_it_is(obj: Any) -> Any:
    return obj


def _version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])
