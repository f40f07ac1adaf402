"""Custom kinds for the controllers that take every kind: namespaces are emptied of them, and the garbage collector follows their owners.

A kind that is established gets an informer and a cache; one that goes loses its informer, and its cache is empty by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from typing import Protocol, runtime_checkable

from moorings_core.client.informer import Informer
from moorings_core.client.resources import CUSTOM_RESOURCE_DEFINITIONS
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.custom import definition

from .framework import Cache, Loop, Watch

log = get_logger(__name__)
SYNC_SECONDS = 30.0


@runtime_checkable
class Adopting(Protocol):
    """A controller that takes kinds in while it runs."""

    def adopt(self, resource: Resource) -> Watch | None:
        """Return how a further kind is watched, or None where it is of no concern."""


class CustomKinds:
    """Follows the definitions, for as long as the controllers run."""

    def __init__(self, client: Client, caches: MutableMapping[Resource, Cache], loops: Sequence[Loop], clock: Callable[[], float]) -> None:
        self._client, self._caches, self._clock = client, caches, clock
        self._loops = [loop for loop in loops if isinstance(loop.controller, Adopting)]
        self._running: dict[str, tuple[Resource, asyncio.Task[None]]] = {}
        self._adopted: set[Resource] = set()

    async def run(self) -> None:
        """Run until cancelled."""
        informer = Informer(self._client, CUSTOM_RESOURCE_DEFINITIONS)
        informer.on_change(self._observe)
        try:
            await informer.run()
        finally:
            for _, task in self._running.values():
                task.cancel()

    def _observe(self, old: Object | None, new: Object | None) -> None:
        changed = new or old
        assert changed is not None
        name = changed["metadata"]["name"]
        wanted = _resource(new) if new is not None and definition.condition(new, "Established") == "True" else None
        running = self._running.get(name)
        if running is not None and running[0] != wanted:
            running[1].cancel()
            del self._running[name]
        if wanted is not None and name not in self._running:
            self._running[name] = wanted, asyncio.create_task(self._follow(wanted), name=f"informer {wanted.plural}")

    async def _follow(self, resource: Resource) -> None:
        cache = self._caches.setdefault(resource, Cache(resource, self._clock))
        informer = Informer(self._client, resource)
        informer.on_change(cache.observe)
        task = asyncio.create_task(informer.run())
        try:
            try:
                await informer.synced(SYNC_SECONDS)
            except TimeoutError:
                log.warning("custom kind not listed in time", resource=resource.plural, group=resource.group)
            if resource not in self._adopted:
                self._adopted.add(resource)
                for loop in self._loops:
                    watch = loop.controller.adopt(resource) if isinstance(loop.controller, Adopting) else None
                    if watch is not None:
                        loop.watch(watch)
            await task
        finally:
            task.cancel()


def _resource(crd: Object) -> Resource | None:
    """Return one served version of a kind, the stored one if it can be."""
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    versions = sorted((v for v in spec["versions"] if v.get("served")), key=lambda v: not v.get("storage"))
    if not versions:
        return None
    return Resource(spec["group"], versions[0]["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced")
