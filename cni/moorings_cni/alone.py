"""The CNI server without a cluster: pods of one machine, addresses of ranges that are told. `moorings cni serve`.

With a kubeconfig it is the whole pod network of a node of any Kubernetes: ranges from Node.spec.podCIDRs, or claimed block by block,
the transport to other nodes, and NetworkPolicy.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.kernel import nftables, rtnetlink
from moorings_core.kernel.rtnetlink import Monitor, RtnetlinkError
from moorings_core.log import get_logger
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.network import NetworkError
from moorings_core.ports.node import NodeContext

from . import install, underlay
from .component import boot_id
from .ipam import Ipam
from .journal import Journal
from .masquerade import TABLE, Masquerade, zones_of
from .pods import PodNetwork
from .server import Server

log = get_logger(__name__)
PERIOD, CALM = 2.0, 0.25
USUAL_MTU = 1500


@dataclass(frozen=True, slots=True)
class Options:
    """What `moorings cni serve` is told. inside: what pods reach under their own address, beside cidrs; mtu 0: found.

    block_size: in a cluster, nodes claim blocks of this prefix length out of cidrs; 0: Node.spec.podCIDRs say what is a node's.
    """

    bin_dir: Path
    conf_dir: Path
    root: Path
    run: Path
    cidrs: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    mtu: int = 0
    sticky: bool = False
    block_size: int = 0


async def serve(options: Options) -> None:
    """Serve until cancelled; what was wired stays. Raises OSError."""
    journal = Journal(options.root / "attachments.journal")
    ipam = await asyncio.to_thread(lambda: Ipam(journal, boot_id(), sticky=options.sticky))
    ipam.use(options.cidrs)
    masquerade, monitor, rules = Masquerade(), Monitor(), nftables.Monitor(elements=False)
    network = PodNetwork(ipam, masquerade)
    socket, spool = options.run / "cni.sock", options.root / "spool"
    server = Server(network, socket, spool)
    changed = asyncio.Event()
    try:
        await network.recover()
        await _keep(options, network, masquerade)
        install.executables(options.bin_dir, socket, spool)
        await server.start()
        install.configuration(options.conf_dir)
        log.info("pod network is ready", ranges=",".join(options.cidrs), mtu=network.mtu)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_listen(monitor, changed))
            tasks.create_task(_listen_to_rules(rules, changed))
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD):
                        await changed.wait()
                changed.clear()
                try:
                    await _keep(options, network, masquerade)
                    await network.sweep()
                    await server.drain_spool()
                except (NetworkError, RtnetlinkError, OSError) as error:
                    log.warning("pod network not repaired", error=error)
    finally:
        await server.close()
        monitor.close()
        rules.close()
        masquerade.close()


async def _listen(monitor: Monitor, changed: asyncio.Event) -> None:
    while True:
        await monitor.changed()
        await asyncio.sleep(CALM)
        changed.set()


async def _listen_to_rules(monitor: nftables.Monitor, changed: asyncio.Event) -> None:
    while True:
        if any(change.table in ("", TABLE) for change in await monitor.changes()):
            changed.set()
        await asyncio.sleep(CALM)


async def _keep(options: Options, network: PodNetwork, masquerade: Masquerade) -> None:
    zones = zones_of(options.cidrs, options.inside, await asyncio.to_thread(_own_addresses))
    await asyncio.to_thread(underlay.forward, {ip_network(cidr).version for cidr in options.cidrs})
    await asyncio.to_thread(masquerade.ensure, zones, network.ipam.attachments.values())
    network.mtu = options.mtu or await asyncio.to_thread(found_mtu)
    await network.repair()


def _own_addresses() -> list[str]:
    with rtnetlink.connect() as connection:
        return [str(entry.address.ip) for entry in connection.addresses() if not entry.address.is_loopback and entry.scope == 0]


def found_mtu() -> int:
    """Return the MTU of the links by which the machine's default routes leave; without any, what Ethernet has."""
    with rtnetlink.connect() as connection:
        links = {link.index: link.mtu for link in connection.links()}
        ways = [r.link for family in (2, 10) for r in connection.routes(family) if not r.destination.prefixlen and r.link]
    return min((links[index] for index in ways if index in links), default=USUAL_MTU)


async def serve_cluster(options: Options, kubeconfig: Path, name: str, addresses: tuple[str, ...], backend: str) -> None:
    """Be the pod network of a node of the cluster that the kubeconfig is for, until cancelled."""
    from moorings_core.agent.network import NetworkExchange

    client = HttpClient.from_kubeconfig(kubeconfig)
    config = ClusterConfig()
    network = replace(
        config.network, backend=backend, pod_cidrs=options.cidrs or options.inside or config.network.pod_cidrs, mtu=options.mtu
    )
    context = NodeContext(name, addresses, client, replace(config, network=network), options.root, options.run)
    parameters = {"binDir": str(options.bin_dir), "confDir": str(options.conf_dir), "stickyAddresses": options.sticky}
    parameters |= {"blockSize": options.block_size, "noMasquerade": options.inside}
    try:
        await NetworkExchange(context, parameters).run()
    finally:
        await client.close()


async def until_stopped(work: Awaitable[None]) -> None:
    """Do work until SIGTERM or SIGINT."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
