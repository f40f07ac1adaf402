"""The client of a component that lives in the server's process: the API's own pipeline, without HTTP and without JSON."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Sequence

from moorings_core.api.admission import now
from moorings_core.api.admission.attributes import Operation
from moorings_core.api.cache import copied
from moorings_core.api.context import Context, User, WriteOptions
from moorings_core.api.core import ApiCore
from moorings_core.api.reads import ListOptions
from moorings_core.api.turns import Turns
from moorings_core.api.watches import Watcher, WatchOptions
from moorings_core.api.writes import Pending
from moorings_core.ports.client import Create, Delete, ObjectList, Patch, PatchType, Propagation, Update, WatchEvent, Write
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Key, Object, Resource, key_of
from moorings_core.ports.store import PreconditionFailed
from moorings_core.registry.forms import is_shared, shown

Results = list[Object | ApiError | None]


class LocalClient:
    """`ports.client.Client` in process. Objects are shared with the cache: never change one."""

    def __init__(self, core: ApiCore, user: User) -> None:
        self._core, self._user = core, user

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Return one object. Raises NotFound."""
        return await self._core.get(resource, Key(namespace, name), subresource)

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> ObjectList:
        """Return a page of a collection."""
        listing = await self._core.reader.list(resource, ListOptions(namespace, labels, fields, limit, continue_))
        objects = [s.object for s in listing.items]
        shared = is_shared(resource)
        return ObjectList([shown(resource, o) for o in objects] if shared else objects, listing.version, listing.continue_)

    async def watch(
        self, resource: Resource, namespace: str = "", *, since: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes after a version."""
        watcher = Watcher(self._core.cache, resource, WatchOptions(namespace, labels, fields, since))
        async for event in watcher.events(self._core.reader):
            yield WatchEvent(event.type, shown(resource, event.object) if is_shared(resource) else event.object)

    async def create(self, resource: Resource, obj: Object, *, subresource: str = "", name: str = "") -> Object:
        """Create an object."""
        namespace = obj.get("metadata", {}).get("namespace", "")
        if subresource:
            return await self._core.create_subresource(resource, Key(namespace, name), subresource, obj, self._context())
        return await self._core.writer.create(self._core.kind(resource), namespace, copied(obj), self._context())

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace an object."""
        return await self._core.writer.update(self._core.kind(resource), key_of(obj), obj, self._context(), subresource)

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object | Sequence[Object],
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        """Change part of an object."""
        key = Key(namespace, name)
        return await self._core.writer.patch(self._core.kind(resource), key, patch, type, self._context(), subresource)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: Propagation = "",
        version: str = "",
    ) -> None:
        """Delete an object."""
        context = self._context(WriteOptions(uid=uid, grace=grace, propagation=propagation, version=version))
        await self._core.writer.delete(self._core.kind(resource), Key(namespace, name), context)

    async def commit(self, writes: Sequence[Write]) -> Sequence[Object | ApiError]:
        """Do many writes in one store commit; one that fails leaves the others alone."""
        results: Results = [None] * len(writes)
        planned: builtins.list[tuple[int, Pending]] = []
        touched: set[tuple[str, Key]] = set()
        later: builtins.list[int] = []
        waiting: builtins.list[int] = []
        turns = Turns()
        for index, write in enumerate(writes):
            place = (write.resource.plural, _key(write))
            if place in touched and place[1].name:
                later.append(index)  # a second write to one object must see the first
                continue
            touched.add(place)
            if self._waits(write):
                waiting.append(index)
                continue
            try:
                pending = self._plan(write)
                if pending.beside:  # more than one operation: alone, so that of a batch each is one
                    self._core.writer.settled(pending)
                    waiting.append(index)
                else:
                    planned.append((index, pending))
            except ApiError as error:
                results[index] = error
            await turns.give()
        for start in range(0, len(planned), self._core.store.most):
            await self._commit_all(planned[start : start + self._core.store.most], results)
        for index, result in zip(waiting, await asyncio.gather(*(self._one(writes[i]) for i in waiting)), strict=True):
            results[index] = result
        for index in later:
            results[index] = await self._one(writes[index])
        return [result if result is not None else await self._one(writes[i]) for i, result in enumerate(results)]

    async def close(self) -> None:
        """Nothing to release."""

    async def _commit_all(self, planned: Sequence[tuple[int, Pending]], results: Results) -> None:
        """Commit what was planned; where somebody was faster, leave None: the caller does those one by one."""
        stored = [(i, p) for i, p in planned if p.operation is not None]
        for index, pending in planned:
            if pending.operation is None:
                results[index] = pending.result
        while stored:
            try:
                revisions = await self._core.store.commit([p.operation for _, p in stored if p.operation is not None])
            except PreconditionFailed as error:
                _, lost = stored.pop(error.index)
                self._core.writer.settled(lost)
                continue
            await self._core.cache.wait_for(max(revisions))
            for (index, pending), revision in zip(stored, revisions, strict=True):
                self._core.writer.settled(pending)
                results[index] = self._core.writer.settled_object(pending, revision)
            return

    def _waits(self, write: Write) -> bool:
        """Whether somebody outside must be asked about a write."""
        operation: Operation = "CREATE" if isinstance(write, Create) else "DELETE" if isinstance(write, Delete) else "UPDATE"
        subresource = "" if isinstance(write, Delete) else write.subresource
        if subresource == "eviction":
            return True
        return self._core.admission.concerns(operation, write.resource, subresource, _key(write).namespace)

    def _plan(self, write: Write) -> Pending:
        return now(self._planning(write))

    async def _planning(self, write: Write) -> Pending:
        core, kind, context = self._core, self._core.kind(write.resource), self._context()
        match write:
            case Create():
                if write.subresource:
                    namespace = write.object.get("metadata", {}).get("namespace", "")
                    key = Key(namespace, write.name)
                    return await core.plan_subresource(write.resource, key, write.subresource, write.object, context)
                obj = copied(write.object)
                return await core.writer.plan_create(kind, obj.get("metadata", {}).get("namespace", ""), obj, context)
            case Update():
                change = core.writer.replacement(kind, key_of(write.object), write.object)
                return await core.writer.plan_change(kind, key_of(write.object), change, context, write.subresource)
            case Patch():
                key = Key(write.namespace, write.name)
                change = core.writer.patching(kind, key, write.patch, write.type)
                return await core.writer.plan_change(kind, key, change, context, write.subresource)
            case Delete():
                options = WriteOptions(uid=write.uid, grace=write.grace, propagation=write.propagation, version=write.version)
                return await core.writer.plan_delete(kind, Key(write.namespace, write.name), self._context(options))

    async def _one(self, write: Write) -> Object | ApiError:
        try:
            match write:
                case Create():
                    return await self.create(write.resource, write.object, subresource=write.subresource, name=write.name)
                case Update():
                    return await self.update(write.resource, write.object, subresource=write.subresource)
                case Patch():
                    place = (write.resource, write.name, write.namespace, write.patch)
                    return await self.patch(*place, type=write.type, subresource=write.subresource)
                case Delete():
                    options = {"uid": write.uid, "grace": write.grace, "propagation": write.propagation, "version": write.version}
                    await self.delete(write.resource, write.name, write.namespace, **options)  # type: ignore[arg-type]
                    return {}
        except ApiError as error:
            return error

    def _context(self, options: WriteOptions | None = None) -> Context:
        return Context(self._user, options or WriteOptions(field_validation="Ignore"))


def _key(write: Write) -> Key:
    match write:
        case Create():
            metadata = write.object.get("metadata", {})
            return Key(metadata.get("namespace", ""), write.name or metadata.get("name", ""))
        case Update():
            return key_of(write.object)
        case Patch() | Delete():
            return Key(write.namespace, write.name)
