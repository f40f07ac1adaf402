"""The agent's service proxy, and its exchange on a running cluster: the next one serves before the one before it goes.

Data: the ConfigMap kube-system/moorings in; annotations of the own Node out. Both backends serve the same table meanwhile, so which of
them a connection meets does not matter; established ones stay with the one that they began with (see ports/proxy: handover).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import yaml

from moorings_core.client.informer import Informer
from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.config import backends
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.node import NodeContext
from moorings_core.ports.proxy import BACKEND, ERROR, ProxyComponent

log = get_logger(__name__)
CONFIG_NAMESPACE, CONFIG_NAME, CONFIG_KEY = "kube-system", "moorings", "cluster.yaml"
FAILURES = (MooringsError, OSError, ImportError)
RETRY, RETRY_MOST, CHECK = 0.5, 10.0, 5.0
Make = Callable[[str], ProxyComponent]


class ProxyExchange:
    """The proxy of one node, as a `NodeComponent`: what the agent runs for `services:` of the cluster file."""

    def __init__(self, context: NodeContext, make: Make | None = None) -> None:
        """make returns the component of a backend by its name; default: by entry point."""
        self._context = context
        self._make = make or self._by_entry_point
        self._configs = Informer(context.client, CONFIG_MAPS, CONFIG_NAMESPACE, fields=f"metadata.name={CONFIG_NAME}")
        self._wake = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()
        self._current: tuple[str, ProxyComponent, asyncio.Task[None]] | None = None
        self._refused = ""
        """A backend that could not start here: not tried again before another one is chosen."""

    async def run(self) -> None:
        """Serve and follow the choice until cancelled. Raises what ends a backend that served."""
        self._configs.on_change(lambda old, new: self._wake.set())
        following = asyncio.create_task(self._configs.run())
        try:
            await self._begin()
            while True:
                await self._step()
                await self._next()
        finally:
            tasks = [following, *self._leaving, *([self._current[2]] if self._current else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def desired(self) -> str:
        """The backend that the cluster's configuration names now."""
        config = self._configs.get(CONFIG_NAME, CONFIG_NAMESPACE)
        return chosen(((config or {}).get("data") or {}).get(CONFIG_KEY, "")) or self._context.config.services.backend

    async def _begin(self) -> None:
        """Start what is chosen; at the very start there is nothing to go on with when it refuses, so that is tried for ever."""
        with suppress(TimeoutError):
            await self._configs.synced(timeout=CHECK)  # without the API the file of the start says what to do
        delay = RETRY
        while (started := await self._start(self.desired)) is None:
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST)
            self._refused = ""
        self._current = started
        await self._announce()

    async def _step(self) -> None:
        assert self._current
        name, component, task = self._current
        if task.done():
            task.result()
            raise RuntimeError(f"the proxy {name} ended by itself")
        wanted = self.desired
        if wanted == name:
            if self._refused:
                self._refused = ""
                await self._announce()
            return
        if wanted == self._refused or (started := await self._start(wanted)) is None:
            return
        self._current = started
        component.leave()
        self._leaving.add(task)
        task.add_done_callback(self._left)
        log.info("proxy exchanged", backend=wanted, before=name)
        await self._announce()

    async def _start(self, name: str) -> tuple[str, ProxyComponent, asyncio.Task[None]] | None:
        """Start a backend and return it when it serves everything; None when it can't work here, which is announced."""
        task = None
        try:
            component = self._make(name)
            task = asyncio.create_task(component.run(), name=f"proxy {name}")
            serving = asyncio.create_task(component.serving.wait())
            await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            if task.done():
                task.result()
            return name, component, task
        except FAILURES as error:
            log.warning("proxy refused", backend=name, error=str(error))
            self._refused = name
            await self._announce(f"{name}: {error}")
            return None
        except asyncio.CancelledError:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            raise

    def _by_entry_point(self, name: str) -> ProxyComponent:
        component: ProxyComponent = backends.load("proxy", name)(self._context, self._context.config.services.parameters)
        return component

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("proxy left badly", error=str(error))

    async def _next(self) -> None:
        """Wait for another choice, for the end of the backend, or for a while."""
        assert self._current
        woken = asyncio.create_task(self._wake.wait())
        await asyncio.wait({woken, self._current[2]}, timeout=CHECK, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        self._wake.clear()

    async def _announce(self, error: str = "") -> None:
        wanted = {ERROR: error or None} | ({BACKEND: self._current[0]} if self._current else {})
        try:
            await self._context.client.patch(NODES, self._context.name, "", {"metadata": {"annotations": wanted}})
        except (ApiError, OSError) as failure:
            log.warning("proxy not announced", error=failure)


@lru_cache(maxsize=2)
def chosen(text: str) -> str:
    """Return services.backend of a cluster file's text; "" when it does not say or cannot be read. Pure."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        log.warning("cluster configuration cannot be read", error=str(error).replace("\n", " "))
        return ""
    services = tree.get("services") if isinstance(tree, dict) else None
    return str(services.get("backend") or "") if isinstance(services, dict) else ""
