"""The node component around a proxy backend: follows Services, EndpointSlices and ServiceCIDRs and hands on what changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from moorings_core.client.informer import Informer
from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICE_CIDRS, SERVICES
from moorings_core.kernel import memory
from moorings_core.log import get_logger
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Key, Object
from moorings_core.ports.proxy import Delta, Proxy, ProxyError, ProxySettings, ServiceEntry

from .health import HealthServers
from .model import ZONE, Place, kept_of_service, kept_of_slice, service_entry
from .packed import PackedTable

log = get_logger(__name__)
COALESCE = 0.005
"""Seconds to wait for more after a first event: a rollout comes as a burst."""
VERIFY_EVERY = 300.0
HEAL_DELAY = 0.2
"""Seconds from a foreign change to the repair: whoever flushes may not have finished."""
RETRY = 1.0
PAGE = 500
"""Objects in one page of a list: what a page takes in memory is given back before the next one comes."""
LEAVE_EVERY = 10.0
"""Seconds between looks whether the last connection of a backend that is to go has ended."""


class Observer(Protocol):
    """Who is told what a follower does: metrics and health checks. Times are seconds."""

    def queued(self, *, services: int, slices: int) -> None:
        """Objects have changed that are not served yet."""

    def synced(self, took: float, *, full: bool, delta: Delta, changes: Collection[Object]) -> None:
        """The kernel serves what has changed, delta (full: all there is); changes: the EndpointSlices that brought this about."""

    def failed(self) -> None:
        """The kernel refused; it is going to be tried again."""


class Nobody:
    """An observer that looks away."""

    def queued(self, *, services: int, slices: int) -> None:
        """Ignore it."""

    def synced(self, took: float, *, full: bool, delta: Delta, changes: Collection[Object]) -> None:
        """Ignore it."""

    def failed(self) -> None:
        """Ignore it."""


class Follower:
    """Keeps a proxy backend at what the API says, for one node."""

    def __init__(self, context: NodeContext, make: Callable[[ProxySettings], Proxy], observer: Observer | None = None) -> None:
        self._context, self._make = context, make
        self._observer = observer or Nobody()
        self.serving = asyncio.Event()
        """Set once the kernel serves everything that the API knew of at the start."""
        self._leaving = asyncio.Event()
        self._services = Informer(context.client, SERVICES, transform=kept_of_service, page=PAGE, packed=True)
        self._slices = Informer(
            context.client, ENDPOINT_SLICES, transform=lambda piece: kept_of_slice(piece, context.name), page=PAGE, packed=True
        )
        self._nodes = Informer(context.client, NODES, fields=f"metadata.name={context.name}")
        self._cidrs = Informer(context.client, SERVICE_CIDRS)
        self._slices.add_index("service", _service_of)
        config = context.config
        self._settings = ProxySettings(config.network.pod_cidrs, config.services.cidrs, context.addresses, cgroup=context.cgroup)
        self._place = Place(context.name, "", context.addresses)
        self._served = PackedTable()
        self._dirty: set[Key] = set()
        self._changes: list[Object] = []
        self._woken = asyncio.Event()
        self._health = HealthServers(context.addresses)

    async def run(self) -> None:
        """Serve until cancelled. Raises what the backend raises when it cannot work at all."""
        proxy = self._make(self._settings)
        try:
            working, leaving = asyncio.create_task(self._work(proxy)), asyncio.create_task(self._leaving.wait())
            try:
                await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                for task in (working, leaving):
                    task.cancel()
                await asyncio.gather(working, leaving, return_exceptions=True)
            await self._hand_over(proxy)
        finally:
            try:
                await self._health.close()
            finally:
                await proxy.close()

    def leave(self) -> None:
        """Let another backend serve: `run` removes this one from the kernel, once its connections have ended, and returns."""
        self._leaving.set()

    async def _work(self, proxy: Proxy) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in (self._services, self._slices, self._nodes, self._cidrs):
                group.create_task(informer.run())
            await self._start(proxy)
            group.create_task(self._follow(proxy))
            group.create_task(self._heal(proxy))

    async def _hand_over(self, proxy: Proxy) -> None:
        await self._health.close()
        while True:
            try:
                if await proxy.handover():
                    return
            except (ProxyError, OSError) as error:
                log.warning("not handed over yet", error=str(error), retry=LEAVE_EVERY)
            await asyncio.sleep(LEAVE_EVERY)

    async def _start(self, proxy: Proxy) -> None:
        for informer in (self._services, self._slices, self._nodes, self._cidrs):
            await informer.synced(timeout=3600)
        await self._take_ranges(proxy)
        self._look_around(None, self._nodes.get(self._context.name))
        self._listen()  # from here on nothing is missed, and up to the next `await` nothing changes
        table = PackedTable()
        for name in self._services.items:
            if (entry := self._entry(name)) is not None:
                table[name] = entry
        self._observer.queued(services=len(self._services.items), slices=len(self._slices.items))
        started = time.monotonic()
        await proxy.sync(table)
        self._served = table
        flushed = await proxy.flush_conntrack(table)
        await self._health.serve(table)
        self._observer.synced(time.monotonic() - started, full=True, delta=table, changes=())
        self.serving.set()
        memory.release()
        log.info("serving", services=len(table), flows_deleted=flushed)

    def _listen(self) -> None:
        self._cidrs.on_change(lambda old, new: self._woken.set(), known=False)
        self._services.on_change(lambda old, new: self._touch(_key(new or old)), known=False)
        self._slices.on_change(self._slice_changed, known=False)
        self._nodes.on_change(self._look_around, known=False)

    async def _follow(self, proxy: Proxy) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(COALESCE)
            self._woken.clear()
            dirty, self._dirty = self._dirty, set()
            changes, self._changes = self._changes, []
            started = time.monotonic()
            try:
                await self._take_ranges(proxy)
                delta = self._delta(dirty)
                if not delta:
                    self._observer.synced(0, full=False, delta={}, changes=())
                    continue
                await proxy.change(delta)
                self._took(delta)
                await proxy.flush_conntrack(delta)
                await self._health.serve(delta)
                self._observer.synced(time.monotonic() - started, full=False, delta=delta, changes=changes)
            except (ProxyError, OSError) as error:
                log.error("change failed", services=len(dirty), error=str(error), retry=RETRY)
                self._observer.failed()
                self._dirty |= dirty
                self._changes[:0] = changes
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
                await asyncio.to_thread(memory.release)
            except (ProxyError, OSError) as error:
                log.error("repair failed", error=str(error), retry=RETRY)
                await asyncio.sleep(RETRY)

    async def _take_ranges(self, proxy: Proxy) -> None:
        """Tell the backend of ranges of addresses that were added to the cluster, or taken from it."""
        added = (cidr for obj in self._cidrs.items.values() for cidr in obj["spec"].get("cidrs") or ())
        wanted = replace(self._settings, service_cidrs=tuple(dict.fromkeys((*self._context.config.services.cidrs, *added))))
        if wanted != self._settings:
            await proxy.configure(wanted)
            self._settings = wanted

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

    def _touch(self, name: Key, *, slices: int = 0) -> None:
        self._observer.queued(services=1 - slices, slices=slices)
        self._dirty.add(name)
        self._woken.set()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._changes.append(new)
        names = {text for obj in (old, new) if obj for text in _service_of(obj)}
        for text in names:
            self._touch(Key(*text.split("/", 1)), slices=1)

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
    return [piece["service"]] if piece["service"] else []
