"""The node component around a proxy backend: follows Services and EndpointSlices and hands on what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from moorings_core.client.informer import Informer
from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Key, Object
from moorings_core.ports.proxy import Delta, Proxy, ProxyError, ProxySettings, ServiceEntry

from .health import HealthServers
from .model import SERVICE_NAME, ZONE, Place, service_entry

log = get_logger(__name__)
COALESCE = 0.005
"""Seconds to wait for more after a first event: a rollout comes as a burst."""
VERIFY_EVERY = 300.0
HEAL_DELAY = 0.2
"""Seconds from a foreign change to the repair: whoever flushes may not have finished."""
RETRY = 1.0


class Follower:
    """Keeps a proxy backend at what the API says, for one node."""

    def __init__(self, context: NodeContext, make: Callable[[ProxySettings], Proxy]) -> None:
        self._context, self._make = context, make
        self._services = Informer(context.client, SERVICES)
        self._slices = Informer(context.client, ENDPOINT_SLICES)
        self._nodes = Informer(context.client, NODES, fields=f"metadata.name={context.name}")
        self._slices.add_index("service", _service_of)
        self._place = Place(context.name, "", context.addresses)
        self._served: dict[Key, ServiceEntry] = {}
        self._dirty: set[Key] = set()
        self._woken = asyncio.Event()
        self._health = HealthServers(context.addresses)

    async def run(self) -> None:
        """Serve until cancelled. Raises what the backend raises when it cannot work at all."""
        config = self._context.config
        settings = ProxySettings(config.network.pod_cidrs, config.services.cidrs, self._context.addresses)
        proxy = self._make(settings)
        try:
            async with asyncio.TaskGroup() as group:
                for informer in (self._services, self._slices, self._nodes):
                    group.create_task(informer.run())
                await self._start(proxy)
                group.create_task(self._follow(proxy))
                group.create_task(self._heal(proxy))
        finally:
            try:
                await self._health.close()
            finally:
                await proxy.close()

    async def _start(self, proxy: Proxy) -> None:
        for informer in (self._services, self._slices, self._nodes):
            await informer.synced(timeout=3600)
        self._look_around(None, self._nodes.get(self._context.name))
        table = {name: entry for name in self._services.items if (entry := self._entry(name)) is not None}
        await proxy.sync(table)
        self._served = table
        flushed = await proxy.flush_conntrack(table)
        await self._health.serve(table)
        log.info("serving", services=len(table), flows_deleted=flushed)
        self._services.on_change(lambda old, new: self._touch(_key(new or old)))
        self._slices.on_change(self._slice_changed)
        self._nodes.on_change(self._look_around)

    async def _follow(self, proxy: Proxy) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(COALESCE)
            self._woken.clear()
            dirty, self._dirty = self._dirty, set()
            delta = self._delta(dirty)
            if not delta:
                continue
            try:
                await proxy.change(delta)
                self._took(delta)
                await proxy.flush_conntrack(delta)
                await self._health.serve(self._served)
            except (ProxyError, OSError) as error:
                log.error("change failed", services=len(delta), error=str(error), retry=RETRY)
                self._dirty |= dirty
                await asyncio.sleep(RETRY)
                self._woken.set()

    async def _heal(self, proxy: Proxy) -> None:
        while True:
            try:
                async with asyncio.timeout(VERIFY_EVERY):
                    await proxy.watch()
                await asyncio.sleep(HEAL_DELAY)
            except TimeoutError:
                pass
            try:
                if count := await proxy.verify():
                    log.warning("repaired", differences=count)
            except (ProxyError, OSError) as error:
                log.error("repair failed", error=str(error), retry=RETRY)
                await asyncio.sleep(RETRY)

    def _delta(self, names: set[Key]) -> Delta:
        found = {name: self._entry(name) for name in names}
        return {name: entry for name, entry in found.items() if entry != self._served.get(name)}

    def _took(self, delta: Delta) -> None:
        for name, entry in delta.items():
            if entry is None:
                self._served.pop(name, None)
            else:
                self._served[name] = entry

    def _entry(self, name: Key) -> ServiceEntry | None:
        service = self._services.get(name.name, name.namespace)
        return service_entry(service, self._slices.by_index("service", str(name)), self._place) if service else None

    def _touch(self, name: Key) -> None:
        self._dirty.add(name)
        self._woken.set()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            for text in _service_of(obj) if obj else ():
                self._touch(Key(*text.split("/", 1)))

    def _look_around(self, old: Object | None, new: Object | None) -> None:
        """Take in the node's zone: hints depend on it."""
        labels = ((new or {}).get("metadata") or {}).get("labels") or {}
        place = Place(self._context.name, str(labels.get(ZONE, "")), self._context.addresses)
        if place != self._place:
            self._place = place
            for name in self._services.items:
                self._touch(name)


def _key(obj: Object | None) -> Key:
    metadata = (obj or {})["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def _service_of(piece: Object) -> list[str]:
    metadata = piece["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []
