"""The nftables backend of the proxy port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import product
from typing import Any, TypeVar

from moorings_core.kernel.conntrack import Conntrack
from moorings_core.kernel.nftables import Monitor, connect, wire
from moorings_core.log import get_logger
from moorings_core.ports.node import NodeComponent, NodeContext
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Delta, Proxy, ProxySettings, ServiceEntry, Table

from .cleanup import PROTOCOLS, Wanted, stale, suspects
from .family import Family
from .follow import Follower
from .layout import TABLE, Layout
from .packed import PackedTable

T = TypeVar("T")
log = get_logger(__name__)
INLINE = 8
"""A change of so few services is committed on the event loop: it takes less time than a thread's wake-up."""
ONE_BY_ONE = 32
"""Up to so many frontends the kernel filters flows by address and port; beyond, one pass over all flows is cheaper."""


class NftablesProxy:
    """Serves the table by maps in `ip moorings_proxy` and `ip6 moorings_proxy`. See `layout`."""

    def __init__(self, settings: ProxySettings) -> None:
        """Open the sockets; nothing in the kernel is touched yet."""
        self._settings = settings
        with ExitStack() as opened:
            self._connection = opened.enter_context(closing(connect(settings.netns)))
            self._monitor = opened.enter_context(closing(Monitor(self._connection.port, settings.netns)))
            self._conntrack = opened.enter_context(closing(Conntrack(settings.netns)))
            self._sockets = opened.pop_all()
        self._families: Sequence[Family] = self._make_families()
        self._entries = PackedTable()
        self._before: dict[Key, ServiceEntry | None] = {}
        self._turn = asyncio.Lock()

    table = TABLE

    def _make_families(self) -> Sequence[Family]:
        return [Family(Layout(f), self._settings, self._connection) for f in (wire.IPV4, wire.IPV6)]

    async def configure(self, settings: ProxySettings) -> None:
        """Take in other ranges."""
        async with self._turn:
            self._settings = settings
            for family in self._families:
                await asyncio.to_thread(family.configure, settings)

    async def sync(self, table: Table) -> None:
        """Serve exactly this table: what the kernel holds already stays untouched."""
        async with self._turn:
            self._entries = PackedTable(table)
            for family in self._families:
                await asyncio.to_thread(family.sync, self._entries)

    async def change(self, delta: Delta) -> None:
        """Take in changes as one transaction for each family."""
        async with self._turn:
            for name, entry in delta.items():
                self._before.setdefault(name, self._entries.pop(name, None))
                if entry is not None:
                    self._entries[name] = entry
            for family in self._families:
                if len(delta) <= INLINE:
                    family.change(delta)
                else:
                    await asyncio.to_thread(family.change, delta)

    async def flush_conntrack(self, delta: Delta) -> int:
        """Delete UDP and SCTP flows that the services in delta, as they were before, no longer lead anywhere."""
        before = {name: self._before.pop(name, None) for name in delta}
        wanted = suspects(before, delta, self._settings)
        return await asyncio.to_thread(flush, self._conntrack, wanted) if wanted else 0

    async def verify(self) -> int:
        """Repair what somebody else changed."""
        async with self._turn:
            return sum([await asyncio.to_thread(family.verify) for family in self._families])

    async def watch(self) -> None:
        """Return when somebody else touched one of the tables."""
        while not any(change.table in (self.table, "") for change in await self._monitor.changes()):
            pass

    async def handover(self) -> bool:
        """Delete the tables: nothing is left."""
        async with self._turn:
            for family in self._families:
                await asyncio.to_thread(family.remove)
        return True

    async def close(self) -> None:
        """Close the sockets, when the thread of a change that was cancelled is done with them."""
        await asyncio.to_thread(self._sockets.close)


def flush(conntrack: Conntrack, wanted: Wanted) -> int:
    """Delete what is stale among the flows to some frontends; return how many. Blocking."""
    flows = []
    for family, protocol in product((socket.AF_INET, socket.AF_INET6), PROTOCOLS.values()):
        mine = [f for f in wanted if (":" in f.address) == (family == socket.AF_INET6) and f.protocol == protocol]
        if len(mine) > ONE_BY_ONE:
            flows += conntrack.flows(family, protocol)
        else:
            for frontend in mine:
                flows += conntrack.flows(family, protocol, frontend.address, frontend.port)
    return conntrack.delete(stale(flows, wanted))


def backend(context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
    """Return the proxy of this node: the entry point `nftables` of moorings.proxy. It takes no parameters."""
    make: Callable[[ProxySettings], Proxy] = NftablesProxy
    return Follower(context, partial(make))


backend.make = NftablesProxy  # type: ignore[attr-defined]  # for whoever runs it by itself: `moorings proxy`
