"""The backend: nftables marks, virtual servers choose, routes bring the packets in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from moorings_core.kernel.ipvs import Ipvs, IpvsMissing
from moorings_core.kernel.nftables import Connection, wire
from moorings_core.kernel.nftables.changes import Changes
from moorings_core.kernel.rtnetlink import Route
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Delta, ProxyError, ProxySettings, ServiceEntry, Table
from moorings_proxy.family import Family
from moorings_proxy.layout import MARKED, MASK
from moorings_proxy.nftables import NftablesProxy
from moorings_proxy.render import Rendered, Server

from . import routes
from .layout import TABLE, IpvsLayout, IpvsRenderer, Marks, routed
from .servers import Servers

DRAIN_EVERY = 30.0
"""Seconds between looks for real servers whose last connection has ended."""


class IpvsFamily(Family):
    """One family: what Family does for nftables, with virtual servers made before what leads to them and removed after."""

    def __init__(self, layout: IpvsLayout, settings: ProxySettings, connection: Connection, ipvs: Ipvs) -> None:
        super().__init__(layout, settings, connection)
        self.servers = Servers(ipvs, layout, lambda mark: mark & MASK == MARKED)
        self._marks = Marks()

    def _render(self, name: Key, entry: ServiceEntry) -> Rendered:
        return IpvsRenderer(self.layout, name, entry, self._marks, self._settings).run()

    def _changed(self, old: Mapping[int, Server] | None, new: Mapping[int, Server]) -> None:
        self.servers.want(old, new)

    def _commit(self, changes: Changes) -> None:
        self.servers.come()
        super()._commit(changes)
        self.servers.go()
        self._marks.keep(self.servers.marks)

    def _compare(self, desired: Mapping[str, Mapping[bytes, bytes]], *, only_if_different: bool) -> int:
        return self.servers.repair() + super()._compare(desired, only_if_different=only_if_different)


class IpvsProxy(NftablesProxy):
    """Serves the table by IP virtual servers. See `layout`."""

    table = TABLE

    def __init__(self, settings: ProxySettings) -> None:
        """Open the sockets. Raises ProxyError when this kernel lacks IP virtual servers."""
        try:
            self._ipvs = Ipvs(settings.netns)
        except IpvsMissing as error:
            raise ProxyError(f"the proxy backend ipvs can't work here: {error.strerror}") from error
        super().__init__(settings)
        self._sockets.callback(self._ipvs.close)

    def _make_families(self) -> Sequence[Family]:
        self._ipvs_families = [IpvsFamily(IpvsLayout(f), self._settings, self._connection, self._ipvs) for f in (wire.IPV4, wire.IPV6)]
        return self._ipvs_families

    async def configure(self, settings: ProxySettings) -> None:
        """Take in other ranges: they are routed here, too."""
        await super().configure(settings)
        await self._route(self._entries)

    async def sync(self, table: Table) -> None:
        """Serve exactly this table."""
        await self._route(table)
        await super().sync(table)
        await self._route(self._entries, whole=True)

    async def change(self, delta: Delta) -> None:
        """Take in changes."""
        await self._route({name: entry for name, entry in delta.items() if entry})
        async with self._turn:
            await asyncio.to_thread(self._change, delta)
        await self._route(self._entries, whole=True)

    def _change(self, delta: Delta) -> None:
        for name, entry in delta.items():
            self._before.setdefault(name, self._entries.pop(name, None))
            if entry is not None:
                self._entries[name] = entry
        for family in self._families:
            family.change(delta)

    async def verify(self) -> int:
        """Repair what somebody else changed, and let go what has no connection left."""
        count = await asyncio.to_thread(routes.apply, self._routes(self._entries), self._settings.netns, only_add=self._drains)
        return count + await super().verify()

    async def watch(self) -> None:
        """Return when somebody touched the tables, or it is time to look for real servers that have drained."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_EVERY if self._drains else None):
                await super().watch()

    async def handover(self) -> bool:
        """Take no new flows; those that are there go on until they end."""
        await super().handover()
        async with self._turn:
            gone = await asyncio.to_thread(lambda: [family.servers.leave() for family in self._ipvs_families])
            if all(gone):
                await asyncio.to_thread(routes.apply, (), self._settings.netns)
        return all(gone)

    @property
    def _drains(self) -> bool:
        return any(family.servers.draining for family in self._ipvs_families)

    def _routes(self, table: Mapping[Key, ServiceEntry]) -> set[Route]:
        return routes.wanted({a for entry in table.values() for a in routed(entry, self._settings)}, self._settings)

    async def _route(self, table: Mapping[Key, ServiceEntry], *, whole: bool = False) -> None:
        """Route a table's addresses here; whole: it is all there is, so others go, but not while connections may need them."""
        only_add = not whole or self._drains
        await asyncio.to_thread(routes.apply, self._routes(table), self._settings.netns, only_add=only_add)
