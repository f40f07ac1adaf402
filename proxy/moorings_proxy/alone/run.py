"""Runs a backend by itself: from a kubeconfig to a served node."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.informer import Informer
from moorings_core.client.resources import NODES, SERVICE_CIDRS
from moorings_core.config.backends import load
from moorings_core.log import get_logger
from moorings_core.ports.cluster import ClusterConfig, NetworkConfig, ServicesConfig
from moorings_core.ports.errors import ApiError, MooringsError, NotFound
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Object
from moorings_core.ports.proxy import Proxy, ProxySettings
from moorings_proxy.follow import Follower, Observer
from moorings_proxy.pages import PLAIN, Page, listen

from .metrics import Metrics

log = get_logger(__name__)
NODE_SECONDS, RETRY = 30.0, 0.5
NOWHERE = Path("/nonexistent")


class NotAlone(MooringsError):
    """The backend can't be run by itself."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. pod_cidrs empty: the Node's; addresses of servers are "ADDRESS:PORT", "" for none.

    cgroup: see ProxySettings.
    """

    kubeconfig: Path
    backend: str
    node: str
    pod_cidrs: tuple[str, ...] = ()
    metrics: str = ""
    healthz: str = ""
    address: str = ""
    cgroup: str = ""


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; what is in the kernel goes on serving. Raises MooringsError, OSError."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    client = HttpClient.from_kubeconfig(options.kubeconfig, user_agent="moorings-proxy")
    metrics = Metrics()
    try:
        context = await _context(client, options)
        nodes = Informer(client, NODES, fields=f"metadata.name={options.node}")
        async with contextlib.AsyncExitStack() as servers, asyncio.TaskGroup() as tasks:
            for address, routes in _pages(options, metrics, lambda: nodes.get(options.node)):
                await servers.enter_async_context(await listen(routes, address))
            running = [tasks.create_task(nodes.run()), tasks.create_task(_follower(options.backend, context, metrics).run())]
            await stopped.wait()
            for task in running:
                task.cancel()
    finally:
        await client.close()


async def remove(options: Options) -> None:
    """Remove what the backend has in the kernel."""
    proxy: Proxy = _make(options.backend)(ProxySettings(cgroup=options.cgroup))
    while not await proxy.handover():
        await asyncio.sleep(RETRY)
    await proxy.close()


def _make(backend: str) -> Callable[[ProxySettings], Proxy]:
    """Return what makes the backend: the entry point says it. Raises NotAlone."""
    make: Callable[[ProxySettings], Proxy] | None = getattr(load("proxy", backend), "make", None)
    if make is None:
        raise NotAlone(f"the proxy backend {backend} does not say how it is made by itself (its entry point has no `make`)")
    return make


def _follower(backend: str, context: NodeContext, observer: Observer) -> Follower:
    return Follower(context, _make(backend), observer)


async def _context(client: HttpClient, options: Options) -> NodeContext:
    node = await _node(client, options.node)
    spec, status = (node or {}).get("spec") or {}, (node or {}).get("status") or {}
    listed = tuple(str(a["address"]) for a in status.get("addresses") or () if a.get("type") == "InternalIP")
    addresses = listed or ((options.address,) if options.address else ())
    pods = options.pod_cidrs or tuple(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))
    config = ClusterConfig(network=NetworkConfig(pod_cidrs=pods), services=ServicesConfig(cidrs=await _service_cidrs(client)))
    log.info("starting", node=options.node, backend=options.backend, addresses=",".join(addresses), pods=",".join(pods))
    return NodeContext(options.node, addresses, client, config, NOWHERE, NOWHERE, options.cgroup)


async def _node(client: HttpClient, name: str) -> Object | None:
    """Return the Node, None if it does not come within NODE_SECONDS: then the node's addresses and pods are unknown."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NODE_SECONDS):
            while True:
                try:
                    return await client.get(NODES, name)
                except NotFound:
                    log.info("waiting for the Node", node=name)
                except (ApiError, OSError) as error:
                    log.warning("waiting for the API", error=str(error))
                await asyncio.sleep(RETRY)
    log.warning("no Node, going on without its addresses and pod ranges", node=name)
    return None


async def _service_cidrs(client: HttpClient) -> tuple[str, ...]:
    """Return the first range of the cluster; others are followed later. Clusters before 1.33 have none."""
    try:
        found = await client.get(SERVICE_CIDRS, "kubernetes")
    except ApiError:
        return ()
    return tuple(found["spec"].get("cidrs") or ())


def _pages(options: Options, metrics: Metrics, node: Callable[[], Object | None]) -> Iterable[tuple[str, dict[str, Page]]]:
    def health(*, live: bool) -> tuple[int, str, bytes]:
        code, body = metrics.health(node=node(), live=live)
        return code, "application/json", body

    if options.metrics:
        pages: dict[str, Page] = {"/metrics": lambda: (200, PLAIN, metrics.page()), "/healthz": lambda: (200, PLAIN, b"ok")}
        yield options.metrics, pages | {"/proxyMode": lambda: (200, PLAIN, options.backend.encode())}
    if options.healthz:
        yield options.healthz, {"/healthz": lambda: health(live=False), "/livez": lambda: health(live=True)}
