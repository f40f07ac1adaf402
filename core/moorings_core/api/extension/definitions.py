"""Serves what the stored CustomResourceDefinitions define, keeps their status, and empties those that go.

Everything follows from the store by its watch: any number of servers come to the same. Source: apiextensions-apiserver
pkg/controller/status, establish, finalizer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from moorings_core.api.cache import Cache, Change, copied
from moorings_core.api.codec import now
from moorings_core.api.context import Context
from moorings_core.api.writes import Writer
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.registry.custom import definition, served, status
from moorings_core.registry.custom.kind import kinds_of, sorted_versions
from moorings_core.registry.kinds import Kind, Registry

log = get_logger(__name__)
SETTLE_SECONDS = 2.0
RETRY_SECONDS = 1.0
GROUP, PLURAL, CLEANUP = definition.GROUP, definition.PLURAL, definition.CLEANUP


class Definitions:
    """Follows the definitions of one cache. forget: called when what is served has changed."""

    def __init__(self, cache: Cache, registry: Registry, writer: Writer, forget: Callable[[], None]) -> None:
        self._cache, self._registry, self._writer, self._forget = cache, registry, writer, forget
        self._made: dict[str, tuple[str, list[Kind]]] = {}
        self._dirty: dict[str, None] = {}
        self._wake, self._changed = asyncio.Event(), asyncio.Event()
        self._emptying: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Serve what is there; call once the cache is loaded."""
        self._cache.collection(GROUP, PLURAL).listeners[self._observe] = None
        self._serve()
        self._mark(crd["metadata"]["name"] for crd in self._all())

    async def run(self) -> None:
        """Keep the status of definitions for ever."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._dirty:
                    name = next(iter(self._dirty))
                    del self._dirty[name]
                    await self._reconcile(name)
        finally:
            for task in self._emptying.values():
                task.cancel()

    async def settled(self, name: str) -> None:
        """Wait a little until a definition is served or refused: a client that makes an object at once finds its kind."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while (crd := self._crd(name)) is not None and not _is_settled(crd):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.warning("definition not settled in time", definition=name)

    def _observe(self, change: Change) -> None:
        newest = change.new or change.old
        assert newest is not None
        crd = newest.object
        old = change.old.object if change.old else None
        if change.new is None or old is None or old.get("status") != crd.get("status") or old["spec"] != crd["spec"]:
            self._serve()
        group = crd["spec"]["group"]
        self._mark(c["metadata"]["name"] for c in self._all() if c["spec"]["group"] == group)
        self._changed.set()

    def _mark(self, names: Iterator[str]) -> None:
        self._dirty |= dict.fromkeys(names)
        self._wake.set()

    def _all(self) -> list[Object]:
        return [s.object for s in self._cache.collection(GROUP, PLURAL).select()]

    def _crd(self, name: str) -> Object | None:
        found = self._cache.collection(GROUP, PLURAL).get(Key("", name))
        return found.object if found is not None else None

    def _serve(self) -> None:
        """Make the registry what the definitions say."""
        made: dict[str, tuple[str, list[Kind]]] = {}
        for crd in self._all():
            if definition.condition(crd, "Established") != "True":
                continue
            name, version = crd["metadata"]["uid"], crd["metadata"]["resourceVersion"]
            known = self._made.get(name)
            made[name] = known if known is not None and known[0] == version else (version, _kinds(crd))
        before, self._made = self._made, made
        kinds = [kind for _, found in made.values() for kind in found]
        versions: dict[str, list[str]] = {}
        for kind in kinds:
            known_versions = versions.setdefault(kind.resource.group, [])
            if kind.resource.version not in known_versions:
                known_versions.append(kind.resource.version)
        self._registry.extend(kinds, {group: sorted_versions(found) for group, found in versions.items()})
        gone = [_place(kind) for _, found in before.values() for kind in found]
        served.replace(gone, {_place(kind): kind.custom for kind in kinds if kind.custom is not None})
        self._forget()

    async def _reconcile(self, name: str) -> None:
        crd = self._crd(name)
        if crd is None:
            return
        try:
            if "deletionTimestamp" in crd["metadata"]:
                self._start_emptying(crd)
            else:
                await self._judge(crd)
        except ApiError as error:
            log.warning("definition not judged", definition=name, error=str(error))
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._mark, iter([name]))

    async def _judge(self, crd: Object) -> None:
        def change(old: Object) -> Object:
            group, uid = old["spec"]["group"], old["metadata"]["uid"]
            others = [c for c in self._all() if c["spec"]["group"] == group and c["metadata"]["uid"] != uid]
            new: Object = copied(old)
            new["status"] = status.judged(old, others, now())
            return new

        if change(crd) != crd:
            await self._write(crd, change, "status")

    async def _write(self, crd: Object, change: Callable[[Object], Object], subresource: str = "") -> None:
        try:
            await self._writer.mutate(self._kind(), key_of(crd), change, Context(), subresource)
        except NotFound:
            return

    def _kind(self) -> Kind:
        found = self._registry.lookup(GROUP, "v1", PLURAL)
        assert found is not None
        return found

    def _start_emptying(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        running = self._emptying.get(name)
        if CLEANUP in (crd["metadata"].get("finalizers") or ()) and (running is None or running.done()):
            self._emptying[name] = asyncio.create_task(self._empty(name))

    async def _empty(self, name: str) -> None:
        """Delete the instances of a definition, wait until they are gone, and let it go."""
        while True:
            try:
                await self._empty_once(name)
                return
            except ApiError as error:
                log.warning("instances not deleted", definition=name, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _empty_once(self, name: str) -> None:
        crd = self._crd(name)
        if crd is None:
            return
        collection = self._cache.collection(crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if definition.condition(crd, "Established") == "True" and (kind := _storage_kind(crd)) is not None:
            text = "CustomResource deletion is in progress"
            await self._write(crd, _terminating(True, "InstanceDeletionInProgress", text), "status")
            gone = asyncio.Event()
            listener: Callable[[Change], None] = lambda _: gone.set()  # noqa: E731
            collection.listeners[listener] = None
            try:
                while items := list(collection.select()):
                    gone.clear()
                    for item in items:
                        if "deletionTimestamp" not in item.object["metadata"]:
                            await self._delete(kind, key_of(item.object))
                    if list(collection.select()):
                        await gone.wait()
            finally:
                collection.listeners.pop(listener, None)
            await self._write(crd, _terminating(False, "InstanceDeletionCompleted", "removed all instances"), "status")
        await self._write(crd, _without_cleanup)

    async def _delete(self, kind: Kind, key: Key) -> None:
        try:
            await self._writer.delete(kind, key, Context())
        except NotFound:
            return


def _kinds(crd: Object) -> list[Kind]:
    """Return what a definition makes; one that can't be understood makes nothing, and does not stop the others."""
    try:
        return kinds_of(crd)
    except (KeyError, TypeError, ValueError, StopIteration):
        log.exception("definition not understood", definition=crd["metadata"]["name"])
        return []


def _is_settled(crd: Object) -> bool:
    return definition.condition(crd, "Established") == "True" or definition.condition(crd, "NamesAccepted") == "False"


def _place(kind: Kind) -> tuple[str, str, str]:
    return kind.resource.group, kind.resource.version, kind.resource.plural


def _storage_kind(crd: Object) -> Kind | None:
    """Return the kind of the stored version, served or not."""
    versions = [{**v, "served": True} for v in definition.storage_versions(crd)]
    return next(iter(kinds_of({**crd, "spec": {**crd["spec"], "versions": versions}})), None)


def _terminating(holds: bool, reason: str, text: str) -> Callable[[Object], Object]:
    def change(old: Object) -> Object:
        new: Object = copied(old)
        new["status"] = status.terminating(old, holds, reason, text, now())
        return new

    return change


def _without_cleanup(old: Object) -> Object:
    new: Object = copied(old)
    new["metadata"]["finalizers"] = [f for f in new["metadata"].get("finalizers") or () if f != CLEANUP]
    return new
