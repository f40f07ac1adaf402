"""The node's part of the network that is the same for every transport: pods wired, rules kept, the plugin installed.

Data: the node's own Node object (pod ranges), all Nodes (addresses that are inside) and CNI calls in; links, addresses, routes
and nftables elements out. Who sends to other nodes how is `agent.exchange`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from moorings_core.client.informer import Informer
from moorings_core.client.resources import NAMESPACES, NODES
from moorings_core.config import backends
from moorings_core.kernel import nftables
from moorings_core.kernel.namespaces import identity, own
from moorings_core.kernel.rtnetlink import Monitor, RtnetlinkError
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.network import Attachment, NetworkError, NotReady, Transport
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Object

from . import egress, install, underlay
from .ipam import Ipam
from .journal import Journal
from .masquerade import TABLE, Masquerade, zones_of
from .pods import PodNetwork
from .policy.follow import PolicyKeeper
from .pool import Blocks, Pool, wish
from .server import Server

log = get_logger(__name__)
PERIOD, CALM = 2.0, 0.25
SMALLEST_MTU = 1280


class CniComponent:
    """Serves CNI on one node.

    Parameters confDir and binDir: where the node's runtime looks, default below the agent's directory; stickyAddresses: a pod of
    a name that this node had before gets the address of then, which StatefulSets' pods make use of; noMasquerade: ranges outside
    of the cluster that pods reach under their own addresses; blockSize: a node without spec.podCIDRs claims blocks of the pod CIDRs
    with this prefix length, see `pool`.
    """

    def __init__(self, context: NodeContext, parameters: Mapping[str, Any]) -> None:
        self._context, self._parameters = context, parameters
        self._conf = Path(parameters.get("confDir") or context.root / "cni/conf.d")
        self._bin = Path(parameters.get("binDir") or context.root / "cni/bin")
        self._socket, self._spool = context.run / "cni.sock", context.root / "cni/spool"
        self._nodes = Informer(context.client, NODES)
        self._namespaces = Informer(context.client, NAMESPACES, transform=_trimmed)
        self._wake = asyncio.Event()
        self._masquerade = Masquerade()
        self.policies = PolicyKeeper(context.client, self._attachments)
        self.network: PodNetwork | None = None
        self._pool: Pool | None = None

    async def run(self) -> None:
        """Recover, then serve and repair until cancelled. Raises OSError when the socket or the journal cannot be had.

        Raises NetworkError for a blockSize of which there is no block.
        """
        blocks = self._blocks()
        ipam = await asyncio.to_thread(self._ipam)
        if ipam.fresh:  # after a reboot the runtime must not think that pods can be wired already
            install.remove_configuration(self._conf)
        self.network = network = PodNetwork(ipam, self._masquerade, self.policies)
        network.on_reserve = self._wake_if_low
        server = Server(network, self._socket, self._spool)
        monitor, rules = Monitor(), nftables.Monitor(elements=False)
        self._nodes.on_change(lambda old, new: self._wake.set())
        self._namespaces.on_change(self._on_namespace)
        try:
            await network.recover()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._nodes.run())
                tasks.create_task(self._namespaces.run())
                tasks.create_task(self.policies.run())
                tasks.create_task(self._listen(monitor))
                tasks.create_task(self._listen_to_rules(rules))
                with suppress(TimeoutError):  # what the kernel has is right until more is known
                    await self._namespaces.synced(PERIOD)
                await self._until_ready(network, blocks)
                install.executables(self._bin, self._socket, self._spool)
                await server.start()
                install.configuration(self._conf)
                log.info("pod network is ready", ranges=",".join(ipam.cidrs), mtu=network.mtu)
                await self._keep(network, server, blocks)
        finally:
            await server.close()
            monitor.close()
            rules.close()
            self._masquerade.close()

    def _blocks(self) -> Blocks | None:
        size = self._parameters.get("blockSize")
        if not size:
            return None
        if not str(size).isdigit():
            raise NetworkError(f"blockSize: expected a prefix length such as 26, got {size!r}")
        self._pool = Pool(self._context.config.network.pod_cidrs, int(size))
        nodes = self._nodes.items
        return Blocks(self._context.client, self._context.name, self._pool, lambda: {k.name: ranges_of(n) for k, n in nodes.items()})

    def _wake_if_low(self) -> None:
        if self._pool and self.network and wish(self.network.ipam, self._pool.size)[0]:
            self._wake.set()

    def _ipam(self) -> Ipam:
        journal = Journal(self._context.root / "cni/attachments.journal")
        return Ipam(journal, boot_id(), sticky=bool(self._parameters.get("stickyAddresses")))

    def _attachments(self) -> Iterable[Attachment]:
        return self.network.ipam.attachments.values() if self.network else ()

    async def _until_ready(self, network: PodNetwork, blocks: Blocks | None) -> None:
        said = ""
        while True:
            self._wake.clear()
            try:
                await self._reconcile(network, blocks)
                if network.ipam.cidrs:
                    return
                raise NotReady("this node has no pod range yet")
            except (NetworkError, RtnetlinkError, OSError) as error:
                if str(error) != said:
                    log.info("pod network is waiting", reason=error)
                    said = str(error)
            await self._next()

    async def _keep(self, network: PodNetwork, server: Server, blocks: Blocks | None) -> None:
        while True:
            await self._next()
            try:
                await self._reconcile(network, blocks)
                await network.sweep()
                await server.drain_spool()
            except (NetworkError, RtnetlinkError, OSError) as error:
                log.warning("pod network not repaired", error=error)

    async def _next(self) -> None:
        """Wait for a change or the period; what comes right after a change is handled with it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._wake.wait()
                await asyncio.sleep(CALM)
        self._wake.clear()

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            await monitor.changed()
            self._wake.set()
            await asyncio.sleep(CALM)

    async def _listen_to_rules(self, monitor: nftables.Monitor) -> None:
        while True:
            if any(change.table in ("", TABLE) for change in await monitor.changes()):
                self._wake.set()
            await asyncio.sleep(CALM)

    async def _take_ranges(self, mine: Object | None, network: PodNetwork, blocks: Blocks | None) -> None:
        told = ranges_of(mine)
        if told or blocks is None or mine is None:
            network.ipam.use(told)
            return
        try:
            await blocks.keep(mine, network.ipam)
        except (ApiError, NetworkError, OSError) as error:
            if not network.ipam.cidrs:
                raise NotReady(str(error)) from error
            log.warning("blocks of pod addresses stay as they are", error=error, free=network.ipam.free)

    async def _reconcile(self, network: PodNetwork, blocks: Blocks | None) -> None:
        mine = self._nodes.get(self._context.name)
        await self._take_ranges(mine, network, blocks)
        cidrs = network.ipam.cidrs
        if cidrs:
            nodes = [address for node in self._nodes.items.values() for address in addresses_of(node)]
            inside = [*nodes, *self._context.addresses, *self._parameters.get("noMasquerade", ())]
            zones = zones_of(cidrs, self._context.config.network.pod_cidrs, inside, await self._sources())
            await asyncio.to_thread(underlay.forward, {ip_network(cidr).version for cidr in cidrs})
            await asyncio.to_thread(self._masquerade.ensure, zones, network.ipam.attachments.values())
            network.mtu = await asyncio.to_thread(self._mtu, addresses_of(mine) or self._context.addresses)
        await network.repair()

    async def _sources(self) -> egress.Sources:
        asking = [namespace for namespace in self._namespaces.items.values() if egress.asked(namespace)]
        return egress.sources(asking, await asyncio.to_thread(egress.own_addresses)) if asking else {}

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if any(egress.asked(namespace) for namespace in (old, new) if namespace):
            self._wake.set()

    def _mtu(self, addresses: tuple[str, ...]) -> int:
        """Return the MTU that pods get: what every transport that the cluster may swap to can carry."""
        told = self._context.config.network.mtu
        if told:
            return told
        found = underlay.find(addresses).link.mtu - self._overhead(addresses)
        if found < SMALLEST_MTU:
            log.warning("MTU for pods is small", mtu=found)
        return found

    def _overhead(self, addresses: tuple[str, ...]) -> int:
        network = self._context.config.network
        transports = [self._transport(name) for name in sorted({network.backend, *network.swap_to})]
        return max((t.overhead(addresses) for t in transports if t), default=0)

    def _transport(self, name: str) -> Transport | None:
        try:
            make = getattr(backends.load("network", name), "transport", None)
        except MooringsError:
            return None
        made: Transport | None = make(self._context, self._parameters) if make else None
        return made


def _trimmed(namespace: Object) -> Object:
    """Return what is kept of a Namespace."""
    metadata, annotations = namespace["metadata"], {egress.EGRESS: egress.asked(namespace)}
    return {"metadata": {"name": metadata["name"], "resourceVersion": metadata["resourceVersion"], "annotations": annotations}}


def boot_id() -> str:
    """Return what names this run of the node: the kernel's boot and the node's network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{identity(own())[1]}"


def ranges_of(node: Object | None) -> tuple[str, ...]:
    """Return a Node's pod ranges."""
    spec = (node or {}).get("spec") or {}
    single = spec.get("podCIDR")
    return tuple(spec.get("podCIDRs") or ([single] if single else []))


def addresses_of(node: Object | None) -> tuple[str, ...]:
    """Return a Node's InternalIPs, in its order."""
    listed = ((node or {}).get("status") or {}).get("addresses") or []
    return tuple(str(item["address"]) for item in listed if item.get("type") == "InternalIP")
