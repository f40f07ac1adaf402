"""A client of an API that is a dict: lists, watches, writes with resourceVersion checks. For tests of node components."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from moorings_core.ports.client import ObjectList, WatchEvent
from moorings_core.ports.errors import AlreadyExists, Conflict, NotFound
from moorings_core.ports.objects import Key, Object, Resource, key_of


class MemoryClient:
    """One shared state; every component of a test gets the same client."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Object]] = {}
        self.events: list[tuple[str, int, WatchEvent]] = []
        self.changed = asyncio.Condition()
        self.version = 0
        self.uids = itertools.count(1)
        self.writes = 0
        self.down = False

    def _bucket(self, resource: Resource) -> dict[Key, Object]:
        if self.down:
            raise OSError("the API is down")
        return self.objects.setdefault(resource.plural, {})

    async def _put(self, resource: Resource, obj: Object, event: str) -> Object:
        self.version += 1
        self.writes += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        if event == "DELETED":
            self._bucket(resource).pop(key_of(obj), None)
        else:
            self._bucket(resource)[key_of(obj)] = obj
        async with self.changed:
            self.events.append((resource.plural, self.version, WatchEvent(event, obj)))
            self.changed.notify_all()
        return copy.deepcopy(obj)

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        try:
            return copy.deepcopy(self._bucket(resource)[Key(namespace, name)])
        except KeyError:
            raise NotFound(f"{resource.plural} {name} not found") from None

    async def list(self, resource: Resource, namespace: str = "", **more: Any) -> ObjectList:
        labels = dict(part.split("=") for part in (more.get("labels") or "").split(",") if part)
        field = (more.get("fields") or "").removeprefix("metadata.name=")
        items = [
            copy.deepcopy(obj)
            for key, obj in self._bucket(resource).items()
            if namespace in ("", key.namespace)
            and field in ("", key.name)
            and labels.items() <= (obj["metadata"].get("labels") or {}).items()
        ]
        return ObjectList(items, str(self.version))

    async def watch(self, resource: Resource, namespace: str = "", *, since: str, **more: Any) -> AsyncIterator[WatchEvent]:
        field = (more.get("fields") or "").removeprefix("metadata.name=")
        at = next((i for i, (_, v, _) in enumerate(self.events) if v > int(since)), len(self.events))
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: len(self.events) > at)  # noqa: B023
            while at < len(self.events):
                plural, _, event = self.events[at]
                at += 1
                key = key_of(event.object)
                if plural == resource.plural and namespace in ("", key.namespace) and field in ("", key.name):
                    yield WatchEvent(event.type, copy.deepcopy(event.object))

    async def create(self, resource: Resource, obj: Object, *, subresource: str = "", name: str = "") -> Object:
        obj = copy.deepcopy(obj)
        obj["metadata"].setdefault("uid", f"uid-{next(self.uids)}")
        if key_of(obj) in self._bucket(resource):
            raise AlreadyExists(f"{key_of(obj)} exists")
        return await self._put(resource, obj, "ADDED")

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        obj = copy.deepcopy(obj)
        have = self._bucket(resource).get(key_of(obj))
        if have is None:
            raise NotFound(f"{key_of(obj)} not found")
        wanted = obj["metadata"].get("resourceVersion")
        if wanted and wanted != have["metadata"]["resourceVersion"]:
            raise Conflict(f"{key_of(obj)} has changed")
        obj["metadata"].setdefault("uid", have["metadata"]["uid"])
        if subresource == "status":
            obj = {**copy.deepcopy(have), "status": obj.get("status", {})}
        elif "status" in have:
            obj["status"] = have["status"]
        return await self._put(resource, obj, "MODIFIED")

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object | Sequence[Object],
        *,
        type: str = "merge",
        subresource: str = "",
    ) -> Object:
        assert type == "merge" and isinstance(patch, dict)
        obj = await self.get(resource, name, namespace)
        wanted = (patch.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != obj["metadata"]["resourceVersion"]:
            raise Conflict(f"{name} has changed")
        merge(obj, patch)
        return await self._put(resource, obj, "MODIFIED")

    async def delete(self, resource: Resource, name: str, namespace: str = "", **more: Any) -> None:
        await self._put(resource, await self.get(resource, name, namespace), "DELETED")

    async def commit(self, writes: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def merge(target: Object, patch: Object) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value
