"""The backend: nftables serves everything, and programs spare it what sockets of the node can be told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moorings_core.kernel import bpf
from moorings_core.kernel.namespaces import own
from moorings_core.kernel.nftables import wire
from moorings_core.log import get_logger
from moorings_core.ports.proxy import Delta, ProxyError, ProxySettings, Table
from moorings_proxy.cleanup import suspects
from moorings_proxy.family import Family
from moorings_proxy.layout import Layout
from moorings_proxy.nftables import INLINE, NftablesProxy

from . import flows
from .hooks import Hooks, directory_of
from .sockets import Sockets

TABLE = "moorings_ebpf"
log = get_logger(__name__)


class EbpfProxy(NftablesProxy):
    """Serves the table by programs on the node's cgroup and, under another name, by the tables of nftables."""

    table = TABLE

    def __init__(self, settings: ProxySettings) -> None:
        """Open the sockets. Raises ProxyError when this machine lacks what programs need."""
        try:
            if problem := bpf.missing():
                raise ProxyError(problem)
            self._cgroup = directory_of(settings.cgroup)
        except ProxyError as error:
            raise ProxyError(f"the proxy backend ebpf can't work here: {error}") from error
        self._hooks, self._led = Hooks(self._cgroup), Sockets()
        super().__init__(settings)
        self._sockets.callback(self._hooks.close)

    def _make_families(self) -> Sequence[Family]:
        return [Family(Layout(f, TABLE), self._settings, self._connection) for f in (wire.IPV4, wire.IPV6)]

    async def sync(self, table: Table) -> None:
        """Serve exactly this table. Raises ProxyError, with nothing touched, where the programs can't be made or loaded."""
        try:
            await asyncio.to_thread(self._hooks.open)
        except (ProxyError, OSError) as error:
            raise ProxyError(f"the proxy backend ebpf can't work here: {error}") from error
        await super().sync(table)
        async with self._turn:
            await asyncio.to_thread(self._fill)

    async def change(self, delta: Delta) -> None:
        """Take in changes: in the tables first, as what the programs do not know goes there."""
        await super().change(delta)
        async with self._turn:
            if len(delta) <= INLINE:
                self._change(delta)
            else:
                await asyncio.to_thread(self._change, delta)

    async def flush_conntrack(self, delta: Delta) -> int:
        """Delete flows that lead nowhere any more, those that the kernel tracks and those of sockets."""
        before = {name: self._before.get(name) for name in delta}
        wanted = suspects(before, delta, self._settings)
        tracked = await super().flush_conntrack(delta)
        async with self._turn:
            namespaces = flows.namespaces_of(self._settings.netns or own(), self._cgroup)
            return tracked + await asyncio.to_thread(flows.end, wanted, self._hooks.maps, namespaces)

    async def verify(self) -> int:
        """Repair what somebody else changed; programs that were detached are loaded again."""
        count = await super().verify()
        async with self._turn:
            return count + await asyncio.to_thread(self._repair)

    async def handover(self) -> bool:
        """Let the programs go, then the tables: connected sockets have their endpoints' addresses and need neither."""
        async with self._turn:
            await asyncio.to_thread(self._hooks.remove)
        return await super().handover()

    def _fill(self) -> None:
        self._led.sync(self._entries, *self._maps())
        self._hooks.settle()

    def _change(self, delta: Delta) -> None:
        try:
            self._led.change(delta, *self._maps())
        except OSError as error:
            log.warning("change refused, comparing with the kernel", error=str(error))
            self._led.repair(*self._maps())

    def _repair(self) -> int:
        intact = self._hooks.intact()
        if not intact:
            self._hooks.open()
        return (not intact) + self._led.repair(*self._maps())

    def _maps(self) -> tuple[bpf.Map, bpf.Map]:
        return self._hooks.maps["frontends"], self._hooks.maps["backends"]
