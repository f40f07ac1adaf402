"""The agent's network: the backend's component that wires pods, and the loop that does the exchange's steps.

Data: Nodes and the ConfigMap kube-system/moorings in; annotations of the own Node out; transports found by entry point act on
the kernel. See `exchange` for the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import yaml

from moorings_core.client.informer import Informer
from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.config import backends
from moorings_core.kernel.rtnetlink import Monitor
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.network import ACCEPTS, ERROR, RANGES, SENDS, NetworkError, Peer, Transport
from moorings_core.ports.node import NodeComponent, NodeContext
from moorings_core.ports.objects import Object

from .exchange import Actual, Step, joined, listed, next_step, view_of

log = get_logger(__name__)
PERIOD, CALM = 2.0, 1.0
CONFIG_NAMESPACE, CONFIG_NAME, CONFIG_KEY = "kube-system", "moorings", "cluster.yaml"
FAILURES = (MooringsError, OSError, ImportError)


class NetworkExchange:
    """The network of one node, as a `NodeComponent`: what the agent runs for `network:` of the cluster file."""

    def __init__(self, context: NodeContext, parameters: Mapping[str, Any] | None = None) -> None:
        self._context = context
        self._parameters = context.config.network.parameters if parameters is None else parameters
        self._nodes = Informer(context.client, NODES)
        self._configs = Informer(context.client, CONFIG_MAPS, CONFIG_NAMESPACE, fields=f"metadata.name={CONFIG_NAME}")
        self._wake = asyncio.Event()
        self._transports: dict[str, Transport] = {}
        self._actual = Actual()
        self._announced_at = 0
        self._errors: dict[str, str] = {}
        self._started = self._swept = False
        self.component: NodeComponent | None = None

    async def run(self) -> None:
        """Wire pods and follow the configuration until cancelled. Raises UnknownBackend, and what the component raises."""
        backend = backends.load("network", self._context.config.network.backend)
        self.component = component = backend(self._context, self._parameters)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(component.run())
            if hasattr(backend, "transport"):
                tasks.create_task(self._follow())

    async def _follow(self) -> None:
        monitor = Monitor()
        self._nodes.on_change(lambda old, new: None if _says_the_same(old, new) else self._wake.set())
        self._configs.on_change(lambda old, new: self._wake.set())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._nodes.run())
                tasks.create_task(self._configs.run())
                tasks.create_task(self._listen(monitor))
                await self._nodes.synced()
                await self._configs.synced()
                while True:
                    await self._cycle()
                    await self._next()
        finally:
            monitor.close()

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            await monitor.changed()
            self._wake.set()
            await asyncio.sleep(CALM)

    async def _next(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._wake.wait()
        self._wake.clear()

    @property
    def desired(self) -> str:
        """The transport that the cluster's configuration names now."""
        config = self._configs.get(CONFIG_NAME, CONFIG_NAMESPACE)
        text = ((config or {}).get("data") or {}).get(CONFIG_KEY, "")
        return backend_of(text) or self._context.config.network.backend

    async def _cycle(self) -> None:
        """Keep what is done already, then do the next safe step if the view has all that was announced."""
        mine = self._nodes.get(self._context.name)
        if mine is None:
            return
        own, peers = self._peers(mine)
        if not self._started:
            self._actual.accepts = set(view_of(mine).accepts & backends.installed("network").keys())
            self._started = True
        await self._keep(own, peers)
        if int(mine["metadata"]["resourceVersion"]) < self._announced_at:
            return
        views = [view_of(node) for node in self._nodes.items.values()]
        step = next_step(self.desired, views, self._context.name, self._actual)
        await self._announce(mine, await self._do(step, own, peers))

    def _peers(self, mine: Object) -> tuple[Peer, list[Peer]]:
        others = [peer_of(node) for node in self._nodes.items.values() if node is not mine]
        own = peer_of(mine, self._context.addresses)
        return own, sorted((p for p in others if p.addresses and p.pod_cidrs), key=lambda peer: peer.name)

    async def _keep(self, own: Peer, peers: list[Peer]) -> None:
        """Level-triggered: say again what holds already, so that whatever somebody changed is put back."""
        for name in sorted(self._actual.accepts):
            await self._try(name, lambda transport: transport.accept(own, peers))
        if self._actual.sends:
            await self._try(self._actual.sends, lambda transport: transport.carry(own, peers))

    async def _do(self, step: Step, own: Peer, peers: list[Peer]) -> Step:
        """Do a step; return it with what failed taken out of what is announced."""
        failed = set()
        for name in sorted(step.accept):
            if await self._try(name, lambda transport: transport.accept(own, peers)):
                self._actual.accepts.add(name)
                log.info("transport accepted", transport=name)
            else:
                failed.add(name)
        sends = step.announce_sends
        if step.send:
            if await self._try(step.send, lambda transport: transport.carry(own, peers)):
                log.info("transport carries", transport=step.send, before=self._actual.sends)
                self._actual.sends = step.send
            else:
                sends |= frozenset(filter(None, (self._actual.sends,)))
        for name in sorted(step.withdraw | self._leftovers(step)):
            if await self._try(name, lambda transport: transport.withdraw()):
                log.info("transport withdrawn", transport=name)
                self._actual.accepts.discard(name)
        self._errors = {name: words for name, words in self._errors.items() if name in step.announce_accepts}
        return Step(announce_accepts=step.announce_accepts - failed, announce_sends=sends)

    def _leftovers(self, step: Step) -> frozenset[str]:
        """Transports of an earlier life of this agent that nobody wants: asked for once."""
        if not self._actual.sends or self._swept:
            return frozenset()
        self._swept = True
        mine = view_of(self._nodes.get(self._context.name) or {"metadata": {"name": ""}})
        names = frozenset(self._context.config.network.swap_to) & frozenset(backends.installed("network"))
        return names - step.announce_accepts - mine.accepts - frozenset(self._actual.accepts)

    async def _try(self, name: str, work: Callable[[Transport], Awaitable[None]]) -> bool:
        """Do something with a transport; return whether it went well. A failure, or that it is not installed, is noted."""
        try:
            await work(self._transport(name))
        except FAILURES as error:
            if self._errors.get(name) != str(error):
                log.warning("transport failed", transport=name, error=error)
            self._errors[name] = str(error)
            return False
        self._errors.pop(name, None)
        return True

    def _transport(self, name: str) -> Transport:
        if name not in self._transports:
            make = getattr(backends.load("network", name), "transport", None)
            if make is None:
                raise NetworkError(f"{name} is no transport that can be exchanged on a running cluster")
            self._transports[name] = make(self._context, self._parameters)
        return self._transports[name]

    async def _announce(self, mine: Object, step: Step) -> None:
        error = "; ".join(f"{name}: {words}" for name, words in sorted(self._errors.items()))
        wanted = {ACCEPTS: joined(step.announce_accepts), SENDS: joined(step.announce_sends), ERROR: error or None}
        have = mine["metadata"].get("annotations") or {}
        if all(_same(name, value, have.get(name)) for name, value in wanted.items()):
            return
        try:
            patch = {"metadata": {"annotations": wanted}}
            node = await self._context.client.patch(NODES, self._context.name, "", patch)
            self._announced_at = int(node["metadata"]["resourceVersion"])
        except (ApiError, OSError) as failure:
            log.warning("network state not announced", error=failure)


def _says_the_same(old: Object | None, new: Object | None) -> bool:
    """Whether a change of a Node is nothing to its peers, as nearly all are: every node says every few seconds that it lives."""
    return old is not None and new is not None and (peer_of(old), view_of(old)) == (peer_of(new), view_of(new))


def _same(name: str, wanted: str | None, have: str | None) -> bool:
    return wanted == have if name == ERROR else have is not None and listed(wanted) == listed(have)


@lru_cache(maxsize=2)
def backend_of(text: str) -> str:
    """Return network.backend of a cluster file's text; "" when it does not say or cannot be read. Pure."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        log.warning("cluster configuration cannot be read", error=str(error).replace("\n", " "))
        return ""
    network = tree.get("network") if isinstance(tree, dict) else None
    return str((network or {}).get("backend") or "") if isinstance(network, dict) else ""


def peer_of(node: Object, addresses: Iterable[str] = ()) -> Peer:
    """Return a Node as its peers see it; addresses where its status has none yet. Pure."""
    metadata, spec = node["metadata"], node.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    listed_addresses = (node.get("status") or {}).get("addresses") or []
    own = tuple(str(a["address"]) for a in listed_addresses if a.get("type") == "InternalIP") or tuple(addresses)
    single = [spec["podCIDR"]] if spec.get("podCIDR") else []
    ranges = spec.get("podCIDRs") or single or annotations.get(RANGES, "").replace(",", " ").split()
    return Peer(metadata["name"], own, tuple(ranges), dict(annotations))
