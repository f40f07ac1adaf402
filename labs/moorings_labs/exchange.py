"""`moorings swap`: writes the choice into the cluster's configuration, waits until every node says so, takes it back otherwise."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.config import load_text, with_backend, with_store
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object

FILE, NAME, NAMESPACE = "cluster.yaml", "moorings", "kube-system"
SENDS, ACCEPTS, ERROR = "moorings.dev/network-sends", "moorings.dev/network-accepts", "moorings.dev/network-error"
PROXY, PROXY_ERROR = "moorings.dev/proxy", "moorings.dev/proxy-error"
STORE, STORE_ERROR = "moorings.dev/store", "moorings.dev/store-error"
POLL_SECONDS = 0.1


class SwapRefused(MooringsError):
    """What was asked cannot be done; everything is as before."""


class SwapTimeout(MooringsError):
    """Not everybody followed in time; everything is as before."""

    exit_code = 3


async def swap_network(kubeconfig: Path, backend: str, timeout: float) -> float:
    """Choose a network backend and return the seconds it took. Raises UnknownBackend, SwapRefused, SwapTimeout."""
    late = f"not every node sends by {backend}"
    return await _swap(kubeconfig, lambda text: with_backend(text, "network", backend), lambda c: _followed(c, backend), late, timeout)


async def swap_proxy(kubeconfig: Path, backend: str, timeout: float) -> float:
    """Choose a service proxy and return the seconds it took. Raises UnknownBackend, SwapRefused, SwapTimeout."""
    late = f"not every node serves by {backend}"
    return await _swap(kubeconfig, lambda text: with_backend(text, "services", backend), lambda c: _proxied(c, backend), late, timeout)


async def swap_store(kubeconfig: Path, backend: str, parameters: Mapping[str, object], timeout: float) -> float:
    """Choose a store and return the seconds it took. Raises UnknownBackend, SwapRefused, SwapTimeout."""
    wanted: Object = {"backend": backend, "parameters": dict(parameters)}
    late = f"the server does not use {backend}"
    return await _swap(kubeconfig, lambda text: with_store(text, backend, parameters), lambda c: _stored(c, wanted), late, timeout)


async def _swap(
    kubeconfig: Path, choose: Callable[[str], str], followed: Callable[[HttpClient], Awaitable[None]], late: str, timeout: float
) -> float:
    """Write a choice into the cluster's configuration and wait until it is followed; take it back otherwise."""
    client = HttpClient.from_kubeconfig(kubeconfig)
    started = time.monotonic()
    try:
        before = (await client.get(CONFIG_MAPS, NAME, NAMESPACE))["data"][FILE]
        after = choose(before)
        load_text(after, "cluster.yaml")
        try:
            async with asyncio.timeout(timeout):
                await _write(client, after)
                await followed(client)
        except SwapRefused:
            await _write(client, before)
            raise
        except TimeoutError:
            await _write(client, before)
            raise SwapTimeout(f"{late} after {timeout:g}s; the choice was taken back") from None
    finally:
        await client.close()
    return time.monotonic() - started


async def _stored(client: HttpClient, wanted: Object) -> None:
    while True:
        annotations = (await client.get(CONFIG_MAPS, NAME, NAMESPACE))["metadata"].get("annotations") or {}
        if json.loads(annotations.get(STORE, "{}")) == wanted:
            return
        if annotations.get(STORE_ERROR):
            raise SwapRefused(f"{annotations[STORE_ERROR]}; the choice was taken back")
        await asyncio.sleep(POLL_SECONDS)


async def _proxied(client: HttpClient, backend: str) -> None:
    while True:
        live = [n for n in (await client.list(NODES)).items if _is_live(n)]
        marks = {n["metadata"]["name"]: n["metadata"].get("annotations", {}) for n in live}
        if refused := {name: a[PROXY_ERROR] for name, a in marks.items() if a.get(PROXY_ERROR)}:
            listed = "; ".join(f"{name}: {text}" for name, text in sorted(refused.items()))
            raise SwapRefused(f"{listed}; the choice was taken back")
        if all(a.get(PROXY) == backend for a in marks.values()):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _write(client: HttpClient, text: str) -> None:
    await client.patch(CONFIG_MAPS, NAME, NAMESPACE, {"data": {FILE: text}})


async def _followed(client: HttpClient, backend: str) -> None:
    while True:
        live = [n for n in (await client.list(NODES)).items if _is_live(n)]
        marks = {n["metadata"]["name"]: n["metadata"].get("annotations", {}) for n in live}
        refused = {name: a[ERROR] for name, a in marks.items() if a.get(ERROR)}
        if refused:
            listed = "; ".join(f"{name}: {text}" for name, text in sorted(refused.items()))
            raise SwapRefused(f"{listed}; the choice was taken back")
        if all(a.get(SENDS) == backend and a.get(ACCEPTS) == backend for a in marks.values()):
            return
        await asyncio.sleep(POLL_SECONDS)


def _is_live(node: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", ()))
